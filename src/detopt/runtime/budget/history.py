"""What the ledger of a budget says."""

__all__ = ["charged", "lines", "note_bill", "past"]

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from detopt.runtime.budget.amounts import Amounts
from detopt.runtime.budget.ledger import BudgetLedger
from detopt.runtime.budget.rows import Line, Reservation, add_line, read_line
from detopt.runtime.storage import schema
from detopt.runtime.storage.schema import AMOUNTS

BILL = "bill"  # purpose of a line that no work caused
reservation, ledger = schema.reservation, schema.ledger


def lines(account: BudgetLedger, run_id: str | None = None) -> list[Line]:
    """The ledger, in order; of one run, or of all that use the budget."""
    query = sql.select(ledger).where(ledger.c.budget_id == account.name).order_by(ledger.c.id)
    if run_id is not None:
        query = query.where(ledger.c.run_id == run_id)
    rows = account.database.read(lambda connection: connection.execute(query).all())
    return [read_line(row._mapping) for row in rows]


def past(account: BudgetLedger, run_id: str, purpose: str, limit: int) -> list[Amounts]:
    """What the last pieces of work of a kind used, the oldest first."""
    query = (
        sql.select(reservation)
        .where(
            reservation.c.run_id == run_id,
            reservation.c.purpose == purpose,
            reservation.c.state == "settled",
        )
        .order_by(reservation.c.ended.desc(), reservation.c.key.desc())
        .limit(limit)
    )
    rows = account.database.read(lambda connection: connection.execute(query).all())
    return [Amounts.of(row._mapping, "used_") for row in reversed(rows)]


def charged(account: BudgetLedger, run_id: str) -> Amounts:
    """What a run was charged so far, lost work included."""
    sums = [sql.func.coalesce(sql.func.sum(reservation.c[f"used_{n}"]), 0.0) for n in AMOUNTS]
    query = sql.select(*sums).where(reservation.c.run_id == run_id, reservation.c.state != "open")
    found = account.database.read(lambda connection: connection.execute(query).one())
    return Amounts(*map(float, found))


def note_bill(
    account: BudgetLedger, run_id: str, key: str, difference: float, note: Mapping[str, Any]
) -> bool:
    """Note by how much a bill is higher than the ledger; whether it was not noted yet.

    Nothing else changes: what is spent stays what was measured.
    """
    bill = Reservation(account.name, run_id, key, BILL, "settled", Amounts(), Amounts(), 0)

    def insert(connection: Connection) -> bool:
        now = account.database.now(connection)
        return add_line(connection, bill, key, "reconcile", Amounts(money=difference), now, note)

    return account.database.write(insert)
