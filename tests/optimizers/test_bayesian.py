"""Bayesian optimization: known optima, active constraints, mixed spaces, noise and fronts."""

import dataclasses
import math

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.optimizers.gaussian_process import fit
from detopt.optimizers.pareto import hypervolume
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import UnitCube
from detopt.pipeline import Evaluation, FunctionProblem, Outcome, Request, evaluate
from detopt.random import Seed

PLANE = DesignSpace([Continuous(name, 0.2, Interval(0.0, 1.0)) for name in ("x", "y")])


class Constrained(FunctionProblem):
    """The mean, where x + y of each event, with noise, must be at least 1.2."""

    constraint_names = ("sum",)

    def judge(self, summary, design):
        noise = 0.01 * (summary.value.mean() - bowl(design))
        return Outcome(
            summary.value.mean(),
            constraints={"sum": 1.2 - design["x"] - design["y"] + noise},
        )


class TwoObjectives(FunctionProblem):
    """Squared distances from (0, 0) and (1, 1), whose front is the diagonal."""

    objective_names = ("near", "far")

    def judge(self, summary, design):
        place = torch.stack([design["x"], design["y"]])
        noise = summary.value.mean()
        near, far = place.square().sum() + noise, (1 - place).square().sum() - noise
        return Outcome(near + far, objectives={"near": near, "far": far})


def bowl(design):
    return (design["x"] - 0.4) ** 2 + (design["y"] - 0.4) ** 2


def noisy_bowl(design, n_events, rng):
    noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
    return bowl(design) + 0.1 * (noise - noise.mean() + 0.1 * noise.mean())


def problem_of(kind, function=noisy_bowl, space=PLANE):
    return kind(space, function, n_events=100, dtype=torch.float64)


def walk(optimizer, problem, n_rounds, *, std_error=True):
    asked = []
    for _ in range(n_rounds):
        requests = [dataclasses.replace(r, std_error=std_error) for r in optimizer.ask()]
        asked += [request.theta for request in requests]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return asked


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("bayesian", {"batch": 2, "n_initial": 6}),
        ("trust_region_bayesian", {"batch": 4, "n_initial": 6}),
    ],
)
@pytest.mark.parametrize("std_error", [True, False])  # given to the model, or learned by it
def test_minimum_of_a_bowl_is_found(method, options, std_error):
    optimizer = make(method, PLANE, 6, options)
    walk(optimizer, problem_of(FunctionProblem), 6, std_error=std_error)
    assert float(bowl(PLANE.design(optimizer.recommend()))) < 0.01


@pytest.mark.parametrize("method", ["bayesian", "trust_region_bayesian"])
def test_minimum_on_an_active_constraint_is_found(method):  # by symmetry at (0.6, 0.6)
    options = {"batch": 4, "n_initial": 8}
    optimizer = make(method, PLANE, 5, options)
    walk(optimizer, problem_of(Constrained), 5)
    best = PLANE.design(optimizer.recommend())
    assert float(best["x"] + best["y"]) > 1.19
    assert float(bowl(best)) < 0.08 + 0.02


@pytest.mark.parametrize(("method", "batch"), [("bayesian", 2), ("trust_region_bayesian", 4)])
def test_mixed_minimum_on_an_active_limit_is_found(
    method, batch
):  # by hand at x = 0.5, n = 4, glue b
    space = DesignSpace(
        [
            Continuous("x", 0.3, Interval(0.0, 1.0)),
            Integer("n", 1, 0, 5),
            Categorical("glue", ("a", "b", "c"), "a"),
        ],
        limits=[Limit("length", lambda d: d["x"] + d["n"], 4.5)],
    )

    def loss(design, n_events, rng):
        wrong = (design["glue"] != 1).double()
        found = (design["x"] - 0.8) ** 2 + 0.3 * (design["n"] - 4) ** 2 + 0.5 * wrong
        return found.expand(n_events)

    optimizer = make(method, space, 6, {"batch": batch, "n_initial": 8})
    asked = walk(optimizer, problem_of(FunctionProblem, loss, space), 6, std_error=False)
    assert all(space.allows(theta) for theta in asked)
    best = space.design(optimizer.recommend())
    assert (float(best["n"]), float(best["glue"])) == (4.0, 1.0)
    assert float(best["x"]) == pytest.approx(0.5, abs=0.06)


def test_many_dimensions_beat_a_random_scan_of_equal_cost():
    space = DesignSpace([Continuous("x", [0.8] * 20, Interval(0.0, 1.0))])

    def loss(design, n_events, rng):
        return (design["x"] - 0.5).square().sum().expand(n_events)

    found = {}
    for method, options in (
        ("trust_region_bayesian", {"batch": 10, "n_initial": 10}),
        ("random", {"batch": 10}),
    ):
        optimizer = make(method, space, 8, options)
        walk(optimizer, problem_of(FunctionProblem, loss, space), 8, std_error=False)
        found[method] = float((space.design(optimizer.recommend())["x"] - 0.5).square().sum())
    assert found["trust_region_bayesian"] < 0.6 * found["random"]


