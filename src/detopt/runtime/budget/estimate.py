"""How much to reserve for a piece of work, from what those before it used."""

__all__ = ["Estimator"]

from collections import deque
from collections.abc import Iterable

from detopt.runtime.budget.amounts import Amounts

RECENT = 16  # pieces of work that are remembered


class Estimator:
    r"""Upper bound of what the next piece of work uses.

    .. math::
        r = m \max_{i = n - 15, \ldots, n} u_i

    for each unit, with the margin :math:`m` and what was used :math:`u_i`.

    Args:
        first: What is reserved before anything was measured.
        margin: Factor over the largest, >= 1.
        past: What pieces of work of that kind used before, the oldest first.

    Note:
        It bounds a light-tailed use. Work that needs more has its reservation enlarged while it
        runs, or is stopped where nothing is left.
    """

    def __init__(self, first: Amounts, margin: float, past: Iterable[Amounts] = ()) -> None:
        self.first = first
        self.margin = margin
        self._past = deque(past, maxlen=RECENT)

    def learn(self, used: Amounts) -> None:
        """Remember what a piece of work used."""
        self._past.append(used)

    def next(self) -> Amounts:
        """What to reserve."""
        if not self._past:
            return self.first
        most = Amounts()
        for used in self._past:
            most = most.highest(used)
        return self.margin * most
