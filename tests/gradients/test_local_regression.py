"""Gradients from a quadratic that is fitted around the design."""

import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Limit, Real
from detopt.errors import MethodError
from detopt.gradients import Verdict, check_gradients
from detopt.gradients.local_regression import LocalRegression
from detopt.pipeline import Evaluation, FunctionProblem, evaluate
from detopt.random import Seed

SLOPE = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)


def bowl(design, n_events, rng):
    x = design["x"]
    noise = torch.randn(n_events, generator=rng, dtype=x.dtype)
    return x @ SLOPE + x.square().sum() / 2 + noise


PROBLEM = FunctionProblem(
    DesignSpace([Continuous("x", [0.0] * 12, Real())]), bowl, n_events=100, dtype=torch.float64
)
AT = torch.full((12,), 0.1, dtype=torch.float64)


def estimate(estimator, seed=0):
    requests = estimator.requests(AT, ("round", seed), None)
    return estimator.combine([evaluate(PROBLEM, request, Seed(seed)) for request in requests])


def test_common_events_give_the_exact_gradient_of_a_quadratic():
    found = estimate(LocalRegression())
    torch.testing.assert_close(found.gradient, SLOPE + AT, rtol=1e-3, atol=1e-3)
    assert found.n_evaluations == 25


def test_events_of_their_own_give_an_error_that_covers_the_truth():
    pulls = []
    for seed in range(30):
        found = estimate(LocalRegression(radius=1.0, common_random_numbers=False), seed)
        pulls.append((found.gradient - SLOPE - AT) / found.gradient_std_error)
    spread = float(torch.cat(pulls).square().mean().sqrt())
    assert 0.7 < spread < 1.3


def test_few_directions_tell_the_gradient_along_them():
    found = estimate(LocalRegression(n_pairs=4))
    assert found.n_evaluations == 9
    cosine = torch.cosine_similarity(found.gradient, SLOPE + AT, dim=0)
    assert 0.2 < float(cosine) < 0.99


def test_the_gradient_check_agrees():
    checks = check_gradients(PROBLEM, LocalRegression())
    assert {check.verdict for check in checks} == {Verdict.AGREES}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"radius": 0.0}, "radius"),
        ({"radius": float("inf")}, "radius"),
        ({"n_pairs": 0}, "n_pairs"),
    ],
)
def test_unusable_settings_are_refused(options, match):
    with pytest.raises(MethodError, match=match):
        LocalRegression(**options)


def test_error_is_unknown_where_those_of_the_values_are():
    estimator = LocalRegression(common_random_numbers=False)
    requests = estimator.requests(AT, ("round", 0), None)
    answers = [Evaluation(one, float(SLOPE @ one.theta), math.nan, None, None) for one in requests]
    found = estimator.combine(answers)
    torch.testing.assert_close(found.gradient, SLOPE, rtol=1e-2, atol=1e-2)
    assert bool(found.gradient_std_error.isnan().all())


def test_gradient_on_a_limit_is_that_of_the_inside():
    """By hand: 2 (0 - 3), 2 (0 - 4), although half of the neighbourhood is not allowed."""
    at = torch.zeros(2, dtype=torch.float64)
    limit = Limit("sum", lambda design: design["x"].sum(), 0.0)
    space = DesignSpace([Continuous("x", [0.0, 0.0], Real())], limits=[limit])
    target = torch.tensor([3.0, 4.0], dtype=torch.float64)
    found = []
    for k in range(20):
        requests = LocalRegression().allowed_requests(space, at, ("round", k), None)
        assert all(space.allows(request.theta) for request in requests)
        answers = [
            Evaluation(r, float((r.theta - target).square().sum()), math.nan, None, None)
            for r in requests
        ]
        found.append(LocalRegression().combine(answers).gradient)
    torch.testing.assert_close(torch.stack(found), (-2 * target).expand(20, -1), rtol=0.1, atol=0.3)
