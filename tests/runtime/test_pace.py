"""How much a worker does between two visits to the store."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.runtime.pace import MEAN, MOST, Pace, best_interval

TIMES = st.floats(1e-3, 1e6)


def waste(interval, cost, between):
    """Time per useful time, of work that is repeated until it survives (Daly 2006, eq. 13)."""
    return between / interval * math.expm1((interval + cost) / between) - 1


@pytest.mark.parametrize(
    ("cost", "between", "expected"),
    [(2.0, 100.0, 18.6889), (300.0, 86_400.0, 7_001.39), (5.0, 1.0, 1.0), (0.0, 60.0, 0.0)],
)
def test_the_interval_is_that_of_the_formula(cost, between, expected):  # by hand
    assert best_interval(cost, between) == pytest.approx(expected, rel=1e-5)


@given(TIMES)
def test_no_other_interval_wastes_much_less(between):
    cost = between / 50
    chosen = waste(best_interval(cost, between), cost, between)
    others = [waste(x * between / 500, cost, between) for x in range(10, 1_000)]
    assert chosen <= 1.01 * min(others)


@given(TIMES, TIMES)
def test_the_interval_grows_with_the_time_between_evictions(cost, between):
    assert best_interval(cost, 2 * between) >= best_interval(cost, between)


@given(TIMES, TIMES, st.floats(0.1, 10.0))
def test_units_do_not_matter(cost, between, factor):
    scaled = best_interval(float(factor * cost), float(factor * between))
    assert scaled == pytest.approx(factor * best_interval(cost, between), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("cost", "between"), [(-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0)])
def test_impossible_times_are_refused(cost, between):
    with pytest.raises(DomainError, match="apart"):
        best_interval(cost, between)


def test_a_worker_that_knows_nothing_takes_one_task():
    assert Pace().n_tasks == 1


def test_light_tasks_are_taken_together_and_long_ones_alone():
    light, long = Pace(), Pace()
    light.note([1], 0.01, 0.02)
    long.note([1], 60.0, 0.02)
    assert (light.n_tasks, long.n_tasks) == (MOST, 1)


def test_tasks_that_others_lost_tell_of_evictions():
    calm, rough = Pace(), Pace()
    for _ in range(2_000):
        calm.note([1], 1.0, 0.02)
        rough.note([2], 1.0, 0.02)  # each had been lost once, after about a second
    assert calm.between_s == MEAN + 2_000
    assert rough.between_s == pytest.approx((MEAN + 4_000) / 2_001)
    assert rough.n_tasks < calm.n_tasks


def test_the_last_of_several_tasks_waits_longest():
    pace = Pace()
    pace.note([1, 1, 1], 3.0, 0.02)
    assert pace.between_s == MEAN + 1 + 2 + 3
