"""Evaluations that runs share: each is done once, and found by what it depends on."""

__all__ = ["Answers", "Place"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from detopt.runtime.storage import schema
from detopt.runtime.storage.database import Database
from detopt.runtime.storage.tasks import MANY, insert_once

table = schema.answer


@dataclass(frozen=True)
class Place:
    """Where an answer lies: in a blob, among others."""

    blob: str
    position: int


class Answers:
    """The answers that a database knows.

    Args:
        database: Where their places are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, keys: Sequence[str]) -> dict[str, Place]:
        """Those of some answers that are known."""

        def look(connection: sql.Connection) -> dict[str, Place]:
            found = {}
            for first in range(0, len(keys), MANY):
                query = sql.select(table).where(table.c.key.in_(keys[first : first + MANY]))
                for row in connection.execute(query):
                    found[row.key] = Place(row.blob, row.position)
            return found

        return self.database.read(look) if keys else {}

    def keep(self, run_id: str, places: Mapping[str, Place]) -> None:
        """Let other runs find answers; those that are known already stay where they are."""

        def insert(connection: sql.Connection) -> None:
            now = self.database.now(connection)
            rows = [
                {
                    "key": key,
                    "blob": place.blob,
                    "position": place.position,
                    "run_id": run_id,
                    "created": now,
                }
                for key, place in places.items()
            ]
            connection.execute(insert_once(connection, table), rows)

        if places:
            self.database.write(insert)

    def forget(self, key: str) -> None:
        """Take an answer away, whose bytes are damaged."""
        query = sql.delete(table).where(table.c.key == key)
        self.database.write(lambda connection: connection.execute(query) and None)
