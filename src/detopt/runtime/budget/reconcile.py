"""A provider's bill beside the own ledger: the difference is stated and noted, nothing changes."""

__all__ = ["Reconciliation", "reconcile"]

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from detopt.errors import ConfigError
from detopt.runtime.budget.amounts import Amounts
from detopt.runtime.budget.billing import Bill, Billing, Period
from detopt.runtime.budget.history import lines, note_bill
from detopt.runtime.budget.ledger import BudgetLedger
from detopt.runtime.budget.overview import CHARGES


@dataclass(frozen=True)
class Reconciliation:
    """A bill and the ledger.

    Args:
        bill: What the provider says.
        period: Of both.
        own: Money in the ledger, of all runs of the budget.
        is_new: Whether the ledger had no line of it yet.
    """

    bill: Bill
    period: Period
    own: float
    is_new: bool

    @property
    def difference(self) -> float:
        """By how much the bill is higher."""
        return self.bill.amount - self.own

    def as_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "provider": self.bill.provider,
            "begin": str(self.period.begin),
            "end": str(self.period.end),
            "currency": self.bill.currency,
            "billed": self.bill.amount,
            "own": self.own,
            "difference": self.difference,
            "details": dict(self.bill.details),
        }


def reconcile(
    ledger: BudgetLedger, run_id: str, billing: Billing, period: Period | None = None
) -> Reconciliation:
    """Compare a provider's bill with the ledger, and add a line that says by how much they differ.

    Args:
        ledger: Of the budget.
        run_id: Run under whose name the line stands.
        billing: Whom to ask.
        period: Days to compare; those of the ledger's lines by default.

    Raises:
        ConfigError: The ledger holds no money, or the bill is in another currency.
    """
    state = ledger.state()
    if state.currency is None:
        raise ConfigError("This budget has no prices, so that its ledger holds no money.")
    charges = [line for line in lines(ledger) if line.kind in CHARGES]
    if not charges:
        raise ConfigError("Nothing is spent yet, so that there is nothing to compare.")
    if period is None:
        period = Period.of(charges[0].time, charges[-1].time)
    bill = billing.bill(period)
    if bill.currency != state.currency:
        raise ConfigError(
            f"The bill of {bill.provider} is in {bill.currency}, the ledger in {state.currency}. "
            "Give prices in the currency of the bill."
        )
    own = sum((line.amounts for line in charges if period.holds(line.time)), Amounts()).money
    found = Reconciliation(bill, period, own, is_new=True)
    note = found.as_dict()
    digest = hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
    key = f"{bill.provider} {period.begin} {period.end} {digest[:12]}"
    is_new = note_bill(ledger, run_id, key, found.difference, note)
    return Reconciliation(bill, period, own, is_new)
