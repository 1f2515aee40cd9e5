"""Answers of workers that are not trusted: what they are worth, and what a false one costs.

An answer of a token with the trust `quorum` is held until the holder of another token, or a
trusted worker, gives the same bits. One with the trust `sample` counts at once, but some of them,
drawn when they arrive, are held until a trusted worker has done the task again. Whoever gave
other bits than those that were confirmed loses the token, and all its answers that nobody
confirmed are discarded.
"""

__all__ = ["Votes", "content_of", "refuse_false"]

import json
import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from detopt.errors import CheckpointError
from detopt.runtime.storage import Lease, Store, decode, digest_of, encode, schema
from detopt.runtime.storage.tasks import holds, insert_once
from detopt.runtime.storage.tokens import Token

RATE = 0.05  # of the answers that a trusted worker gives again
MAX_TRIES = 3  # leases of a task for a token
MAX_LEASES = 16  # at a time for a token
FALSE = "false answer"  # kind of event
MAX_FAILED = 20  # tasks that a token may leave without a usable answer
task, attempt, vote, token_table = schema.task, schema.attempt, schema.vote, schema.token


def content_of(data: bytes) -> str:
    """Digest of what an answer says, without the CPU time that it took.

    Raises:
        CheckpointError: The bytes are no answer.
    """
    value = decode(data)
    if not isinstance(value, dict):
        raise CheckpointError("This is no answer.")
    if "failure" in value:
        return digest_of(encode({"failure": None}))  # machines word it differently
    return digest_of(encode({name: value[name] for name in value if name != "cpu_s"}))


def refuse_false(store: Store, run_id: str, known: int | None = None) -> int:
    """Refuse to go on with a run that rests on answers that were discarded.

    Args:
        store: Where the run is.
        run_id: Its name.
        known: Number of false answers that were found before this process read any answer; None
            when it begins.

    Returns:
        The number of false answers so far.

    Raises:
        CheckpointError: A worker whose answers were used gave a false one later.
    """

    def look(connection: Connection) -> list[tuple[Any, bool]]:
        table = schema.event
        query = sql.select(table.c.data).where(table.c.run_id == run_id, table.c.kind == FALSE)
        rows = connection.execute(query.order_by(table.c.id)).scalars().all()
        found = [json.loads(text) for text in rows]
        return [(one, _used(connection, run_id, one["since"])) for one in found]

    found = store.database.read(look)
    for i, (one, kept) in enumerate(found):
        begin = (
            f"A worker was found to give false answers ({one['why']}), and this run has used "
            f"others of them. Its token {one['token'][:12]} is revoked."
        )
        is_new = known is not None and i >= known
        if is_new and kept and not one["used"]:  # a round was kept while it was found
            data = one | {"used": True}
            store.log(FALSE, data, run_id, f"used-{one['token']}")
        if one["used"] or (is_new and kept):
            raise CheckpointError(f"{begin} Start a new run from study.yaml.")
        if is_new and one["since"] is not None:
            raise CheckpointError(f"{begin} Resume it: the round under way is done again.")
    return len(found)


