"""Databases that are away, locked, full, or of another version."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from detopt.errors import CheckpointError, ConfigError
from detopt.runtime.storage import (
    BlobStore,
    Database,
    NewTask,
    Store,
    TaskQueue,
    migrate,
    sqlite_url,
)
from detopt.testing.postgres import new_database

LONG = "x" * 201
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


@pytest.mark.parametrize("name", ["what?", "100%25", "a#b", "a b"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    database = Database(sqlite_url(folder / "study.sqlite"))
    database.upgrade()
    database.check()
    database.close()
    assert (folder / "study.sqlite").is_file()


def test_a_port_that_is_no_number_is_refused_without_the_password():
    with pytest.raises(ConfigError, match="Cannot use the database") as caught:
        Database("postgresql+psycopg://me:secret@host:port/name")
    assert "secret" not in str(caught.value)


def test_tables_of_a_newer_version_ask_for_a_newer_detopt(database):
    statement = "UPDATE alembic_version SET version_num = '9999'"
    database.write(lambda c: c.exec_driver_sql(statement) and None)
    for look in (database.check, database.upgrade):
        with pytest.raises(CheckpointError, match=r"9999, which is newer.*Update detopt"):
            look()


def test_threads_make_databases_at_the_same_time(tmp_path):
    databases = [Database(sqlite_url(tmp_path / f"{i}.sqlite")) for i in range(4)]
    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(Database.upgrade, databases))
    for one in databases:
        one.check()
        one.close()


def test_two_that_make_the_tables_of_a_server_wait_for_each_other(postgres, monkeypatch):
    url, made, go_on = new_database(postgres, "twice"), threading.Event(), threading.Event()
    step = migrate.upgrade

    def slow_step(connection, to):
        step(connection, to)
        made.set()
        go_on.wait(10.0)

    monkeypatch.setattr(migrate, "upgrade", slow_step)
    databases = [Database(url, patience=20.0) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(databases[0].upgrade)
        assert made.wait(10.0)
        second = pool.submit(databases[1].upgrade)
        assert not wait([second], 0.3).done
        go_on.set()
        first.result()
        second.result()
    for one in databases:
        one.check()
        one.close()


@pytest.fixture
def server(postgres, tmp_path):
    """A store on a server."""
    url = new_database(postgres, f"s{abs(hash(str(tmp_path)))}")
    store = Store(Database(url), BlobStore(tmp_path / "blobs"))
    store.database.upgrade()
    store.add_study("s", "f" * 64, {})
    store.add_run("r", "s")
    yield store
    store.close()


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.add_study(LONG, "f" * 64, {}),
        lambda store: store.add_run(LONG, "s"),
        lambda store: store.measure("r", 0, {LONG: 1.0}),
        lambda store: store.keep("r", LONG, b"data"),
        lambda store: store.tasks.claim(LONG, 60.0),
    ],
)
def test_a_name_that_is_too_long_for_a_server_is_named(server, write):
    with pytest.raises(ConfigError, match=r"The name x{40}\.\.\. has 201 letters, .* holds 200"):
        write(server)
    server.measure("r", 0, {LONG[:200]: 1.0})
    assert server.metrics("r") == {(0, LONG[:200]): 1.0}


def test_a_name_that_is_no_text_is_named(database, path):
    store = Store(database, BlobStore(path.parent / "blobs"))
    store.add_study(LONG, "f" * 64, {})  # SQLite holds names of any length
    with pytest.raises(ConfigError, match="signs that are no text"):
        store.add_study("\udcff", "f" * 64, {})
    with pytest.raises(ConfigError, match=r"signs that are no UTF-8"):
        sqlite_url(path.parent / "\udcff")


def test_what_expires_twice_at_the_same_time_spoils_no_later_answer(server, monkeypatch):
    """The second one is slow; meanwhile others go on with the task, and one of them does it."""
    (name,) = server.tasks.add("r", [NewTask("k", "chunk", "a" * 64)], max_attempts=2)
    (lease,) = server.tasks.claim("w", 60.0)
    url = server.database.engine.url.render_as_string(hide_password=False)
    late, reads, go_on = Database(url), threading.Event(), threading.Event()
    queue = TaskQueue(late)
    expire = queue._expire

    def slow(connection, row, now):
        reads.set()
        go_on.wait(10.0)
        return expire(connection, row, now)

    monkeypatch.setattr(queue, "_expire", slow)

    def go_on_with_it():
        for _ in range(2):
            server.tasks.expire(lease)
            server.tasks.reopen([name], ["failed"], 0)
            for second in server.tasks.claim("w", 60.0):
                server.tasks.fail(second, "broke")
        server.tasks.reopen([name], ["failed"], 0)
        for third in server.tasks.claim("w", 60.0):
            assert server.tasks.finish(third, "b" * 64) == "accepted"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.expire, lease)
        assert reads.wait(10.0)
        others = pool.submit(go_on_with_it)
        wait([others], 1.0)
        go_on.set()
        first.result()
        others.result()
    assert server.tasks.states([name])[name].state == "done"
    late.close()
