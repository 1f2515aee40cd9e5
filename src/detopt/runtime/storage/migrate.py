"""The tables' versions: up and down, with the data kept."""

__all__ = ["downgrade", "head", "refuse_newer", "revision", "upgrade"]

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from detopt.errors import CheckpointError

FOLDER = Path(__file__).parent / "migrations"
ONE = threading.Lock()  # alembic serves one thread of a process at a time


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the tables to a later version.

    Raises:
        CheckpointError: They are those of a newer version.
    """
    refuse_newer(connection)
    with ONE:
        command.upgrade(_config(connection), to)


def downgrade(connection: Connection, to: str) -> None:
    """Bring the tables back to an earlier version; `base` removes them."""
    with ONE:
        command.downgrade(_config(connection), to)


def revision(connection: Connection) -> str | None:
    """Version of the tables, or None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest version."""
    found = ScriptDirectory(str(FOLDER)).get_current_head()
    assert found is not None
    return found


def refuse_newer(connection: Connection) -> None:
    """Leave tables alone that this version does not know.

    Raises:
        CheckpointError: They were made by a newer one.
    """
    found = revision(connection)
    if found is not None and found > head():
        url = connection.engine.url
        place = url.database if url.drivername.startswith("sqlite") else url.render_as_string()
        raise CheckpointError(
            f"The tables of {place} are of version {found}, which is newer than this detopt: it "
            f"knows them up to {head()}. Update detopt."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config
