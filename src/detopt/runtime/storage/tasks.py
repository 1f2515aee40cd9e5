"""Work that any worker can take, and whose result counts once.

A worker leases a task for some time. Each lease of a task has a higher fence number than the one
before; a result is accepted only with the newest number, so that a worker which was believed dead
cannot overwrite what came after it. A lease that is not renewed runs out, and another worker goes
on. A lease that lies farther ahead than any can be is one of a clock that was set back: it has run
out too.
"""

__all__ = ["Lease", "NewTask", "TaskQueue", "TaskState", "task_id"]

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from detopt.runtime.storage import schema
from detopt.runtime.storage.database import Database

Answer = Literal["accepted", "duplicate", "stale"]
LONGEST_LEASE = 3_600.0  # s
MAX_ATTEMPTS = 20
MANY = 500  # rows in a statement
task, attempt = schema.task, schema.attempt


@dataclass(frozen=True)
class NewTask:
    """Work to be done.

    Args:
        key: Names it within its run; the same key is the same work.
        kind: What a worker has to do with the payload.
        payload: Digest of the blob that says the rest.
    """

    key: str
    kind: str
    payload: str


@dataclass(frozen=True)
class Lease:
    """The right to do a task until a time, and to hand in its result.

    Args:
        task_id: The task.
        run_id: Its run.
        kind, payload: See `NewTask`.
        fence: Number of the lease.
        worker: Who holds it.
        until: When it runs out [s since 1970].
    """

    task_id: str
    run_id: str
    kind: str
    payload: str
    fence: int
    worker: str
    until: float


@dataclass(frozen=True)
class TaskState:
    """How far a task is."""

    state: str
    result: str | None
    error: str | None


def task_id(run_id: str, key: str) -> str:
    """Name of a task, the same whoever asks and however often."""
    return hashlib.sha256(json.dumps([run_id, key]).encode()).hexdigest()


