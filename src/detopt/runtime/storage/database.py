"""A database that holds what happened: SQLite in a file, or PostgreSQL by URL, same code.

Every transaction may be repeated: what it writes has unique keys, so that an answer which was
lost in a restart of the server costs a repetition and nothing else.
"""

__all__ = ["Database", "Transaction", "sqlite_url"]

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from detopt.errors import CheckpointError, ConfigError, DetoptError
from detopt.runtime.storage import migrate
from detopt.runtime.storage.encoding import plain

AnswerT = TypeVar("AnswerT")
Transaction = Callable[[Connection], AnswerT]

PATIENCE = 600.0  # s; how long a database may be away
FIRST = 30.0  # s; idem, before it has answered once
LONGEST_WAIT = 5.0  # s between two trials
BUSY = 60.0  # s; how long SQLite waits for another writer
DAMAGED = ("malformed", "not a database", "disk image", "corrupt")
BUSY_WORDS = ("locked", "busy")  # of SQLite
UPGRADE = 0x6465746F7074  # of a lock: nobody else updates the tables meanwhile
LASTING = ("authentication", "does not exist")  # of a server


class Database:
    """Connections to one database.

    Args:
        url: `sqlite:///path` or `postgresql+psycopg://user@host/name`.
        patience: How long to repeat a transaction while the database is away [s].
        clock: Gives the seconds since 1970.

    Raises:
        ConfigError: The URL names no database that is known, or its driver is not installed.
    """

    def __init__(
        self, url: str, *, patience: float = PATIENCE, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            self.engine = _engine(url, min(BUSY, patience))
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise ConfigError(
                f"Cannot use the database {_without_password(url)}: {error}"
            ) from error
        self.url = _without_password(url)
        self.patience = patience
        self.clock = clock
        self._answered = False

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    def upgrade(self, revision: str = "head") -> None:
        """Make or update the tables.

        Raises:
            CheckpointError: They are those of a newer version.
        """
        if self.is_sqlite:  # kept in the file: readers and a writer do not wait for each other
            self._repeat(lambda c: c.exec_driver_sql("PRAGMA journal_mode=WAL"), mode=None)

        def update(connection: Connection) -> None:
            if not self.is_sqlite:  # whoever comes second finds the tables of the first
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(UPGRADE)))
            migrate.upgrade(connection, revision)

        self.write(update)

    def check(self) -> None:
        """Make sure that the tables are those of this version, and sound.

        Raises:
            CheckpointError: They are not.
        """
        sound, path = True, self.engine.url.database
        if self.is_sqlite:
            if path is None or not Path(path).is_file():  # opening would make an empty one
                raise CheckpointError(f"There is no database {path}.")
            sound = self.read(lambda c: c.exec_driver_sql("PRAGMA quick_check").scalar()) == "ok"
        if not sound:
            raise CheckpointError(f"{self.url} is damaged. Start a new run from study.yaml.")
        found = self.read(migrate.revision)
        if found != migrate.head():
            self.read(migrate.refuse_newer)
            raise CheckpointError(
                f"{self.url} has the tables of "
                f"{'no version' if found is None else f'version {found}'} of detopt, this is "
                f"{migrate.head()}. Update them with `detopt store upgrade`."
            )

    def now(self, connection: Connection) -> float:
        """Seconds since 1970 by the one clock that all users of the database share."""
        if self.is_sqlite:  # one machine
            return self.clock()
        query = sql.text("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(connection.execute(query).scalar_one())

    def clock_expression(self) -> sql.ColumnElement[float]:
        """What `now` tells, inside a statement."""
        if self.is_sqlite:
            return sql.literal(self.clock(), sql.Float)
        return sql.cast(sql.func.extract("epoch", sql.func.clock_timestamp()), sql.Float)

    def read(self, transaction: Transaction[AnswerT]) -> AnswerT:
        """The answer of a transaction that changes nothing."""
        return self._repeat(transaction, mode="read")

    def write(
        self,
        transaction: Transaction[AnswerT],
        patience: float | None = None,
        *,
        single: bool = False,
    ) -> AnswerT:
        """The answer of a transaction that may be repeated: it is done wholly or not at all.

        Args:
            transaction: What to do.
            patience: How long to repeat it [s]; None for that of the database.
            single: Whether it is a single statement on a server, which needs no begin and commit.

        Raises:
            CheckpointError: The database is damaged or full, or was away for too long.
            ConfigError: A name is too long for it, or no text.
        """
        mode = "single" if single and not self.is_sqlite else "write"
        return self._repeat(transaction, mode=mode, patience=patience)

    def _repeat(
        self,
        transaction: Transaction[AnswerT],
        *,
        mode: str | None,
        patience: float | None = None,
    ) -> AnswerT:
        patience = self.patience if patience is None else min(patience, self.patience)
        patience = patience if self._answered else min(patience, FIRST)
        give_up, wait = time.monotonic() + patience, 0.05
        while True:
            try:
                with self.engine.connect() as connection:
                    connection.execution_options(**_options(mode))
                    with connection.begin():
                        answer = transaction(connection)
                    self._answered = True
                    return answer
            except DBAPIError as error:
                if not _passes(error):
                    raise self._explained(error) from error
                if time.monotonic() + wait > give_up:
                    raise CheckpointError(
                        f"{self.url} did not answer for {patience:g} s: {error.orig}"
                    ) from error
            except SQLAlchemyError as error:
                reason = getattr(error, "orig", None)
                if isinstance(reason, DetoptError):  # what a column says of a value
                    raise reason from None
                raise self._explained(error) from error
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)

    def _explained(self, error: SQLAlchemyError) -> CheckpointError:
        reason = getattr(error, "orig", None) or error
        if self.is_sqlite and any(word in str(reason) for word in DAMAGED):
            return CheckpointError(f"{self.url} is damaged: {reason}. Start a new run.")
        return CheckpointError(
            f"{self.url} refuses: {reason}. What was kept before is safe: mend the cause and go on."
        )

    def close(self) -> None:
        """Release all connections."""
        self.engine.dispose()


