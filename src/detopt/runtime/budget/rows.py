"""Rows of budgets, reservations and their ledger."""

__all__ = [
    "Line",
    "Reservation",
    "add_line",
    "lost_charge",
    "read_line",
    "taken_text",
]

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from detopt.runtime.budget.amounts import LABELS, Amounts, Limits
from detopt.runtime.storage import schema
from detopt.runtime.storage.tasks import insert_once

HOUR = 3600.0  # s
ledger = schema.ledger


@dataclass(frozen=True)
class Reservation:
    """What is set aside for a piece of work.

    Args:
        budget_id, run_id, key: Name it.
        purpose: Kind of work.
        state: `open`, `settled` or `lost`.
        amounts: How much it may use.
        used: How much it has used, as far as it said.
        n_enlarged: How often more was set aside.
    """

    budget_id: str
    run_id: str
    key: str
    purpose: str
    state: str
    amounts: Amounts
    used: Amounts
    n_enlarged: int

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "Reservation":
        """From its row."""
        return cls(
            row["budget_id"],
            row["run_id"],
            row["key"],
            row["purpose"],
            row["state"],
            Amounts.of(row),
            Amounts.of(row, "used_"),
            row["n_enlarged"],
        )

    def new_row(self, now: float, until: float) -> dict[str, Any]:
        """Its row, when it begins."""
        return {
            "run_id": self.run_id,
            "key": self.key,
            "budget_id": self.budget_id,
            "purpose": self.purpose,
            "state": self.state,
            **self.amounts.as_dict(),
            **self.used.as_dict("used_"),
            "n_enlarged": self.n_enlarged,
            "started": now,
            "renewed": now,
            "until": until,
            "ended": None,
        }

    def with_amounts(self, amounts: Amounts, n_enlarged: int) -> "Reservation":
        """The same work, which may use so much."""
        return replace(self, amounts=amounts, n_enlarged=n_enlarged)


@dataclass(frozen=True)
class Line:
    """A line of the ledger.

    Args:
        run_id, key: What was paid for.
        kind: See `detopt.runtime.budget.ledger`.
        purpose: Kind of work.
        amounts: How much.
        time: When [s since 1970].
        note: What else there is to say.
    """

    run_id: str
    key: str
    kind: str
    purpose: str
    amounts: Amounts
    time: float
    note: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        found = {name: getattr(self, name) for name in ("run_id", "key", "kind", "purpose", "time")}
        return {**found, **self.amounts.as_dict(), "note": dict(self.note)}


def read_line(row: Mapping[Any, Any]) -> Line:
    """A line from its row."""
    note = {} if row["note"] is None else json.loads(row["note"])
    purpose = row["purpose"] or ""
    return Line(row["run_id"], row["key"], row["kind"], purpose, Amounts.of(row), row["time"], note)


def lost_charge(row: Mapping[Any, Any], now: float) -> Amounts:
    r"""What work is charged that nobody answers for.

    .. math::
        c = \min\left(u + \max\left(\frac{r}{r_\mathrm{wall}}, \frac{u}{u_\mathrm{wall}}\right)
            (t_\mathrm{end} - t_\mathrm{said}),\; r\right)

    with what it last said to have used :math:`u`, its reservation :math:`r`, and the time until its
    lease ran out; never less than :math:`u`. Without wall hours: the whole reservation.
    """
    reserved, said = Amounts.of(row), Amounts.of(row, "used_")
    if reserved.wall_h <= 0:
        return reserved.highest(said)
    unknown = max(0.0, min(now, row["until"]) - row["renewed"]) / HOUR
    pace = (1 / reserved.wall_h) * reserved
    if said.wall_h > 0:
        pace = pace.highest((1 / said.wall_h) * said)
    later: Amounts = said + unknown * pace
    return later.lowest(reserved).highest(said)


def add_line(
    connection: Connection,
    work: Reservation,
    key: str,
    kind: str,
    amounts: Amounts,
    now: float,
    note: Mapping[str, Any] | None = None,
) -> bool:
    """Add a line about a piece of work to the ledger; False if it was there."""
    insert = insert_once(connection, ledger)
    row = {
        "run_id": work.run_id,
        "key": key,
        "kind": kind,
        **amounts.as_dict(),
        "time": now,
        "budget_id": work.budget_id,
        "purpose": work.purpose,
        "note": None if note is None else json.dumps(dict(note)),
    }
    return bool(connection.execute(insert, row).rowcount == 1)


def taken_text(limits: Limits, spent: Amounts, held: Amounts, wanted: Amounts) -> str:
    """How a budget stands beside what is wanted, in words."""
    texts = []
    for name, limit in limits.given().items():
        now, more = getattr(spent, name), getattr(held, name)
        also = f" and {more:.4g} reserved" if more > 1e-12 * limit else ""
        texts.append(
            f"of {limit:.6g} {LABELS[name]} {now:.4g} are spent{also}, it may need "
            f"{getattr(wanted, name):.2g}"
        )
    return "; ".join(texts)
