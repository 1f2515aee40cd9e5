"""Files between a study and a program: the design that it reads, the result that it writes.

The design file is a JSON mapping::

    {"design": {"gap": 0.3, "layers": 4, "material": "lead"}, "units": {"gap": "m", ...},
     "seed": 7, "n_events": 1000}

The result file is a JSON number, a list with one value for each event, or a mapping with the keys
of `detopt.simulators.answers.KEYS`::

    {"objective": 1.2, "std_error": 0.1, "constraints": {"weight": -3.0}, "metrics": {"rate": 5}}

Each call has a fresh folder for the two, so that calls at the same time do not meet.
"""

__all__ = ["DESIGN", "OUTPUT", "RESULT", "Limits", "exchange", "read_result", "write_design"]

import hashlib
import json
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detopt.errors import ConfigError, SimulationError

DESIGN, RESULT, OUTPUT = "design.json", "result.json", "output.txt"
LAST_LINES, LAST_BYTES = 12, 4_000  # of a program's output in a message
LOGGER = logging.getLogger("detopt.simulators")


@dataclass(frozen=True)
class Limits:
    """What a call of a program may take, and what is kept of it.

    Args:
        timeout: Longest time [s], or None; the program and all that it started are killed then.
        memory: Largest address space of each of its processes [GB], or None.
        retries: Further attempts after a failure, with the same design and seed.
        logs: Folder where design, result and output of calls are kept, or None. What cannot be kept
            is a warning of the logger `detopt.simulators`, and changes nothing about the call.
        keep: Whether `failures` or `all` calls are kept there.

    Raises:
        ConfigError: A number is out of range.
    """

    timeout: float | None = None
    memory: float | None = None
    retries: int = 0
    logs: str | Path | None = None
    keep: Literal["failures", "all"] = "failures"

    def __post_init__(self) -> None:
        for name, value in (("timeout", self.timeout), ("memory", self.memory)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"`{name}` must be > 0, got {value}.")
        if self.retries < 0:
            raise ConfigError(f"`retries` must be >= 0, got {self.retries}.")
        if self.keep not in ("failures", "all"):
            raise ConfigError(f"`keep` must be failures or all, got {self.keep!r}.")


def write_design(
    folder: Path, design: Mapping[str, Any], seed: int, n_events: int, units: Mapping[str, str]
) -> Path:
    """Write the design file of a call."""
    data = {"design": design, "units": units, "seed": seed, "n_events": n_events}
    path = folder / DESIGN
    path.write_text(json.dumps(data, indent=2) + "\n")
    return path


def read_result(path: Path) -> object:
    """What the result file holds; `detopt.simulators.answers.read_answer` judges it.

    Raises:
        SimulationError: There is none, or it is no complete JSON.
    """
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise SimulationError("The simulation ended without writing its result file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SimulationError(f"The result file cannot be read: {error}.") from error
    try:
        answer: object = json.loads(text)
    except ValueError as error:
        raise SimulationError(
            f"The result file is no complete JSON ({error}); it begins with {text[:60]!r}."
        ) from error
    return answer


def exchange(
    run: Callable[[Path], None],
    design: Mapping[str, Any],
    seed: int,
    n_events: int,
    units: Mapping[str, str],
    limits: Limits,
) -> object:
    """Write the design, run the program, read its result; try again where that is allowed.

    Args:
        run: Runs the program for the call in a folder; what it prints goes to `OUTPUT` there.
        design: Plain numbers.
        seed: Seed of the call.
        n_events: Events that are wanted.
        units: Units by parameter.
        limits: Retries and logs.

    Raises:
        SimulationError: All attempts failed; with the end of the last one's output.
    """
    attempt = 0
    while True:
        with tempfile.TemporaryDirectory(prefix="detopt-") as name:
            folder = Path(name)
            write_design(folder, design, seed, n_events, units)
            try:
                run(folder)
                answer = read_result(folder / RESULT)
            except SimulationError as error:
                kept = _keep(folder, limits, design, seed, attempt)
                if attempt >= limits.retries:
                    raise SimulationError(_explain(error, folder, attempt, kept)) from error
            else:
                if limits.keep == "all":
                    _keep(folder, limits, design, seed, attempt)
                return answer
        attempt += 1


def _explain(error: SimulationError, folder: Path, attempt: int, kept: Path | None) -> str:
    tried = f" after {attempt + 1} attempts" if attempt else ""
    message = f"{str(error).removesuffix('.')}{tried}."
    end = last_output(folder)
    message += f" Its output ends with: {end}" if end else " It printed nothing."
    return f"{message} Everything is kept in {kept}." if kept else message


def last_output(folder: Path) -> str:
    """The last lines that the program printed."""
    path = folder / OUTPUT
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LAST_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


def _keep(
    folder: Path, limits: Limits, design: Mapping[str, Any], seed: int, attempt: int
) -> Path | None:
    """A copy of the call's files below `limits.logs`, or None; links stay links."""
    if limits.logs is None:
        return None
    digest = hashlib.sha256(json.dumps(design, sort_keys=True).encode()).hexdigest()[:8]
    target = Path(limits.logs) / f"seed{seed}-{digest}-{attempt + 1}"
    shutil.rmtree(target, ignore_errors=True)  # of an earlier run
    try:
        shutil.copytree(folder, target, symlinks=True, ignore=_special, dirs_exist_ok=True)
    except OSError as error:
        LOGGER.warning("Not all files of the call are kept in %s: %s", target, error)
        return None
    return target


def _special(folder: str, names: Sequence[str]) -> list[str]:
    """Which of the names are neither file, folder nor link, such as pipes, and have no content."""
    paths = {name: Path(folder) / name for name in names}
    return [
        name
        for name, path in paths.items()
        if not (path.is_symlink() or path.is_file() or path.is_dir())
    ]
