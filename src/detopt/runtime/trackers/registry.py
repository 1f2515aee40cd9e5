"""Trackers by name: those of the package, and those of installed plug-ins."""

__all__ = ["check_trackers", "load_tracker", "tracker_names"]

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime.trackers.base import Tracker

ENTRY_POINTS = "detopt.trackers"
OWN = {
    "comet": "CometTracker",
    "mlflow": "MLflowTracker",
    "tensorboard": "TensorBoardTracker",
    "wandb": "WandbTracker",
}


def tracker_names() -> list[str]:
    """All trackers of the package and of installed plug-ins, sorted."""
    return sorted({*OWN, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def load_tracker(name: str, options: Mapping[str, Any] | None = None) -> Tracker:
    """The tracker called `name`; its tool is imported when it starts.

    Raises:
        NotFoundError: There is none.
        ConfigError: It is no tracker, or an option is unknown or unusable.
    """
    kind = _find(name)
    if not (isinstance(kind, type) and issubclass(kind, Tracker)):
        raise ConfigError(f"`{name}` is no tracker: it must be a subclass of `Tracker`.")
    try:
        return kind(kind.Options(**(options or {})))
    except ValidationError as error:
        lines = [f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}." for e in error.errors()]
        known = ", ".join(kind.Options.model_fields) or "none"
        raise ConfigError(f"`tracker_options.{name}`: {' '.join(lines)} Known: {known}.") from error


def check_trackers(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    """See that trackers are known and their options usable; their tools are not imported.

    Raises:
        ConfigError: They are not.
        NotFoundError: There is no such tracker.
    """
    for name in sorted({*names, *options}):
        load_tracker(name, options.get(name))


def _find(name: str) -> Any:
    if name in OWN:
        return getattr(importlib.import_module(f"detopt.runtime.trackers.{name}"), OWN[name])
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return point.load()
    raise NotFoundError(f"No tracker `{name}`. There are: {', '.join(tracker_names())}.")
