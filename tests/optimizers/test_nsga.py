"""NSGA-II and NSGA-III: fronts with noise, constraints, limits and categories."""

import dataclasses

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Interval, Limit
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.optimizers.pareto import hypervolume
from detopt.pipeline import FunctionProblem, Outcome, evaluate
from detopt.random import Seed

PLANE = DesignSpace([Continuous(name, 0.2, Interval(0.0, 1.0)) for name in ("x", "y")])
REFERENCE = torch.full((2,), 2.0, dtype=torch.float64)


class TwoObjectives(FunctionProblem):
    """Squared distances from (0, 0) and (1, 1), whose front is the diagonal."""

    objective_names = ("near", "far")

    def judge(self, summary, design):
        place = torch.stack([design["x"], design["y"]])
        noise = summary.value.mean()
        near, far = place.square().sum() + noise, (1 - place).square().sum() + noise
        constraints = {"x": 0.6 - design["x"]} if self.constraint_names else {}
        return Outcome(near + far, objectives={"near": near, "far": far}, constraints=constraints)


def problem_of(space=PLANE, noise=0.0, constraints=()):
    def function(design, n_events, rng):
        return noise * torch.randn(n_events, generator=rng, dtype=torch.float64)

    problem = TwoObjectives(space, function, n_events=10, dtype=torch.float64)
    problem.constraint_names = constraints
    return problem


def walk(optimizer, problem, n_rounds, *, std_error=False):
    asked = []
    for _ in range(n_rounds):
        requests = [dataclasses.replace(r, std_error=std_error) for r in optimizer.ask()]
        asked.append(torch.stack([request.theta for request in requests]))
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return asked


def exact(thetas, space=PLANE):
    places = torch.stack([space.design(thetas)[name] for name in ("x", "y")], dim=1)
    return torch.stack([places.square().sum(1), (1 - places).square().sum(1)], dim=1)


@pytest.mark.parametrize("method", ["nsga2", "nsga3"])
def test_front_covers_its_volume(method):
    """The front is f2 = 2 (1 - sqrt(f1 / 2))^2; its volume to (2, 2) is 10 / 3."""
    problem = problem_of()
    optimizer = make(method, PLANE, 30, {"population": 20, "n_repeated": 0}, problem)
    walk(optimizer, problem, 30)
    volume = float(hypervolume(exact(optimizer.front()), REFERENCE))
    assert 0.93 * 10 / 3 < volume < 10 / 3
    best = PLANE.design(optimizer.recommend())
    assert float(best["x"]) == pytest.approx(0.5, abs=0.15)


def test_front_keeps_a_constraint():
    problem = problem_of(constraints=("x",))
    optimizer = make("nsga2", PLANE, 15, {"population": 12}, problem)
    walk(optimizer, problem, 15)
    assert float(PLANE.design(optimizer.front())["x"].min()) >= 0.6
    assert float(PLANE.design(optimizer.front())["x"].min()) < 0.65


def test_designs_that_break_a_limit_are_moved_onto_it():
    space = DesignSpace(PLANE.parameters, limits=[Limit("sum", lambda d: d["x"] + d["y"], 1.0)])
    problem = problem_of(space)
    optimizer = make("nsga2", space, 15, {"population": 12}, problem)
    asked = torch.cat(walk(optimizer, problem, 15))
    assert all(space.allows(theta) for theta in asked)
    ends = exact(optimizer.front(), space)[:, 1].min()  # the corner at (0.5, 0.5)
    assert float(ends) == pytest.approx(0.5, abs=0.03)


def test_one_objective_and_a_category_are_enough():
    space = DesignSpace(
        [Continuous("x", 0.2, Interval(0.0, 1.0)), Categorical("glue", ("a", "b", "c"), "a")]
    )

    def loss(design, n_events, rng):
        return ((design["x"] - 0.7) ** 2 + (design["glue"] != 2)).expand(n_events)

    problem = FunctionProblem(space, loss, n_events=5, dtype=torch.float64)
    optimizer = make("nsga2", space, 15, {"population": 12}, problem)
    walk(optimizer, problem, 15)
    best = space.design(optimizer.recommend())
    assert float(best["glue"]) == 2.0
    assert float(best["x"]) == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("std_error", [True, False])
def test_repeated_designs_are_those_of_the_front_and_rank_by_their_mean(std_error):
    problem = problem_of(noise=1.0)
    optimizer = make("nsga2", PLANE, 12, {"population": 8, "n_repeated": 4})
    asked = walk(optimizer, problem, 6, std_error=std_error)
    assert len(asked[0]) == 8
    assert all(8 < len(thetas) <= 12 for thetas in asked[1:])
    everything = torch.cat(asked[:-1])
    for theta in asked[-1][8:]:
        assert float((everything - theta).norm(dim=1).min()) < 1e-9


def test_repetition_lowers_the_luck_of_the_front():
    """How much better the front seems than it is, with and without a second look."""

    def luck(n_repeated):
        problem = problem_of(noise=1.0)
        optimizer = make("nsga2", PLANE, 25, {"population": 8, "n_repeated": n_repeated})
        walk(optimizer, problem, 25)
        front = [one for one in optimizer._search.pop if one.data["sums"] is not None]
        seen = torch.tensor([float(one.F.sum()) for one in front])
        return float((exact(optimizer._decoded(front)).sum(1) - seen).mean())

    assert luck(6) < 0.6 * luck(0)


def test_reference_directions_need_two_objectives():
    problem = FunctionProblem(
        PLANE, lambda d, n, rng: d["x"].expand(n), n_events=5, dtype=torch.float64
    )
    with pytest.raises(MethodError, match="needs at least two objectives"):
        walk(make("nsga3", PLANE, 5), problem, 1)


def test_repeated_values_of_a_skewed_objective_have_their_mean():
    """Evaluations that are low by luck have low errors too, which must not count more."""
    space = DesignSpace([Continuous("x", 1.0, Interval(0.0, 3.0))])

    def skewed(design, n_events, rng):
        noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
        return (1 + (design["x"] - 2).square()) * torch.exp(noise)

    problem = FunctionProblem(space, skewed, n_events=50, dtype=torch.float64)
    optimizer = make("nsga2", space, 5, {"population": 24, "n_repeated": 4}, problem)
    for _ in range(2):
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in optimizer.ask()])
    records = optimizer.records
    assert len(records) == 24 + 24 + 1  # the single design of the front once more
    first = (records.thetas[:24] - records.thetas[48]).norm(dim=1).argmin()
    expected = float((records.values[first] + records.values[48]) / 2)
    known = [float(one.F[0]) for one in optimizer._search.pop]
    assert min(abs(value - expected) for value in known) < 1e-9
