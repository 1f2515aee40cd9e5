"""Limits of a design: refused, admitted and projected designs, and methods that keep them."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit, Real
from detopt.errors import DesignError, MethodError
from detopt.gradients import FiniteDifferences
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed


def price(design):
    return design["area"].square().sum()


PRICE = Limit("price", price, 1.0, "EUR")


def disk(start=(0.1, 0.2)):
    return DesignSpace([Continuous("area", list(start), Real())], limits=[PRICE])


def point(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_design_above_the_limit_is_refused_by_name():
    with pytest.raises(DesignError, match=r"`price` \[EUR\] must be at most 1, got 1.25"):
        disk().check({"area": point(1.0, 0.5)})


def test_a_start_above_the_limit_is_refused():
    with pytest.raises(DesignError, match="price"):
        disk(start=(1.0, 1.0))


def test_an_infinite_limit_is_refused():
    with pytest.raises(DesignError, match="finite"):
        Limit("price", price, float("inf"))


def test_an_allowed_point_is_admitted_as_it_is():
    theta = point(0.3, -0.4)
    assert disk().admit(theta) is theta


def test_the_last_allowed_point_on_the_way_is_admitted():
    admitted = disk((0.01, 0.01)).admit(point(2.0, 0.0), point(0.0, 0.0))
    torch.testing.assert_close(admitted, point(1.0, 0.0), rtol=1e-8, atol=1e-8)


def test_an_anchor_above_the_limit_is_refused():
    with pytest.raises(DesignError, match="anchor"):
        disk().admit(point(2.0, 0.0), point(3.0, 0.0))


def test_a_projection_goes_along_the_gradient_of_the_limit():
    projected = disk().project(point(1.2, 1.6))
    torch.testing.assert_close(projected, point(0.6, 0.8), rtol=1e-6, atol=1e-6)
    assert disk().allows(projected)


def test_a_limit_of_a_category_alone_leads_back_to_the_start():
    space = DesignSpace(
        [Categorical("metal", ("iron", "lead"), "iron")],
        limits=[Limit("toxic", lambda design: design["metal"], 0.5)],
    )
    theta = space.project(point(0.0, 3.0))
    assert float(space.design(theta)["metal"]) == 0.0


def test_a_gradient_on_a_limit_keeps_what_runs_along_it():
    along = disk().along_limits(point(1.0, 0.0), point(-3.0, 2.0))
    torch.testing.assert_close(along, point(0.0, 2.0))


@pytest.mark.parametrize(
    ("theta", "gradient"),
    [((0.5, 0.0), (-3.0, 2.0)), ((1.0, 0.0), (3.0, 2.0))],
    ids=["inside", "pointing inwards"],
)
def test_a_gradient_that_breaks_no_limit_is_kept(theta, gradient):
    assert torch.equal(disk().along_limits(point(*theta), point(*gradient)), point(*gradient))


def test_frozen_spaces_keep_their_limits():
    space = DesignSpace(
        [Continuous("area", 0.5, Real()), Continuous("depth", 0.1, Interval(0.0, 1.0))],
        limits=[PRICE],
    )
    assert (
        space.freeze("depth").limits == space.freeze("depth").unfreeze("depth").limits == (PRICE,)
    )


def problem():
    """The optimum without the limit, (2, 1), is far outside of it."""

    def distance(design, n_events, rng):
        target = point(2.0, 1.0).to(design["area"])
        return (design["area"] - target).square().sum().expand(n_events)

    return FunctionProblem(disk(), distance, n_events=2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("adam", {}),
        ("adam", {"estimator": FiniteDifferences(step=0.2)}),
        ("sgd", {"learning_rate": 0.2}),
        ("cma", {"seed": 3}),
    ],
)
def test_methods_walk_along_the_limit_to_the_constrained_optimum(method, options):
    case = problem()
    optimizer = make(method, case.space, 60, options, case)
    for _ in range(60):
        requests = optimizer.ask()
        assert all(case.space.allows(request.theta) for request in requests)
        optimizer.tell([evaluate(case, request, Seed(0)) for request in requests])
    final = case.space.design(optimizer.recommend())
    case.space.check(final)
    expected = point(2.0, 1.0) / 5**0.5
    torch.testing.assert_close(final["area"], expected, rtol=0, atol=0.03)


def test_a_method_that_cannot_keep_limits_is_refused():
    with pytest.raises(MethodError, match="cannot keep the limits of price"):
        make("lbfgsb", disk(), 10)


def limited(bound):
    """The disk of radius 1, written with another bound."""
    limit = Limit("reach", lambda design: design["area"].square().sum() - 1 + bound, bound)
    return DesignSpace([Continuous("area", [0.1, 0.5], Real())], limits=[limit])


@pytest.mark.parametrize("bound", [1.0, 0.0, 1e-6])
def test_a_limit_acts_alike_whatever_its_bound_is(bound):
    space = limited(bound)
    projected = space.project(point(1.2, 1.6))
    assert space.allows(projected)
    along = space.along_limits(projected, point(-3.0, -4.0))
    torch.testing.assert_close(along, point(0.0, 0.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "n_rounds", "bound"), [("adam", 60, 1.0), ("adam", 60, 0.0), ("bayesian", 5, 0.0)]
)
def test_optimum_on_a_limit_is_found_whatever_its_bound_is(method, n_rounds, bound):
    limit = Limit("reach", lambda design: design["area"].square().sum() - 1 + bound, bound)
    start = Continuous("area", [0.1, 0.5], Interval(-3.0, 3.0))
    case = FunctionProblem(
        DesignSpace([start], limits=[limit]), problem().function, n_events=2, dtype=torch.float64
    )
    optimizer = make(method, case.space, n_rounds, {}, case)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(case, request, Seed(0)) for request in requests])
    found = case.space.design(optimizer.recommend())["area"]
    torch.testing.assert_close(found, point(2.0, 1.0) / 5**0.5, rtol=0, atol=0.02)


@pytest.mark.parametrize("bound", [1.0, 0.0])
def test_a_start_on_a_limit_is_allowed_in_spite_of_rounding(bound):
    for k in range(1, 40):
        x = k / 40
        space = DesignSpace(
            [Continuous("x", x, Interval(0.0, 1.0)), Continuous("y", 1 - x, Interval(0.0, 1.5))],
            limits=[Limit("sum", lambda design: design["x"] + design["y"] - 1 + bound, bound)],
        )
        theta = space.theta(space.start)
        assert space.allows(theta)
        assert space.allows(space.admit(theta + 1, theta))
        space.check(space.design(theta))


def test_a_limit_of_plain_numbers_is_kept():
    costs = (1.0, 2.0, 3.0, 4.0, 5.0)
    space = DesignSpace(
        [Continuous("x", 0.5, Interval(0.0, 1.0)), Integer("n", 1, 1, 5)],
        limits=[Limit("price", lambda design: costs[int(design["n"]) - 1], 3.0)],
    )

    def more(design, n_events, rng):
        return (design["x"] - design["n"]).expand(n_events)

    case = FunctionProblem(space, more, n_events=2, dtype=torch.float64)
    optimizer = make("bayesian", space, 3, {"n_initial": 4, "batch": 1}, case)
    for _ in range(3):
        optimizer.tell([evaluate(case, request, Seed(0)) for request in optimizer.ask()])
    assert float(space.design(optimizer.recommend())["n"]) == 3.0


def test_projections_keep_a_sum_in_whatever_order_it_is_added(rng):
    lengths = [Continuous(f"length_{i}", 0.1, Interval(0.0, 1.0)) for i in range(7)]
    longest = Limit("length", lambda design: sum(design[p.name] for p in lengths), 2.0)
    space = DesignSpace(lengths, limits=[longest])
    theta = space.project(torch.ones(7, dtype=torch.float64))
    for step in 1e-6 * torch.rand(40, 7, generator=rng, dtype=torch.float64):
        theta = space.project(theta + step, theta)
        found = list(space.design(theta).numbers().values())
        assert max(sum(found), sum(reversed(found)), math.fsum(found)) <= 2.0
