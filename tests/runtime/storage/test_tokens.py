"""Tokens, and the step of the tables that brought them."""

import pytest
import sqlalchemy as sql

from detopt.errors import ConfigError
from detopt.runtime.storage import BlobStore, Database, NewTask, Store, Tokens, migrate, schema


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(
        Database(f"sqlite:///{tmp_path / 'x.sqlite'}", clock=clock), BlobStore(tmp_path / "blobs")
    )
    store.database.upgrade()
    store.add_study("study", "f" * 64, {})
    store.add_run("run", "study")
    yield store
    store.close()


@pytest.fixture
def tokens(store):
    return Tokens(store.database)


def test_a_token_is_found_until_it_expires(tokens, clock):
    text = tokens.make("run", 60.0, trust="sample", note="them")
    found = tokens.find(text)
    assert (found.run_id, found.trust, found.note) == ("run", "sample", "them")
    assert found.expires == clock.now + 60.0
    clock.now += 60.0
    assert tokens.find(text) is None


def test_tokens_are_random_and_long(tokens):
    made = {tokens.make("run", 60.0) for _ in range(50)}
    assert len(made) == 50
    assert min(len(text) for text in made) >= 43  # 256 bits


def test_a_revoked_token_holds_no_more(tokens):
    text, other = tokens.make("run", 60.0), tokens.make("run", 60.0)
    tokens.revoke(tokens.find(text).digest)
    assert tokens.find(text) is None
    assert tokens.find(other) is not None
    assert [one.revoked for one in tokens.of("run")].count(True) == 1


@pytest.mark.parametrize(
    ("lifetime_s", "trust", "match"),
    [(0.0, "full", "more than 0 s"), (float("nan"), "full", "0 s"), (1.0, "blind", "No trust")],
)
def test_unusable_tokens_are_refused(tokens, lifetime_s, trust, match):
    with pytest.raises(ConfigError, match=match):
        tokens.make("run", lifetime_s, trust=trust)


def test_the_tables_go_down_and_up_with_their_data(store, tokens):
    store.tasks.add("run", [NewTask("a", "chunk", "a" * 64)])
    text = tokens.make("run", 60.0)
    store.database.write(lambda connection: migrate.downgrade(connection, "0001"))
    assert store.tasks.counts("run") == {"open": 1}
    inspect = store.database.read(lambda c: set(sql.inspect(c).get_table_names()))
    assert not {"token", "vote"} & inspect
    store.database.upgrade()
    assert store.tasks.counts("run") == {"open": 1}
    assert tokens.find(text) is None  # tokens of that version are gone with it
    assert tokens.find(tokens.make("run", 60.0)) is not None


def test_an_old_database_is_updated_with_its_data(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'old.sqlite'}")
    database.upgrade("0001")
    row = {"id": "s", "fingerprint": "f" * 64, "config": "{}", "created": 1.5}
    database.write(lambda c: c.execute(sql.insert(schema.study).values(row)) and None)
    database.upgrade()
    database.check()
    store = Store(database, BlobStore(tmp_path / "blobs"))
    assert store.study("s").fingerprint == "f" * 64
    store.close()


def test_a_note_that_no_server_would_keep_is_refused(tokens):
    tokens.make("run", 60.0, note="n" * 200)
    with pytest.raises(ConfigError, match=r"201 letters\. Give at most 200"):
        tokens.make("run", 60.0, note="n" * 201)
