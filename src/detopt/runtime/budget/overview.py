"""How a budget stands: spent, reserved, left, by kind of work, and what the rest will need."""

__all__ = ["Overview", "overview"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detopt.runtime.budget.amounts import Amounts
from detopt.runtime.budget.history import lines
from detopt.runtime.budget.ledger import BudgetLedger, BudgetState
from detopt.runtime.budget.rows import Line

CHARGES = ("settle", "lost", "correct")  # kinds of lines that are spent


@dataclass(frozen=True)
class Overview:
    """A budget, and what a run has done with it.

    Args:
        name: Of the budget.
        state: How it stands, for all runs that use it.
        purposes: What the run was charged, by kind of work.
        counts: Number of pieces of work, by kind of work and by how they ended.
        forecast: What the budget will have spent when the run ends; None before a round is
            measured.
        remaining: Rounds that are left, if the method does not end earlier.
        reconciled: Bills that were compared, the newest last.
    """

    name: str
    state: BudgetState
    purposes: Mapping[str, Amounts]
    counts: Mapping[str, Mapping[str, int]]
    forecast: Amounts | None
    remaining: int
    reconciled: Sequence[Line]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "budget": self.name,
            "currency": self.state.currency,
            "limits": self.state.limits.given(),
            "spent": self.state.spent.as_dict(),
            "reserved": self.state.held.as_dict(),
            "left": self.state.left,
            "by_kind": {
                purpose: {**amounts.as_dict(), **self.counts[purpose]}
                for purpose, amounts in self.purposes.items()
            },
            "rounds_left": self.remaining,
            "forecast": None if self.forecast is None else self.forecast.as_dict(),
            "reconciled": [line.as_dict() for line in self.reconciled],
        }


def overview(ledger: BudgetLedger, run_id: str, remaining: int, finished: bool) -> Overview:
    """How a run's budget stands.

    The forecast is what is spent, and for each round that is left the mean of those that were
    settled; the conclusion is counted as it was measured, or as one round where it was not yet.

    Args:
        ledger: Of the budget.
        run_id: The run.
        remaining: Rounds that are left.
        finished: Whether the run has ended.
    """
    state, found = ledger.state(), lines(ledger, run_id)
    purposes: dict[str, Amounts] = {}
    counts: dict[str, dict[str, int]] = {}
    for line in found:
        if line.kind in CHARGES:
            purposes[line.purpose] = purposes.get(line.purpose, Amounts()) + line.amounts
            known = counts.setdefault(line.purpose, dict.fromkeys(CHARGES, 0))
            known[line.kind] += 1
    settled = [one.amounts for one in found if (one.kind, one.purpose) == ("settle", "round")]
    forecast = None
    if finished:
        forecast = state.spent
    elif settled:
        mean = (1 / len(settled)) * sum(settled, Amounts())
        forecast = state.spent + (remaining + 1) * 1.0 * mean
    bills = [line for line in found if line.kind == "reconcile"]
    return Overview(
        ledger.name, state, purposes, counts, forecast, 0 if finished else remaining, bills
    )
