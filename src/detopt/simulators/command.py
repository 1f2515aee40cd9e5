"""A program of any language that reads a design file and writes a result file."""

__all__ = ["Command", "fill", "split_words"]

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detopt.errors import ConfigError
from detopt.simulators.files import DESIGN, RESULT, Limits, exchange
from detopt.simulators.process import Launch, run_program

PLACES = ("design", "result", "folder", "seed", "n_events")
NEEDED = ("design", "result")
_PLACE = re.compile(r"(?<!\$)\{(\w+)\}")


@dataclass(frozen=True)
class Command:
    """A simulator that is a program: called with a design, it answers what the program writes.

    The words of the command may hold `{design}` and `{result}`, the paths of the two files,
    `{folder}`, the fresh folder of this call where both lie, `{seed}` and `{n_events}`. No shell
    reads them; where one is needed, it is the program: `sh -c "..."`.

    >>> command = Command("julia simulate.jl {design} {result}", limits=Limits(timeout=60.0))
    >>> command.words
    ('julia', 'simulate.jl', '{design}', '{result}')

    Args:
        command: Program and arguments, as a line or as words.
        folder: Working folder; that of this process by default.
        limits: Time, memory, retries and logs.
        environment: Variables beside those of this process.

    Raises:
        ConfigError: The command is empty, lacks `{design}` or `{result}`, or has a misspelt place.
    """

    command: str | Sequence[str]
    folder: str | Path | None = None
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        split_words(self.command)

    @property
    def words(self) -> tuple[str, ...]:
        """Program and arguments, with their places."""
        return split_words(self.command)

    def __call__(
        self,
        design: Mapping[str, Any],
        seed: int,
        n_events: int,
        units: Mapping[str, str] | None = None,
    ) -> object:
        """What the result file holds.

        Raises:
            NotFoundError: There is no such program or working folder.
            SimulationError: The program failed, took too long, or wrote no complete result.
        """

        def run(call: Path) -> None:
            words = fill(self.words, call, seed, n_events)
            folder = Path.cwd() if self.folder is None else Path(self.folder)
            run_program(Launch(words, folder, self.environment), call, self.limits)

        return exchange(run, design, seed, n_events, units or {}, self.limits)


def split_words(command: str | Sequence[str]) -> tuple[str, ...]:
    """The words of a command, whose places are checked.

    Raises:
        ConfigError: See `Command`.
    """
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError as error:
        raise ConfigError(f"Cannot split the command {command!r} into words: {error}.") from error
    if not words:
        raise ConfigError("The command is empty. Write it like 'python simulate.py {design} ...'.")
    found = {place for word in words for place in _PLACE.findall(word)}
    for needed in NEEDED:
        if needed in found:
            continue
        near = difflib.get_close_matches(needed, sorted(found), n=1)
        hint = f" Did you mean it by `{{{near[0]}}}`?" if near else ""
        raise ConfigError(
            f"The command lacks `{{{needed}}}`, the path of the {needed} file: {' '.join(words)}."
            f"{hint}"
        )
    return words


def fill(words: Sequence[str], folder: Path, seed: int, n_events: int) -> tuple[str, ...]:
    """The words of a command with the values of a call in their places."""
    values = (str(folder / DESIGN), str(folder / RESULT), str(folder), str(seed), str(n_events))
    table = dict(zip(PLACES, values, strict=True))
    return tuple(_PLACE.sub(lambda match: table.get(match[1], match[0]), word) for word in words)