def _options(mode: str | None) -> dict[str, Any]:
    """Of a connection: a statement of its own is a transaction of a server."""
    return {"isolation_level": "AUTOCOMMIT"} if mode == "single" else {"mode": mode}


def _engine(url: str, busy: float) -> sql.Engine:
    if url.startswith("sqlite"):
        engine = sql.create_engine(url, connect_args={"timeout": busy, "isolation_level": None})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return sql.create_engine(url, pool_size=4, max_overflow=8)


def _prepare_sqlite(connection: object, _record: object) -> None:
    """What is not kept in the file; it changes nothing there."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """One writer at a time, from the start: two that read first could not both go on."""
    mode = connection.get_execution_options().get("mode", "write")
    if mode is not None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if mode == "write" else "BEGIN")


def _passes(error: DBAPIError) -> bool:
    """Whether trying again may help."""
    text = str(error.orig)
    if isinstance(error.orig, sqlite3.Error):
        return any(word in text for word in BUSY_WORDS)
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and not any(word in text for word in LASTING)


def _without_password(url: str) -> str:
    try:
        made = sql.make_url(url)
        hidden = {key: "***" for key in made.query if "password" in key}
        return made.update_query_dict(hidden).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "given"


def sqlite_url(path: Path) -> str:
    """URL of a SQLite file; signs such as `?` and `%` in its path are only letters.

    Raises:
        ConfigError: The path is no text in UTF-8.
    """
    if str(path) != plain(str(path)):
        raise ConfigError(
            f"The path {plain(str(path))!r} has signs that are no UTF-8. Choose another folder."
        )
    return sql.URL.create("sqlite", database=str(path)).render_as_string()
