"""What every method without a derivative of its own keeps: resumption, limits, failures, bounds."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch

from detopt.design import (
    Categorical,
    Continuous,
    DesignSpace,
    Integer,
    Interval,
    Limit,
    Ordered,
    Real,
)
from detopt.errors import MethodError, SimulationError
from detopt.optimizers import METHODS, make
from detopt.pipeline import Evaluation, FunctionProblem, Outcome, evaluate
from detopt.pipeline.problem import Values
from detopt.random import Seed

SMALL = {  # options that keep the tests short
    "newton": {},
    "bayesian": {"batch": 1, "n_initial": 4},
    "bayesian_pareto": {"batch": 1, "n_initial": 4},
    "trust_region_bayesian": {"batch": 2, "n_initial": 4},
    "nsga2": {"population": 6, "n_repeated": 2},
    "nsga3": {"population": 6, "n_repeated": 2},
    "grid": {"points": 3},
    "random": {"batch": 4},
    "policy_gradient": {"batch": 3},
    "enumeration": {},
    "gumbel_softmax": {"n_draws": 2},
    "end_to_end_surrogate": {"batch": 2, "training": {"n_steps": 20, "n_warm_steps": 5}},
}
SEVERAL = ("bayesian_pareto", "nsga2", "nsga3")
MIXED = [name for name in SMALL if METHODS[name].accepts_discrete]
LIMITED = [name for name in MIXED if METHODS[name].accepts_limits]
CONSTRAINED = [name for name in SMALL if METHODS[name].accepts_constraints]
N_ROUNDS = 12

PARAMETERS = [
    Continuous("x", 0.4, Interval(0.0, 1.0)),
    Continuous("z", [0.2, 0.6], Ordered(0.0, 1.0, gap=0.1)),
    Categorical("glue", ("a", "b", "c"), "a"),
]
SPACE = DesignSpace(PARAMETERS)
WHOLE = DesignSpace([*PARAMETERS, Integer("k", 1, 0, 3)])
LIMIT = Limit("length", lambda d: d["x"] + d["z"].sum() + 0.2 * d["glue"], 1.4)


class TwoObjectives(FunctionProblem):
    """The mean, and the distance of x from 0.9; a constraint on x if wanted."""

    def judge(self, summary, design):
        second = (design["x"] - 0.9).square()
        mean = summary.value.mean()
        constraints = {"x": 0.5 - design["x"]} if self.constraint_names else {}
        return Outcome(
            mean + second,
            objectives={"first": mean, "second": second},
            constraints=constraints,
        )


def loss(design, n_events, rng):
    noise = 0.1 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    z = (design["z"] - torch.tensor([0.3, 0.8])).square().sum()
    wrong = (design["glue"] - 1).square()
    return (design["x"] - 0.3).square() + z + 0.3 * wrong + noise


def problem_of(space, function=loss, constraints=()):
    problem = TwoObjectives(space, function, n_events=10, dtype=torch.float64)
    problem.objective_names = ("first", "second")
    problem.constraint_names = constraints
    return problem


def space_for(method):
    return SPACE if METHODS[method].accepts_discrete else SPACE.freeze("glue")


def walk(optimizer, problem, n_rounds):
    asked = []
    for _ in range(n_rounds):
        if optimizer.finished:
            break
        requests = optimizer.ask()
        asked += [request.theta for request in requests]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return asked


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("method", SMALL)
def test_stored_state_goes_on_to_the_same_bits(method):
    space = space_for(method)
    problem, options = problem_of(space), SMALL[method]
    whole = make(method, space, N_ROUNDS, options)
    walk(whole, problem, 3)

    first = make(method, space, N_ROUNDS, options)
    walk(first, problem, 2)
    state = first.state_dict()
    before = repr(state)
    stored = through_a_file(state)
    walk(first, problem, 1)
    assert repr(state) == before  # it does not change with the optimizer
    torch.manual_seed(5)  # the global generators have no say
    second = make(method, space, N_ROUNDS, options)
    second.load_state_dict(stored)
    walk(second, problem, 1)

    assert second.round == whole.round
    assert torch.equal(second.recommend(), whole.recommend())
    for ours, theirs in zip(second.ask(), whole.ask(), strict=True):
        assert torch.equal(ours.theta, theirs.theta)
        assert ours.stream == theirs.stream


@pytest.mark.parametrize("method", SMALL)
def test_global_generators_are_left_alone(method):
    space = space_for(method)
    before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    walk(make(method, space, N_ROUNDS, SMALL[method]), problem_of(space), 2)
    assert np.array_equal(np.random.get_state()[1], before[0][1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("method", LIMITED)
def test_only_allowed_designs_are_handed_out(method):
    space = DesignSpace(PARAMETERS, limits=[LIMIT])
    optimizer = make(method, space, N_ROUNDS, SMALL[method])
    problem = problem_of(space, lambda d, n, rng: (-d["x"] - d["z"].sum()).expand(n))
    asked = walk(optimizer, problem, 2)
    assert len(asked) >= 2
    assert all(space.allows(theta) for theta in [*asked, optimizer.recommend()])
    for theta in asked:
        space.check(space.design(theta))


@pytest.mark.parametrize("method", [m for m in MIXED if m not in ("enumeration", "gumbel_softmax")])
def test_whole_numbers_and_categories_are_searched(method):
    options = {**SMALL[method], "points": 2} if method == "grid" else SMALL[method]
    optimizer = make(method, WHOLE, 2, options)
    asked = walk(optimizer, problem_of(WHOLE), 2)
    designs = [WHOLE.design(theta) for theta in asked]
    assert len({float(design["glue"]) for design in designs}) > 1
    assert len({float(design["k"]) for design in designs}) > 1


@pytest.mark.parametrize("method", SMALL)
def test_failures_are_survived(method):
    space = space_for(method)

    def fragile(design, n_events, rng):
        if design["x"] > 0.6:
            raise SimulationError("The magnet quenched.")
        return loss(design, n_events, rng)

    problem = problem_of(space, fragile)
    problem.on_failure = "skip"
    optimizer = make(method, space, N_ROUNDS, SMALL[method], problem)
    walk(optimizer, problem, 3)
    assert float(space.design(optimizer.recommend())["x"]) <= 0.6


@pytest.mark.parametrize("method", CONSTRAINED)
def test_constraint_is_kept(method):
    space = space_for(method)
    problem = problem_of(space, constraints=("x",))
    optimizer = make(method, space, 2, SMALL[method], problem)
    walk(optimizer, problem, 2)
    assert float(space.design(optimizer.recommend())["x"]) >= 0.5


@pytest.mark.parametrize("method", [name for name in SMALL if name not in CONSTRAINED])
def test_method_that_would_ignore_a_constraint_is_refused(method):
    space = space_for(method)
    problem = problem_of(space, constraints=("x",))
    with pytest.raises(MethodError, match=f"`{method}` cannot keep the constraints x"):
        make(method, space, N_ROUNDS, SMALL[method], problem)


@pytest.mark.parametrize(
    "method", [m for m in SMALL if "records" in vars(make(m, space_for(m), 9))]
)
def test_objective_without_any_value_is_reported(method):
    space = space_for(method)
    nothing = problem_of(space, lambda d, n, rng: torch.full((n,), math.nan, dtype=torch.float64))
    with pytest.raises(MethodError, match="finite value for no design of the first round"):
        walk(make(method, space, N_ROUNDS, SMALL[method]), nothing, 1)


@pytest.mark.parametrize("method", SMALL)
def test_state_of_another_space_is_refused(method):
    space = space_for(method)
    state = make(method, space, N_ROUNDS, SMALL[method]).state_dict()
    with pytest.raises(MethodError, match="another design space"):
        make(method, space.freeze("z"), N_ROUNDS, SMALL[method]).load_state_dict(state)


@pytest.mark.parametrize("method", [m for m in SMALL if m not in ("newton", "enumeration", "grid")])
def test_seed_changes_the_search(method):
    asked = [make(method, SPACE, 9, {**SMALL[method], "seed": s}).ask()[-1].theta for s in (0, 1)]
    assert not torch.equal(*asked)


@pytest.mark.parametrize("method", SEVERAL)
def test_too_many_objectives_are_refused(method):
    problem = problem_of(SPACE)
    problem.objective_names = tuple(f"f{i}" for i in range(30))
    with pytest.raises(MethodError, match="and the problem has 30"):
        make(method, SPACE, 5, problem=problem)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("bayesian", {"batch": 0}, "`batch` must be a whole number >= 1, got 0"),
        ("bayesian", {"n_initial": 1}, "`n_initial` must be a whole number >= 2, got 1"),
        ("bayesian", {"reach": 0.0}, "`reach` must be > 0, got 0.0"),
        ("bayesian_pareto", {"reference": {"first": math.nan}}, "`reference` of `first` must be"),
        ("trust_region_bayesian", {"batch": 0}, "`batch` must be a whole number >= 1, got 0"),
        ("trust_region_bayesian", {"n_initial": 1}, "`n_initial` must be a whole number >= 2"),
        ("nsga2", {"population": 3}, "`population` must be a whole number >= 4, got 3"),
        ("nsga3", {"n_repeated": -1}, "`n_repeated` must be a whole number from 0 to"),
        ("grid", {"points": 0}, "`points` of `x` must be a whole number >= 1, got 0"),
        ("grid", {"points": {"x": 3}}, "`points` must name every free parameter"),
        ("grid", {"points": 200}, "The grid would have 24000000 designs"),
        ("random", {"batch": 0}, "`batch` must be a whole number >= 1, got 0"),
        ("random", {"reach": math.inf}, "`reach` must be > 0, got inf"),
        ("policy_gradient", {"batch": 1}, "`batch` must be a whole number >= 2, got 1"),
        ("policy_gradient", {"learning_rate": 0.0}, "`learning_rate` must be > 0, got 0.0"),
        ("gumbel_softmax", {"n_draws": 1}, "`n_draws` must be a whole number >= 2, got 1"),
        ("enumeration", {"learning_rate": 0.0}, "`learning_rate` must be > 0, got 0.0"),
        ("random", {"learning_rate": 0.1}, "does not take these options: learning_rate"),
    ],
)
def test_value_out_of_range_is_refused(method, options, message):
    with pytest.raises(MethodError, match=message):
        make(method, SPACE, 20, options)


def test_unbounded_parameters_are_searched_around_the_start():
    space = DesignSpace([Continuous("a", 3.0, Real())])
    optimizer = make("random", space, 1, {"batch": 200, "reach": 2.0})
    values = torch.stack([request.theta for request in optimizer.ask()])
    assert 1.0 <= float(values.min()) < 1.1
    assert 4.9 < float(values.max()) <= 5.0


def test_names_of_objectives_must_stay():
    optimizer = make("random", SPACE, 5, SMALL["random"])
    problem = problem_of(SPACE)
    walk(optimizer, problem, 1)
    evaluations = [evaluate(problem, request, Seed(0)) for request in optimizer.ask()]
    terms = {k: v for k, v in evaluations[0].terms.items() if "second" not in k}
    evaluations[0] = dataclasses.replace(evaluations[0], terms=terms)
    with pytest.raises(MethodError, match="were first, second, now first"):
        optimizer.tell(evaluations)


@pytest.mark.parametrize("method", ["local_surrogate", "lgso", "end_to_end_surrogate"])
def test_search_stays_where_the_simulation_can_be_done(method):
    """The objective falls towards designs that fail, beyond x = 1."""
    space = DesignSpace([Continuous("x", [0.0, 0.0], Real())])
    effort = {"n_steps": 60, "n_warm_steps": 20, "batch": 64}
    options = {} if method == "local_surrogate" else {"training": effort, "batch": 4}
    options |= {"n_drawn": 200} if method == "lgso" else {}
    optimizer = make(method, space, 20, options)
    rng = torch.Generator().manual_seed(3)
    for _ in range(20):
        answers = []
        for request in optimizer.ask():
            x, y = request.theta.tolist()
            noise = 0.1 * torch.randn(50, generator=rng, dtype=torch.float64)
            values = y**2 - x + noise
            answers.append(
                Evaluation.failed(request, "does not fit")
                if x > 1
                else Evaluation(
                    request, float(values.mean()), 0.014, None, None, rows=Values(values)
                )
            )
        optimizer.tell(answers)
    x, y = optimizer.recommend().tolist()
    assert 0.6 < x < 1.1
    assert abs(y) < 0.3
