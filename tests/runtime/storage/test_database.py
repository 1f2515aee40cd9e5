"""Databases that are away, locked, full, or of another version."""

import sqlite3

import pytest

from detopt.errors import CheckpointError, ConfigError
from detopt.runtime.storage import BlobStore, Database, NewTask, Store, sqlite_url

URL = "postgresql+psycopg://someone:secret@/none?host=/nowhere"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.sqlite"


@pytest.fixture
def database(path):
    database = Database(sqlite_url(path), patience=0.1)
    database.upgrade()
    yield database
    database.close()


def n_studies(database):
    return database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM study").scalar())


def test_a_locked_database_is_waited_for_and_then_named(database, path):
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    store = Store(database, BlobStore(path.parent / "blobs"))
    with pytest.raises(CheckpointError, match=r"study\.sqlite did not answer for 0\.1 s"):
        store.add_study("one", "f" * 64, {})
    assert n_studies(database) == 0  # readers do not wait
    other.rollback()
    other.close()
    store.add_study("one", "f" * 64, {})
    assert n_studies(database) == 1


def test_looking_changes_no_byte(database, path):
    database.close()
    before = path.read_bytes()
    again = Database(sqlite_url(path))
    again.check()
    assert n_studies(again) == 0
    again.close()
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    database = Database(sqlite_url(tmp_path / "missing.sqlite"))
    with pytest.raises(CheckpointError, match="There is no database"):
        database.check()
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_statement_is_not_repeated(database):
    with pytest.raises(CheckpointError, match="no such table"):
        database.read(lambda c: c.exec_driver_sql("SELECT * FROM missing"))


def test_a_reference_to_nothing_is_refused(database, tmp_path):
    store = Store(database, BlobStore(tmp_path / "blobs"))
    with pytest.raises(CheckpointError, match="FOREIGN KEY"):
        store.tasks.add("nobody", [NewTask("0", "chunk", "a" * 64)])


def test_a_server_that_is_away_is_named_without_its_password():
    pytest.importorskip("psycopg")
    database = Database(URL, patience=0.1)
    with pytest.raises(CheckpointError, match=r"someone:\*\*\*@.* did not answer") as caught:
        database.check()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "nonsense://secret:secret@here"])
def test_another_kind_of_database_is_refused(url):
    with pytest.raises(ConfigError, match="Cannot use the database") as caught:
        Database(url)
    assert "secret@" not in str(caught.value)


def test_a_full_disk_is_named_and_nothing_is_lost(database, tmp_path):
    store = Store(database, BlobStore(tmp_path / "blobs"))
    store.add_study("one", "f" * 64, {})
    full = Database(sqlite_url(tmp_path / "study.sqlite"))

    def fill(connection):
        connection.exec_driver_sql("PRAGMA max_page_count=1")
        connection.exec_driver_sql("UPDATE study SET config = ?", ("x" * 1_000_000,))

    with pytest.raises(CheckpointError, match=r"full\. What was kept before is safe"):
        full.write(fill)
    full.close()
    assert store.study("one").config == {}
