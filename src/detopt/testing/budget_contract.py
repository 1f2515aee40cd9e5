"""What the ledger of budgets must do on every back end, as a class of tests.

A back end passes if a subclass with the fixtures of `detopt.testing.store_contract` does.
"""

__all__ = ["BudgetContract"]

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from detopt.errors import BudgetError
from detopt.runtime.budget import Amounts, BudgetLedger, Limits, Reservation
from detopt.runtime.budget.history import lines
from detopt.runtime.storage import BlobStore, Database, Store, migrate, schema

RUN = "run-1"
FIRST = "0001"  # version of the tables


class BudgetContract:
    """Tests of one back end."""

    @pytest.fixture
    def store(self, database_url: str, blobs_url: str, request: pytest.FixtureRequest) -> Store:
        """A store with one run."""
        store = Store(Database(database_url, patience=5.0), BlobStore(blobs_url))
        store.database.upgrade()
        store.add_study("study-1", "f" * 64, {"use_case": "hump"})
        store.add_run(RUN, "study-1")
        request.addfinalizer(store.close)
        return store

    def test_updates_of_the_tables_keep_the_ledger(self, store: Store) -> None:
        line = {"run_id": RUN, "key": "1", "kind": "settle", "money": 2.5, "time": 1.0}
        hours = {"cpu_h": 1.0, "gpu_h": 0.0, "wall_h": 1.0}
        store.database.write(
            lambda c: c.execute(schema.ledger.insert(), {**line, **hours}) and None
        )
        store.database.write(lambda connection: migrate.downgrade(connection, FIRST))
        store.database.upgrade()
        (found,) = store.database.read(lambda c: c.execute(schema.ledger.select()).all())
        assert (found.key, found.money, found.budget_id) == ("1", 2.5, None)

    def test_a_reservation_is_made_and_settled_once(self, store: Store) -> None:
        account = _account(store)
        for _ in range(2):
            held = _reserve(account, "1", 4.0)
        for _ in range(2):
            account.settle(held, Amounts(cpu_h=3.0))
        state = account.state()
        assert (state.spent.cpu_h, state.held.cpu_h) == (3.0, 0.0)
        assert [line.kind for line in lines(account)] == ["reserve", "settle"]

    def test_work_that_nobody_answers_for_gives_its_reservation_back(self, store: Store) -> None:
        account = _account(store)
        held = account.reserve(RUN, "1", Amounts(cpu_h=8.0), purpose="round", lease_s=-1.0)
        assert _reserve(account, "2", 2.0).amounts.cpu_h == 2.0
        assert account.state().held.cpu_h == 2.0
        assert not account.renew(held, Amounts(cpu_h=1.0), 60.0)

    def test_many_workers_never_reserve_more_than_there_is(self, store: Store) -> None:
        account, n_workers = _account(store), 4
        begin = threading.Barrier(n_workers)

        def work(number: int) -> int:
            begin.wait()
            done = 0
            for i in range(8):
                try:
                    held = _reserve(account, f"{number}-{i}", 1.0)
                except BudgetError:
                    continue
                assert account.state().left["cpu_h"] >= 0
                account.settle(held, Amounts(cpu_h=0.5))
                done += 1
            return done

        with ThreadPoolExecutor(n_workers) as pool:
            n_done = sum(pool.map(work, range(n_workers)))
        assert 17 <= n_done <= 19  # of 0.5 h each, out of 10 h
        assert account.state().spent.cpu_h == 0.5 * n_done
        assert account.state().held.cpu_h == 0.0


def _account(store: Store) -> BudgetLedger:
    account = BudgetLedger(store.database, "shared")
    account.open(Limits(cpu_h=10.0))
    return account


def _reserve(account: BudgetLedger, key: str, cpu_h: float) -> Reservation:
    return account.reserve(RUN, key, Amounts(cpu_h=cpu_h), purpose="round", lease_s=60.0)
