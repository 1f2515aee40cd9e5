"""Work that any worker can take, and whose result counts once.

A worker leases a task for some time. Each lease of a task has a higher fence number than the one
before; a result is accepted only with the newest number, so that a worker which was believed dead
cannot overwrite what came after it. A lease that is not renewed runs out, and another worker goes
on. One that lies farther ahead than any can be is of a clock that was set back: it has run out too.
"""

__all__ = [
    "CONTROLLER",
    "NOTICE",
    "Lease",
    "NewTask",
    "TaskQueue",
    "TaskState",
    "holds",
    "insert_once",
    "task_id",
]

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from detopt.runtime.storage import schema
from detopt.runtime.storage.claims import Wanted, late_tasks, lease_first
from detopt.runtime.storage.database import Database
from detopt.runtime.storage.encoding import plain
from detopt.runtime.storage.leases import (
    CONTROLLER,
    LONGEST_LEASE,
    Lease,
    NewTask,
    TaskState,
    holds,
    task_id,
)

Answer = Literal["accepted", "duplicate", "stale"]
MAX_ATTEMPTS = 20
NOTICE = 5.0  # s; to be tried that long when the machine goes away
MANY = 500  # rows in a statement
TWICE = 2
SWEEP = 1.0  # s between two looks at leases that ran out, while there is other work
task, attempt = schema.task, schema.attempt


