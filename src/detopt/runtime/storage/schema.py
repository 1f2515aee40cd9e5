"""The tables of the database. Times are seconds since 1970; texts of digests are hexadecimal.

What may not happen twice has a key that the database holds unique, so that writing again after an
unknown answer changes nothing. Events are only ever added.
"""

__all__ = [
    "answer",
    "artifact",
    "artifact_use",
    "attempt",
    "budget",
    "checkpoint",
    "evaluation",
    "event",
    "ledger",
    "lineage",
    "metadata",
    "metric",
    "reservation",
    "run",
    "study",
    "task",
    "token",
    "vote",
]

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from detopt.errors import ConfigError
from detopt.runtime.storage.encoding import plain

LONGEST_NAME = 200  # letters; SQLite has no limit


class Name(TypeDecorator[str]):
    """A name that users may choose; what the database would refuse is refused in plain words."""

    impl = String(LONGEST_NAME)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """The name, if the database holds it.

        Raises:
            ConfigError: It is too long, or has signs that are no text.
        """
        if value is None:
            return None
        if dialect.name != "sqlite" and len(value) > LONGEST_NAME:
            raise ConfigError(
                f"The name {value[:40]}... has {len(value)} letters, and this database holds "
                f"{LONGEST_NAME}. Choose a shorter one."
            )
        if value != plain(value):
            raise ConfigError(f"The name {plain(value)!r} has signs that are no text. Change it.")
        return value


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
NAME, DIGEST = Name(), String(64)
SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only plain integers