def test_collapsed_region_begins_again_elsewhere():
    space = DesignSpace([Integer("n", 1, 0, 3)])
    problem = problem_of(FunctionProblem, lambda d, n, rng: (d["n"] - 2).square().expand(n), space)
    optimizer = make("trust_region_bayesian", space, 60, {"batch": 2, "n_initial": 2})
    optimizer.length = 0.01  # as after many rounds in vain
    while optimizer.n_restarts == 0 and optimizer.round < 40:
        walk(optimizer, problem, 1, std_error=False)
    assert optimizer.n_restarts == 1
    walk(optimizer, problem, 2, std_error=False)
    best = (space.design(optimizer.recommend())["n"] - 2).square()
    assert float(best) == float(optimizer.records.values.min())  # of both regions


@pytest.mark.parametrize("acquisition", ["sample", "improvement"])
def test_front_of_two_objectives_covers_its_volume(acquisition):
    """The front is f2 = 2 (1 - sqrt(f1 / 2))^2; its volume to (2, 2) is 10 / 3."""
    problem = problem_of(
        TwoObjectives, lambda d, n, rng: 0.01 * torch.randn(n, generator=rng, dtype=torch.float64)
    )
    options = {"batch": 4, "n_initial": 6, "reference": {"near": 2.0, "far": 2.0}}
    optimizer = make("bayesian_pareto", PLANE, 4, options | {"acquisition": acquisition}, problem)
    walk(optimizer, problem, 4)
    thetas = optimizer.front()
    places = torch.stack([torch.stack(list(PLANE.design(theta).values())) for theta in thetas])
    values = torch.stack([places.square().sum(1), (1 - places).square().sum(1)], dim=1)
    volume = hypervolume(values, torch.full((2,), 2.0, dtype=torch.float64))
    assert 0.9 * 10 / 3 < float(volume) < 10 / 3
    best = PLANE.design(optimizer.recommend())  # of the sum, which is lowest in the middle
    assert float(best["x"]) == pytest.approx(0.5, abs=0.2)


def test_common_random_numbers_are_asked_for():
    optimizer = make("bayesian_pareto", PLANE, 4, {"n_initial": 3, "common": True})
    requests = optimizer.ask()
    assert len({request.stream for request in requests}) == 1
    assert not any(request.std_error for request in requests)


def test_unknown_acquisition_is_refused():
    with pytest.raises(MethodError, match="must be sample or improvement, got 'entropy'"):
        make("bayesian_pareto", PLANE, 4, {"acquisition": "entropy"})


def test_reference_of_an_unknown_objective_is_refused():
    problem = problem_of(TwoObjectives, lambda d, n, rng: torch.zeros(n, dtype=torch.float64))
    optimizer = make("bayesian_pareto", PLANE, 4, {"n_initial": 3, "reference": {"nere": 2.0}})
    with pytest.raises(MethodError, match="names nere; the objectives are near, far"):
        walk(optimizer, problem, 1)


def told(values, errors):
    records = Records(PLANE.n_free)
    thetas = UnitCube(PLANE).theta(torch.linspace(0.1, 0.9, len(values)).repeat(2, 1).T.double())
    records.add(
        [
            Evaluation(Request(theta, ("round", 0)), value, error, None, None)
            for theta, value, error in zip(thetas, values, errors, strict=True)
        ]
    )
    return records


def test_standard_errors_are_the_noise_of_the_model():
    """Values with large errors are drawn to the others, exact ones are interpolated."""
    values = [0.0, 1.0, 0.0, 1.0, 0.0]
    found = []
    for error in (1e-3, 10.0):
        records = told(values, [error] * 5)
        rows = torch.ones(5, dtype=torch.bool)
        model = fit(records, UnitCube(PLANE), Seed(0), single=True, rows=rows)
        found.append(model.mean(model.features)[:, 0])
    assert found[0].tolist() == pytest.approx(values, abs=0.02)
    assert float(found[1].max() - found[1].min()) < 0.2


def test_failed_design_counts_as_the_worst():
    records = told([0.0, 1.0, math.nan], [1e-3, 1e-3, math.nan])
    rows = torch.ones(3, dtype=torch.bool)
    model = fit(records, UnitCube(PLANE), Seed(0), single=True, rows=rows)
    assert float(model.mean(model.features)[2, 0]) == pytest.approx(1.0, abs=0.2)


def test_luck_is_not_recommended_after_a_restart():
    """A low value with a large error, far from the minimum, says less than the model."""
    optimizer = make("trust_region_bayesian", PLANE, 20, {"batch": 4, "n_initial": 6})
    for round_ in range(3):
        answers = [
            Evaluation(request, float(bowl(PLANE.design(request.theta))), 0.01, None, None)
            for request in optimizer.ask()
        ]
        if round_ == 0:
            worst = max(range(len(answers)), key=lambda i: answers[i].value)
            answers[worst] = dataclasses.replace(answers[worst], value=-1.0, std_error=10.0)
            lucky = answers[worst].request.theta
        optimizer.tell(answers)
        if round_ == 1:
            optimizer._restart()
    assert optimizer.n_restarts == 1
    assert not torch.equal(optimizer.recommend(), lucky)
    assert float(bowl(PLANE.design(optimizer.recommend()))) < 0.05
