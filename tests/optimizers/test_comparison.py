"""Designs compared on the same events."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import MethodError
from detopt.optimizers.comparison import Comparison, comparison_requests
from detopt.pipeline.evaluation import Evaluation

THETAS = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)


def compared(values):
    """Of the values of each design in each sample."""
    values = torch.tensor(values, dtype=torch.float64)
    return Comparison(THETAS[: values.shape[1]], values)


def answers(values):
    requests = comparison_requests(list(THETAS), ("try", 3), len(values) // 3, 20)
    return [
        Evaluation(request, value, math.nan, None, None)
        for request, value in zip(requests, values, strict=True)
    ]


def test_all_designs_share_the_events_of_each_sample():
    requests = comparison_requests(list(THETAS), ("try", 3), 2, 20)
    assert [request.stream for request in requests] == [("try", 3, 0)] * 3 + [("try", 3, 1)] * 3
    assert [float(request.theta) for request in requests] == [0.0, 1.0, 2.0] * 2
    assert {request.n_events for request in requests} == {20}


def test_answers_are_sorted_into_samples_and_designs():
    found = Comparison.of(answers([1.0, 2.0, 0.5, 3.0, 0.0, 1.5]), 2)
    assert found.values.tolist() == [[1.0, 2.0, 0.5], [3.0, 0.0, 1.5]]
    assert torch.equal(found.thetas, THETAS)
    assert found.means == [2.0, 1.0, 1.0]
    assert found.best == 1


def test_gain_is_students_t_of_the_differences():  # differences 1, 2, 3: mean 2, deviation 1
    found = compared([[5.0, 4.0], [9.0, 7.0], [1.0, -2.0]])
    assert found.gain(1) == pytest.approx(2 * 3**0.5)
    assert found.gain(0) == 0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0.1, 10))
def test_gain_does_not_depend_on_what_all_share(shared, unit):
    base = torch.tensor([[1.0, 0.7], [1.1, 1.0], [0.4, 0.2]], dtype=torch.float64)
    moved = unit * base + torch.tensor(shared, dtype=torch.float64)[:, None]
    gains = [Comparison(THETAS[:2], values).gain(1) for values in (base, moved)]
    assert gains[0] == pytest.approx(gains[1], rel=1e-6)


def test_a_difference_that_never_varies_is_certain():
    assert compared([[1.0, 0.5], [2.0, 1.5]]).gain(1) == math.inf
    assert compared([[1.0, 1.5], [2.0, 2.5]]).gain(1) == -math.inf


def test_a_design_that_failed_is_never_the_best():
    found = compared([[math.nan, 1.0, -5.0], [1.0, 2.0, math.nan]])
    assert found.means == [math.inf, 1.5, math.inf]
    assert found.best == 1
    assert found.gain(2) == -math.inf
    assert found.gain(1) == math.inf


@pytest.mark.parametrize("n_repeats", [2, 4])
def test_answers_of_broken_samples_are_refused(n_repeats):
    with pytest.raises(MethodError, match=f"{n_repeats} samples must be a multiple"):
        Comparison.of(answers([1.0] * 9), n_repeats)
