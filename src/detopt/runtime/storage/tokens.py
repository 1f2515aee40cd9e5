"""Tokens: the right of a remote worker to do tasks of one run until a time.

A token is random and is shown once. Only its SHA-256 is kept, from which it cannot be found.
"""

__all__ = ["TRUSTS", "Token", "Tokens"]

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from detopt.errors import ConfigError
from detopt.runtime.storage import schema
from detopt.runtime.storage.database import Database

TRUSTS = {
    "full": "answers count at once",
    "quorum": "an answer counts when the holder of another token gives the same",
    "sample": "answers count at once, but some are done again by a trusted worker",
}
PREFIX = "detopt-"  # by which scanners for secrets recognise one
N_BYTES = 32
LONGEST_NOTE = 200  # letters
token = schema.token


@dataclass(frozen=True)
class Token:
    """What is kept of a token.

    Args:
        digest: SHA-256 of the token.
        run_id: The run whose tasks it is for.
        note: Who has it.
        trust: See `TRUSTS`.
        expires: Until when it holds [s since 1970].
        revoked: Whether it was taken back.
    """

    digest: str
    run_id: str
    note: str
    trust: str
    expires: float
    revoked: bool

    @property
    def mark(self) -> str:
        """Begins the name of each worker that uses it."""
        return f"token-{self.digest[:16]}/"


class Tokens:
    """The tokens in a database.

    Args:
        database: Where their digests are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def make(self, run_id: str, lifetime_s: float, *, trust: str = "quorum", note: str = "") -> str:
        """A new token, which is shown only here.

        Raises:
            ConfigError: There is no such trust, or no time; or the note is too long.
        """
        if trust not in TRUSTS:
            raise ConfigError(f"No trust `{trust}`. There are: {', '.join(TRUSTS)}.")
        if not lifetime_s > 0:
            raise ConfigError(f"A token must hold for more than 0 s, got {lifetime_s:g} s.")
        if len(note) > LONGEST_NOTE:
            raise ConfigError(
                f"The note of a token has {len(note)} letters. Give at most {LONGEST_NOTE}."
            )
        text = PREFIX + secrets.token_urlsafe(N_BYTES)

        def insert(connection: sql.Connection) -> None:
            now = self.database.now(connection)
            row = {
                "digest": _digest(text),
                "run_id": run_id,
                "note": note,
                "trust": trust,
                "created": now,
                "expires": now + lifetime_s,
            }
            connection.execute(sql.insert(token).values(row))

        self.database.write(insert)
        return text

    def find(self, text: str) -> Token | None:
        """A token that holds now."""

        def look(connection: sql.Connection) -> Token | None:
            query = sql.select(token).where(
                token.c.digest == _digest(text),
                token.c.revoked.is_(None),
                token.c.expires > self.database.now(connection),
            )
            row = connection.execute(query).one_or_none()
            return None if row is None else _token(row)

        return self.database.read(look)

    def of(self, run_id: str) -> list[Token]:
        """All tokens of a run, the oldest first."""
        query = sql.select(token).where(token.c.run_id == run_id).order_by(token.c.created)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [_token(row) for row in rows]

    def revoke(self, digest: str) -> None:
        """Take a token back."""

        def take(connection: sql.Connection) -> None:
            now = self.database.now(connection)
            connection.execute(
                sql.update(token)
                .where(token.c.digest == digest, token.c.revoked.is_(None))
                .values(revoked=now)
            )

        self.database.write(take)


def _token(row: Any) -> Token:
    return Token(row.digest, row.run_id, row.note, row.trust, row.expires, row.revoked is not None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