class Votes:
    """The answers of untrusted workers in a store.

    Args:
        store: Where they are.
        rate: Share of the answers under the trust `sample` that are done again.
    """

    def __init__(self, store: Store, rate: float = RATE) -> None:
        self.store = store
        self.rate = rate

    def open_to(self, token: Token) -> list[Any]:
        """Conditions on a task that the holder of a token may take."""
        used = sql.exists().where(
            vote.c.task_id == task.c.id,
            sql.or_(
                vote.c.token == token.digest,
                sql.and_(vote.c.kind == "sample", vote.c.status == "held"),
            ),
        )
        tries = (
            sql.select(sql.func.count())
            .where(attempt.c.task_id == task.c.id, attempt.c.worker.startswith(token.mark))
            .scalar_subquery()
        )
        return [~used, tries < MAX_TRIES]

    def is_busy(self, token: Token) -> bool:
        """Whether a token has as many leases as it may."""
        query = sql.select(sql.func.count()).where(
            task.c.state == "leased", task.c.worker.startswith(token.mark)
        )
        found = self.store.database.read(lambda connection: connection.execute(query).scalar_one())
        return int(found) >= MAX_LEASES

    def cast(self, token: Token, lease: Lease, data: bytes) -> str:
        """Take an answer.

        Returns:
            `accepted`: it counts; `held`: others have to confirm it; `duplicate`: it was taken
            before; `stale`: the lease was lost.
        """
        content, result = content_of(data), self.store.blobs.put(data)
        again = token.trust == "quorum" or secrets.SystemRandom().random() < self.rate

        def take(connection: Connection) -> str:
            known = connection.execute(sql.select(vote).where(_of(lease, token))).one_or_none()
            if known is not None:
                same = (known.fence, known.content) == (lease.fence, content)
                return "duplicate" if same else "stale"
            if connection.execute(sql.select(task.c.id).where(holds(lease))).one_or_none() is None:
                return "stale"
            now = self.store.database.now(connection)
            agreeing = None if token.trust == "sample" else _agreeing(connection, lease, content)
            status = "confirmed" if agreeing is not None else "held" if again else "accepted"
            row = _row(lease, token, now) | {"content": content, "result": result}
            connection.execute(sql.insert(vote).values(row | {"status": status}))
            if status == "held":
                _close(connection, lease, now, "held", "open", None)
                return "held"
            if agreeing is not None:
                connection.execute(
                    sql.update(vote)
                    .where(vote.c.task_id == lease.task_id, vote.c.content == content)
                    .values(status="confirmed")
                )
            counted = result if agreeing is None else agreeing
            _close(connection, lease, now, "done", "done", counted)
            return "accepted"

        answer = self.store.database.write(take)
        if answer == "accepted":
            self.judge(lease.task_id)
        return answer

    def refuse(self, token: Token, lease: Lease, why: str) -> None:
        """There is no usable answer from the holder of a token; somebody else does the task."""

        def take(connection: Connection) -> bool:
            if connection.execute(sql.select(task.c.id).where(holds(lease))).one_or_none() is None:
                return False
            now = self.store.database.now(connection)
            connection.execute(
                sql.insert(vote).values(_row(lease, token, now) | {"status": "failed"})
            )
            _close(connection, lease, now, "refused", "open", None, why)
            query = sql.select(sql.func.count()).where(
                vote.c.token == token.digest, vote.c.status == "failed"
            )
            return int(connection.execute(query).scalar_one()) >= MAX_FAILED

        if self.store.database.write(take):
            self._convict(token.digest, f"{MAX_FAILED} tasks without a usable answer: {why}")

    def waiting(self, names: Sequence[str]) -> list[str]:
        """Those of some tasks of which somebody has said something that nobody confirmed."""
        query = sql.select(vote.c.task_id).distinct()
        query = query.where(vote.c.task_id.in_(list(names)), vote.c.status == "held")
        return list(self.store.database.read(lambda c: c.execute(query).scalars().all()))

    def judge(self, name: str) -> None:
        """Compare what was said of a task with the answer that counts."""

        def look(connection: Connection) -> tuple[Any, list[Any]]:
            held = sql.select(vote).where(vote.c.task_id == name, vote.c.status == "held")
            done = sql.select(task.c.result).where(task.c.id == name, task.c.state == "done")
            return connection.execute(done).scalar(), list(connection.execute(held))

        result, held = self.store.database.read(look)
        if result is None or not held:
            return
        truth = content_of(self.store.blobs.get(result))
        for one in held:
            if one.content == truth:
                self._mark(one, "confirmed")
            else:
                self._convict(one.token, f"another answer than the confirmed one to task {name}")
                self._mark(one, "false")

    def _mark(self, one: Any, status: str) -> None:
        query = (
            sql.update(vote)
            .where(vote.c.task_id == one.task_id, vote.c.token == one.token)
            .values(status=status)
        )
        self.store.database.write(lambda connection: connection.execute(query) and None)

    def _convict(self, digest: str, why: str) -> None:
        """Revoke a token, and discard what its holder said and nobody confirmed."""

        def discard(connection: Connection) -> None:
            now = self.store.database.now(connection)
            mine = token_table.c.digest == digest
            run_id = connection.execute(sql.select(token_table.c.run_id).where(mine)).scalar_one()
            connection.execute(sql.update(token_table).where(mine).values(revoked=now))
            open_votes = sql.and_(vote.c.token == digest, vote.c.status.in_(["held", "accepted"]))
            rows = connection.execute(sql.select(vote).where(open_votes)).all()
            for row in rows:
                connection.execute(
                    sql.update(task)
                    .where(task.c.id == row.task_id, task.c.result == row.result)
                    .values(state="open", result=None, lease_until=None)
                )
            connection.execute(sql.update(vote).where(open_votes).values(status="discarded"))
            counted = [row.time for row in rows if row.status == "accepted"]
            since = min(counted, default=None)
            data = {
                "token": digest,
                "why": why,
                "discarded": len(rows),
                "since": since,
                "used": _used(connection, run_id, since),
            }
            event = {"key": f"false-{digest}", "run_id": run_id, "kind": FALSE, "time": now}
            connection.execute(
                insert_once(connection, schema.event), event | {"data": json.dumps(data)}
            )

        self.store.database.write(discard)


def _of(lease: Lease, token: Token) -> Any:
    return sql.and_(vote.c.task_id == lease.task_id, vote.c.token == token.digest)


def _row(lease: Lease, token: Token, now: float) -> dict[str, Any]:
    return {
        "task_id": lease.task_id,
        "token": token.digest,
        "fence": lease.fence,
        "kind": token.trust,
        "time": now,
    }


def _agreeing(connection: Connection, lease: Lease, content: str) -> str | None:
    """Result that somebody else handed in before, with the same content."""
    query = (
        sql.select(vote.c.result)
        .join(token_table, token_table.c.digest == vote.c.token)
        .where(
            vote.c.task_id == lease.task_id,
            vote.c.status == "held",
            vote.c.content == content,
            token_table.c.revoked.is_(None),
        )
        .order_by(vote.c.time)
        .limit(1)
    )
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def _close(
    connection: Connection,
    lease: Lease,
    now: float,
    outcome: str,
    state: str,
    result: str | None,
    error: str | None = None,
) -> None:
    connection.execute(
        sql.update(attempt)
        .where(attempt.c.task_id == lease.task_id, attempt.c.fence == lease.fence)
        .values(ended=now, outcome=outcome, error=error)
    )
    connection.execute(
        sql.update(task).where(holds(lease)).values(state=state, result=result, lease_until=None)
    )


def _used(connection: Connection, run_id: str, since: float | None) -> bool:
    """Whether a round was kept since then."""
    if since is None:
        return False
    rounds = schema.checkpoint
    query = sql.select(sql.func.count()).where(rounds.c.run_id == run_id, rounds.c.created >= since)
    return int(connection.execute(query).scalar_one()) > 0
