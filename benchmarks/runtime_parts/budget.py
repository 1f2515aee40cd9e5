"""Simulated studies with budgets: random costs, workers, kills, cut networks, retries and prices.

Time is simulated; the ledger, the estimates, and the decisions when to look, to enlarge and to stop
are those of the package, on a SQLite database in memory. What a piece of work truly uses is known
here alone, and compared with the limits whenever something happens.
"""

import heapq
import itertools
import math
import random
import time
from dataclasses import dataclass, field
from typing import Any

from detopt.errors import BudgetError
from detopt.runtime.budget import Amounts, BudgetLedger, Estimator, Limits, Rate
from detopt.runtime.budget.history import lines
from detopt.runtime.budget.overview import CHARGES
from detopt.runtime.budget.rows import Reservation
from detopt.runtime.budget.spending import FIRST, LEASE, SHORTEST, STOP, Piece
from detopt.runtime.storage import BlobStore, Database, Store

N_STUDIES, N_QUICK = 10_000, 100
RUNS = ("run-0", "run-1", "run-2")
OVER_BAR = 1.0  # running reservations
UNITS = ("cpu_h", "gpu_h", "wall_h", "money")
FATES = ("end", "fail", "kill", "cut")
MOST_TASKS = 10  # of a study
WORDS = {"fail": "failed", "kill": "killed", "cut": "cut off", "stopped": "stopped"}
DELAY, SLOW = 0.01, 0.3  # of the time so far: until a stop is heard; 1 in 100 up to


@dataclass
class Clock:
    """Simulated time [s]."""

    now: float = 1e9

    def __call__(self) -> float:
        """What it shows."""
        return self.now


@dataclass
class Work:
    """A piece of work that runs."""

    piece: Piece
    rate: Rate
    begin: float
    cpus: float  # of the worker that are busy
    end: float  # of its own accord, or because it is killed
    fate: str
    purpose: int
    cut_from: float = math.inf  # from then on it reaches the ledger no more
    said: float = 0.0
    stopped: bool = False

    def used(self, now: float) -> Amounts:
        """What it has truly used."""
        wall = now - self.begin
        return self.rate.amounts(wall, self.cpus * wall, wall)


