"""A simulated pool of machines that come and go, on the queue of a store and its rules.

Time is simulated; what is simulated is named in `Pool`. The queue is one of `queues`. Every worker
has a `Pace` of its own, as a real one has.
"""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from detopt.runtime.pace import Pace
from runtime_parts.queues import LEASE, Clock

SHORTEST, LONGEST = 0.005, 0.5  # s between two looks at an empty queue, as a worker's
SPREAD = 0.3  # relative width of the times that pieces take


@dataclass(frozen=True)
class Pool:
    """What is simulated; times in seconds.

    Args:
        life: Draws how long a machine lives.
        notice: How long before its end a machine is told; None for never.
        piece: Mean time of a piece of work.
        machines: Number of machines, a worker each.
        studies: Number of studies that share them.
        per_round: Pieces in a round of a study.
        boot: From when a machine is paid until the worker is started on it.
        start: From there until it asks for work.
        replace: From the end of a machine until the next one is paid.
        transfer: To fetch a payload or to hand in an answer, from or to an object store.
        claim: Of the database, for a claim.
        share: Idem, to count how many tasks there are for each worker.
        finish: Idem, to hand in an answer.
        renew: Idem, to keep a lease.
        submit: Of a controller, to put a piece into the queue.
        most: Tasks at a time that a worker takes at most.
        begin: When counting begins.
        end: When it ends.
    """

    life: Callable[[random.Random], float]
    notice: float | None = None
    piece: float = 10.0
    machines: int = 1_000
    studies: int = 20
    per_round: int = 1_000
    boot: float = 30.0
    start: float = 5.0
    replace: float = 60.0
    transfer: float = 0.05
    claim: float = 0.002
    share: float = 0.002
    finish: float = 0.002
    renew: float = 0.001
    submit: float = 0.002
    most: int = 16
    begin: float = 300.0
    end: float = 2_100.0


@dataclass
class Tally:
    """Seconds of machines within the counted time, and where they went."""

    paid: float = 0.0
    useful: float = 0.0
    starting: float = 0.0
    visiting: float = 0.0
    idle: float = 0.0
    evictions: int = 0
    database: float = 0.0
    taken: list[int] = field(default_factory=list)
    pace: list[float] = field(default_factory=list)
    events: list[tuple[float, str, int]] = field(default_factory=list)

    @property
    def lost(self) -> float:
        """Work that did not count; what is under way at the end is in it."""
        return self.paid - self.useful - self.starting - self.visiting - self.idle


class Machine:
    """A machine with a worker."""

    def __init__(self, number: int, paid: float) -> None:
        self.number, self.paid, self.alive = number, paid, True
        self.state, self.since = "starting", paid
        self.pace, self.pause = Pace(), SHORTEST
        self.leases: list[tuple[int, int]] = []
        self.ends: list[float] = []  # when each piece in hand is done


