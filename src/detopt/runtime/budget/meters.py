"""How much a piece of work has used so far."""

__all__ = ["LocalMeter", "Meter", "QueueMeter", "Times"]

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import sqlalchemy as sql

from detopt.cpu import cpu_time
from detopt.runtime.storage import Store, schema
from detopt.runtime.storage.tasks import CONTROLLER

task, attempt = schema.task, schema.attempt


@dataclass(frozen=True)
class Times:
    """Times that a piece of work has used.

    Args:
        wall_s: By the clock [s].
        cpu_s: Of processors [s].
        worker_s: Of all workers [s].
    """

    wall_s: float
    cpu_s: float
    worker_s: float


@runtime_checkable
class Meter(Protocol):
    """Measures one piece of work after the other."""

    def start(self) -> None:
        """A piece of work begins."""

    def read(self, reported_cpu_s: float | None = None) -> Times:
        """What it has used so far.

        Args:
            reported_cpu_s: CPU time that its workers told [s]; None where they did not.
        """


class LocalMeter:
    """Workers that are there as long as the work takes, busy or idle.

    Args:
        workers: Their number; one is this process itself.

    Note:
        As long as other processes have not told their CPU time, it is taken as their time by the
        clock, which it cannot exceed: a worker computes with one thread.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.start()

    def start(self) -> None:
        """A piece of work begins."""
        self._wall, self._cpu = time.monotonic(), cpu_time()

    def read(self, reported_cpu_s: float | None = None) -> Times:
        """What it has used so far."""
        wall = time.monotonic() - self._wall
        cpu = cpu_time() - self._cpu
        worker = max(wall * max(1, self.workers), reported_cpu_s or 0.0)
        if self.workers != 1:
            cpu += worker if reported_cpu_s is None else reported_cpu_s
        return Times(wall, cpu, worker)


class QueueMeter:
    """Workers that come and go: their time is that of their leases, ended well or not.

    What is read is the time of all leases of the run, less what the run was charged before. So a
    lease is charged once, also where it ends after the work that asked for it, or where the
    process that asked is gone.

    Args:
        store: Where the leases are.
        run_id: The run.
        charged_s: Tells the time of workers that the run was charged [s].

    Note:
        A worker computes with one thread, so its CPU time is taken as its time. What this process
        uses itself is added.
    """

    def __init__(self, store: Store, run_id: str, charged_s: Callable[[], float]) -> None:
        self._store, self._run_id, self._charged_s = store, run_id, charged_s
        self.start()

    def start(self) -> None:
        """A piece of work begins."""
        self._wall, self._cpu = time.monotonic(), cpu_time()
        leased = leased_s(self._store, self._run_id)
        self._before = min(leased, self._charged_s())  # workers of another kind were charged, too

    def read(self, reported_cpu_s: float | None = None) -> Times:  # noqa: ARG002 (leases tell)
        """What it has used so far."""
        wall, cpu = time.monotonic() - self._wall, cpu_time() - self._cpu
        worker = max(0.0, leased_s(self._store, self._run_id) - self._before)
        return Times(wall, cpu + worker, worker)


def leased_s(store: Store, run_id: str) -> float:
    """Time of all leases of a run's pieces of work so far [s]."""

    def add(connection: sql.Connection) -> float:
        now = store.database.now(connection)
        late = sql.func.coalesce(task.c.lease_until, attempt.c.started)
        open_end = sql.case((late < now, late), else_=now)
        last = sql.case((attempt.c.fence == task.c.fence, open_end), else_=attempt.c.started)
        end = sql.func.coalesce(attempt.c.ended, last)
        query = (
            sql.select(sql.func.coalesce(sql.func.sum(end - attempt.c.started), 0.0))
            .join(task, task.c.id == attempt.c.task_id)
            .where(task.c.run_id == run_id, task.c.kind != CONTROLLER)
        )
        return float(connection.execute(query).scalar_one())

    return store.database.read(add)
