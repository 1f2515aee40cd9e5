"""A ledger in a file, which threads share, whose clock is set by hand."""

import pytest

from detopt.runtime.budget import BudgetLedger, Limits
from detopt.runtime.storage import BlobStore, Database, Store

RUNS = ("run-1", "run-2")


class Clock:
    """Shows what it is set to."""

    now = 1_000_000.5

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(
        Database(f"sqlite:///{tmp_path}/rows.db", clock=clock), BlobStore(tmp_path / "blobs")
    )
    store.database.upgrade()
    store.add_study("study", "f" * 64, {})
    for run in RUNS:
        store.add_run(run, "study")
    yield store
    store.close()


@pytest.fixture
def account(store):
    """A budget of 10 CPU hours and 5 euros."""
    account = BudgetLedger(store.database, "shared")
    account.open(Limits(cpu_h=10.0, money=5.0), "EUR")
    return account
