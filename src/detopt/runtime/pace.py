r"""How much a worker does between two visits to the store.

What a worker has done and not handed in is lost when its machine is taken away; each visit costs
time. The work between two visits that wastes least in all follows from the cost :math:`C` of a
visit and the mean time :math:`M` between evictions (Young; Daly's correction)

.. math::
    \tau = \sqrt{2 C M} \left[1 + \frac13 \sqrt{\frac{C}{2M}} + \frac19 \frac{C}{2M}\right] - C
    \quad (C < 2M), \qquad \tau = M \quad (C \ge 2M).

Both are measured while the worker works. Pieces of work are whole, and have their own random
numbers: how many a worker takes at a time changes no bit of a result.
"""

__all__ = ["Pace", "best_interval"]

import math

from detopt.errors import DomainError

MEAN = 1_800.0  # s between evictions, as long as nothing is known; it weighs as one eviction
MOST = 16  # tasks at a time
LONGEST = 10.0  # s of work at a time, where that is several tasks: their leases need no renewal
MEMORY = 0.8  # weight of what was measured before, at each visit
SHORTEST = 1e-6  # s; a task


def best_interval(cost_s: float, between_s: float) -> float:
    """Work between two visits that wastes least [s].

    Args:
        cost_s: What a visit costs [s], >= 0.
        between_s: Mean time between evictions [s], > 0.

    Raises:
        DomainError: A time is out of range.

    Note:
        For evictions that come at random, without memory. The optimum is flat: an interval that is
        half or twice as long wastes a quarter more.

    References:
        J. W. Young, Commun. ACM 17 (1974) 530.
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303, eq. 37.
    """
    if not (cost_s >= 0 and between_s > 0):
        raise DomainError(
            f"A visit must cost >= 0 s and evictions be > 0 s apart, got {cost_s} and {between_s}."
        )
    if cost_s >= 2 * between_s:
        return between_s
    ratio = cost_s / (2 * between_s)
    root = math.sqrt(2 * cost_s * between_s)
    return root * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


class Pace:
    """Measures tasks, visits and evictions, and says how many tasks to take next.

    A task that comes with the fence number f was leased f - 1 times before. Those leases were
    lost, for as long as a worker holds one: so workers learn of evictions that they did not see.

    Args:
        most: Largest number of tasks at a time.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._work_s = self._cost_s = math.nan
        self._lost, self._held_s = 1.0, MEAN

    @property
    def between_s(self) -> float:
        """Mean time between evictions, as far as it is known [s]."""
        return self._held_s / self._lost

    @property
    def interval_s(self) -> float:
        """Work until the next visit [s]; 0 before anything was measured."""
        return 0.0 if math.isnan(self._cost_s) else best_interval(self._cost_s, self.between_s)

    def note(self, fences: list[int], work_s: float, cost_s: float) -> None:
        """Learn from a visit.

        Args:
            fences: Numbers of the leases.
            work_s: What the tasks took in all [s].
            cost_s: What it took to get them and to hand them in [s].
        """
        n = len(fences)
        self._work_s = _mixed(self._work_s, work_s / n)
        self._cost_s = _mixed(self._cost_s, cost_s)
        self._lost += sum(fences) - n
        self._held_s += work_s / n * sum(fences) * (n + 1) / 2  # in order: the last waits longest

    @property
    def n_tasks(self) -> int:
        """Tasks to take at the next visit."""
        if math.isnan(self._work_s):
            return 1
        interval_s = min(self.interval_s, LONGEST)
        return max(1, min(int(interval_s / max(self._work_s, SHORTEST)), self.most))


def _mixed(before: float, now: float) -> float:
    return now if math.isnan(before) else MEMORY * before + (1 - MEMORY) * now
