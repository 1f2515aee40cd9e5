"""A study within its budget: each round is reserved before it begins and settled after it.

While a round runs, a thread says how much it has used. Where it needs more than was reserved, more
is set aside; where nothing is left, the round is stopped, as on a notice that the machine goes
away. The last complete round stays, and the study goes on from there with a larger budget.
"""

__all__ = ["Piece", "Spending", "Told"]

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detopt.errors import BudgetError, DetoptError
from detopt.runtime.budget.amounts import Amounts
from detopt.runtime.budget.config import ComputeBudget
from detopt.runtime.budget.estimate import RECENT, Estimator
from detopt.runtime.budget.history import past
from detopt.runtime.budget.ledger import BudgetLedger
from detopt.runtime.budget.meters import Meter, Times
from detopt.runtime.budget.prices import HOUR, Rate
from detopt.runtime.budget.rows import Reservation
from detopt.runtime.interruption import Interrupted
from detopt.runtime.storage.tasks import NOTICE

FIRST = 1 / 8  # of the limits: largest reservation before anything was measured
ENLARGE, STOP = 0.8, 0.95  # of a reservation that is used
SHORTEST = 0.05  # s between two looks at what is used
LONGEST = 60.0  # s
LEASE = 600.0  # s; as long as a database may be away
NEAR = 0.7  # of the time that is left: the next look
SOON = 0.04  # of the time so far: no look is nearer


@dataclass
class Told:
    """What is known of a piece of work when it is done.

    Args:
        cpu_s: CPU time that its workers told [s], or None.
    """

    cpu_s: float | None = None


class Piece:
    """A piece of work with its reservation.

    Args:
        ledger: Of the budget.
        held: What was reserved.
        lease_s: Time after which nobody answers for it, unless it says what it used [s].
    """

    def __init__(self, ledger: BudgetLedger, held: Reservation, lease_s: float = LEASE) -> None:
        self.ledger = ledger
        self.held = held
        self.lease_s = lease_s
        self._step = held.amounts
        self._limits = ledger.state().limits

    def check(self, used: Amounts) -> bool:
        """Say what was used so far, and ask for more where it is needed; False: stop at once."""
        if not self.ledger.renew(self.held, used, self.lease_s):
            return False
        share = self.share(used)
        if share < ENLARGE:
            return True
        sizes = [self.held.amounts, self._step]
        if share >= 1:  # more than one step since the last look: catch up
            sizes = [used + used, used, *sizes]
        larger = self.ledger.enlarge(self.held, sizes)
        if larger is not None:
            self.held = larger
        return self.share(used) < STOP

    def pause(self, used: Amounts) -> float:
        """Seconds until the next look: most of the time until something has to be done."""
        share, so_far = self.share(used), used.wall_h * HOUR
        if share <= 0:
            return LONGEST
        bar = ENLARGE if share < ENLARGE else STOP
        left = max(0.0, bar / share - 1) * so_far
        return min(LONGEST, max(SHORTEST, NEAR * left, SOON * so_far))

    def share(self, used: Amounts) -> float:
        """Part of the reservation that is used."""
        return self._limits.fraction(used, self.held.amounts)


