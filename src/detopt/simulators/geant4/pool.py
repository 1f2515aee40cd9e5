"""A bounded number of processes in which Geant4 runs, kept for further calls."""

__all__ = ["Pool", "Task", "close_pools", "shared_pool"]

import atexit
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detopt.errors import SimulationError
from detopt.simulators.geant4.host import CrashError, Host, Settings
from detopt.simulators.threads import Halt, in_threads

MOST_CALLS = 1000  # of a process, before a fresh one takes over
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What is to be run.

    Args:
        request: Geometry, media and volumes, as `detopt.simulators.geant4.worker` takes them.
        particles: Rows of particles.
        events: Event of each row.
        seed: Seed that messages name.
    """

    request: dict[str, Any]
    particles: Array
    events: Array
    seed: int


class Pool:
    """Processes of one kind.

    Args:
        settings: How they are started.
        n_workers: How many may run at the same time, >= 1.
    """

    def __init__(self, settings: Settings, n_workers: int) -> None:
        self.settings, self.n_workers = settings, n_workers
        self._free = threading.Semaphore(n_workers)
        self._lock = threading.Lock()
        self._idle: list[Host] = []

    def run(self, task: Task) -> Array:
        """Deposits of all rows, volume by volume [MeV]; the same for any number of processes.

        Raises:
            SimulationError: A process failed again after all retries, or left something unusable;
                the other processes of the call are ended.
        """
        n = len(task.particles)
        with tempfile.TemporaryDirectory(prefix="detopt-geant4-") as name:
            folder = Path(name)
            np.save(folder / "particles.npy", task.particles, allow_pickle=False)
            edges = [n * i // self.n_workers for i in range(self.n_workers + 1)]
            shares = [pair for pair in itertools.pairwise(edges) if pair[0] < pair[1]]
            in_threads(
                lambda share, halt: self._run_share(task, folder, share, halt), shares, len(shares)
            )
            try:
                return _collect(task, folder)
            except SimulationError:
                self.close()  # whoever wrote that is not asked again
                raise

    def close(self) -> None:
        """End all processes that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for host in idle:
            host.close()

    @contextmanager
    def _lease(self, halt: Halt) -> Iterator[Host]:
        """A process for one call; it is kept afterwards unless it failed or may be dead."""
        with self._free:
            with self._lock:
                host = self._idle.pop() if self._idle else None
            host = host or Host(self.settings)
            with halt.covers(host.kill):
                yield host
            if host.n_calls < MOST_CALLS and not halt.over:
                with self._lock:
                    self._idle.append(host)
            else:
                host.close()

    def _run_share(self, task: Task, folder: Path, share: tuple[int, int], halt: Halt) -> None:
        """Run some rows; after a failure go on behind the last whole block."""
        first, last = share
        attempt = 0
        while first < last:
            try:
                self._request(task, folder, (first, last), halt)
                return
            except CrashError as crash:
                if halt.over:
                    raise
                rows = crash.rows or (first, first)
                first = max(first, rows[0])
                if attempt >= self.settings.limits.retries:
                    exact = rows if crash.is_over else self._name_row(task, folder, rows, halt)
                    raise SimulationError(_explain(task, exact, crash, attempt)) from crash
            attempt += 1

    def _name_row(
        self, task: Task, folder: Path, rows: tuple[int, int], halt: Halt
    ) -> tuple[int, int]:
        """The single row that fails, if it does so again alone."""
        if rows[1] - rows[0] <= 1:
            return rows
        try:
            self._request(task, folder, rows, halt, single=True)
        except CrashError as again:
            return again.rows or rows
        return rows

    def _request(
        self, task: Task, folder: Path, rows: tuple[int, int], halt: Halt, single: bool = False
    ) -> None:
        request = {
            **task.request,
            "folder": str(folder),
            "rows": rows,
            "single": single,
            "event_timeout": self.settings.event_timeout,
        }
        with self._lease(halt) as host:
            host.run(request, folder)


def _collect(task: Task, folder: Path) -> Array:
    """All deposits from the files of the blocks, checked."""
    n, n_volumes = len(task.particles), len(task.request["volumes"])
    deposits, missing = np.zeros((n, n_volumes)), np.ones(n, dtype=bool)
    for path in sorted(folder.glob("deposits-*.npy")):
        first, end = map(int, path.stem.split("-")[1:])
        try:
            block = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise SimulationError(
                f"The deposits of {_events(task, (first, end))} are no complete file: {error}."
            ) from error
        if block.shape != (end - first, n_volumes):
            raise SimulationError(
                f"Geant4 gave an array of {block.shape} for {_events(task, (first, end))}, but "
                f"{(end - first, n_volumes)} were wanted: events, volumes."
            )
        deposits[first:end], missing[first:end] = block, False
    for is_wrong, what in ((missing, "no deposits"), (~_usable(deposits), "no finite deposits")):
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise SimulationError(f"Geant4 gave {what} for {_events(task, (row, row + 1))}.")
    return deposits


def _usable(deposits: Array) -> Array:
    """Which rows are finite and not negative."""
    return np.asarray((np.isfinite(deposits) & (deposits >= 0)).all(axis=1))


def _explain(task: Task, rows: tuple[int, int], crash: CrashError, attempt: int) -> str:
    tried = f" after {attempt + 1} attempts" if attempt else ""
    message = f"{crash.reason.removesuffix('.')} in {_events(task, rows)}{tried}."
    return f"{message} Its output ends with: {crash.output}" if crash.output else message


def _events(task: Task, rows: tuple[int, int]) -> str:
    """Events by number, with how to repeat them."""
    first, last = (
        int(task.events[min(row, len(task.events) - 1)]) for row in (rows[0], rows[1] - 1)
    )
    total = int(task.events[-1]) + 1
    which = f"event {first}" if last <= first else f"events {first} to {last}"
    return f"{which} of {total} (seed {task.seed})"


_POOLS: dict[tuple[int, Settings, int], Pool] = {}
_LOCK = threading.Lock()


def shared_pool(settings: Settings, n_workers: int) -> Pool:
    """The pool of this process for these settings."""
    key = (os.getpid(), settings, n_workers)
    with _LOCK:
        if key not in _POOLS:
            _POOLS[key] = Pool(settings, n_workers)
        return _POOLS[key]


def close_pools() -> None:
    """End all idle processes of all pools of this process."""
    with _LOCK:
        own = [key for key in _POOLS if key[0] == os.getpid()]
        pools = [_POOLS.pop(key) for key in own]
    for pool in pools:
        pool.close()


atexit.register(close_pools)
