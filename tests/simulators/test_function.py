"""Python functions as problems."""

import math

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Real
from detopt.errors import ConfigError, DomainError, MethodError, SimulationError
from detopt.optimizers import make
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.simulators import BlackBox

SPACE = DesignSpace([Continuous("x", 0.5, Real(), "m")])
MIXED = DesignSpace(
    [
        Continuous("widths", [0.2, 0.4], Interval(0.0, 1.0), "m"),
        Integer("layers", 3, 1, 9),
        Categorical("material", ("iron", "lead"), "lead"),
    ]
)
THETA = torch.tensor([0.5], dtype=torch.float64)


def noisy(design, n_events, seed):
    rng = torch.Generator().manual_seed(seed)
    return design["x"] ** 2 + torch.randn(n_events, generator=rng)


def fails_beyond_two(design):
    if design["x"] > 2.0:
        raise ZeroDivisionError("the magnet quenched")
    return (design["x"] - 1.0) ** 2


def at(problem, theta=THETA, stream=("a",), **settings):
    return evaluate(problem, Request(theta, stream, **settings), Seed(3))


def test_a_function_of_the_design_is_a_problem():
    answer = at(BlackBox(SPACE, lambda design: (design["x"] - 2) ** 2))
    assert answer.value == 2.25
    assert math.isnan(answer.std_error)


def test_the_design_is_handed_over_as_plain_numbers():
    seen = []
    problem = BlackBox(MIXED, lambda design: seen.append(design) or 1.0)
    at(problem, MIXED.theta(MIXED.start))
    (design,) = seen
    assert design == {"widths": pytest.approx([0.2, 0.4]), "layers": 3, "material": "lead"}
    assert [type(value) for value in design.values()] == [list, int, str]


@pytest.mark.parametrize("function", [
    lambda design, seed, n_events, units: (seed, n_events, units),
    lambda design, **call: (call["seed"], call["n_events"], call["units"]),
    lambda design, *, units, n_events, seed: (seed, n_events, units),
])  # fmt: skip
def test_a_function_gets_what_it_takes(function):
    seen = []

    def simulate(design, **call):
        seen.append(function(design, **call))
        return 0.0

    at(BlackBox(SPACE, simulate, n_events=5))
    ((seed, n_events, units),) = seen
    assert 0 <= seed < 2**31
    assert (n_events, units) == (5, {"x": "m"})


def test_equal_seeds_give_equal_answers():
    problem = BlackBox(SPACE, noisy, n_events=100)
    assert at(problem).value == at(problem).value
    assert at(problem).value != at(problem, stream=("b",)).value


def test_events_of_an_evaluation_give_its_standard_error():
    answer = at(BlackBox(SPACE, noisy, n_events=400))
    assert answer.std_error == pytest.approx(1 / 20, rel=0.3)
    assert answer.value == pytest.approx(0.25, abs=4 / 20)


def test_events_are_simulated_in_chunks_with_seeds_of_their_own():
    seeds = []

    def simulate(design, seed, n_events):
        seeds.append((seed, n_events))
        return 1.0

    at(BlackBox(SPACE, simulate, n_events=25, chunk_size=10))
    assert [n for _, n in seeds] == [10, 10, 5]
    assert len({seed for seed, _ in seeds}) == 3


def test_the_standard_error_that_is_said_is_that_of_the_evaluation():
    answer = at(BlackBox(SPACE, lambda design: {"objective": 3.0, "std_error": 0.5}))
    assert answer.value == pytest.approx(3.0)
    assert answer.std_error == pytest.approx(0.5, rel=0.3)


def test_all_numbers_reach_the_evaluation():
    def simulate(design):
        return {
            "objectives": {"error": 1.0, "price": {"value": 2.0, "std_error": 0.1}},
            "constraints": {"weight": 0.4},
            "metrics": {"rate": 7.0},
        }

    names = {"objectives": ("error", "price"), "constraints": ("weight",), "metrics": ("rate",)}
    problem = BlackBox(SPACE, simulate, **names, price=lambda design: 2 * design["x"])
    answer = at(problem)
    assert answer.value == pytest.approx(3.0)
    assert answer.objectives == pytest.approx({"error": 1.0, "price": 2.0})
    assert answer.constraints == pytest.approx({"weight": 0.4})
    assert answer.terms["metric:rate"] == pytest.approx(7.0)
    assert answer.terms["cost"] == 1.0
    with pytest.raises(MethodError, match="constraints weight of the outcome"):
        make("adam", SPACE, 3, {}, problem)


def test_an_exception_names_seed_design_and_place():
    with pytest.raises(
        SimulationError, match=r"magnet quenched.*fails_beyond_two.*\.py:\d+"
    ) as info:
        at(BlackBox(SPACE, fails_beyond_two), 3 * torch.ones(1, dtype=torch.float64))
    assert "design: x = 3.0" in str(info.value)
    assert "seed " in str(info.value)


def test_an_unusable_answer_names_seed_and_design():
    with pytest.raises(SimulationError, match=r"not finite: nan.*seed \d+, 1 events.*x = 0.5"):
        at(BlackBox(SPACE, lambda design: math.nan))


def test_a_long_design_is_shortened_in_the_message():
    space = DesignSpace([Continuous("x", [0.5] * 500, Real())])
    with pytest.raises(SimulationError) as info:
        at(BlackBox(space, lambda design: math.nan), space.theta(space.start))
    assert len(str(info.value)) < 600


def test_a_user_may_stop_a_call():
    def interrupted(design):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at(BlackBox(SPACE, interrupted))


@pytest.mark.parametrize("method", ["adam", "cma", "local_surrogate"])
def test_methods_survive_failed_designs(method):
    problem = BlackBox(SPACE, fails_beyond_two, on_failure="skip")
    options = {"estimator": "finite_differences"} if method == "adam" else {}
    optimizer = make(method, SPACE, 15, options, problem)
    optimizer.tell([at(problem, request.theta) for request in optimizer.ask()])
    bad = [at(problem, 9 * torch.ones(1, dtype=torch.float64)) for _ in optimizer.ask()]
    assert bad[0].failure.startswith("The simulation raised ZeroDivisionError")
    optimizer.tell(bad[:1] + [at(problem, r.theta) for r in optimizer.ask()[1:]])
    for _ in range(13):
        optimizer.tell([at(problem, request.theta) for request in optimizer.ask()])
    assert float(optimizer.recommend()) == pytest.approx(1.0, abs=0.25)


def test_a_pathwise_gradient_is_refused():
    with pytest.raises(MethodError, match=r"no pathwise gradient.*finite_differences"):
        at(BlackBox(SPACE, noisy), gradient=True)


def test_another_space_keeps_the_simulation():
    problem = BlackBox(MIXED, lambda design: float(design["layers"]), constraints=())
    frozen = problem.with_space(MIXED.freeze("widths"))
    assert frozen.space.n_free == MIXED.n_free - 2
    assert at(frozen, frozen.space.theta(frozen.space.start)).value == 3.0


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"n_events": 0}, DomainError, "`n_events` must be >= 1"),
    ({"objectives": ["one"]}, ConfigError, "single objective needs no name"),
    ({"constraints": ["a"], "metrics": ["a"]}, ConfigError, "must differ"),
    ({"metrics": ["objective"]}, ConfigError, "must differ"),
])  # fmt: skip
def test_a_problem_that_makes_no_sense_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        BlackBox(SPACE, noisy, **settings)
