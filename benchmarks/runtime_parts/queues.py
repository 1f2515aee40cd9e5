"""The queue of a simulated pool: the real one, or its rules in memory.

The real `TaskQueue` works on a SQLite file whose clock is the simulated one. `PlainQueue` gives the
same answers to the same questions, a hundred times faster.
"""

import heapq
from collections.abc import Sequence
from pathlib import Path

from detopt.runtime.storage import BlobStore, Database, Lease, NewTask, Store, TaskQueue
from detopt.runtime.storage.tasks import SWEEP, TWICE

KIND, DIGEST = "chunk", "a" * 64
LEASE = 30.0  # s, of a worker


class Clock:
    """Simulated seconds."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class StoreQueue:
    """The tasks of a real store."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        database = Database(f"sqlite:///{folder / 'pool.sqlite'}", clock=clock)
        self.store = Store(database, BlobStore(folder / "blobs"))
        database.upgrade()
        self.store.add_study("study", "f" * 64, {})
        self._clock, self._runs = clock, set[int]()
        self._queues: dict[int, TaskQueue] = {}
        self._names: dict[str, int] = {}
        self._leases: dict[tuple[int, int], Lease] = {}

    def _of(self, worker: int) -> TaskQueue:
        """Each worker is a process of its own."""
        if worker not in self._queues:
            self._queues[worker] = TaskQueue(self.store.database, self._clock)
        return self._queues[worker]

    def add(self, run: int, tasks: Sequence[int]) -> None:
        """Put tasks behind all others."""
        if run not in self._runs:
            self.store.add_run(str(run), "study")
            self._runs.add(run)
        names = self.store.tasks.add(str(run), [NewTask(str(one), KIND, DIGEST) for one in tasks])
        self._names |= dict(zip(names, tasks, strict=True))

    def claim(self, worker: int, limit: int) -> list[tuple[int, int]]:
        """Tasks and the fence numbers of their leases."""
        leases = self._of(worker).claim(str(worker), LEASE, limit, kinds=[KIND])
        found = [(self._names[one.task_id], one.fence) for one in leases]
        self._leases |= dict(zip(found, leases, strict=True))
        return found

    def share(self, worker: int, wanted: int) -> int:
        """How many tasks a worker may take."""
        return self._of(worker).share(wanted, [KIND])

    def renew(self, worker: int, leases: Sequence[tuple[int, int]]) -> None:
        """Keep leases for longer."""
        for one in leases:
            self._of(worker).renew(self._leases[one], LEASE)

    def finish(self, worker: int, leases: Sequence[tuple[int, int]]) -> list[bool]:
        """Hand in answers; whether each counts."""
        held = [(self._leases[one], DIGEST) for one in leases]
        return [said == "accepted" for said in self._of(worker).finish_all(held)]

    def release(self, worker: int, leases: Sequence[tuple[int, int]]) -> None:
        """Give tasks back."""
        for one in leases:
            self._of(worker).release(self._leases[one])


class PlainQueue:
    """The same rules in memory: first come, first served; a lease that ran out is swept late."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._open = clock, list[tuple[int, int]]()
        self._position: dict[int, int] = {}
        self._fence: dict[int, int] = {}
        self._until: dict[int, float] = {}  # of the tasks that are leased
        self._holder: dict[int, int] = {}
        self._holding: dict[int, int] = {}  # tasks, by worker
        self._late = list[tuple[float, int]]()
        self._sweep: dict[int, float] = {}

    def add(self, run: int, tasks: Sequence[int]) -> None:  # noqa: ARG002
        """Put tasks behind all others."""
        for one in tasks:
            self._position[one], self._fence[one] = len(self._position), 0
            heapq.heappush(self._open, (self._position[one], one))

    def claim(self, worker: int, limit: int) -> list[tuple[int, int]]:
        """Tasks and the fence numbers of their leases."""
        found: list[tuple[int, int]] = []
        if self._clock.now < self._sweep.get(worker, 0.0):
            found = self._lease(worker, limit)
        if len(found) < limit:
            self._open_late(limit - len(found))
            self._sweep[worker] = self._clock.now + SWEEP
            found += self._lease(worker, limit - len(found))
        return found

    def _lease(self, worker: int, limit: int) -> list[tuple[int, int]]:
        found = []
        while self._open and len(found) < limit:
            _, one = heapq.heappop(self._open)
            self._fence[one] += 1
            self._holder[one] = worker
            self._holding[worker] = self._holding.get(worker, 0) + 1
            self._keep(one)
            found.append((one, self._fence[one]))
        return found

    def _keep(self, one: int) -> None:
        self._until[one] = self._clock.now + LEASE
        heapq.heappush(self._late, (self._until[one], one))

    def _open_late(self, limit: int) -> None:
        late: set[int] = set()
        while self._late and self._late[0][0] < self._clock.now:
            until, one = heapq.heappop(self._late)
            if self._until.get(one) == until:
                late.add(one)
        first = sorted(late, key=lambda one: (self._until[one], self._position[one]))
        for one in first[:limit]:
            self._give_back(one)
        for one in first[limit:]:
            heapq.heappush(self._late, (self._until[one], one))

    def _drop(self, one: int) -> None:
        del self._until[one]
        worker = self._holder.pop(one)
        self._holding[worker] -= 1
        if not self._holding[worker]:
            del self._holding[worker]

    def _give_back(self, one: int) -> None:
        self._drop(one)
        heapq.heappush(self._open, (self._position[one], one))

    def _holds(self, lease: tuple[int, int]) -> bool:
        return lease[0] in self._until and self._fence[lease[0]] == lease[1]

    def share(self, worker: int, wanted: int) -> int:  # noqa: ARG002
        """How many tasks a worker may take."""
        shares = TWICE * max(1, len(self._holding))
        return max(1, min(len(self._open), shares * wanted) // shares)

    def renew(self, worker: int, leases: Sequence[tuple[int, int]]) -> None:  # noqa: ARG002
        """Keep leases for longer."""
        for one in leases:
            if self._holds(one):
                self._keep(one[0])

    def finish(self, worker: int, leases: Sequence[tuple[int, int]]) -> list[bool]:  # noqa: ARG002
        """Hand in answers; whether each counts."""
        said = [self._holds(one) for one in leases]
        for one, good in zip(leases, said, strict=True):
            if good:
                self._drop(one[0])
        return said

    def release(self, worker: int, leases: Sequence[tuple[int, int]]) -> None:  # noqa: ARG002
        """Give tasks back."""
        for one in leases:
            if self._holds(one):
                self._give_back(one[0])
