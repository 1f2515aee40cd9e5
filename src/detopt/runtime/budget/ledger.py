"""The account of a budget: what is reserved before work begins, and what it has used after.

The check and the reservation are one transaction, which holds the row of the budget: of several
controllers or workers, only those get a reservation for which something is left. Lines of the
ledger are only ever added; each has a key, so that writing again changes nothing.

| line | says |
| --- | --- |
| `reserve` | work begins that may use so much |
| `enlarge` | it may use so much more |
| `settle` | it has used so much; its reservation is given back |
| `lost` | nobody answers for it any more, and it is charged as `lost_charge` says |
| `correct` | it answered after all: what it used beyond what was charged |
| `reconcile` | a provider's bill is so much higher; changes nothing |
"""

__all__ = ["BudgetLedger", "BudgetState"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from detopt.errors import BudgetError, ConfigError
from detopt.runtime.budget import statements
from detopt.runtime.budget.amounts import Amounts, Limits
from detopt.runtime.budget.rows import (
    Reservation,
    add_line,
    lost_charge,
    taken_text,
)
from detopt.runtime.storage import Database, schema
from detopt.runtime.storage.schema import AMOUNTS, UNITS
from detopt.runtime.storage.tasks import insert_once

budget, reservation = schema.budget, schema.reservation
NOTHING = Amounts()


@dataclass(frozen=True)
class BudgetState:
    """How a budget stands.

    Args:
        limits: How much may be used.
        currency: Of the money, or None.
        spent: What work that ended has used.
        held: What is reserved for work that runs.
    """

    limits: Limits
    currency: str | None
    spent: Amounts
    held: Amounts

    @property
    def left(self) -> dict[str, float]:
        """What can still be reserved, by unit with a limit."""
        return self.limits.left(self.spent + self.held)


class BudgetLedger:
    """One budget, which one run or several use.

    Args:
        database: Where it is kept.
        name: Of the budget.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name

    def open(self, limits: Limits, currency: str | None = None) -> None:
        """Make the budget, or join the one that is there.

        Raises:
            ConfigError: It is there with other limits or in another currency.
        """

        def insert(connection: Connection) -> BudgetState:
            row = {
                "id": self.name,
                "currency": currency,
                **{f"max_{unit}": limits.given().get(unit) for unit in UNITS},
                **{f"{kind}_{name}": 0.0 for kind in ("spent", "held") for name in AMOUNTS},
                "created": self.database.now(connection),
            }
            connection.execute(insert_once(connection, budget), row)
            return self._state(connection)

        found = self.database.write(insert)
        if limits.given() and found.limits != limits:
            raise ConfigError(
                f"The budget `{self.name}` is there with other limits: {found.limits.given()}. "
                "Leave the limits out to join it."
            )
        if currency is not None and found.currency != currency:
            raise ConfigError(
                f"The budget `{self.name}` is in {found.currency or 'no currency'}, the price file "
                f"in {currency}. Take prices in its currency, or another budget."
            )

    def exists(self) -> bool:
        """Whether there is such a budget."""
        query = sql.select(budget.c.id).where(budget.c.id == self.name)
        return self.database.read(lambda connection: connection.execute(query).first() is not None)

    def state(self) -> BudgetState:
        """How it stands.

        Raises:
            ConfigError: There is no such budget.
        """
        return self.database.read(self._state)

    def _state(self, connection: Connection, *, alone: bool = False) -> BudgetState:
        """The row; `alone`: nobody else changes it before this transaction ends."""
        query = statements.LOCK if alone else statements.LOOK
        found = connection.execute(query, {"of_budget": self.name}).one_or_none()
        if found is None:
            raise ConfigError(f"There is no budget `{self.name}`.")
        row = found._mapping
        return BudgetState(
            Limits(**{unit: row[f"max_{unit}"] for unit in UNITS}),
            row["currency"],
            Amounts.of(row, "spent_"),
            Amounts.of(row, "held_"),
        )

    def change_limits(self, limits: Limits) -> BudgetState:
        """Replace the limits that are given; the others stay."""

        def change(connection: Connection) -> BudgetState:
            merged = self._state(connection, alone=True).limits.merged(limits)
            values = {f"max_{unit}": limit for unit, limit in merged.given().items()}
            connection.execute(sql.update(budget).where(budget.c.id == self.name).values(values))
            return self._state(connection)

        return self.database.write(change) if limits.given() else self.state()

    def reserve(
        self,
        run_id: str,
        key: str,
        wanted: Amounts,
        *,
        purpose: str,
        lease_s: float,
    ) -> Reservation:
        """Set something aside for a piece of work, if it is there.

        Args:
            run_id: Who asks.
            key: Names the work within the run; asking again gives the same reservation.
            wanted: How much it may use.
            purpose: Kind of work.
            lease_s: Time after which nobody answers for it, unless it is renewed [s].

        Raises:
            BudgetError: Not that much is left; nothing is reserved.
        """

        def take(connection: Connection) -> Reservation | BudgetState:
            state, now = self._swept(connection)
            known = self._find(connection, run_id, key)
            if known is not None:
                return known
            if state.limits.broken_by(state.spent + state.held + wanted):
                return state
            made = Reservation(self.name, run_id, key, purpose, "open", wanted, NOTHING, 0)
            connection.execute(sql.insert(reservation), made.new_row(now, now + lease_s))
            self._move(connection, held=wanted)
            add_line(connection, made, key, "reserve", wanted, now)
            return made

        found = self.database.write(take)
        if isinstance(found, BudgetState):
            raise BudgetError(
                f"The compute budget does not allow the next {purpose}: "
                f"{taken_text(found.limits, found.spent, found.held, wanted)}."
            )
        return found

    def renew(self, held: Reservation, used: Amounts, lease_s: float) -> bool:
        """Say what a piece of work has used so far; False if nobody waits for it any more."""

        def extend(connection: Connection) -> bool:
            now = self.database.now(connection)
            changed = connection.execute(
                statements.RENEW,
                {**_named(held), "now": now, "later": now + lease_s, **used.as_dict("used_")},
            )
            return changed.rowcount == 1

        return self.database.write(extend, lease_s / 3)

    def enlarge(self, held: Reservation, sizes: Sequence[Amounts]) -> Reservation | None:
        """Set the first of some sizes aside in addition; None if not one of them is there."""

        def take(connection: Connection) -> Reservation | None:
            state, now = self._swept(connection, held)
            known = self._find(connection, held.run_id, held.key)
            if known is None or known.state != "open":
                return None
            if known.n_enlarged > held.n_enlarged:
                return known  # it was done, and the answer was lost
            taken = state.spent + state.held
            more = next((one for one in sizes if not state.limits.broken_by(taken + one)), None)
            if more is None:
                return None
            larger = known.with_amounts(known.amounts + more, known.n_enlarged + 1)
            values = {**_named(held), "times": larger.n_enlarged, **larger.amounts.as_dict("now_")}
            connection.execute(statements.ENLARGE, values)
            self._move(connection, held=more)
            line = f"{held.key}+{larger.n_enlarged}"
            add_line(connection, held, line, "enlarge", more, now)
            return larger

        return self.database.write(take)

    def settle(
        self,
        held: Reservation,
        used: Amounts,
        note: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> None:
        """Charge what a piece of work has used, once, and give back what was reserved for it.

        Args:
            held: What was reserved.
            used: What it used: also where it failed, or was stopped.
            note: What else to say, such as the price.
            patience: How long to try where the database is away [s].
        """

        def charge(connection: Connection) -> None:
            self._state(connection, alone=True)
            known = self._find(connection, held.run_id, held.key)
            if known is None or known.state == "settled":
                return
            now = self.database.now(connection)
            late = known.state == "lost"
            amounts = used - known.used if late else used
            back = Amounts() if late else known.amounts
            self._end(connection, known, "settled", used, now)
            self._move(connection, spent=amounts, held=-1.0 * back)
            kind = "correct" if late else "settle"
            add_line(connection, held, held.key, kind, amounts, now, note)

        self.database.write(charge, patience)

    def sweep(self, run_id: str | None = None) -> None:
        """Charge work that nobody answers for any more.

        Args:
            run_id: All that is reserved for that run is such work: its controller is gone.
        """
        self.database.write(lambda connection: self._swept(connection, of_run=run_id) and None)

    def _swept(
        self, connection: Connection, but: Reservation | None = None, of_run: str | None = None
    ) -> tuple[BudgetState, float]:
        """State without reservations that ran out, and the time; nobody else changes it."""
        state, now = self._state(connection, alone=True), self.database.now(connection)
        query = statements.LATE if of_run is None else statements.OF_RUN
        late = {"of_budget": self.name, "now": now}
        late |= {} if of_run is None else {"of_run": of_run}
        spent, held = state.spent, state.held
        for found in connection.execute(query, late).all():
            row = found._mapping
            known = Reservation.of(row)
            if but is not None and (known.run_id, known.key) == (but.run_id, but.key):
                continue
            charge = lost_charge(row, now)
            self._end(connection, known, "lost", charge, now)
            self._move(connection, spent=charge, held=-1.0 * known.amounts)
            add_line(connection, known, known.key, "lost", charge, now)
            spent, held = spent + charge, held - known.amounts
        return BudgetState(state.limits, state.currency, spent, held), now

    def _find(self, connection: Connection, run_id: str, key: str) -> Reservation | None:
        named = {"of_run": run_id, "of_key": key}
        found = connection.execute(statements.FIND, named).one_or_none()
        return None if found is None else Reservation.of(found._mapping)

    def _end(
        self, connection: Connection, known: Reservation, state: str, used: Amounts, now: float
    ) -> None:
        values = {**_named(known), "becomes": state, "now": now, **used.as_dict("used_")}
        connection.execute(statements.END, values)

    def _move(
        self, connection: Connection, spent: Amounts = NOTHING, held: Amounts = NOTHING
    ) -> None:
        """Change the sums of the budget."""
        more = {**spent.as_dict("more_spent_"), **held.as_dict("more_held_")}
        connection.execute(statements.CHANGE, {"of_budget": self.name, **more})


def _named(work: Reservation) -> dict[str, str]:
    """What finds its row."""
    return {"of_run": work.run_id, "of_key": work.key}
