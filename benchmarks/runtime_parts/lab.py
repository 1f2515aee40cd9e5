"""A store, two workers and a controller in one process, to which faults happen."""

import dataclasses
import random
import threading
import time
from pathlib import Path
from typing import Any

import torch

from detopt import usecases
from detopt.pipeline.evaluation import Chunk
from detopt.random import Seed
from detopt.runtime import RunStore, Study, StudyConfig
from detopt.runtime.executors import QueueExecutor, Work
from detopt.runtime.executors.work import answer, encode_answer
from detopt.runtime.rounds import Round
from detopt.runtime.storage import BlobStore, Database, Store
from detopt.runtime.store import database_url
from detopt.runtime.worker import Worker
from runtime_parts.processes import CASE

N_PIECES = 2  # of a trial
LEASE = 30.0  # s


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        """Seconds since 1970, by this clock."""
        return time.time() + self.offset


class Lab:
    """A study whose pieces of work are asked for by hand."""

    def __init__(self, folder: Path, seed: int) -> None:
        config = StudyConfig.make(CASE, executor="queue", workers=0)
        Study.create(config, folder)
        with_run = RunStore(folder)
        self.run_id = with_run.id
        with_run.close()
        self.folder, self.clock, self.rng = folder, Clock(), random.Random(seed)
        database = Database(database_url(folder), patience=400.0, clock=self.clock)
        self.store = Store(database, BlobStore(folder / "blobs"))
        self.problem = usecases.load(CASE).build({})
        self.executor = QueueExecutor(self.problem, self.store, self.run_id)
        self.worker = self.new_worker()
        self._n_asked = self.n_rounds = 0

    def new_worker(self, source: Any = None) -> Worker:
        """A worker of the study."""
        return Worker(self.store if source is None else source, lease_s=LEASE, run_id=self.run_id)

    def ask(self) -> "Asked":
        """New pieces of work, in the queue."""
        theta = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        first = self._n_asked
        self._n_asked += N_PIECES
        chunks = [Chunk(theta, Seed(7).child(i), 20, False) for i in range(first, first + N_PIECES)]
        work = [Work(chunk) for chunk in chunks]
        return Asked(self, work, self.executor.submit(work))

    def claim(self, worker: str = "gone", lease_s: float = LEASE) -> Any:
        """The lease of a piece of work that was asked for."""
        (lease,) = self.store.tasks.claim(worker, lease_s, kinds=["chunk"], run_id=self.run_id)
        return lease

    def next_round(self, terms: dict[str, float] | None = None) -> tuple[Round, dict[str, Any]]:
        """A round to be kept, and its state."""
        x = torch.rand(8, generator=torch.Generator().manual_seed(self.n_rounds))
        record = Round(
            self.n_rounds, x[:3].double(), float(x[0]), 0.1, None, None, terms or {}, 1, 0.0, 0.0
        )
        return record, {"round": self.n_rounds + 1, "x": x}

    def close(self) -> None:
        """Release the database."""
        self.store.close()


class Asked:
    """Pieces of work, and whether their answers are right in the end."""

    def __init__(self, lab: Lab, work: list[Work], pending: Any) -> None:
        self.lab, self.work, self.pending = lab, work, pending

    def come_out_right(self) -> bool:
        """Let a worker do what is left; compare with the answers that need no queue."""
        over = threading.Event()
        thread = threading.Thread(target=self.lab.worker.run, kwargs={"until": over.is_set})
        thread.start()
        try:
            found = [one.result() for one in self.pending]
        finally:
            over.set()
            thread.join()
        return all(
            _bits(one) == _bits(answer(self.lab.problem, work))
            for one, work in zip(found, self.work, strict=True)
        )


def _bits(found: Any) -> bytes:
    return encode_answer(dataclasses.replace(found, cpu_s=0.0))
