"""Statements of the ledger, made once: it speaks to the database at every piece of work."""

__all__ = ["CHANGE", "END", "ENLARGE", "FIND", "LATE", "LOCK", "LOOK", "OF_RUN", "RENEW"]

from typing import Any

import sqlalchemy as sql
from sqlalchemy import bindparam

from detopt.runtime.storage import schema
from detopt.runtime.storage.schema import AMOUNTS

budget, reservation = schema.budget, schema.reservation
SUMS = [f"{kind}_{name}" for kind in ("spent", "held") for name in AMOUNTS]

_one = (reservation.c.run_id == bindparam("of_run"), reservation.c.key == bindparam("of_key"))
_open = (reservation.c.budget_id == bindparam("of_budget"), reservation.c.state == "open")
_ran_out = reservation.c.until < bindparam("now")

LOOK = sql.select(budget).where(budget.c.id == bindparam("of_budget"))
LOCK = LOOK.with_for_update()
CHANGE = (
    sql.update(budget)
    .where(budget.c.id == bindparam("of_budget"))
    .values({name: budget.c[name] + bindparam(f"more_{name}") for name in SUMS})
)
FIND = sql.select(reservation).where(*_one)
LATE = sql.select(reservation).where(*_open, _ran_out).with_for_update()
OF_RUN = (
    sql.select(reservation)
    .where(*_open, sql.or_(_ran_out, reservation.c.run_id == bindparam("of_run")))
    .with_for_update()
)
_said: dict[str, Any] = {f"used_{name}": bindparam(f"used_{name}") for name in AMOUNTS}
RENEW = (
    sql.update(reservation)
    .where(*_one, reservation.c.state == "open")
    .values(renewed=bindparam("now"), until=bindparam("later"), **_said)
)
END = (
    sql.update(reservation)
    .where(*_one)
    .values(state=bindparam("becomes"), ended=bindparam("now"), **_said)
)
ENLARGE = (
    sql.update(reservation)
    .where(*_one)
    .values(n_enlarged=bindparam("times"), **{name: bindparam(f"now_{name}") for name in AMOUNTS})
)
