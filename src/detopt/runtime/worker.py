"""A worker: takes pieces of work from a source, does them, and hands in the answers.

It may come and go at any time. It renews its leases while it works; on a signal that the machine
goes away (SIGTERM, SIGUSR1, Ctrl-C) it gives them back and ends.
"""

__all__ = ["Worker", "main"]

import argparse
import logging
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from detopt.errors import CheckpointError, DetoptError, SimulationError
from detopt.pipeline.problem import Problem
from detopt.runtime.config import load_study
from detopt.runtime.executors.work import answer, decode_work, encode_answer, encode_failure
from detopt.runtime.heartbeat import renewed
from detopt.runtime.interruption import Interrupted, held_back, interruptible
from detopt.runtime.pace import Pace
from detopt.runtime.sources import INPUTS, STUDY, StoreSource, TaskSource
from detopt.runtime.storage import Lease, Store

AnswerT = TypeVar("AnswerT")
LOGGER = logging.getLogger("detopt.worker")
LEASE = 30.0  # s
SHORTEST, LONGEST = 0.005, 0.5  # s between two looks at an empty queue


class Worker:
    """Works on the tasks of a source.

    Args:
        source: Where tasks come from: a store, or anything that hands out tasks.
        name: Of this worker; by default of machine and process.
        lease_s: Time after which others may take a task over from a worker that is gone [s].
        run_id: Only tasks of that run of the store.
    """

    def __init__(
        self,
        source: Store | TaskSource,
        name: str | None = None,
        lease_s: float = LEASE,
        run_id: str | None = None,
    ) -> None:
        self.source = StoreSource(source, run_id) if isinstance(source, Store) else source
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.lease_s = lease_s
        self.pace = Pace()
        self._problems: dict[str, Problem] = {}

    def run(self, *, until: Callable[[], bool] = lambda: False) -> int:
        """Work until `until` says so or a signal ends it; number of tasks done."""
        done, pause = 0, SHORTEST
        while not until():
            if n_done := self.step():
                done, pause = done + n_done, SHORTEST
            else:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
        return done

    def step(self) -> int:
        """Do the tasks of one visit to the source; their number."""
        begin = time.perf_counter()
        leases: Sequence[Lease] = []
        try:
            with held_back():
                leases = self._claim()
        except Interrupted:
            for lease in leases:
                self.source.release(lease)
            raise
        if leases:
            claimed = time.perf_counter()
            work_s = self._do(leases)
            cost_s = claimed - begin + time.perf_counter() - claimed - work_s
            self.pace.note([lease.fence for lease in leases], work_s, cost_s)
        return len(leases)

    def _claim(self) -> list[Lease]:
        """One task, or several light ones where there are enough for everybody."""
        if not isinstance(self.source, StoreSource):
            return self.source.claim(self.name, self.lease_s)
        limit = self.pace.n_tasks
        if limit > 1:
            limit = self.source.share(limit)
        return self.source.claim(self.name, self.lease_s, limit)

    def _do(self, leases: Sequence[Lease]) -> float:
        """Do some tasks and hand them in; the time of the former [s]."""
        begin, left, answers = time.perf_counter(), list(leases), []
        try:
            with renewed(_All(self.source, leases), leases[0], self.lease_s):
                for lease in leases:
                    data = self._try(lease, self._answer, lease)
                    left.remove(lease)
                    answers += [] if data is None else [(lease, data)]
            work_s = time.perf_counter() - begin
            self._finish(answers)
        except (Interrupted, KeyboardInterrupt):
            self._finish(answers)  # again, if it was interrupted: an answer counts once
            for lease in left:
                self.source.release(lease)
            raise
        return work_s

    def _finish(self, answers: Sequence[tuple[Lease, bytes]]) -> None:
        """Hand in answers, in one go where the source can."""
        if isinstance(self.source, StoreSource) and len(answers) > 1:
            try:
                self.source.finish_all(answers)
                return
            except CheckpointError as error:  # such as a full disk: nothing of the visit is kept
                LOGGER.warning("%d answers are handed in one by one: %s", len(answers), error)
        for lease, data in answers:
            self._try(lease, self.source.finish, lease, data)

    def _try(
        self, lease: Lease, function: Callable[..., AnswerT], *arguments: object
    ) -> AnswerT | None:
        """What a function says of a task; without it, why there is none is handed in."""
        try:
            return function(*arguments)
        except CheckpointError as error:
            self.source.fail(lease, str(error))
        except Exception as error:
            final = isinstance(error, DetoptError)
            self.source.fail(lease, f"{type(error).__name__}: {error}", final=final)
        return None

    def _answer(self, lease: Lease) -> bytes:
        work = decode_work(self.source.payload(lease))
        problem = self._problem(lease.run_id)
        try:
            return encode_answer(answer(problem, work))
        except SimulationError as error:
            return encode_failure(error)

    def _problem(self, run_id: str) -> Problem:
        if run_id not in self._problems:
            self._problems[run_id] = make_problem(self.source.inputs(run_id))
        return self._problems[run_id]


class _All:
    """The leases of a visit, renewed together."""

    def __init__(self, source: TaskSource, leases: Sequence[Lease]) -> None:
        self.source, self.leases = source, leases

    def renew(self, lease: Lease, lease_s: float) -> bool:  # noqa: ARG002 (one stands for all)
        """Keep them for longer [s]; False if none is left."""
        held = [self.source.renew(one, lease_s) for one in self.leases]
        return any(held)


def keep_inputs(store: Store, run_id: str, folder: Path) -> None:
    """Keep what a worker needs to make the problem: the study and its input files."""
    for name, data in read_inputs(folder).items():
        store.keep(run_id, name, data)


def read_inputs(folder: Path) -> dict[str, bytes]:
    """The study in a folder and its input files, by name."""
    names = [STUDY, *(f"{INPUTS}/{path.name}" for path in sorted((folder / INPUTS).glob("*")))]
    return {name: (folder / name).read_bytes() for name in names}


def fetch_problem(store: Store, run_id: str) -> Problem:
    """The problem of a run, from what `keep_inputs` kept."""
    return make_problem(StoreSource(store).inputs(run_id))


def make_problem(inputs: Mapping[str, bytes]) -> Problem:
    """The problem of a study and its input files, by name."""
    with tempfile.TemporaryDirectory(prefix="detopt-") as name:
        folder = Path(name)
        (folder / INPUTS).mkdir()
        for artifact, data in inputs.items():
            (folder / artifact).write_bytes(data)
        return load_study(folder / STUDY, complete=True).recipe.make()


def main(arguments: list[str] | None = None) -> int:
    """Work for the run in a folder until a signal."""
    from detopt.runtime.store import RunStore

    parser = argparse.ArgumentParser(prog="python -m detopt.runtime.worker")
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("--lease", type=float, default=LEASE, help="seconds")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parent = os.getppid()
    store = RunStore(chosen.folder)
    worker = Worker(store.store, lease_s=chosen.lease, run_id=store.id)
    try:
        with interruptible():
            worker.run(until=lambda: os.getppid() != parent)  # not without the controller
    except Interrupted:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
