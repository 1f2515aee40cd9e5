"""Studies within a budget: same bits, a hard stop with a checkpoint, and a larger budget."""

import time

import pytest
import torch

from detopt.errors import BudgetError, ConfigError
from detopt.runtime import Study, StudyConfig, load_study
from detopt.runtime import result as result_module
from detopt.runtime.budget import EXAMPLE, Amounts, BudgetLedger, ComputeBudget, Limits, overview
from detopt.runtime.budget.account import open_account
from detopt.runtime.budget.history import lines
from detopt.runtime.budget.meters import QueueMeter, Times
from detopt.runtime.budget.prices import LOCAL
from detopt.runtime.budget.spending import Spending
from detopt.runtime.interruption import interruptible
from detopt.runtime.storage import NewTask

SETTINGS = {"rounds": 4, "events": 200, "evaluation_events": 400}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(result_module, "N_RESAMPLES", 40)


@pytest.fixture
def make(tmp_path):
    def make(name, budget=None, **settings):
        config = StudyConfig.make("hump", **SETTINGS, **settings, compute_budget=budget)
        return Study.create(config, tmp_path / name)

    return make


def ledger_of(study):
    return BudgetLedger(study.store.store.database, study.store.id)


def test_a_budget_changes_no_bit_and_counts_every_round(make):
    free = make("free").run()
    study = make("held", {"cpu_hours": 1.0, "wall_hours": 1.0})
    assert study.run().data["theta"] == free.data["theta"]
    view = overview(ledger_of(study), study.store.id, 0, True)
    assert view.counts["round"]["settle"] == SETTINGS["rounds"]
    assert view.counts["conclusion"]["settle"] == 1
    state = view.state
    assert 0 < state.spent.cpu_h < 1.0
    assert state.held == Amounts()
    assert view.forecast == state.spent


def test_a_study_stops_before_a_round_that_does_not_fit_and_goes_on_with_more(make, tmp_path):
    free = make("free").run()
    study = make("held", {"wall_hours": 1.0})
    account = ledger_of(study)

    def use_up(stage, done, total, record):
        if stage == "optimizing" and done == 2:
            left = account.state().left["wall_h"]
            rest = Amounts(wall_h=left)
            held = account.reserve(study.store.id, "rest", rest, purpose="other", lease_s=600.0)
            account.settle(held, rest)

    with pytest.raises(BudgetError, match=r"does not allow the next round.*wall hours"):
        study.run(use_up)
    assert len(study.store.rounds()) == 2
    assert study.store.status == "interrupted"
    study.store.close()
    with pytest.raises(BudgetError):
        Study.resume(tmp_path / "held").run()
    again = Study.resume(tmp_path / "held", Limits(wall_h=3.0))
    assert again.run().data["theta"] == free.data["theta"]
    assert account.state().limits == Limits(wall_h=3.0)
    assert [event.kind for event in again.store.store.events("held")] == ["limits"]
    again.store.close()


def test_a_run_without_a_budget_can_get_one(make, tmp_path):
    make("free").run()
    study = Study.resume(tmp_path / "free", Limits(cpu_h=2.0))
    assert ledger_of(study).state().limits == Limits(cpu_h=2.0)
    with pytest.raises(ConfigError, match="money needs prices"):
        Study.resume(tmp_path / "free", Limits(money=2.0))
    study.store.close()


def test_limits_are_not_edited_in_the_file(make, tmp_path):
    make("held", {"wall_hours": 1.0}).store.close()
    path = tmp_path / "held" / "study.yaml"
    path.write_text(path.read_text().replace("wall_hours: 1.0", "wall_hours: 2.0"))
    with pytest.raises(ConfigError, match="give the new ones to `detopt resume`"):
        Study.resume(tmp_path / "held")


