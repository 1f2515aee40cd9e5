"""The tables' versions: up and down, with the data kept."""

__all__ = ["downgrade", "head", "revision", "upgrade"]

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the tables to a later version."""
    command.upgrade(_config(connection), to)


def downgrade(connection: Connection, to: str) -> None:
    """Bring the tables back to an earlier version; `base` removes them."""
    command.downgrade(_config(connection), to)


def revision(connection: Connection) -> str | None:
    """Version of the tables, or None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest version."""
    found = ScriptDirectory(str(FOLDER)).get_current_head()
    assert found is not None
    return found


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config
