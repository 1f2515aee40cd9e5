"""What a task and a lease are, and how the database tells whether a lease still holds."""

__all__ = [
    "CONTROLLER",
    "LONGEST_LEASE",
    "Lease",
    "NewTask",
    "TaskState",
    "holds",
    "out_of_reach",
    "ran_out",
    "task_id",
]

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from detopt.runtime.storage.schema import task

CONTROLLER = "controller"  # kind of the task whose worker goes on with a run
LONGEST_LEASE = 600.0  # s; whoever works renews it


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


def ran_out(now: Any) -> Any:
    """Condition that a lease holds no more [s since 1970]."""
    return sql.and_(task.c.state == "leased", task.c.lease_until < now)


def out_of_reach(now: Any) -> Any:
    """Condition that a lease lies farther ahead than any can be, of a clock that was set back."""
    return sql.and_(task.c.state == "leased", task.c.lease_until > now + LONGEST_LEASE)


def holds(lease: Lease) -> Any:
    """Condition that a lease is the newest of its task, and that the task is not done."""
    return sql.and_(
        task.c.id == lease.task_id, task.c.fence == lease.fence, task.c.state == "leased"
    )