def test_prices_are_kept_with_the_run_and_money_is_charged(make, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text(EXAMPLE)
    budget = {"money": 1.0, "prices": str(prices), "machine": "aws/c7i.4xlarge", "spot": True}
    make("held", budget).store.close()
    prices.unlink()
    study = Study.resume(tmp_path / "held")
    study.run()
    kept = load_study(tmp_path / "held" / "study.yaml", complete=True).compute_budget
    assert kept.prices == tmp_path / "held" / "inputs" / "prices.yaml"
    spent = ledger_of(study).state().spent
    assert spent.money == pytest.approx(0.02 * spent.worker_h)
    assert lines(ledger_of(study))[-1].note["per_worker_hour"] == 0.02
    study.store.close()


def test_a_price_file_that_is_missing_is_told_before_anything_is_written(tmp_path):
    budget = {"money": 1.0, "prices": "none.yaml", "machine": "aws/x"}
    with pytest.raises(ConfigError, match="Cannot read the price file"):
        StudyConfig.make("hump", compute_budget=budget)


class Steady:
    """A meter of twenty thousand busy workers."""

    def start(self):
        self.begin = time.monotonic()

    def read(self, reported_cpu_s=None):
        elapsed = time.monotonic() - self.begin
        return Times(elapsed, 2e4 * elapsed, 2e4 * elapsed)


def spend(account, **settings):
    return Spending(account, "run-1", 1, Steady(), LOCAL, ComputeBudget(**settings))


def test_work_under_way_is_stopped_where_nothing_is_left(account):
    halted = []
    spends = Spending(
        account, "run-1", 1, Steady(), LOCAL, ComputeBudget(), halt=lambda: halted.append(1)
    )
    begin = time.monotonic()

    def work():
        with interruptible(), spends.piece("round"):
            while time.monotonic() < begin + 60:  # 330 h at that pace
                torch.ones(3).sum()

    with pytest.raises(BudgetError, match="round under way was stopped"):
        work()

    assert time.monotonic() < begin + 30
    assert halted == [1]
    state = account.state()
    assert state.held == Amounts()
    assert 0.5 * 10.0 < state.spent.cpu_h <= 10.0
    assert [line.kind for line in lines(account)][-1] == "settle"


def test_an_interrupted_round_is_charged(account):
    with pytest.raises(KeyboardInterrupt), spend(account).piece("round"):
        raise KeyboardInterrupt
    assert [line.kind for line in lines(account)] == ["reserve", "settle"]
    assert account.state().held == Amounts()


def test_the_time_of_leases_is_charged_once_whoever_ends_them(store, clock):
    charged = [0.0]
    meter = QueueMeter(store, "run-1", lambda: charged[0])
    names = store.tasks.add("run-1", [NewTask(str(i), "chunk", "a" * 64) for i in range(2)])
    first, _ = store.tasks.claim("worker", 100.0, limit=2)
    clock.now += 10
    store.tasks.finish(first, "b" * 64)
    assert meter.read().worker_s == pytest.approx(20.0)
    clock.now += 1000  # the worker is gone: its lease ran out after 100 s
    assert meter.read().worker_s == pytest.approx(110.0)
    (again,) = store.tasks.claim("other", 100.0)
    assert again.task_id == names[1]
    charged[0] = meter.read().worker_s
    meter.start()
    clock.now += 5
    store.tasks.finish(again, "b" * 64)
    clock.now += 50
    assert meter.read().worker_s == pytest.approx(5.0, abs=1.0)


def test_work_that_nobody_has_begun_is_withdrawn_and_can_be_asked_for_again(store):
    names = store.tasks.add("run-1", [NewTask(str(i), "chunk", "a" * 64) for i in range(2)])
    (lease,) = store.tasks.claim("worker", 100.0)
    store.tasks.withdraw("run-1")
    assert store.tasks.states(names)[names[1]].state == "cancelled"
    assert store.tasks.finish(lease, "b" * 64) == "accepted"
    store.tasks.reopen([names[1]], ["cancelled"])
    assert len(store.tasks.claim("worker", 100.0)) == 1


def test_a_budget_is_shared_in_a_database_that_runs_share(make, tmp_path):
    with pytest.raises(ConfigError, match=r"shared in a database that runs share.*--database"):
        make("alone", {"shared": "group", "cpu_hours": 1.0})
    assert not (tmp_path / "alone").exists()


def test_runs_that_share_a_budget_spend_from_it_together(tmp_path):
    database, blobs = f"sqlite:///{tmp_path / 'all.sqlite'}", str(tmp_path / "blobs")
    settings = {**SETTINGS, "share": False}
    for name, cpu_hours in (("one", 1.0), ("two", None)):
        budget = {"shared": "group", "cpu_hours": cpu_hours}
        config = StudyConfig.make("hump", **settings, compute_budget=budget)
        study = Study.create(config, tmp_path / name, database=database, blobs=blobs)
        study.run()
    account = BudgetLedger(study.store.store.database, "group")
    assert {line.run_id for line in lines(account)} == {"one", "two"}
    own = [overview(account, name, 0, True).purposes["round"].cpu_h for name in ("one", "two")]
    assert min(own) > 0
    assert account.state().limits == Limits(cpu_h=1.0)
    study.store.close()


def test_a_run_that_its_shared_budget_refuses_leaves_nothing(tmp_path):
    place = {"database": f"sqlite:///{tmp_path / 'all.sqlite'}", "blobs": str(tmp_path / "blobs")}

    def create(name, cpu_hours):
        budget = {"shared": "group", "cpu_hours": cpu_hours}
        config = StudyConfig.make("hump", **SETTINGS, compute_budget=budget)
        return Study.create(config, tmp_path / name, **place)

    create("one", 1.0)
    with pytest.raises(ConfigError, match="there with other limits"):
        create("two", 2.0)
    assert not (tmp_path / "two").exists()
    store = create("two", 1.0).store  # under the same name
    assert {run.id for run in store.store.runs()} == {"one", "two"}
    store.close()


def test_a_run_without_prices_joins_no_budget_of_money(store, account):
    free = ComputeBudget(shared=account.name)
    with pytest.raises(ConfigError, match=r"limits money.*--prices and --machine"):
        open_account(store, "run-1", free)
    BudgetLedger(store.database, "hours").open(Limits(cpu_h=1.0), "EUR")
    open_account(store, "run-1", ComputeBudget(shared="hours"))