class Simulation:
    """Runs a pool until its end.

    Args:
        pool: What it is.
        queue: Its tasks; made by the caller with the clock of the simulation.
        clock: Of the simulation.
        seed: Of all that is drawn.
    """

    def __init__(self, pool: Pool, queue: Any, clock: Clock, seed: int = 0) -> None:
        self.pool, self.queue, self.clock = pool, queue, clock
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._n_events = self._n_machines = self._n_tasks = 0
        self._machines: dict[int, Machine] = {}
        self._free = 0.0  # when the database is
        self._length: dict[int, float] = {}
        self._study: dict[int, int] = {}
        self._left = [0] * pool.studies
        self._back = [0.0] * pool.studies  # when the controller is there again

    def run(self) -> Tally:
        """What became of the time."""
        for study in range(self.pool.studies):
            self._at(0.001 * study, self._submit, study)
            self._at(self.pool.life(self._rng), self._lose_controller, study)
        for _ in range(self.pool.machines):
            self._new_machine()
        while self._agenda and self._agenda[0][0] <= self.pool.end:
            self.clock.now, _, do, arguments = heapq.heappop(self._agenda)
            do(*arguments)
        self.clock.now = self.pool.end
        for machine in self._machines.values():
            self._turn(machine, machine.state)
            self.tally.paid += self._within(machine.paid, self.clock.now)
        return self.tally

    def _at(self, time: float, do: Callable[..., None], *arguments: Any) -> None:
        self._n_events += 1
        heapq.heappush(self._agenda, (time, self._n_events, do, arguments))

    def _visit(self, service: float, do: Callable[..., None], *arguments: Any) -> None:
        """The database does one thing after the other."""
        self._free = max(self.clock.now, self._free) + service
        self.tally.database += self._within(self._free - service, self._free)
        self._at(self._free, do, *arguments)

    def _within(self, begin: float, end: float) -> float:
        return max(0.0, min(end, self.pool.end) - max(begin, self.pool.begin))

    # --- studies

    def _submit(self, study: int) -> None:
        tasks = list(range(self._n_tasks, self._n_tasks + self.pool.per_round))
        self._n_tasks += len(tasks)
        width = math.sqrt(math.log(1 + SPREAD**2))
        for one in tasks:
            self._length[one] = self.pool.piece * self._rng.lognormvariate(-(width**2) / 2, width)
            self._study[one] = study
        self._left[study] = len(tasks)
        self.queue.add(study, tasks)

    def _lose_controller(self, study: int) -> None:
        """Somebody else goes on when the lease has run out, or at once after a notice."""
        wait = LEASE if self.pool.notice is None else 0.0
        self._back[study] = self.clock.now + wait + self.pool.start
        self._at(self._back[study] + self.pool.life(self._rng), self._lose_controller, study)

    def _done(self, task: int) -> None:
        study = self._study.pop(task)
        self._left[study] -= 1
        if not self._left[study]:
            ready = max(self.clock.now, self._back[study])
            self._at(ready + self.pool.per_round * self.pool.submit, self._submit, study)

    # --- machines

    def _new_machine(self) -> None:
        machine = Machine(self._n_machines, self.clock.now)
        self._n_machines += 1
        self._machines[machine.number] = machine
        life = self.pool.life(self._rng)
        self._at(self.clock.now + self.pool.boot + self.pool.start, self._ask, machine)
        if self.pool.notice is not None:
            self._at(self.clock.now + max(0.0, life - self.pool.notice), self._warn, machine)
        self._at(self.clock.now + life, self._evict, machine)

    def _turn(self, machine: Machine, state: str) -> None:
        """Book the time since the last turn."""
        spent = self._within(machine.since, self.clock.now)
        name = {"starting": "starting", "visiting": "visiting", "idle": "idle"}.get(machine.state)
        if name is not None:
            setattr(self.tally, name, getattr(self.tally, name) + spent)
        machine.state, machine.since = state, self.clock.now

    def _end(self, machine: Machine) -> None:
        self._turn(machine, "gone")
        machine.alive = False
        del self._machines[machine.number]
        self.tally.paid += self._within(machine.paid, self.clock.now)
        self.tally.evictions += self.clock.now >= self.pool.begin
        self._at(self.clock.now + self.pool.replace, self._new_machine)

    def _evict(self, machine: Machine) -> None:
        if machine.alive:
            self._end(machine)

    def _warn(self, machine: Machine) -> None:
        """Hand in what is done, give back the rest, and the machine."""
        if not machine.alive:
            return
        done = [
            one
            for one, end in zip(machine.leases, machine.ends, strict=True)
            if end <= self.clock.now
        ]
        if machine.leases:
            self._visit(self.pool.finish, self._hand_back, machine.number, machine.leases, done)
        self._end(machine)

    def _hand_back(
        self, number: int, leases: list[tuple[int, int]], done: list[tuple[int, int]]
    ) -> None:
        self._count(number, done)
        self.queue.release(number, leases[len(done) :])

    def _ask(self, machine: Machine) -> None:
        if not machine.alive:
            return
        self._turn(machine, "visiting")
        limit = min(machine.pace.n_tasks, self.pool.most)
        service = self.pool.claim + (self.pool.share if limit > 1 else 0.0)
        self._visit(service, self._claim, machine, limit, self.clock.now)

    def _claim(self, machine: Machine, limit: int, asked: float) -> None:
        if limit > 1:
            limit = self.queue.share(machine.number, limit)
        leases = self.queue.claim(machine.number, limit)
        if not machine.alive:
            return
        machine.leases = leases
        if not leases:
            self._turn(machine, "idle")
            self._at(self.clock.now + machine.pause, self._ask, machine)
            machine.pause = min(2 * machine.pause, LONGEST)
            return
        machine.pause = SHORTEST
        machine.ends = [math.inf] * len(leases)
        delay = len(leases) * self.pool.transfer
        self._at(self.clock.now + delay, self._work, machine, self.clock.now - asked)
        self._at(self.clock.now + LEASE / 3, self._renew, machine, leases)

    def _work(self, machine: Machine, cost: float) -> None:
        if not machine.alive:
            return
        self._turn(machine, "working")
        end, machine.ends = self.clock.now, []
        for task, _ in machine.leases:
            end += self._length[task]
            machine.ends.append(end)
        self.tally.taken.append(len(machine.leases))
        self._at(end, self._ready, machine, cost)

    def _renew(self, machine: Machine, leases: list[tuple[int, int]]) -> None:
        if machine.alive and machine.leases is leases:
            self._visit(
                len(leases) * self.pool.renew, self.queue.renew, machine.number, list(leases)
            )
            self._at(self.clock.now + LEASE / 3, self._renew, machine, leases)

    def _ready(self, machine: Machine, cost: float) -> None:
        """All is done, and has to be handed in."""
        if not machine.alive:
            return
        work_s = self.clock.now - machine.since
        machine.state, machine.since = "handing in", self.clock.now
        delay = len(machine.leases) * self.pool.transfer
        self._at(self.clock.now + delay, self._hand_in, machine, work_s, cost)

    def _hand_in(self, machine: Machine, work_s: float, cost: float) -> None:
        if machine.alive:
            service = self.pool.finish * len(machine.leases)
            self._visit(service, self._finish, machine, list(machine.leases), work_s, cost)

    def _finish(
        self, machine: Machine, leases: list[tuple[int, int]], work_s: float, cost: float
    ) -> None:
        self._count(machine.number, leases)
        if not machine.alive:
            return
        spent = self.clock.now - machine.since
        machine.state = "visiting"  # all of it
        machine.pace.note([fence for _, fence in leases], work_s, cost + spent)
        self.tally.pace.append(machine.pace.between_s)
        machine.leases, machine.ends = [], []
        self._ask(machine)

    def _count(self, number: int, leases: Sequence[tuple[int, int]]) -> None:
        for (task, _), good in zip(leases, self.queue.finish(number, leases), strict=True):
            self.tally.events.append((self.clock.now, "accepted" if good else "stale", task))
            if good:
                if self.pool.begin <= self.clock.now <= self.pool.end:
                    self.tally.useful += self._length[task]
                self._done(task)
