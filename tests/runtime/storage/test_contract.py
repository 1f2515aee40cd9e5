"""The contract of a store, on what it runs on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql

from detopt.runtime.storage import NewTask, Store
from detopt.testing.budget_contract import BudgetContract
from detopt.testing.postgres import new_database
from detopt.testing.store_contract import StoreContract


class _Printed:
    """What a program printed is kept, whatever bytes it had."""

    @pytest.mark.parametrize(
        ("text", "kept"), [("a\0b", "a\ufffdb"), ("a\udcffb", "a?b")], ids=["NUL", "surrogate"]
    )
    def test_an_error_may_hold_any_sign(self, store: Store, text: str, kept: str) -> None:
        names = store.tasks.add("run-1", [NewTask("0", "chunk", "a" * 64)], max_attempts=1)
        (lease,) = store.tasks.claim("worker", 600.0)
        store.tasks.fail(lease, text)
        assert store.tasks.states(names)[names[0]].error == kept


class TestSqlite(_Printed, StoreContract, BudgetContract):
    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'study.sqlite'}"

    @pytest.fixture
    def blobs_url(self, tmp_path: Path) -> str:
        return str(tmp_path / "blobs")


class TestPostgres(_Printed, StoreContract, BudgetContract):
    @pytest.fixture
    def database_url(self, postgres: str, tmp_path: Path) -> str:
        return new_database(postgres, f"t{abs(hash(str(tmp_path)))}")

    @pytest.fixture
    def blobs_url(self, tmp_path: Path) -> str:
        return str(tmp_path / "blobs")

    def test_connections_that_are_cut_lose_nothing_and_double_nothing(self, store: Store) -> None:
        n_tasks, begun, over = 40, threading.Event(), threading.Event()
        added: list[int] = []
        cut = sql.text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        other = sql.create_engine(store.database.engine.url, isolation_level="AUTOCOMMIT")

        def disturb() -> int:
            n_cut, seen = 0, -1
            with other.connect() as connection:
                n_cut += connection.execute(cut).scalar_one()  # of the pool, on any machine
                begun.set()
                while not over.wait(0.05):
                    if len(added) > seen:  # a slow machine gets on between two cuts, too
                        seen = len(added)
                        n_cut += connection.execute(cut).scalar_one()
            return n_cut

        with ThreadPoolExecutor(1) as pool:
            disturbance = pool.submit(disturb)
            begun.wait(60)
            try:
                for i in range(n_tasks):
                    store.tasks.add("run-1", [NewTask(str(i), "chunk", "a" * 64)])
                    store.log("added", {"number": i}, "run-1", f"event-{i}")
                    for lease in store.tasks.claim("worker", 600.0, limit=9):
                        assert store.tasks.finish(lease, "b" * 64) in {"accepted", "duplicate"}
                    added.append(i)
            finally:
                over.set()
        assert disturbance.result() > 0
        other.dispose()
        counts = store.tasks.counts("run-1")
        assert sum(counts.values()) == n_tasks
        assert counts.get("open", 0) == 0  # a lease whose answer was lost runs out later
        assert [event.data["number"] for event in store.events("run-1")] == list(range(n_tasks))
