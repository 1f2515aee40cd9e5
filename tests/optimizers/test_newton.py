"""Damped Newton: one step on a quadratic, few on a valley, none over a limit."""

import dataclasses
import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Limit, Real
from detopt.errors import MethodError, SimulationError
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed

SPACE = DesignSpace([Continuous("a", [0.5, -0.5, 0.3], Real())])
MATRIX = torch.tensor([[100.0, 1.0, 0.0], [1.0, 1.0, 0.1], [0.0, 0.1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0.1, 0.4, -0.2], dtype=torch.float64)


def quadratic(design, n_events, rng):
    step = design["a"] - TARGET
    noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
    return 0.5 * step @ MATRIX @ step + noise


def problem_of(function, space=SPACE):
    return FunctionProblem(space, function, n_events=20, dtype=torch.float64)


def walk(optimizer, problem, n_rounds):
    for _ in range(n_rounds):
        requests = [dataclasses.replace(r, std_error=False) for r in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return optimizer


@pytest.mark.parametrize("estimator", ["pathwise", "finite_differences"])
def test_quadratic_is_solved_in_a_few_rounds(estimator):
    optimizer = make("newton", SPACE, 8, {"estimator": estimator, "damping": 1e-6})
    walk(optimizer, problem_of(quadratic), 4)
    torch.testing.assert_close(optimizer.recommend(), TARGET, atol=1e-3, rtol=0)


def test_curvature_is_that_of_the_objective():
    optimizer = walk(make("newton", SPACE, 8), problem_of(quadratic), 1)
    torch.testing.assert_close(optimizer.state_dict()["curvature"], MATRIX)


def test_curved_valley_is_followed_to_its_end():
    space = DesignSpace([Continuous("a", [-1.0, 1.0], Real())])

    def valley(design, n_events, rng):
        a, b = design["a"]
        return ((1 - a) ** 2 + 100 * (b - a**2) ** 2).expand(n_events)

    optimizer = make("newton", space, 60, {"step": 1e-4})
    walk(optimizer, problem_of(valley, space), 60)
    assert optimizer.recommend().tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_saddle_repels():
    space = DesignSpace([Continuous("a", [0.05, 0.5], Real())])

    def saddle(design, n_events, rng):
        a, b = design["a"]
        return (a**4 - a**2 + b**2).expand(n_events)

    optimizer = walk(make("newton", space, 30), problem_of(saddle, space), 30)
    assert optimizer.recommend().tolist() == pytest.approx([math.sqrt(0.5), 0.0], abs=1e-3)


def test_objective_never_rises_on_the_same_events():
    values = []
    optimizer = make("newton", SPACE, 10)
    for _ in range(10):
        walk(optimizer, problem_of(quadratic), 1)
        step = optimizer.theta - TARGET
        values.append(float(step @ MATRIX @ step))
    assert values == sorted(values, reverse=True)


def test_minimum_on_a_limit_is_found():  # by hand: the nearest point of a + b + c = 0
    space = DesignSpace(
        [Continuous("a", [0.0, -0.1, -0.1], Real())],
        limits=[Limit("sum", lambda d: d["a"].sum(), 0.0)],
    )

    def bowl(design, n_events, rng):
        return (design["a"] - torch.tensor([1.0, 2.0, 3.0])).square().sum().expand(n_events)

    optimizer = walk(make("newton", space, 20), problem_of(bowl, space), 20)
    assert optimizer.recommend().tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-3)


def test_failed_proposal_is_drawn_closer():
    def fragile(design, n_events, rng):
        if design["a"].norm() > 0.8:
            raise SimulationError("The magnet quenched.")
        return quadratic(design, n_events, rng)

    problem = problem_of(fragile)
    problem.on_failure = "skip"
    optimizer = walk(make("newton", SPACE, 20, {"step": 0.01}), problem, 20)
    torch.testing.assert_close(optimizer.recommend(), TARGET, atol=0.01, rtol=0)


@pytest.mark.parametrize("option", ["step", "damping", "max_step"])
def test_value_out_of_range_is_refused(option):
    with pytest.raises(MethodError, match=f"`{option}` must be > 0, got 0.0"):
        make("newton", SPACE, 5, {option: 0.0})


@pytest.mark.parametrize("estimator", ["finite_differences", "gaussian_smoothing"])
def test_gradients_from_values_are_right_beside_a_limit(estimator):
    """Each at the design where it is asked for, however much room the limit leaves there."""
    space = DesignSpace(
        [Continuous("a", [0.98, 0.0], Real())], limits=[Limit("a", lambda d: d["a"][0], 1.0)]
    )
    slopes = torch.tensor([-2.0, 3.0], dtype=torch.float64)
    line = problem_of(lambda d, n, rng: (d["a"] @ slopes).expand(n), space)
    optimizer = make("newton", space, 8, {"estimator": estimator, "step": 0.1}, line)
    for _ in range(3):
        walk(optimizer, line, 1)
        torch.testing.assert_close(optimizer.last_estimate.gradient, slopes, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            optimizer.state_dict()["curvature"], torch.zeros_like(MATRIX[:2, :2]), rtol=0, atol=0.1
        )
