"""Reservations, charges and lines of a budget."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detopt.errors import BudgetError, ConfigError
from detopt.runtime.budget import Amounts, BudgetLedger, Estimator, Limits
from detopt.runtime.budget.history import charged, lines, past
from detopt.runtime.budget.spending import Piece

LEASE = 600.0
NUMBERS = itertools.count()


def hours(cpu, money=0.0):
    return Amounts(cpu_h=cpu, wall_h=cpu, money=money, worker_h=cpu)


def reserve(account, key, amounts, run="run-1"):
    return account.reserve(run, key, amounts, purpose="round", lease_s=LEASE)


def test_what_is_reserved_is_settled_with_what_was_used(account):
    held = reserve(account, "a", hours(4.0, 1.0))
    assert account.state().held == hours(4.0, 1.0)
    assert account.state().left == {"cpu_h": 6.0, "money": 4.0}
    account.settle(held, hours(3.0, 0.5), {"machine": "aws/x"})
    state = account.state()
    assert (state.spent, state.held) == (hours(3.0, 0.5), Amounts())
    first, second = lines(account)
    assert (first.kind, first.amounts) == ("reserve", hours(4.0, 1.0))
    assert (second.kind, second.amounts) == ("settle", hours(3.0, 0.5))
    assert second.note == {"machine": "aws/x"}
    assert past(account, "run-1", "round", 9) == [hours(3.0, 0.5)]


@pytest.mark.parametrize(("cpu", "money", "unit"), [(7.0, 0.0, "CPU hours"), (1.0, 5.0, "money")])
def test_what_does_not_fit_is_refused_and_nothing_changes(account, cpu, money, unit):
    reserve(account, "a", hours(4.0, 1.0))
    before = account.state()
    with pytest.raises(BudgetError, match=f"does not allow the next round.*{unit}"):
        reserve(account, "b", hours(cpu, money), "run-2")
    assert account.state() == before
    assert len(lines(account)) == 1


def test_the_last_hour_can_be_reserved(account):
    reserve(account, "a", hours(4.0))
    reserve(account, "b", hours(6.0))
    with pytest.raises(BudgetError):
        reserve(account, "c", hours(1e-6))


def test_writing_again_changes_nothing(account):
    for _ in range(2):
        held = reserve(account, "a", hours(4.0))
    for _ in range(2):
        larger = account.enlarge(held, [hours(2.0)])
    assert larger.amounts == hours(6.0)
    for _ in range(2):
        account.settle(held, hours(5.0))
    assert [line.kind for line in lines(account)] == ["reserve", "enlarge", "settle"]
    assert account.state().spent == hours(5.0)
    assert account.state().held == Amounts()


def test_work_gets_the_first_size_that_is_there(account):
    held = reserve(account, "a", hours(4.0))
    larger = account.enlarge(held, [hours(7.0), hours(5.0)])
    assert larger.amounts == hours(9.0)
    assert account.enlarge(larger, [hours(2.0)]) is None


def test_work_that_nobody_answers_for_is_charged_until_its_lease_ran_out(account, clock):
    held = reserve(account, "a", hours(1.0, 2.0))
    clock.now += 360
    assert account.renew(held, hours(0.05, 0.1), LEASE)
    clock.now += 10_000  # the lease held for 600 s = 1/6 h
    other = reserve(account, "b", hours(1.0), "run-2")
    spent = account.state().spent
    assert spent.cpu_h == pytest.approx(0.05 + 1 / 6)
    assert spent.money == pytest.approx(0.1 + 2.0 / 6)
    assert account.state().held == other.amounts
    assert not account.renew(held, hours(0.1), LEASE)
    assert lines(account)[1].kind == "lost"
    assert charged(account, "run-1") == spent


def test_lost_work_is_never_charged_more_than_it_had_reserved(account, clock):
    reserve(account, "a", hours(0.1))
    clock.now += 10_000
    account.sweep()
    assert account.state().spent.cpu_h == pytest.approx(0.1)


def test_work_that_answers_late_is_corrected_to_what_it_used(account, clock):
    held = reserve(account, "a", hours(1.0))
    clock.now += 10_000
    account.sweep()
    for _ in range(2):
        account.settle(held, hours(0.3))
    assert account.state().spent.cpu_h == pytest.approx(0.3)
    assert [line.kind for line in lines(account)] == ["reserve", "lost", "correct"]


def test_a_new_controller_takes_over_what_the_old_one_reserved(account, clock):
    reserve(account, "a", hours(1.0))
    reserve(account, "b", hours(2.0), "run-2")
    clock.now += 36
    account.sweep("run-1")
    assert account.state().held == hours(2.0)
    assert account.state().spent.cpu_h == pytest.approx(0.01)


def test_a_budget_is_joined_and_its_limits_are_raised(account, store):
    other = BudgetLedger(store.database, "shared")
    other.open(Limits())
    with pytest.raises(ConfigError, match="other limits"):
        other.open(Limits(cpu_h=20.0))
    with pytest.raises(ConfigError, match="in EUR, the price file in USD"):
        other.open(Limits(), "USD")
    assert other.change_limits(Limits(cpu_h=20.0)).limits == Limits(cpu_h=20.0, money=5.0)


def test_a_budget_that_is_not_there_is_named(store):
    account = BudgetLedger(store.database, "none")
    assert not account.exists()
    with pytest.raises(ConfigError, match="no budget `none`"):
        reserve(account, "a", hours(1.0))


def test_a_negative_limit_is_refused():
    with pytest.raises(ConfigError, match="CPU hours must be >= 0, got -1"):
        Limits(cpu_h=-1.0)


def test_work_that_needs_more_gets_it_and_is_stopped_where_nothing_is_left(account):
    piece = Piece(account, reserve(account, "a", hours(4.0)))
    assert piece.check(hours(3.0))  # 75 %
    assert piece.held.n_enlarged == 0
    assert piece.check(hours(3.3))
    assert piece.held.amounts == hours(8.0)
    assert piece.check(hours(6.5))  # 81 %, and neither 8 nor 4 more are left
    assert piece.held.amounts == hours(8.0)
    assert not piece.check(hours(7.7))  # 96 %


def test_the_next_look_comes_before_the_reservation_is_used_up(account):
    piece = Piece(account, reserve(account, "a", hours(0.01)))
    assert piece.pause(Amounts()) == 60.0
    used = hours(0.004)
    assert 0 < piece.pause(used) < (0.8 - 0.4) * 36
    assert piece.pause(hours(0.00799)) >= 0.05


def test_an_estimate_is_the_margin_over_the_largest():
    estimator = Estimator(hours(9.0), 1.5)
    assert estimator.next() == hours(9.0)
    for used in (1.0, 4.0, 2.0):
        estimator.learn(hours(used))
    assert estimator.next() == hours(6.0)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "enlarge", "settle", "lose"]), st.floats(0.01, 4.0)),
        max_size=25,
    ),
    limit=st.floats(0.5, 20.0),
)
def test_the_sums_are_those_of_the_lines_and_within_the_limit(store, clock, steps, limit):
    account = BudgetLedger(store.database, f"budget-{next(NUMBERS)}")
    account.open(Limits())
    account.change_limits(Limits(cpu_h=limit))
    running = []
    for i, (what, size) in enumerate(steps):
        if what == "reserve":
            try:
                running.append(reserve(account, f"{account.name}-{i}", hours(size)))
            except BudgetError:
                assert account.state().left["cpu_h"] < size
        elif what == "lose":
            clock.now += 2 * LEASE
            account.sweep()
            running.clear()
        elif running and what == "enlarge":
            running[0] = account.enlarge(running[0], [hours(size)]) or running[0]
        elif running:
            held = running.pop(0)
            account.settle(held, min(1.0, size / 4) * held.amounts)
        state = account.state()
        assert (state.spent + state.held).cpu_h <= limit * (1 + 1e-6)
    total = Amounts()
    for line in lines(account):
        total += line.amounts if line.kind in {"settle", "lost"} else Amounts()
    assert account.state().spent.values() == pytest.approx(total.values())
    open_hours = sum(one.amounts.cpu_h for one in running)
    assert account.state().held.cpu_h == pytest.approx(open_hours, abs=1e-9)
