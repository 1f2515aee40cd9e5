"""What a tracker is: an adapter to a tool in which people follow and compare studies."""

__all__ = ["NoOptions", "TrackedRun", "Tracker"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class NoOptions(BaseModel):
    """Options of a tracker that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker shows.

    Args:
        name: Of the run, for people.
        key: 32 hexadecimal digits that stay the same when the run is resumed.
        folder: Where the tracker may write; it need not exist yet.
        config: What the study is: names, with dots where they are nested, and plain values.
        resumed: Whether the tracker has seen the run before.
    """

    name: str
    key: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False


class Tracker(ABC):
    """Shows one run in a tool; lives in a process of its own, where it may fail, hang or exit.

    A subclass imports its tool in `start`, not with its module, and takes keys from the
    environment of that tool alone. It is made known by the entry-point group `detopt.trackers`.

    Args:
        options: Checked options, of the class `Options`.
    """

    Options: ClassVar[type[BaseModel]] = NoOptions

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def start(self, run: TrackedRun) -> None:
        """Show a new run with what its study is, or go on with it."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Show finite numbers of a round; steps never fall."""

    @abstractmethod
    def attach(self, path: Path, name: str) -> None:
        """Keep a file with the run; a PNG is a figure."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """Write all that is pending. The status is `finished`, `interrupted` or `failed`."""