@dataclass
class Study:
    """A budget that some workers use, and what they truly do."""

    ledger: BudgetLedger
    clock: Clock
    draw: random.Random
    number: int
    limits: Limits = field(init=False)
    done: Amounts = field(default_factory=Amounts)  # true use of work that ended
    running: dict[int, Work] = field(default_factory=dict)
    queue: list[tuple[float, int, int, str, Work | None]] = field(default_factory=list)
    over: float = 0.0  # beyond a limit, in running reservations
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = self.draw
        self._order = itertools.count()
        self._keys = itertools.count()
        self.tail = draw.uniform(1.05, 3.0)
        self.scale = draw.uniform(5.0, 100.0)  # s
        self.chances = (1.0, draw.uniform(0, 0.3), draw.uniform(0, 0.3), draw.uniform(0, 0.15))
        self.price, self.gpus = draw.uniform(0.05, 5.0), draw.choice([0.0, 0.25, 1.0])
        self.n_workers = round(math.exp(draw.uniform(0, math.log(16))))
        self.n_left = MOST_TASKS
        typical = Rate("", False, self.price, self.gpus).amounts(*3 * [3 * self.scale])
        size = math.exp(draw.uniform(math.log(0.3), math.log(40)))
        units = [name for name in UNITS if getattr(typical, name) > 0]
        chosen = draw.sample(units, draw.randint(1, len(units)))
        given = {n: size * draw.uniform(0.5, 2) * getattr(typical, n) for n in chosen}
        self.limits = Limits(**given)
        self.ledger.open(self.limits, "EUR")
        first = draw.uniform(0.2, 3) * self.scale
        rate = Rate("", False, self.price, self.gpus)
        margin = draw.uniform(1.0, 3.0)
        self.estimators = [
            Estimator(rate.amounts(first, first, first).lowest(self.limits.part(FIRST)), margin)
            for _ in range(2)
        ]  # of two kinds of work

    def at(self, when: float, worker: int, what: str, work: Work | None = None) -> None:
        """Something will happen."""
        heapq.heappush(self.queue, (when, next(self._order), worker, what, work))

    def run(self) -> None:
        """Until nobody works any more."""
        for worker in range(self.n_workers):
            self.at(self.clock.now + self.draw.uniform(0, self.scale), worker, "begin")
        while self.queue:
            self.clock.now, _, worker, what, work = heapq.heappop(self.queue)
            self._watch()
            if what == "begin":
                self._begin(worker)
            elif work is not None and what == "settle":
                self._settle(work, work.used(work.end))
            elif work is not None and self.running.get(worker) is work:
                if what == "end":
                    self._end(worker, work)
                elif not work.stopped:
                    self._look(worker, work)
        self.clock.now += 2 * LEASE
        self.ledger.sweep()

    def _watch(self) -> None:
        """How far the true use is beyond a limit."""
        total = self.done
        for work in self.running.values():
            total = total + work.used(self.clock.now)
        for name, left in self.limits.left(total).items():
            if left < 0 and self.running:
                held = [getattr(one.piece.held.amounts, name) for one in self.running.values()]
                self.over = max(self.over, -left / max(*held, 1e-300))

    def _begin(self, worker: int) -> None:
        draw, now = self.draw, self.clock.now
        if self.n_left == 0:
            return
        if draw.random() < 0.05:  # a new price from now on
            self.price *= math.exp(draw.uniform(-1, 1))
        purpose = draw.choice([0, 0, 0, 1])
        estimator = self.estimators[purpose]
        key = f"{self.number}-{next(self._keys)}"
        try:
            held = self._reserve(RUNS[worker % len(RUNS)], key, estimator)
        except BudgetError:
            self._count("refused")
            if self.running and draw.random() < 0.5:  # others may give something back
                self.at(now + draw.uniform(1, 5) * self.scale, worker, "begin")
                self.n_left -= 1
            return
        self.n_left -= 1
        wall = self.scale * min(draw.paretovariate(self.tail), 100.0) * (1 + 2 * purpose)
        fate = draw.choices(FATES, self.chances)[0]
        if fate in ("fail", "kill"):
            wall *= draw.random()
        rate = Rate("machine", False, self.price, self.gpus, "EUR")
        piece = Piece(self.ledger, held)
        work = Work(piece, rate, now, draw.uniform(0.3, 1), now + wall, fate, purpose, said=now)
        if fate == "cut":
            work.cut_from = now + draw.random() * wall
        self.running[worker] = work
        self._count(fate)
        self.at(work.end, worker, "end", work)
        self.at(now + SHORTEST, worker, "look", work)

    def _reserve(self, run_id: str, key: str, estimator: Estimator) -> Reservation:
        unseen = 2 * SHORTEST
        least = Rate("", False, self.price, self.gpus).amounts(unseen, unseen, unseen)
        for _ in range(2 if self.draw.random() < 0.1 else 1):  # the answer may be lost
            held = self.ledger.reserve(
                run_id,
                key,
                estimator.next().highest(least),
                purpose="round",
                lease_s=LEASE,
            )
        return held

    def _look(self, worker: int, work: Work) -> None:
        now, used = self.clock.now, work.used(self.clock.now)
        if now >= work.cut_from:  # as the package does where the database is away
            goes_on = work.piece.share(used) < STOP and now - work.said < LEASE
        else:
            goes_on = work.piece.check(used)
            work.said = now
        if not goes_on:
            self._count("stopped")
            work.stopped = True
            share = self.draw.expovariate(1 / DELAY)
            if self.draw.random() < 0.01:
                share = self.draw.uniform(0, SLOW)
            delay = share * (now - work.begin)
            if now + delay < work.end:
                self.at(now + delay, worker, "end", work)
            return
        self.at(
            now + min(work.piece.pause(used), LEASE - (now - work.said) + 1e-3),
            worker,
            "look",
            work,
        )

    def _end(self, worker: int, work: Work) -> None:
        now, draw = self.clock.now, self.draw
        killed = work.fate == "kill" and now >= work.end
        work.end = now
        used = work.used(now)
        self.done = self.done + used
        del self.running[worker]
        self.at(now + draw.uniform(0, 0.5) * self.scale, worker, "begin")
        if killed:
            return
        if now >= work.cut_from:  # told when the network is there again, if ever
            if draw.random() < 0.8:
                self.at(now + draw.uniform(0, 2 * LEASE), worker, "settle", work)
            return
        self._settle(work, used)
        if not work.stopped:
            self.estimators[work.purpose].learn(used)

    def _settle(self, work: Work, used: Amounts) -> None:
        for _ in range(2 if self.draw.random() < 0.1 else 1):
            self.ledger.settle(work.piece.held, used)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def false_sums(self) -> bool:
        """Whether the sums of the budget are not those of its lines."""
        state, total = self.ledger.state(), Amounts()
        for line in lines(self.ledger):
            total = total + (line.amounts if line.kind in CHARGES else Amounts())
        wrong = zip(state.spent.values(), total.values(), strict=True)
        return any(abs(a - b) > 1e-9 * (1 + b) for a, b in wrong) or any(
            abs(held) > 1e-9 for held in state.held.values()
        )

    def used_share(self) -> float:
        """Largest part of a limit that is truly used."""
        return max(getattr(self.done, n) / limit for n, limit in self.limits.given().items())

    def unseen(self) -> float:
        """Largest part of the true use that the ledger does not have, over one reservation."""
        spent = self.ledger.state().spent
        return max(
            (getattr(self.done, name) - getattr(spent, name)) / max(getattr(self.done, name), 1e-12)
            for name in UNITS
        )