study = Table(  # what is asked: configuration and lineage
    "study",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("fingerprint", DIGEST, nullable=False),
    Column("config", Text, nullable=False),  # JSON
    Column("parent_id", NAME, ForeignKey("study.id")),
    Column("created", Float, nullable=False),
)
run = Table(  # a way through a study
    "run",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("study_id", NAME, ForeignKey("study.id"), nullable=False),
    Column("status", String(20), nullable=False),
    Column("created", Float, nullable=False),
)
checkpoint = Table(  # a round, and the state of the optimizer after it
    "checkpoint",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("record", Text, nullable=False),  # JSON
    Column("record_digest", DIGEST, nullable=False),
    Column("state", DIGEST, nullable=False),
    Column("created", Float, nullable=False),
)
task = Table(  # work that any worker can do
    "task",
    metadata,
    Column("id", DIGEST, primary_key=True),  # of run and key
    Column("run_id", NAME, ForeignKey("run.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("payload", DIGEST, nullable=False),
    Column("state", String(10), nullable=False),  # open, leased, done, failed, cancelled
    Column("fence", Integer, nullable=False),  # rises with each lease
    Column("worker", NAME),
    Column("lease_until", Float),
    Column("max_attempts", Integer, nullable=False),
    Column("result", DIGEST),
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("position", SERIAL, nullable=False),  # first come, first served
    Index(None, "state", "position"),
    Index(None, "state", "lease_until"),
    Index(None, "run_id", "state", "position"),
)
attempt = Table(  # a lease of a task, and how it ended
    "attempt",
    metadata,
    Column("task_id", DIGEST, ForeignKey("task.id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("worker", NAME, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("outcome", String(10)),  # done, failed, released, expired
    Column("error", Text),
)
evaluation = Table(  # an answer to a request of the optimizer
    "evaluation",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("theta", Text, nullable=False),  # JSON, hexadecimal floats
    Column("value", Float),
    Column("std_error", Float),
    Column("n_events", Integer, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("failure", Text, nullable=False),
)
metric = Table(
    "metric",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("value", Float),
)
event = Table(  # what happened
    "event",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("key", NAME, nullable=False),
    Column("run_id", NAME, ForeignKey("run.id")),
    Column("kind", String(40), nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("time", Float, nullable=False),
    UniqueConstraint("key"),
    Index(None, "run_id", "id"),
)
artifact = Table(  # a blob that somebody refers to
    "artifact",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
)
artifact_use = Table(  # its name in a run: inputs, trained surrogates, results
    "artifact_use",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("digest", DIGEST, ForeignKey("artifact.digest"), nullable=False),
)
UNITS = ("cpu_h", "gpu_h", "wall_h", "money")  # that a budget limits
AMOUNTS = (*UNITS, "worker_h")  # that its ledger counts
budget = Table(  # what runs may use together; the sums of its ledger
    "budget",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("currency", String(3)),
    *(Column(f"max_{unit}", Float) for unit in UNITS),
    *(Column(f"spent_{name}", Float, nullable=False) for name in AMOUNTS),
    *(Column(f"held_{name}", Float, nullable=False) for name in AMOUNTS),
    Column("created", Float, nullable=False),
)
reservation = Table(  # what a piece of work may use, and what it has used so far
    "reservation",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("key", NAME, primary_key=True),
    Column("budget_id", NAME, ForeignKey("budget.id"), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("state", String(10), nullable=False),  # open, settled, lost
    *(Column(name, Float, nullable=False) for name in AMOUNTS),
    *(Column(f"used_{name}", Float, nullable=False) for name in AMOUNTS),
    Column("n_enlarged", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("renewed", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("ended", Float),
    Index(None, "budget_id", "state"),
)
ledger = Table(  # what was reserved and used, line by line; lines are only ever added
    "ledger",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("run_id", NAME, ForeignKey("run.id"), nullable=False),
    Column("key", NAME, nullable=False),  # what was paid for
    Column("kind", String(10), nullable=False),  # see `detopt.runtime.budget.ledger`
    *(Column(unit, Float, nullable=False) for unit in UNITS),
    Column("time", Float, nullable=False),
    Column("budget_id", NAME, ForeignKey("budget.id")),
    Column("purpose", String(40)),
    Column("worker_h", Float),
    Column("note", Text),  # JSON
    UniqueConstraint("run_id", "key", "kind"),
    Index(None, "budget_id", "id"),
)
token = Table(  # the right of a remote worker to do tasks of a run
    "token",
    metadata,
    Column("digest", DIGEST, primary_key=True),  # the token itself is kept nowhere
    Column("run_id", NAME, ForeignKey("run.id"), nullable=False),
    Column("note", NAME, nullable=False),  # who has it
    Column("trust", String(10), nullable=False),  # full, quorum, sample
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Float),
)
vote = Table(  # what an untrusted worker says of a task
    "vote",
    metadata,
    Column("task_id", DIGEST, ForeignKey("task.id"), primary_key=True),
    Column("token", DIGEST, ForeignKey("token.digest"), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("kind", String(10), nullable=False),  # quorum, sample: who can confirm it
    Column("status", String(10), nullable=False),  # see `votes`
    Column("content", DIGEST),  # of the answer without its CPU time
    Column("result", DIGEST),
    Column("time", Float, nullable=False),
    Index(None, "token", "status"),
)
lineage = Table(  # designs that a run starts from, is merged of, and found
    "lineage",
    metadata,
    Column("run_id", NAME, ForeignKey("run.id"), primary_key=True),
    Column("role", String(10), primary_key=True),  # parent, part, final
    Column("position", Integer, primary_key=True),
    Column("design", DIGEST, nullable=False),
    Column("name", NAME, nullable=False),  # of the run whose design it is
    Index(None, "design", "role"),
)
answer = Table(  # evaluations that other runs may use
    "answer",
    metadata,
    Column("key", DIGEST, primary_key=True),  # of all that the numbers depend on
    Column("blob", DIGEST, nullable=False),
    Column("position", Integer, nullable=False),  # in the blob
    Column("run_id", NAME, ForeignKey("run.id"), nullable=False),  # who did it
    Column("created", Float, nullable=False),
    Index(None, "run_id"),
)
