"""Gradient estimators: a table of all of them against known derivatives."""

import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import MethodError
from detopt.gradients import FiniteDifferences, GaussianSmoothing, LocalRegression, Pathwise
from detopt.optimizers import ESTIMATORS
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed

A, B = 0.7, -0.4


def normal(n, rng):
    return torch.randn(n, generator=rng, dtype=torch.float64)


# function of (a, b, number of events, generator), its expected derivatives, whether it is noisy
OBJECTIVES = {
    "quadratic": (lambda a, b, n, rng: (a**2 + 3 * a * b).expand(n), (2 * A + 3 * B, 3 * A), False),
    "product": (lambda a, b, n, rng: (a.sin() * b.exp()).expand(n),
                (math.cos(A) * math.exp(B), math.sin(A) * math.exp(B)), False),
    "additive noise": (lambda a, b, n, rng: a * b + normal(n, rng), (B, A), False),
    "second moment": (lambda a, b, n, rng: (a + b * normal(n, rng)) ** 2, (2 * A, 2 * B), True),
    "lognormal": (lambda a, b, n, rng: (a + b * normal(n, rng)).exp(),
                  (math.exp(A + B**2 / 2), B * math.exp(A + B**2 / 2)), True),
    "soft cut": (lambda a, b, n, rng: torch.special.ndtr((a - normal(n, rng)) / abs(b)),
                 # Phi(a / sqrt(1 + b^2))
                 (math.exp(-(A**2) / (2 * (1 + B**2))) / math.sqrt(2 * math.pi * (1 + B**2)),
                  -A * B * math.exp(-(A**2) / (2 * (1 + B**2))) / math.sqrt(2 * math.pi)
                  / (1 + B**2) ** 1.5), True),
}  # fmt: skip
CHOICES = {
    "pathwise": Pathwise(),
    "finite_differences": FiniteDifferences(),
    "gaussian_smoothing": GaussianSmoothing(),
    "local_regression": LocalRegression(radius=0.05),
    "small finite differences": FiniteDifferences(step=1e-3),
}
THETA = torch.tensor([A, B], dtype=torch.float64)


def problem_of(function, n_events=1_000):
    space = DesignSpace([Continuous("a", 0.0, Real()), Continuous("b", 0.0, Real())])

    def values(design, n, rng):
        return function(design["a"], design["b"], n, rng)

    return FunctionProblem(space, values, n_events=n_events, dtype=torch.float64)


def estimated(estimator, problem, seed=0):
    requests = estimator.requests(THETA, ("round", 0), None)
    return estimator.combine([evaluate(problem, request, Seed(seed)) for request in requests])


def test_every_estimator_is_in_the_table():
    assert set(ESTIMATORS) <= set(CHOICES)


@pytest.mark.parametrize("estimator", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_estimate_is_the_known_derivative(estimator, name):
    function, expected, is_noisy = OBJECTIVES[name]
    problem = problem_of(function, n_events=40_000 if is_noisy else 10)
    found = estimated(estimator, problem).gradient.tolist()
    assert found == pytest.approx(expected, rel=0.03 if is_noisy else 3e-3)


@pytest.mark.parametrize("estimator", CHOICES.values(), ids=CHOICES)
def test_estimate_says_what_it_cost(estimator):
    problem = problem_of(OBJECTIVES["second moment"][0], n_events=50)
    found = estimated(estimator, problem)
    assert found.n_evaluations == len(estimator.requests(THETA, (), None))
    assert found.value_std_error > 0
    assert math.isfinite(found.value)


@pytest.mark.parametrize("estimator", CHOICES.values(), ids=CHOICES)
def test_all_requests_share_the_stream_and_the_events(estimator):
    requests = estimator.requests(THETA, ("round", 3), 77)
    assert {request.stream for request in requests} == {("round", 3)}
    assert {request.n_events for request in requests} == {77}
    assert torch.equal(requests[0].theta, THETA)


def test_error_of_differences_falls_as_the_square_of_the_step():
    problem = problem_of(OBJECTIVES["product"][0], n_events=1)
    exact = OBJECTIVES["product"][1][0]
    coarse, fine = (
        abs(estimated(FiniteDifferences(step=h), problem).gradient[0].item() - exact)
        for h in (0.2, 0.1)
    )
    assert coarse / fine == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("step", [0.0, -0.1, math.nan, math.inf])
def test_impossible_step_is_refused(step):
    with pytest.raises(MethodError, match="`step` must be > 0"):
        FiniteDifferences(step=step)