def simulate(n: int, seed: int) -> dict[str, Any]:
    clock = Clock()
    store = Store(Database("sqlite://", clock=clock), BlobStore("memory://budget"))
    store.database.upgrade()
    store.add_study("study", "f" * 64, {})
    for name in RUNS:
        store.add_run(name, "study")
    found: dict[str, Any] = {"n": n, "over": [], "false": 0, "counts": {}, "used": [], "unseen": []}
    begin = time.process_time()
    for number in range(n):
        draw = random.Random(f"{seed}-{number}")
        study = Study(BudgetLedger(store.database, f"budget-{number}"), clock, draw, number)
        study.run()
        found["over"].append(study.over)
        found["false"] += study.false_sums()
        found["unseen"].append(study.unseen())
        if study.counts.get("refused") or study.counts.get("stopped"):
            found["used"].append(study.used_share())
        for what, times in study.counts.items():
            found["counts"][what] = found["counts"].get(what, 0) + times
    found["cpu_s"] = time.process_time() - begin
    store.close()
    return found


def run(quick: bool) -> dict[str, Any]:
    return simulate(N_QUICK if quick else N_STUDIES, seed=0)


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    counts, over, used = result["counts"], result["over"], sorted(result["used"])
    begun = sum(counts.get(fate, 0) for fate in FATES)
    n_over = sum(one > 0 for one in over)
    events = ", ".join(f"{counts.get(w, 0)} {t}" for w, t in WORDS.items())
    return [
        (
            f"{result['n']} studies, 1 to 16 workers, {begun} pieces of work ({events}): "
            "true use beyond a limit, at most",
            f"<= {OVER_BAR:g} running reservation",
            f"{max(over):.2f} ({n_over} studies are beyond a limit at all)",
            max(over) <= OVER_BAR,
        ),
        (
            "budgets whose sums are not those of their lines, or that hold reservations at the end",
            "0",
            f"{result['false']}",
            result["false"] == 0,
        ),
        (
            f"part of the tightest limit that {len(used)} stopped studies have truly used, median",
            ">= 50 %",
            f"{100 * used[len(used) // 2]:.0f} %",
            used[len(used) // 2] >= 0.5,
        ),
    ]
