"""Studies, their runs, and what each run found."""

__all__ = ["Event", "RunInfo", "Store", "StudyInfo"]

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from detopt.errors import CheckpointError
from detopt.pipeline import Evaluation
from detopt.runtime.rounds import Round
from detopt.runtime.storage import schema
from detopt.runtime.storage.blobs import BlobStore
from detopt.runtime.storage.database import Database
from detopt.runtime.storage.encoding import Value, decode, digest_of, encode, plain
from detopt.runtime.storage.tasks import CONTROLLER, Lease, TaskQueue, holds, insert_once


@dataclass(frozen=True)
class StudyInfo:
    """What is asked, and from which study it came."""

    id: str
    fingerprint: str
    config: Mapping[str, Any]
    parent_id: str | None


@dataclass(frozen=True)
class RunInfo:
    """A way through a study."""

    id: str
    study_id: str
    status: str
    created: float


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    kind: str
    data: Mapping[str, Any]
    time: float


class Store:
    """All that is kept: rows in a database, and blobs that they name by digest.

    Every method that writes may be called again with the same arguments; what it wrote the first
    time stays, once.

    Args:
        database: The rows.
        blobs: The bytes.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database = database
        self.blobs = blobs
        self.tasks = TaskQueue(database)

    def add_study(
        self,
        study_id: str,
        fingerprint: str,
        config: Mapping[str, Any],
        parent_id: str | None = None,
    ) -> None:
        """Keep what is asked."""
        text = json.dumps(config, sort_keys=True)

        def insert(connection: Connection) -> None:
            values = {
                "id": study_id,
                "fingerprint": fingerprint,
                "config": text,
                "parent_id": parent_id,
                "created": self.database.now(connection),
            }
            connection.execute(insert_once(connection, schema.study), values)

        self.database.write(insert)

    def study(self, study_id: str) -> StudyInfo:
        """A study.

        Raises:
            CheckpointError: There is none of that name.
        """
        row = self._one(schema.study, schema.study.c.id == study_id, f"study `{study_id}`")
        return StudyInfo(row.id, row.fingerprint, json.loads(row.config), row.parent_id)

    def add_run(self, run_id: str, study_id: str, status: str = "running") -> None:
        """Begin a way through a study."""

        def insert(connection: Connection) -> None:
            values = {
                "id": run_id,
                "study_id": study_id,
                "status": status,
                "created": self.database.now(connection),
            }
            connection.execute(insert_once(connection, schema.run), values)

        self.database.write(insert)

    def run(self, run_id: str) -> RunInfo:
        """A run.

        Raises:
            CheckpointError: There is none of that name.
        """
        row = self._one(schema.run, schema.run.c.id == run_id, f"run `{run_id}`")
        return RunInfo(row.id, row.study_id, row.status, row.created)

    def runs(self) -> list[RunInfo]:
        """All runs, the oldest first."""
        query = sql.select(schema.run).order_by(schema.run.c.created, schema.run.c.id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [RunInfo(row.id, row.study_id, row.status, row.created) for row in rows]

    def set_status(
        self,
        run_id: str,
        status: str,
        lease: Lease | None = None,
        patience: float | None = None,
    ) -> None:
        """Say how far a run is.

        Args:
            run_id: The run.
            status: `running`, `interrupted` or `finished`.
            lease: The right to go on with the run; nothing is said if it was lost.
            patience: How long to try where the database is away [s].
        """
        query = sql.update(schema.run).where(schema.run.c.id == run_id).values(status=status)
        if lease is not None:
            query = query.where(sql.exists().where(holds(lease)))
        self.database.write(lambda connection: connection.execute(query) and None, patience)

    def append(
        self,
        run_id: str,
        record: Round,
        state: Value,
        evaluations: Sequence[Evaluation] = (),
        lease: Lease | None = None,
    ) -> str:
        """Keep a round, the evaluations in it, and the state from which the next one goes on.

        Args:
            run_id: The run.
            record: The round.
            state: Of the optimizer.
            evaluations: Those of the round.
            lease: The right to go on with the run; without it the round is not kept.

        Returns:
            Digest of the state.

        Raises:
            CheckpointError: Another process goes on with the run: the lease was lost, or there is
                another round of that number.
        """
        text = record.dumps()
        digest = self.blobs.put(encode(state))

        def insert(connection: Connection) -> None:
            now = self.database.now(connection)
            if lease is not None and not _is_held(connection, lease):
                raise CheckpointError(
                    f"Another process goes on with the run {run_id}: this one did not answer for "
                    "too long."
                )
            row = {
                "run_id": run_id,
                "number": record.number,
                "record": text,
                "record_digest": digest_of(text.encode()),
                "state": digest,
                "created": now,
            }
            made = connection.execute(insert_once(connection, schema.checkpoint), row)
            if made.rowcount != 1:
                self._refuse_other(connection, run_id, record.number, digest)
            rows = [
                _evaluation_row(run_id, record.number, i, evaluation)
                for i, evaluation in enumerate(evaluations)
            ]
            if rows:
                connection.execute(insert_once(connection, schema.evaluation), rows)

        self.database.write(insert)
        return digest

    def _refuse_other(self, connection: Connection, run_id: str, number: int, digest: str) -> None:
        table = schema.checkpoint
        known = connection.execute(
            sql.select(table.c.state).where(table.c.run_id == run_id, table.c.number == number)
        ).scalar_one()
        if known != digest:
            raise CheckpointError(
                f"Another process goes on with the run {run_id}. Stop one of the two."
            )

    def rounds(self, run_id: str) -> list[Round]:
        """All rounds of a run so far.

        Raises:
            CheckpointError: One is missing or was changed.
        """
        table = schema.checkpoint
        query = sql.select(table).where(table.c.run_id == run_id).order_by(table.c.number)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        for i, row in enumerate(rows):
            if row.number != i or digest_of(row.record.encode()) != row.record_digest:
                raise CheckpointError(
                    f"{self.database.url} is damaged: round {i} of {run_id} is missing or was "
                    "changed. Start a new run from study.yaml."
                )
        return [Round.loads(row.record) for row in rows]

    def last_state(self, run_id: str) -> Value:
        """State after the last round, or None before the first.

        Raises:
            CheckpointError: The blob is missing or damaged.
        """
        digest = self.state_digest(run_id)
        return None if digest is None else decode(self.blobs.get(digest))

    def state_digest(self, run_id: str, back: int = 0) -> str | None:
        """Digest of the state `back` rounds before the last one, if there is one."""
        table = schema.checkpoint
        query = (
            sql.select(table.c.state)
            .where(table.c.run_id == run_id)
            .order_by(table.c.number.desc())
            .offset(back)
            .limit(1)
        )
        found = self.database.read(lambda connection: connection.execute(query).scalar())
        return None if found is None else str(found)

    def n_evaluations(self, run_id: str) -> int:
        """Evaluations that a run has counted."""
        table = schema.evaluation
        query = sql.select(sql.func.count()).where(table.c.run_id == run_id)
        return int(self.database.read(lambda connection: connection.execute(query).scalar_one()))

    def event_range(self, run_id: str) -> tuple[int, int] | None:
        """Fewest and most events of the evaluations of a run, or None without any."""
        table = schema.evaluation
        ends = sql.func.min(table.c.n_events), sql.func.max(table.c.n_events)
        query = sql.select(*ends).where(table.c.run_id == run_id)
        low, high = self.database.read(lambda connection: connection.execute(query).one())
        return None if low is None else (low, high)

    def log(
        self, kind: str, data: Mapping[str, Any], run_id: str | None = None, key: str | None = None
    ) -> None:
        """Add an event; one with a key that is there already is the same event."""
        name = key or uuid.uuid4().hex

        def insert(connection: Connection) -> None:
            values = {
                "key": name,
                "run_id": run_id,
                "kind": kind,
                "data": json.dumps(data),
                "time": self.database.now(connection),
            }
            connection.execute(insert_once(connection, schema.event), values)

        self.database.write(insert)

    def events(self, run_id: str | None = None) -> list[Event]:
        """What happened, in order."""
        table = schema.event
        query = sql.select(table).where(table.c.run_id == run_id).order_by(table.c.id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [Event(row.kind, json.loads(row.data), row.time) for row in rows]

    def measure(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Keep named numbers of a step; the first value of each stays."""
        rows = [
            {"run_id": run_id, "step": step, "name": name, "value": value}
            for name, value in values.items()
        ]

        def insert(connection: Connection) -> None:
            connection.execute(insert_once(connection, schema.metric), rows)

        if rows:
            self.database.write(insert)

    def metrics(self, run_id: str) -> dict[tuple[int, str], float]:
        """Named numbers by step and name."""
        table = schema.metric
        query = sql.select(table).where(table.c.run_id == run_id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {(row.step, row.name): row.value for row in rows}

    def keep(self, run_id: str, name: str, data: bytes) -> str:
        """Keep bytes under a name of a run; their digest, by which other runs may use them."""
        digest = self.blobs.put(data)

        def insert(connection: Connection) -> None:
            blob = {
                "digest": digest,
                "size": len(data),
                "created": self.database.now(connection),
            }
            use = {"run_id": run_id, "name": name, "digest": digest}
            connection.execute(insert_once(connection, schema.artifact), blob)
            connection.execute(insert_once(connection, schema.artifact_use), use)

        self.database.write(insert)
        return digest

    def artifacts(self, run_id: str) -> dict[str, str]:
        """Digests of what a run keeps, by name."""
        table = schema.artifact_use
        query = sql.select(table).where(table.c.run_id == run_id).order_by(table.c.name)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {row.name: row.digest for row in rows}

    def damage(self) -> list[str]:
        """What is kept and cannot be read as it was written, a line each."""
        found = []
        for run in self.runs():
            try:
                self.rounds(run.id)
            except CheckpointError as error:
                found.append(str(error))
        for digest in self.database.read(_digests):
            try:
                self.blobs.get(digest)
            except CheckpointError as error:
                found.append(str(error))
        return found

    def _one(self, table: sql.Table, condition: Any, what: str) -> Any:
        query = sql.select(table).where(condition)
        row = self.database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise CheckpointError(f"{self.database.url} holds no {what}.")
        return row

    def close(self) -> None:
        """Release the database."""
        self.database.close()


def _digests(connection: Connection) -> list[str]:
    """Of all blobs that should be there; old states of the optimizer need not be."""
    latest = sql.select(schema.checkpoint.c.run_id, sql.func.max(schema.checkpoint.c.number))
    last = sql.tuple_(schema.checkpoint.c.run_id, schema.checkpoint.c.number).in_(
        latest.group_by(schema.checkpoint.c.run_id)
    )
    work = schema.task.c.kind != CONTROLLER
    queries = [
        sql.select(schema.artifact.c.digest),
        sql.select(schema.answer.c.blob),
        sql.select(schema.checkpoint.c.state).where(last),
        sql.select(schema.task.c.payload).where(work),
        sql.select(schema.task.c.result).where(work, schema.task.c.state == "done"),
    ]
    found = [row[0] for query in queries for row in connection.execute(query)]
    return list(dict.fromkeys(found))


def _is_held(connection: Connection, lease: Lease) -> bool:
    """Whether nobody took a task over, and nobody can before this transaction ends."""
    query = sql.select(schema.task.c.id).where(holds(lease)).with_for_update()
    return connection.execute(query).first() is not None


def _evaluation_row(
    run_id: str, number: int, position: int, evaluation: Evaluation
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "round": number,
        "position": position,
        "theta": json.dumps([float(x).hex() for x in evaluation.request.theta]),
        "value": _number(evaluation.value),
        "std_error": _number(evaluation.std_error),
        "n_events": evaluation.n_events,
        "cpu_s": evaluation.cpu_s,
        "failure": plain(evaluation.failure),
    }


def _number(value: float) -> float | None:
    """No database holds what is not a number."""
    return value if abs(value) < float("inf") else None
