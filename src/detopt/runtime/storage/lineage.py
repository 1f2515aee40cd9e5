"""Which run starts from which design, and what it found: a tree over digests of designs."""

__all__ = ["Lineage", "Link"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sql

from detopt.runtime.storage import schema
from detopt.runtime.storage.database import Database
from detopt.runtime.storage.tasks import CONTROLLER, insert_once, task_id

Role = Literal["parent", "part", "final"]
table = schema.lineage


@dataclass(frozen=True)
class Link:
    """A design of a run.

    Args:
        role: What it is to the run: where it starts, what is merged into it, or what it found.
        design: SHA-256 of the design.
        name: Of the run that found it.
    """

    role: Role
    design: str
    name: str


class Lineage:
    """The designs of the runs in a database.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, run_id: str, links: Sequence[Link]) -> None:
        """Keep designs of a run; those that are there already stay."""
        rows = [
            {
                "run_id": run_id,
                "role": link.role,
                "position": sum(other.role == link.role for other in links[:i]),
                "design": link.design,
                "name": link.name,
            }
            for i, link in enumerate(links)
        ]

        def insert(connection: sql.Connection) -> None:
            connection.execute(insert_once(connection, table), rows)

        if rows:
            self.database.write(insert)

    def of(self, run_id: str) -> list[Link]:
        """The designs of a run."""
        query = sql.select(table).where(table.c.run_id == run_id)
        query = query.order_by(table.c.role, table.c.position)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [Link(row.role, row.design, row.name) for row in rows]

    def runs(self, design: str, role: Role) -> list[str]:
        """The runs to which a design is what `role` says, the oldest first."""
        query = sql.select(schema.run.c.id).join(table, table.c.run_id == schema.run.c.id)
        query = query.where(table.c.design == design, table.c.role == role)
        query = query.order_by(schema.run.c.created, schema.run.c.id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return list(dict.fromkeys(row.id for row in rows))

    def machines(self, run_id: str) -> list[str]:
        """The machines on which the loop of a run was."""
        query = sql.select(schema.attempt.c.worker).order_by(schema.attempt.c.fence)
        query = query.where(schema.attempt.c.task_id == task_id(run_id, CONTROLLER))
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return list(dict.fromkeys(row.worker.split(" ")[0].rsplit("-", 2)[0] for row in rows))
