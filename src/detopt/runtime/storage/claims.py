"""The statements by which a worker takes tasks.

They are built once: building one costs as much as the database takes to answer it. On PostgreSQL
a claim is a single statement, hence one round trip and one flush to the disk.
"""

__all__ = ["Wanted", "late_tasks", "lease_first"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from detopt.runtime.storage import schema
from detopt.runtime.storage.database import Database
from detopt.runtime.storage.leases import Lease, out_of_reach, ran_out

task, attempt = schema.task, schema.attempt
COLUMNS = ("task_id", "fence", "worker", "started")


@dataclass(frozen=True)
class Wanted:
    """Which tasks a worker takes.

    Args:
        kinds: Kinds of tasks that it can do; None for all.
        run_id: Only tasks of that run.
        where: Further conditions on the columns of a task.
    """

    kinds: tuple[str, ...] | None = None
    run_id: str | None = None
    where: Sequence[Any] = ()

    def conditions(self) -> list[Any]:
        """All of them."""
        found = list(self.where)
        if self.kinds is not None:
            found.append(sql.or_(sql.false(), *(task.c.kind == kind for kind in self.kinds)))
        if self.run_id is not None:
            found.append(task.c.run_id == sql.bindparam("of_run", self.run_id))
        return found


def lease_first(
    connection: Connection,
    database: Database,
    worker: str,
    lease_s: float,
    limit: int,
    wanted: Wanted,
) -> list[Lease]:
    """The first open tasks: nobody else can take them meanwhile."""
    values: dict[str, Any] = {"of_worker": worker, "for_s": lease_s, "at_most": limit}
    if wanted.run_id is not None:
        values["of_run"] = wanted.run_id
    if database.is_sqlite:
        values["now"] = database.clock()
    if wanted.where:
        statement = _statement(wanted.conditions(), database.is_sqlite)
    else:
        statement = _known(wanted.kinds, wanted.run_id is not None, database.is_sqlite)
    rows = connection.execute(statement, values).all()
    if rows and database.is_sqlite:
        started = [(row.id, row.fence, worker, row.lease_until - lease_s) for row in rows]
        connection.execute(_insertion(), [dict(zip(COLUMNS, one, strict=True)) for one in started])
    rows = sorted(rows, key=lambda row: row.position)
    return [
        Lease(row.id, row.run_id, row.kind, row.payload, row.fence, worker, float(row.lease_until))
        for row in rows
    ]


def late_tasks(
    connection: Connection, now: float, limit: int, wanted: Wanted, *, far: bool
) -> Sequence[Any]:
    """Rows of tasks whose leases hold no more, for this transaction alone.

    Args:
        connection: Of the transaction.
        now: Seconds since 1970.
        limit: Largest number.
        wanted: Which tasks.
        far: Those whose leases lie too far ahead, instead of those that ran out.
    """
    values: dict[str, Any] = {"now": now, "at_most": limit}
    if wanted.run_id is not None:
        values["of_run"] = wanted.run_id
    if wanted.where:
        statement = _late(wanted.conditions(), far)
    else:
        statement = _known_late(wanted.kinds, wanted.run_id is not None, far)
    return connection.execute(statement, values).all()


@lru_cache(maxsize=64)
def _known(kinds: tuple[str, ...] | None, of_run: bool, is_sqlite: bool) -> Any:
    return _statement(Wanted(kinds, "" if of_run else None).conditions(), is_sqlite)


@lru_cache(maxsize=64)
def _known_late(kinds: tuple[str, ...] | None, of_run: bool, far: bool) -> Any:
    return _late(Wanted(kinds, "" if of_run else None).conditions(), far)


def _late(conditions: Sequence[Any], far: bool) -> Any:
    now: Any = sql.bindparam("now", type_=sql.Float)
    condition = out_of_reach(now) if far else ran_out(now)
    return (
        sql.select(task)
        .where(condition, *conditions)
        .order_by(task.c.lease_until, task.c.position)
        .limit(sql.bindparam("at_most", type_=sql.Integer))
        .with_for_update(skip_locked=True)
    )


@lru_cache(maxsize=1)
def _insertion() -> Any:
    return sql.insert(attempt)


def _statement(conditions: Sequence[Any], is_sqlite: bool) -> Any:
    """Lease open tasks; where the database can, with a row for each attempt."""
    seconds: Any = sql.bindparam("for_s", type_=sql.Float)
    worker: Any = sql.bindparam("of_worker", type_=schema.NAME)
    now: Any = sql.bindparam("now", type_=sql.Float)
    if not is_sqlite:
        now = sql.cast(sql.func.extract("epoch", sql.func.clock_timestamp()), sql.Float)
    first = (
        sql.select(task.c.id)
        .where(task.c.state == "open", *conditions)
        .order_by(task.c.position)
        .limit(sql.bindparam("at_most", type_=sql.Integer))
        .with_for_update(skip_locked=True, of=task)
        .cte("first")
    )
    update = (
        sql.update(task)
        .where(task.c.id.in_(sql.select(first.c.id)))
        .values(state="leased", fence=task.c.fence + 1, worker=worker, lease_until=now + seconds)
        .returning(task)
    )
    if is_sqlite:
        return update
    taken = update.cte("taken")
    started = sql.select(taken.c.id, taken.c.fence, taken.c.worker, taken.c.lease_until - seconds)
    noted = sql.insert(attempt).from_select(list(COLUMNS), started).cte("noted")
    return sql.select(taken).add_cte(noted)