class TaskQueue:
    """The tasks of all runs in a database.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(
        self, run_id: str, tasks: Sequence[NewTask], max_attempts: int = MAX_ATTEMPTS
    ) -> list[str]:
        """Put tasks behind all others; those that are there already stay as they are.

        Returns:
            Their names, in order.
        """
        names = [task_id(run_id, one.key) for one in tasks]

        def insert(connection: Connection) -> None:
            now = self.database.now(connection)
            rows = [
                {
                    "id": name,
                    "run_id": run_id,
                    "key": one.key,
                    "kind": one.kind,
                    "payload": one.payload,
                    "state": "open",
                    "fence": 0,
                    "max_attempts": max_attempts,
                    "created": now,
                    "position": int(now * 1e6) * 1000 + i % 1000,
                }
                for i, (name, one) in enumerate(zip(names, tasks, strict=True))
            ]
            for first in range(0, len(rows), MANY):
                connection.execute(insert_once(connection, task), rows[first : first + MANY])

        if tasks:
            self.database.write(insert)
        return names

    def claim(
        self,
        worker: str,
        lease_s: float,
        limit: int = 1,
        *,
        kinds: Sequence[str] | None = None,
        run_id: str | None = None,
    ) -> list[Lease]:
        """Lease up to `limit` tasks that nobody works on.

        Args:
            worker: Name of who asks.
            lease_s: Time after which others may take them, unless the lease is renewed [s].
            limit: Largest number of tasks.
            kinds: Kinds of tasks that the worker can do; None for all.
            run_id: Only tasks of that run.
        """
        lease_s = min(lease_s, LONGEST_LEASE)

        def take(connection: Connection) -> list[Lease]:
            now = self.database.now(connection)
            free = sql.select(task).where(_is_free(now))
            if kinds is not None:
                free = free.where(task.c.kind.in_(kinds))
            if run_id is not None:
                free = free.where(task.c.run_id == run_id)
            free = free.order_by(task.c.position).limit(limit).with_for_update(skip_locked=True)
            rows = connection.execute(free).all()
            leases = []
            for row in rows:
                if row.state == "leased" and not self._expire(connection, row, now):
                    continue
                fence = row.fence + 1
                connection.execute(
                    sql.update(task)
                    .where(task.c.id == row.id)
                    .values(state="leased", fence=fence, worker=worker, lease_until=now + lease_s)
                )
                connection.execute(
                    sql.insert(attempt).values(
                        task_id=row.id, fence=fence, worker=worker, started=now
                    )
                )
                leases.append(
                    Lease(row.id, row.run_id, row.kind, row.payload, fence, worker, now + lease_s)
                )
            return leases

        return self.database.write(take)

    def _expire(self, connection: Connection, row: Any, now: float) -> bool:
        """Close a lease that ran out; False if the task has used up its attempts."""
        _end(connection, row.id, row.fence, now, "expired", "the worker did not answer any more")
        if _spoiled(connection, row.id) < row.max_attempts:
            return True
        error = f"{row.max_attempts} attempts; in the last one the worker did not answer any more"
        connection.execute(
            sql.update(task).where(task.c.id == row.id).values(state="failed", error=error)
        )
        return False

    def renew(self, lease: Lease, lease_s: float) -> bool:
        """Keep a lease for longer; False if somebody else has the task now."""
        lease_s = min(lease_s, LONGEST_LEASE)

        def extend(connection: Connection) -> bool:
            until = self.database.now(connection) + lease_s
            changed = connection.execute(
                sql.update(task).where(_holds(lease)).values(lease_until=until)
            )
            return changed.rowcount == 1

        return self.database.write(extend)

    def finish(self, lease: Lease, result: str) -> Answer:
        """Hand in the digest of a result.

        Returns:
            `accepted`; `duplicate` if this very result of this lease was accepted before; `stale`
            if the lease was lost: the result does not count.
        """

        def accept(connection: Connection) -> Answer:
            changed = connection.execute(
                sql.update(task)
                .where(_holds(lease))
                .values(state="done", result=result, lease_until=None)
            )
            if changed.rowcount == 1:
                _end(connection, lease.task_id, lease.fence, self.database.now(connection), "done")
                return "accepted"
            row = connection.execute(sql.select(task).where(task.c.id == lease.task_id)).one()
            same = row.state == "done" and row.fence == lease.fence and row.result == result
            return "duplicate" if same else "stale"

        return self.database.write(accept)

    def fail(self, lease: Lease, error: str, *, final: bool = False) -> None:
        """Say why a task could not be done; it is tried again unless it failed too often.

        Args:
            lease: What was tried.
            error: What went wrong.
            final: Whether trying again is of no use.
        """

        def record(connection: Connection) -> None:
            row = connection.execute(
                sql.select(task.c.max_attempts).where(_holds(lease))
            ).one_or_none()
            if row is None:
                return
            now = self.database.now(connection)
            _end(connection, lease.task_id, lease.fence, now, "failed", error)
            lost = final or _spoiled(connection, lease.task_id) >= row.max_attempts
            connection.execute(
                sql.update(task)
                .where(_holds(lease))
                .values(state="failed" if lost else "open", error=error, lease_until=None)
            )

        self.database.write(record)

    def release(self, lease: Lease) -> None:
        """Give a task back unfinished, as on a notice that the machine goes away."""

        def give_back(connection: Connection) -> None:
            changed = connection.execute(
                sql.update(task).where(_holds(lease)).values(state="open", lease_until=None)
            )
            if changed.rowcount == 1:
                now = self.database.now(connection)
                _end(connection, lease.task_id, lease.fence, now, "released")

        self.database.write(give_back)

    def states(self, names: Iterable[str]) -> dict[str, TaskState]:
        """How far tasks are, by name; those that do not exist are left out."""
        wanted = list(names)

        def look(connection: Connection) -> dict[str, TaskState]:
            found: dict[str, TaskState] = {}
            for first in range(0, len(wanted), MANY):
                rows = connection.execute(
                    sql.select(task.c.id, task.c.state, task.c.result, task.c.error).where(
                        task.c.id.in_(wanted[first : first + MANY])
                    )
                )
                found |= {row.id: TaskState(row.state, row.result, row.error) for row in rows}
            return found

        return self.database.read(look)

    def counts(self, run_id: str) -> Mapping[str, int]:
        """Number of a run's tasks in each state."""
        query = (
            sql.select(task.c.state, sql.func.count())
            .where(task.c.run_id == run_id)
            .group_by(task.c.state)
        )
        return self.database.read(lambda c: {row[0]: row[1] for row in c.execute(query)})

    def cancel(self, run_id: str) -> None:
        """Drop the tasks of a run that are not done; results of them no longer count."""
        query = (
            sql.update(task)
            .where(task.c.run_id == run_id, task.c.state.in_(["open", "leased"]))
            .values(state="cancelled", lease_until=None)
        )
        self.database.write(lambda connection: connection.execute(query) and None)


def insert_once(connection: Connection, table: sql.Table) -> Any:
    """An insertion that leaves rows alone whose key is there already."""
    kind = sqlite if connection.dialect.name == "sqlite" else postgresql
    return kind.insert(table).on_conflict_do_nothing()


def _is_free(now: float) -> Any:
    ran_out = sql.or_(task.c.lease_until < now, task.c.lease_until > now + 2 * LONGEST_LEASE)
    return sql.or_(task.c.state == "open", sql.and_(task.c.state == "leased", ran_out))


def _holds(lease: Lease) -> Any:
    return sql.and_(
        task.c.id == lease.task_id, task.c.fence == lease.fence, task.c.state == "leased"
    )


def _end(
    connection: Connection, name: str, fence: int, now: float, outcome: str, error: str = ""
) -> None:
    connection.execute(
        sql.update(attempt)
        .where(attempt.c.task_id == name, attempt.c.fence == fence, attempt.c.outcome.is_(None))
        .values(ended=now, outcome=outcome, error=error or None)
    )


def _spoiled(connection: Connection, name: str) -> int:
    """Attempts that ended badly; leases that were given back do not count."""
    query = sql.select(sql.func.count()).where(
        attempt.c.task_id == name, attempt.c.outcome.in_(["failed", "expired"])
    )
    return int(connection.execute(query).scalar_one())
