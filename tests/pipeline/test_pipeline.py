"""Pipelines: five stages over a design space, and problems without stages."""

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval
from detopt.errors import ConfigError, DesignError, DomainError, MethodError
from detopt.optimizers import make as make_optimizer
from detopt.pipeline import (
    Analysis,
    Box,
    FunctionProblem,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Request,
    Scatter,
    Scene,
    Simulator,
    Source,
    Summary,
    evaluate,
)
from detopt.random import Seed


@dataclass(frozen=True)
class Errors(Summary):
    error: Float[Tensor, " n_events"]


class Positions(Source):
    def forward(self, n_events, rng, dtype):
        return torch.rand(n_events, generator=rng, dtype=dtype)


class Smearing(Simulator):
    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, events, design, rng):
        noise = torch.randn(events.shape, generator=rng, dtype=events.dtype)
        return events + (design["resolution"] + self.extra) * noise


class Shift(Reconstruction):
    def forward(self, readout, design):
        return readout - 0.5


class Compare(Analysis):
    def forward(self, estimate, events):
        return Errors(estimate + 0.5 - events)


class Resolution(Objective):
    def forward(self, summary, design):
        return Outcome(summary.error.square().mean())


SPACE = DesignSpace(
    [
        Continuous("resolution", 0.3, Interval(0.1, 1.0), unit="m"),
        Continuous("length", 1.0, Interval(0.5, 2.0), unit="m"),
    ]
)


def make(extra=0.0, hard=None, **settings):
    return Pipeline(
        SPACE,
        Positions(),
        Smearing(extra),
        Shift(),
        Compare(),
        Resolution(),
        hard=hard,
        price=lambda design: 2 * design["length"],
        **settings,
    )


def value_at(problem, design, n_events=40_000):
    return evaluate(
        problem, Request(problem.space.theta(design), (), n_events=n_events), Seed(1)
    ).value


def test_events_flow_through_all_stages():  # the mean square of the smearing
    assert value_at(make(), SPACE.start) == pytest.approx(0.09, rel=0.03)


def test_final_designs_are_judged_by_the_hard_pipeline():
    problem = make(hard=make(extra=0.2))
    assert value_at(problem.reference, SPACE.start) == pytest.approx(0.25, rel=0.03)


def test_pipeline_without_a_hard_one_judges_itself():
    problem = make()
    assert problem.reference is problem


class Recorded(Smearing):
    data_labels = ("events of a test",)


def test_the_data_of_both_simulations_are_named_once():
    assert make().data_labels == ()
    plain, hard = make(), make()
    for problem in (plain, hard):
        problem.simulator = Recorded(0.0)
    assert make(hard=hard).data_labels == ("events of a test",)
    plain.hard = hard
    assert plain.data_labels == ("events of a test",)


def test_other_space_reaches_the_hard_pipeline():
    space = SPACE.freeze("length")
    problem = make(hard=make()).with_space(space)
    assert problem.space is problem.reference.space is space


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_that_of_the_problem(dtype):
    problem = make().with_dtype(dtype)
    summary = problem.summarize(SPACE.start.to(dtype), 5, Seed(0).generator())
    assert summary.error.dtype is dtype


def test_other_precision_leaves_the_problem_alone():
    problem = make()
    problem.with_dtype(torch.float64)
    assert problem.dtype is torch.float32


def test_training_mode_does_not_switch_the_physics():
    problem = make()
    before = value_at(problem, SPACE.start, 100)
    problem.simulator.eval()
    assert value_at(problem, SPACE.start, 100) == before


def test_cost_is_what_the_price_says():
    assert make().cost(SPACE.start).item() == 2.0
    assert FunctionProblem(SPACE, lambda d, n, rng: torch.rand(n)).cost(SPACE.start) is None


def test_views_are_optional():
    assert make().scene(SPACE.start) is None
    assert list(make().diagnose(Errors(torch.zeros(3)))) == []


def test_views_are_what_the_problem_says():
    box = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "panel")
    plot = Scatter([1.0], [2.0], "x", "y", "title")
    problem = make(view=lambda design: Scene([box]), diagnostics=lambda summary: [plot])
    assert problem.scene(SPACE.start).boxes == [box]
    assert problem.diagnose(Errors(torch.zeros(3))) == [plot]


def design(resolution, length=1.0):
    return Design({"resolution": torch.tensor(resolution), "length": torch.tensor(length)})


def test_baseline_may_lie_on_a_bound():
    assert set(make(baselines={"human": design(0.1)}).baselines) == {"human"}


@pytest.mark.parametrize("build", [make, lambda **s: FunctionProblem(SPACE, torch.rand, **s)])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_events": 0}, DomainError, "`n_events` must be >= 1, got 0"),
        ({"chunk_size": 0}, DomainError, "`chunk_size` must be >= 1, got 0"),
        ({"baselines": {"human": design(0.05)}}, DesignError, "`resolution` .* must be >= 0.1"),
        ({"baselines": {"start": design(0.3)}}, DesignError, "cannot be called `start`"),
        ({"baselines": {"final": design(0.3)}}, DesignError, "cannot be called `final`"),
    ],
)
def test_unusable_problem_is_refused(build, settings, error, message):
    with pytest.raises(error, match=message):
        build(**settings)


class Limited(Objective):
    def forward(self, summary, design):
        limits = {"dose": design["length"] - 0.2, "rate": design["length"] - 9.0}
        return Outcome(summary.error.square().mean(), constraints=limits)


def limited(**settings):
    stages = Positions(), Smearing(0.0), Shift(), Compare(), Limited()
    return Pipeline(SPACE, *stages, **settings)


@pytest.mark.parametrize("declared", [(), ("dose",), ("dose", "rate", "weight")])
def test_constraints_that_differ_from_those_declared_are_refused(declared):
    with pytest.raises(ConfigError, match=r'Say `constraint_names=\("dose", "rate",\)`'):
        value_at(limited(constraint_names=declared), SPACE.start, 100)


def test_declared_constraints_reach_the_methods_also_over_another_space():
    problem = limited(constraint_names=("dose", "rate")).with_space(SPACE.freeze("length"))
    assert value_at(problem, SPACE.start, 100) > 0
    with pytest.raises(MethodError, match="cannot keep the constraints dose, rate"):
        make_optimizer("adam", problem.space, 5, {}, problem)
    assert make_optimizer("random", problem.space, 5, {}, problem).ask()


def test_search_and_verdict_have_the_same_constraints():
    with pytest.raises(ConfigError, match="hard pipeline must have the same `constraint_names`"):
        limited(constraint_names=("dose", "rate"), hard=make())
