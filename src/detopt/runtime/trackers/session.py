"""What a study tells its trackers: numbers of each round, the verdict, files and figures."""

__all__ = ["Tracking", "tracking"]

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detopt.runtime.interruption import Interrupted
from detopt.runtime.rounds import Round
from detopt.runtime.trackers.memory import Memory
from detopt.runtime.trackers.outlet import Outlet
from detopt.runtime.trackers.secrets import hide

if TYPE_CHECKING:
    from detopt.runtime.study import Study

Listener = Callable[[str, int, int, Round | None], None]
FOLDER = "trackers"
FLUSH = 60.0  # s at the end of a study, for all trackers together
SHORT = 5.0  # s where the machine goes away
MOST = 200  # free numbers of a design; with more of them the design is left out
UNSAID = {  # settings that say nothing about the result
    "executor",
    "executor_options",
    "workers",
    "share",
    "compute_budget",
    "trackers",
    "tracker_options",
}


class Tracking:
    """The trackers of a study, which it may talk to as if there were none.

    Args:
        study: The study.
    """

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._outlets: list[Outlet] = []

    def start(self) -> None:
        """Start them, and show the rounds that they have not seen."""
        for name in self._study.config.trackers:
            outlet = Outlet(name)
            self._outlets.append(outlet)
            with outlet.guard():
                self._begin(outlet)

    def listening(self, listener: Listener | None) -> Listener | None:
        """A listener of the study that shows each round and then asks the given one."""
        if not self._outlets:
            return listener

        def listen(stage: str, done: int, total: int, record: Round | None) -> None:
            if record is not None:
                self._put(lambda: {"rounds": [self._numbers(record)]})
            if listener is not None:
                listener(stage, done, total, record)

        return listen

    def _begin(self, outlet: Outlet) -> None:
        """Start a tracker, and show it the rounds that it has not seen."""
        study, folder = self._study, (self._study.store.folder / FOLDER).resolve()
        name, path = outlet.name, folder / f"{outlet.name}.json"
        first = {
            "tracker": name,
            "options": study.config.tracker_options.get(name, {}),
            "name": study.store.id,
            "folder": str(folder / name),
            "memory": str(path),
            "config": hide(_settings(study.config.model_dump(mode="json", exclude=UNSAID))),
        }
        outlet.start(first)
        last = Memory.read(path).last
        missed = [record for record in study.history if record.number > last]
        if missed:
            outlet.put({"rounds": [self._numbers(record) for record in missed]})

    def _numbers(self, record: Round) -> tuple[int, dict[str, float]]:
        found = {
            "objective": record.value,
            "objective_std_error": record.std_error,
            "evaluations": record.n_evaluations,
            "cpu_s": record.cpu_s,
            "wall_s": record.wall_s,
            **{f"terms/{name}": value for name, value in record.terms.items()},
        }
        if record.gradient is not None:
            found["gradient_norm"] = float(record.gradient.norm())
        space = self._study.problem.space
        if space.n_free <= MOST:
            numbers = space.design(record.theta).numbers()
            found |= dict(_entries("design", {p.name: numbers[p.name] for p in space.free}))
        return record.number, _finite(found)

    def result(self, data: Mapping[str, Any]) -> None:
        """Show the verdict, and keep the files of the study."""
        self._put(lambda: {"rounds": [(len(self._study.history), _verdict(data))]})
        folder = self._study.store.folder
        self.files([folder / "study.yaml", folder / "result.json"])

    def files(self, paths: Sequence[Path]) -> None:
        """Keep files with the run; a PNG is a figure."""
        for path in paths:
            self._put(partial(_file, path.resolve()))

    def _put(self, make: Callable[[], dict[str, Any]]) -> None:
        for outlet in self._outlets:
            with outlet.guard():
                outlet.put(make())

    def finish(self, status: str) -> None:
        """Let trackers write what is pending, all within one limit."""
        limit = SHORT if status == "interrupted" else FLUSH
        ends = [threading.Thread(target=one.finish, args=(status, limit)) for one in self._outlets]
        for end in ends:
            end.start()
        for end in ends:
            end.join()


@contextmanager
def tracking(study: "Study") -> Iterator[Tracking]:
    """The trackers that a study asks for, as long as the block takes."""
    found, status = Tracking(study), "failed"
    try:
        yield found
        status = "finished"
    except (KeyboardInterrupt, Interrupted):
        status = "interrupted"
        raise
    finally:
        found.finish(status)


def _settings(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings on one level, with dots in their names."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= _settings(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _entries(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The numbers in nested mappings and lists: `design/gap`, `design/shift.0`."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _entries(f"{name}/{key}", one)
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from _entries(f"{name}.{i}", one)
    else:
        yield name, value


def _file(path: Path) -> dict[str, Any]:
    return {"path": str(path), "name": path.name}


def _verdict(data: Mapping[str, Any]) -> dict[str, float]:
    """`result/final`, `result/final_low`, `result/final_high`, and so on."""
    found: dict[str, Any] = {}
    for name, interval in data["objective"].items():
        for key, value in (interval or {}).items():
            found[f"result/{name}" if key == "value" else f"result/{name}_{key}"] = value
    return _finite(found)


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