class TaskQueue:
    """The tasks of all runs in a database.

    Args:
        database: Where they are kept.
        timer: Gives seconds that only rise.
    """

    def __init__(self, database: Database, timer: Callable[[], float] = time.monotonic) -> None:
        self.database = database
        self._timer = timer
        self._next_sweep = 0.0

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
                    "position": int(now * 1e6) * 1000 + i,
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
        where: Sequence[Any] = (),
    ) -> list[Lease]:
        """Lease up to `limit` tasks that nobody works on.

        Args:
            worker: Name of who asks.
            lease_s: Time after which others may take them, unless the lease is renewed [s].
            limit: Largest number of tasks.
            kinds: Kinds of tasks that the worker can do; None for all.
            run_id: Only tasks of that run.
            where: Further conditions on the columns of a task.
        """
        lease_s = min(lease_s, LONGEST_LEASE)
        wanted = Wanted(None if kinds is None else tuple(kinds), run_id, tuple(where))

        def take(connection: Connection, n: int = limit) -> list[Lease]:
            return lease_first(connection, self.database, worker, lease_s, n, wanted)

        def sweep(connection: Connection) -> list[Lease]:
            found: list[Lease] = []
            for far in (False, True):
                n = limit - len(leases) - len(found)
                if n:
                    self._open_late(connection, n, wanted, far=far)
                    found += take(connection, n)
            return found

        leases: list[Lease] = []
        if self._timer() < self._next_sweep:
            leases = self.database.write(take, single=True)
        return leases if len(leases) == limit else leases + self.database.write(sweep)

    def _open_late(self, connection: Connection, limit: int, wanted: Wanted, *, far: bool) -> None:
        """Open tasks whose leases hold no more; those without attempts left have failed.

        Not more than are wanted: a worker that is late keeps what nobody else takes.
        """
        now = self.database.now(connection)
        for row in late_tasks(connection, now, limit, wanted, far=far):
            if self._expire(connection, row, now):
                connection.execute(
                    sql.update(task)
                    .where(task.c.id == row.id)
                    .values(state="open", lease_until=None)
                )
        self._next_sweep = self._timer() + SWEEP

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
        """Keep a lease for longer [s]; False if somebody else has the task now.

        Raises:
            CheckpointError: The database is away, for a third of that time already.
        """
        lease_s = min(lease_s, LONGEST_LEASE)

        def extend(connection: Connection) -> bool:
            until = self.database.now(connection) + lease_s
            changed = connection.execute(
                sql.update(task).where(holds(lease)).values(lease_until=until)
            )
            return changed.rowcount == 1

        return self.database.write(extend, lease_s / 3)

    def finish(self, lease: Lease, result: str) -> Answer:
        """Hand in the digest of a result; see `finish_all`."""
        return self.finish_all([(lease, result)])[0]

    def finish_all(self, results: Sequence[tuple[Lease, str]]) -> list[Answer]:
        """Hand in the digests of results, all in one go.

        Returns:
            For each: `accepted`; `duplicate` if this very result of this lease was accepted
            before; `stale` if the lease was lost: the result does not count.
        """

        def accept(connection: Connection) -> list[Answer]:
            now = self.database.now(connection)
            return [_accept(connection, lease, result, now) for lease, result in results]

        return self.database.write(accept)

    def share(self, wanted: int, kinds: Sequence[str], run_id: str | None = None) -> int:
        """How many tasks a worker may take, so that all find as many twice over.

        Args:
            wanted: The largest number; more open tasks than matter for it are not counted.
            kinds: Kinds of tasks that the worker can do.
            run_id: Only tasks of that run.
        """
        found = Wanted(tuple(kinds), run_id).conditions()
        busy = sql.select(sql.func.count(task.c.worker.distinct()))
        busy = busy.where(task.c.state == "leased", *found)
        waiting = sql.select(task.c.id).where(task.c.state == "open", *found)

        def look(connection: Connection) -> int:
            n_shares = TWICE * max(1, int(connection.execute(busy).scalar_one()))
            some = waiting.limit(n_shares * wanted).subquery()
            n_open = connection.execute(sql.select(sql.func.count()).select_from(some)).scalar_one()
            return max(1, int(n_open) // n_shares)

        return self.database.read(look)

    def fail(
        self, lease: Lease, error: str, *, final: bool = False, patience: float | None = None
    ) -> None:
        """Say why a task could not be done; it is tried again unless it failed too often.

        Args:
            lease: What was tried.
            error: What went wrong.
            final: Whether trying again is of no use.
            patience: How long to try where the database is away [s].
        """
        error = plain(error)

        def record(connection: Connection) -> None:
            query = sql.select(task.c.max_attempts).where(holds(lease)).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None:
                return
            now = self.database.now(connection)
            _end(connection, lease.task_id, lease.fence, now, "failed", error)
            lost = final or _spoiled(connection, lease.task_id) >= row.max_attempts
            connection.execute(
                sql.update(task)
                .where(holds(lease))
                .values(state="failed" if lost else "open", error=error, lease_until=None)
            )

        self.database.write(record, patience)

    def release(self, lease: Lease, patience: float = NOTICE) -> None:
        """Give a task back unfinished, as on a notice that the machine goes away.

        Args:
            lease: What to give back.
            patience: How long to try where the database is away [s]; the lease runs out anyway.
        """

        def give_back(connection: Connection) -> None:
            changed = connection.execute(
                sql.update(task).where(holds(lease)).values(state="open", lease_until=None)
            )
            if changed.rowcount == 1:
                now = self.database.now(connection)
                _end(connection, lease.task_id, lease.fence, now, "released")

        self.database.write(give_back, patience)

    def expire(self, lease: Lease) -> None:
        """End a lease whose worker is known to be gone."""

        def end(connection: Connection) -> None:
            query = sql.select(task).where(holds(lease)).with_for_update()
            row = connection.execute(query).one_or_none()
            now = self.database.now(connection)
            if row is not None and self._expire(connection, row, now):
                connection.execute(
                    sql.update(task).where(holds(lease)).values(state="open", lease_until=None)
                )

        self.database.write(end)

    def holder(self, name: str) -> Lease | None:
        """The lease under which a task is worked on, if there is one."""
        query = sql.select(task).where(task.c.id == name, task.c.state == "leased")
        row = self.database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        return Lease(
            row.id, row.run_id, row.kind, row.payload, row.fence, row.worker, float(row.lease_until)
        )

    def reopen(
        self, names: Sequence[str], states: Sequence[str], attempts: int = MAX_ATTEMPTS
    ) -> None:
        """Let tasks that are in one of some states be done again, with so many more attempts."""

        def again(connection: Connection) -> None:
            for first in range(0, len(names), MANY):
                connection.execute(
                    sql.update(task)
                    .where(task.c.id.in_(names[first : first + MANY]), task.c.state.in_(states))
                    .values(
                        state="open",
                        result=None,
                        error=None,
                        lease_until=None,
                        max_attempts=task.c.fence + attempts,
                    )
                )

        self.database.write(again)

    def states(self, names: Iterable[str], *, ended: bool = False) -> dict[str, TaskState]:
        """How far tasks are, by name; those that do not exist are left out.

        Args:
            names: Of the tasks.
            ended: Whether to leave those out, too, that are open or worked on.
        """
        wanted = list(names)
        also = [task.c.state.not_in(["open", "leased"])] if ended else []

        def look(connection: Connection) -> dict[str, TaskState]:
            found: dict[str, TaskState] = {}
            for first in range(0, len(wanted), MANY):
                rows = connection.execute(
                    sql.select(task.c.id, task.c.state, task.c.result, task.c.error).where(
                        task.c.id.in_(wanted[first : first + MANY]), *also
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

    def withdraw(self, run_id: str) -> None:
        """Take back the work of a run that nobody has begun; asking for it opens it again."""
        query = (
            sql.update(task)
            .where(task.c.run_id == run_id, task.c.state == "open", task.c.kind != CONTROLLER)
            .values(state="cancelled")
        )
        self.database.write(lambda connection: connection.execute(query) and None)

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


def _accept(connection: Connection, lease: Lease, result: str, now: float) -> Answer:
    changed = connection.execute(
        sql.update(task).where(holds(lease)).values(state="done", result=result, lease_until=None)
    )
    if changed.rowcount == 1:
        _end(connection, lease.task_id, lease.fence, now, "done")
        return "accepted"
    row = connection.execute(sql.select(task).where(task.c.id == lease.task_id)).one()
    same = row.state == "done" and row.fence == lease.fence and row.result == result
    return "duplicate" if same else "stale"


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
