"""Halving the combinations of categories, on a problem whose best one is known."""

from dataclasses import replace

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed


def bowl(design, n_events, rng):
    """Lowest at x = 0.7 with the second color and the number 3."""
    noise = 0.05 * torch.randn(n_events, generator=rng, dtype=design["x"].dtype)
    penalty = (design["color"] - 1).square() + 0.2 * (design["number"] - 3).square()
    return (design["x"] - 0.7).square() + penalty + noise


def problem(**limits):
    space = DesignSpace(
        [
            Categorical("color", ("a", "b", "c"), "a"),
            Continuous("x", 0.3, Interval(0.0, 1.0)),
            Integer("number", 1, 1, 4),
        ],
        limits=[Limit("x", lambda design: design["x"], 0.6)] if limits else (),
    )
    return FunctionProblem(space, bowl, n_events=50, dtype=torch.float64)


def optimize(made, n_rounds, method="adam", state=None):
    optimizer = make("halving", made.space, n_rounds, {"method": method})
    if state is not None:
        optimizer.load_state_dict(state)
    thetas = []
    while optimizer.round < n_rounds:
        requests = [replace(r, std_error=method != "adam") for r in optimizer.ask()]
        thetas += [request.theta for request in requests]
        optimizer.tell([evaluate(made, request, Seed(1)) for request in requests])
    return optimizer, thetas


@pytest.mark.parametrize(("method", "n_rounds"), [("adam", 60), ("local_surrogate", 15)])
def test_the_best_combination_and_its_continuous_optimum_are_found(method, n_rounds):
    made = problem()
    optimizer, _ = optimize(made, n_rounds, method)
    design = made.space.design(optimizer.recommend())
    assert (design["color"].item(), design["number"].item()) == (1, 3)
    assert design["x"].item() == pytest.approx(0.7, abs=0.05)


def test_rungs_cost_about_the_same():
    optimizer = make("halving", problem().space, 60)
    costs = [n * rounds for n, rounds in optimizer._rungs]
    assert optimizer._rungs[0][0] == 12
    assert sum(rounds for _, rounds in optimizer._rungs) == 60
    assert max(costs) < 1.5 * min(costs)


def test_every_design_keeps_the_limits():
    made = problem(limits=True)
    optimizer, thetas = optimize(made, 30)
    assert all(made.space.allows(theta) for theta in thetas)
    assert made.space.design(optimizer.recommend())["x"].item() == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("stop", [1, 5, 20])
def test_a_stored_state_goes_on_to_the_same_bits(stop):
    made = problem()
    whole, _ = optimize(made, 30)
    first = make("halving", made.space, 30)
    for _ in range(stop):
        requests = [replace(request, std_error=False) for request in first.ask()]
        first.tell([evaluate(made, request, Seed(1)) for request in requests])
    again, _ = optimize(made, 30, state=first.state_dict())
    assert torch.equal(again.recommend(), whole.recommend())


@pytest.mark.parametrize(
    ("options", "match"),
    [({"keep": 1.0}, "keep"), ({"max_combinations": 11}, "12 combinations")],
)
def test_unusable_options_are_refused(options, match):
    with pytest.raises(MethodError, match=match):
        make("halving", problem().space, 30, options)


def test_a_space_without_continuous_parameters_is_refused():
    space = DesignSpace([Categorical("color", ("a", "b"), "a")])
    with pytest.raises(MethodError, match="scan"):
        make("halving", space, 30)


def test_a_combination_that_cannot_begin_is_refused():
    def weight(design):
        return design["x"] * (1 + design["color"])

    space = DesignSpace(
        [Categorical("color", ("a", "b"), "a"), Continuous("x", 0.5, Interval(0.0, 1.0))],
        limits=[Limit("weight", weight, 0.8)],
    )
    with pytest.raises(MethodError, match="weight"):
        make("halving", space, 30)
