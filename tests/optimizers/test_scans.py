"""Scans: every combination, even spread, allowed designs and the best of them."""

import math

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed

SPACE = DesignSpace(
    [
        Continuous("x", 0.5, Interval(0.0, 1.0)),
        Integer("n", 2, 1, 3),
        Categorical("glue", ("a", "b"), "a"),
    ]
)
PLANE = DesignSpace([Continuous(name, 0.5, Interval(0.0, 1.0)) for name in ("x", "y")])


def loss(design, n_events, rng):
    found = (design["x"] - 0.5) ** 2 + (design["n"] - 3) ** 2 + (design["glue"] - 1) ** 2
    return found.expand(n_events)


def run(optimizer, problem):
    asked = []
    while not optimizer.finished:
        requests = optimizer.ask()
        asked += requests
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return asked


def test_grid_has_every_combination_once():
    optimizer = make("grid", SPACE, 4, {"points": 3})
    asked = run(optimizer, FunctionProblem(SPACE, loss, n_events=2, dtype=torch.float64))
    designs = [SPACE.design(request.theta) for request in asked]
    found = sorted((round(float(d["x"]), 6), float(d["n"]), float(d["glue"])) for d in designs)
    values = [round((i + 0.5) / 3, 6) for i in range(3)]
    assert found == [(x, n, g) for x in values for n in (1.0, 2.0, 3.0) for g in (0.0, 1.0)]
    assert optimizer.round == 4
    best = SPACE.design(optimizer.recommend())
    assert (best["x"].item(), best["n"].item(), best["glue"].item()) == pytest.approx((0.5, 3, 1))


def test_grid_takes_a_number_for_each_parameter():
    optimizer = make("grid", SPACE, 1, {"points": {"x": 4, "n": 2, "glue": 1}})
    assert len(optimizer.ask()) == 4 * 2 * 2  # a category is never thinned


def test_grid_leaves_out_what_breaks_a_limit():  # 15 of the 5 x 5 cells have i + j <= 4
    space = DesignSpace(PLANE.parameters, limits=[Limit("sum", lambda d: d["x"] + d["y"], 1.01)])
    assert len(make("grid", space, 1).ask()) == 15


@pytest.mark.parametrize("sampling", ["sobol", "latin_hypercube", "uniform"])
def test_random_scan_begins_at_the_start_and_stays_inside(sampling):
    optimizer = make("random", SPACE, 4, {"batch": 8, "sampling": sampling})
    assert torch.equal(optimizer.ask()[0].theta, SPACE.theta(SPACE.start))
    asked = run(optimizer, FunctionProblem(SPACE, loss, n_events=2, dtype=torch.float64))
    assert len(asked) == 32
    for request in asked:
        SPACE.check(SPACE.design(request.theta))


def test_latin_hypercube_has_one_design_in_every_slice():
    optimizer = make("random", PLANE, 1, {"batch": 17, "sampling": "latin_hypercube"})
    values = torch.stack([torch.sigmoid(r.theta) for r in optimizer.ask()[1:]])
    for column in values.T:
        assert sorted((column * 16).floor().int().tolist()) == list(range(16))


def test_sobol_designs_lie_closer_to_even_than_uniform_ones():
    def worst_gap(sampling):  # largest distance of the distribution of x from the diagonal
        optimizer = make("random", PLANE, 1, {"batch": 129, "sampling": sampling})
        values = torch.stack([torch.sigmoid(r.theta[0]) for r in optimizer.ask()[1:]])
        even = (torch.arange(128) + 0.5) / 128
        return float((values.sort().values - even).abs().max())

    assert worst_gap("sobol") < 0.012 < worst_gap("uniform")


def test_best_is_the_lowest_that_was_seen():
    optimizer = make("random", PLANE, 3, {"batch": 10})
    problem = FunctionProblem(
        PLANE, lambda d, n, rng: (d["x"] + d["y"]).expand(n), n_events=2, dtype=torch.float64
    )
    asked = run(optimizer, problem)
    sums = [float(PLANE.design(r.theta)["x"] + PLANE.design(r.theta)["y"]) for r in asked]
    best = PLANE.design(optimizer.recommend())
    assert float(best["x"] + best["y"]) == min(sums)


def test_unknown_sampling_is_refused():
    with pytest.raises(MethodError, match="sampling"):
        make("random", PLANE, 3, {"sampling": "halton"})


def test_nothing_known_recommends_the_start():
    assert torch.equal(make("grid", PLANE, 3).recommend(), PLANE.theta(PLANE.start))
    assert math.isclose(float(PLANE.start["x"]), 0.5)
