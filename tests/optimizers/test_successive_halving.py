"""Searches beside each other, ever fewer."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.optimizers.successive_halving import LEAST_ROUNDS, Arm, rungs
from detopt.pipeline.evaluation import Evaluation, Request


def number(*values):
    return torch.tensor(values, dtype=torch.float64)


def arm():
    """A search of the second of two entries."""
    space = DesignSpace([Continuous("x", 0.5, Real())])
    return Arm(number(3.0, 0.5), torch.tensor([False, True]), make("adam", space, 10))


def answer(value, failure=""):
    request = Request(number(3.0, 0.7), ("round", 0), gradient=True)
    return Evaluation(request, value, 0.1, number(1.0, 2.0), number(0.1, 0.2), failure=failure)


def test_rungs_of_eight_starts():  # 8, 4, 2, 1 searches: 60 rounds / (1/8 + 1/4 + 1/2 + 1) = 32
    assert rungs(8, 60, 0.5, "starts") == [(8, 4), (4, 8), (2, 16), (1, 32)]
    assert rungs(1, 7, 0.5, "starts") == [(1, 7)]


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 0.95), st.integers(0, 300))
def test_rungs_use_all_rounds_and_shrink_to_one(n_arms, keep, more):
    least = LEAST_ROUNDS * len(rungs(n_arms, 10_000, keep, "starts"))
    found = rungs(n_arms, least + more, keep, "starts")
    sizes = [size for size, _ in found]
    assert sizes[0] == n_arms
    assert sizes[-1] == 1
    assert sizes == sorted(set(sizes), reverse=True)
    assert all(rounds >= LEAST_ROUNDS for _, rounds in found)
    assert sum(rounds for _, rounds in found) == least + more


@pytest.mark.parametrize(
    ("n_rounds", "keep", "message"),
    [
        (5, 0.5, "4 starts need at least 6 rounds, got 5"),
        (60, 1.0, "`keep` must lie between 0 and 1, got 1.0"),
        (60, 0.0, "`keep` must lie between 0 and 1, got 0.0"),
    ],
)
def test_impossible_races_are_refused(n_rounds, keep, message):
    with pytest.raises(MethodError, match=message):
        rungs(4, n_rounds, keep, "starts")


def test_an_arm_sees_its_own_entries_and_gives_the_whole_theta():
    inner = arm().inner(answer(1.0))
    assert inner.request.theta.tolist() == [0.7]
    assert inner.gradient.tolist() == [2.0]
    assert inner.gradient_std_error.tolist() == [0.2]
    assert arm().outer(number(0.9)).tolist() == [3.0, 0.9]
    assert arm().recommend().tolist() == [3.0, 0.5]


def test_the_score_is_the_mean_of_the_later_half_without_failures():
    one = arm()
    assert one.score == math.inf
    for value in (9.0, 7.0, 1.0, 2.0):
        one.record([answer(value)])
    assert one.score == 1.5
    one.record([replace(answer(math.nan), failure="broken")])
    assert one.values[-1] == math.inf
    assert one.score == 1.5  # of 1, 2 and the failed round