class Spending:
    """What a run spends.

    Args:
        ledger: Of its budget; None where it has none.
        run_id: The run.
        term: Number of the lease under which this process goes on with the run.
        meter: Measures the work.
        rate: What times cost.
        budget: How much to reserve.
        workers: Number of workers, for the first reservation.
        halt: Called when work is stopped: nobody is to begin with more of it.
    """

    def __init__(
        self,
        ledger: BudgetLedger | None,
        run_id: str,
        term: int,
        meter: Meter,
        rate: Rate,
        budget: ComputeBudget,
        workers: int = 1,
        halt: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger, self._run_id, self._term = ledger, run_id, term
        self._meter, self._rate, self._halt = meter, rate, halt
        first = budget.first_hours * HOUR
        self._first = _all_busy(rate, first, workers)
        self._least = _all_busy(rate, 2 * SHORTEST, workers)  # what nobody sees in time
        self._margin = budget.margin
        self._estimators: dict[str, Estimator] = {}
        if ledger is not None:
            ledger.sweep(run_id)  # whoever reserved before does not go on any more

    @contextlib.contextmanager
    def piece(self, purpose: str, number: int = 0) -> Iterator[Told]:
        """A piece of work within the budget.

        Args:
            purpose: Kind of work: `round` or `conclusion`.
            number: Of the round.

        Raises:
            BudgetError: Not enough is left for it; where it runs already, it is stopped.
        """
        told = Told()
        if self._ledger is None:
            yield told
            return
        estimator = self._estimator(self._ledger, purpose)
        self._meter.start()
        held = self._ledger.reserve(
            self._run_id,
            f"{purpose}-{number}/{self._term}",
            estimator.next().highest(self._least),
            purpose=purpose,
            lease_s=LEASE,
        )
        piece = Piece(self._ledger, held)
        guard = _Guard(piece, lambda: self._cost(self._meter.read()))
        try:
            with guard.watching():
                yield told
        except BaseException:
            if guard.stopped:
                self._halt()
            with contextlib.suppress(DetoptError):  # the first error says more
                self._settle(piece, self._cost(self._meter.read()), NOTICE)
            raise
        used = self._cost(self._meter.read(told.cpu_s))
        self._settle(piece, used)
        estimator.learn(used)

    def _settle(self, piece: Piece, used: Amounts, patience: float | None = None) -> None:
        assert self._ledger is not None
        note = None
        if self._rate.machine:
            note = {
                "machine": self._rate.machine,
                "spot": self._rate.spot,
                "per_worker_hour": self._rate.per_worker_hour,
            }
        self._ledger.settle(piece.held, used, note, patience)

    def _estimator(self, ledger: BudgetLedger, purpose: str) -> Estimator:
        if purpose not in self._estimators:
            before = past(ledger, self._run_id, purpose, RECENT)
            first = self._first.lowest(ledger.state().limits.part(FIRST))
            self._estimators[purpose] = Estimator(first, self._margin, before)
        return self._estimators[purpose]

    def _cost(self, times: Times) -> Amounts:
        return self._rate.amounts(times.wall_s, times.cpu_s, times.worker_s)


def _all_busy(rate: Rate, wall_s: float, workers: int) -> Amounts:
    together = wall_s * max(1, workers)
    return rate.amounts(wall_s, together, together)


class _Guard:
    """A thread that watches a piece of work and stops it.

    Only the main thread can be stopped, within `interruptible`; work in another one ends first.
    """

    def __init__(self, piece: Piece, used: Callable[[], Amounts]) -> None:
        self._piece, self._used = piece, used
        self._over, self._lock = threading.Event(), threading.Lock()
        self._is_main = threading.current_thread() is threading.main_thread()
        self.stopped = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch as long as the block takes."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                with self._lock:  # from here on nothing is stopped
                    self._over.set()
                thread.join()
        except Interrupted as error:
            if not self.stopped:
                raise
            raise BudgetError(
                "The compute budget is used up, so the "
                f"{self._piece.held.purpose} under way was stopped."
            ) from error

    def _watch(self) -> None:
        pause, said, used = SHORTEST, time.monotonic(), Amounts()
        while not self._over.wait(pause):
            try:
                used = self._used()
                if not self._piece.check(used):
                    self._stop()
                    return
                pause, said = self._piece.pause(used), time.monotonic()
            except DetoptError:  # the database is away: the next look may find it again
                unheard = time.monotonic() - said
                if self._piece.share(used) >= STOP or unheard > self._piece.lease_s:
                    self._stop()  # others think that nobody answers for it
                    return

    def _stop(self) -> None:
        with self._lock:
            main = threading.main_thread().ident
            hears = self._is_main and callable(signal.getsignal(signal.SIGUSR1))
            if hears and main is not None and not self._over.is_set():
                self.stopped = True
                signal.pthread_kill(main, signal.SIGUSR1)
