"""Nuisance parameters in a pipeline: fixed, marginalized, profiled, and their slopes."""

import math
import pickle
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval
from detopt.errors import ConfigError, DesignError, DomainError, MethodError, NotFoundError
from detopt.gradients import Verdict, check_gradients
from detopt.inference.fisher import binned_information, uncertainty
from detopt.pipeline import (
    Analysis,
    Nuisance,
    Nuisances,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Request,
    Simulator,
    Source,
    Summary,
    SummaryWithSlopes,
    evaluate,
)
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.runtime.executors import ProblemRecipe, ProcessExecutor

EDGES = torch.linspace(-2, 2, 5, dtype=torch.float64)
SIGNAL = 20.0
SPACE = DesignSpace(
    [
        Continuous("noise", 0.5, Interval(0.1, 2.0)),
        Continuous("calibration", 1.0, Interval(0.1, 5.0)),
    ]
)
START = SPACE.start


def scale_width(design):
    return 0.2 / design["calibration"].sqrt()


SCALE = Nuisance("scale", 1.0, scale_width)
SHIFT = Nuisance("shift", (0.0, 0.0), None, "m", step=0.01)
NUISANCES = Nuisances([SCALE, SHIFT])


@dataclass(frozen=True)
class Bins(Summary):
    index: Int[Tensor, " n"]
    share: Float[Tensor, "n bins"]


class Normal(Source):
    def forward(self, n_events, rng, dtype):
        return torch.randn(n_events, generator=rng, dtype=dtype)


class Smear(Simulator):
    """Two layers, each displaced by an unknown shift; one unknown scale."""

    def forward(self, events, design, rng):
        noise = torch.randn(len(events), 2, generator=rng, dtype=events.dtype)
        hits = events[:, None] + design["noise"] * noise
        return design["scale"] * (hits + design["shift"]).mean(dim=1)


class Identity(Reconstruction):
    def forward(self, readout, design):
        return readout


class SoftBins(Analysis):
    def forward(self, estimate, events):
        inner = torch.special.ndtr((EDGES.to(estimate) - estimate[:, None]) / 0.3)
        return Bins(torch.arange(len(events)), inner.diff(dim=1))


class Profiled(Objective):
    def forward(self, summary, design):
        share = summary.values.share.mean(dim=0)
        slope = summary.slopes["share"].mean(dim=0)
        counts = SIGNAL * share + 10
        jacobian = torch.cat([share[:, None], SIGNAL * slope], dim=1)
        free = torch.full_like(share[:1], torch.inf)
        shifts = torch.full((2,), 0.3, dtype=share.dtype)
        widths = torch.cat([free, scale_width(design).reshape(1), shifts])
        information = binned_information(counts, jacobian, prior_widths=widths)
        return Outcome(uncertainty(information))


class Mean(Objective):
    def forward(self, summary, design):
        return Outcome(summary.share[:, 0].mean())


def make(nuisances=NUISANCES, treatment="profiled", objective=None, **settings):
    objective = objective or (Profiled() if treatment == "profiled" else Mean())
    settings = {"chunk_size": 500, "dtype": torch.float64, **settings}
    return Pipeline(
        SPACE,
        Normal(),
        Smear(),
        Identity(),
        SoftBins(),
        objective,
        nuisances=nuisances,
        treatment=treatment,
        **settings,
    )


def summary_of(problem, n_events=300):
    return summarize_design(problem, START, Seed(3), n_events)[0]


def request_at(theta, gradient=False, n_events=2_000):
    return Request(theta, ("test",), gradient=gradient, n_events=n_events)


def theta_of(problem):
    return problem.space.theta(problem.space.start)


# What a nuisance parameter is


def test_width_is_a_function_of_the_design():
    design = Design({"noise": torch.tensor(0.5), "calibration": torch.tensor(4.0)})
    assert NUISANCES.widths(design).tolist() == pytest.approx([0.1, math.inf, math.inf])


def test_nominal_values_join_the_design():
    whole = NUISANCES.augment(START)
    assert set(whole) == {"noise", "calibration", "scale", "shift"}
    assert whole["scale"].item() == 1.0
    assert whole["shift"].tolist() == [0.0, 0.0]
    assert set(START) == {"noise", "calibration"}


def test_entries_of_arrays_have_labels():
    assert NUISANCES.labels(START) == ["scale", "shift[0]", "shift[1]"]
    assert NUISANCES["shift"].unit == "m"


def test_precision_is_that_of_the_design():
    assert NUISANCES.nominal(START.to(torch.float32)).dtype is torch.float32


def test_draws_have_the_prior_of_the_design():  # 5 standard errors
    draws = Nuisances([SCALE]).draw(START, 40_000, Seed(0).generator())["scale"]
    assert draws.mean().item() == pytest.approx(1.0, abs=5 * 0.2 / 200)
    assert draws.std().item() == pytest.approx(0.2, abs=5 * 0.2 / math.sqrt(80_000))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Nuisance("a b"), DesignError, "Python identifier, got 'a b'"),
        (lambda: Nuisance("a", math.nan), DomainError, "nominal of `a` must be finite"),
        (lambda: Nuisance("a", 0.0, 0.0), DomainError, "width of `a` must be finite and > 0"),
        (lambda: Nuisance("a", 0.0, (1.0, -1.0)), DomainError, "width of `a` .* got -1"),
        (lambda: Nuisance("a", step=0.0), DomainError, "step of `a` must be > 0"),
        (lambda: Nuisances([]), DesignError, "There is no nuisance"),
        (lambda: Nuisances([SCALE, SCALE]), DesignError, "must differ, got scale, scale"),
        (lambda: NUISANCES["sclae"], NotFoundError, "No nuisance parameter `sclae`"),
        (
            lambda: Nuisance("a", 0.0, lambda d: -d["noise"]).width_at(START),
            DomainError,
            "width of `a` .* got -0.5",
        ),
        (lambda: Nuisance("a").step_at(START), DomainError, "`a` is free, .* need a step"),
    ],
)
def test_unusable_nuisance_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


# In a pipeline


class Plain(Simulator):
    """`Smear` at the nominal values."""

    def forward(self, events, design, rng):
        noise = torch.randn(len(events), 2, generator=rng, dtype=events.dtype)
        return (events[:, None] + design["noise"] * noise).mean(dim=1)


def test_fixed_nuisance_is_its_nominal_value():
    fixed = make(treatment="fixed")
    plain = Pipeline(SPACE, Normal(), Plain(), Identity(), SoftBins(), Mean(), dtype=torch.float64)
    assert torch.equal(summary_of(fixed).share, summary_of(plain).share)


def test_marginal_mean_is_that_of_a_wider_smearing():
    """A normal shift of both layers adds its variance to that of the hits."""
    shift = Nuisance("shift", 0.0, 0.4)
    one = Nuisance("scale", 1.0, 1e-9)

    class Shifted(Simulator):
        def forward(self, events, design, rng):
            return events + design["shift"]

    problem = Pipeline(
        SPACE,
        Normal(),
        Shifted(),
        Identity(),
        SoftBins(),
        Mean(),
        dtype=torch.float64,
        nuisances=Nuisances([shift, one]),
        treatment="marginalized",
    )
    n_events = 100_000
    share = summary_of(problem, n_events).share.mean(dim=0)
    width = math.sqrt(1 + 0.4**2 + 0.3**2)
    expected = torch.special.ndtr(EDGES / width).diff()
    torch.testing.assert_close(share, expected, atol=5 * 0.5 / math.sqrt(n_events), rtol=0.0)


def test_slopes_are_derivatives_of_the_summary():
    forward, differences = (summary_of(make(slopes=s)) for s in ("forward", "differences"))
    assert isinstance(forward, SummaryWithSlopes)
    assert set(forward.slopes) == {"share"}
    assert forward.slopes["share"].shape == (300, 4, 3)
    assert torch.equal(forward.values.index, torch.arange(300))
    torch.testing.assert_close(forward.values.share, differences.values.share)
    nominal = make(treatment="fixed")
    torch.testing.assert_close(forward.values.share, summary_of(nominal).share)
    fine = Nuisances([Nuisance("scale", 1.0, scale_width, step=1e-4), SHIFT])
    exact = summary_of(make(fine, slopes="differences")).slopes["share"]
    torch.testing.assert_close(forward.slopes["share"][..., 0], exact[..., 0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        forward.slopes["share"][..., 1:], exact[..., 1:], atol=1e-3, rtol=1e-2
    )


def test_rows_and_chunks_keep_slopes_with_their_values():
    whole = summary_of(make(chunk_size=200), 450)
    assert whole.n_rows == 450
    part = whole.rows(torch.tensor([3, 401]))
    assert torch.equal(part.values.share, whole.values.share[[3, 401]])
    assert torch.equal(part.slopes["share"], whole.slopes["share"][[3, 401]])


@pytest.mark.parametrize("slopes", ["forward", "differences"])
def test_gradient_of_a_profiled_uncertainty_agrees_with_differences(slopes):
    checks = check_gradients(make(slopes=slopes), n_events=500, n_repeats=8)
    assert [check.verdict for check in checks] == [Verdict.AGREES] * 2


@pytest.mark.parametrize("slopes", ["forward", "differences"])
def test_gradient_reaches_second_derivatives(slopes):
    """Central differences in float64 with the same random numbers, far below any noise."""
    problem = make(slopes=slopes)
    theta = theta_of(problem)
    gradient = evaluate(problem, request_at(theta, gradient=True), Seed(0)).gradient
    step = 1e-5
    for i, direction in enumerate(torch.eye(2, dtype=torch.float64)):
        up, down = (
            evaluate(problem, request_at(theta + sign * step * direction), Seed(0)).value
            for sign in (1, -1)
        )
        assert gradient[i].item() == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_gradient_of_a_marginal_mean_agrees_with_differences():
    nuisances = Nuisances([SCALE, Nuisance("shift", 0.3, scale_width)])

    class Shift(Simulator):
        def forward(self, events, design, rng):
            return design["scale"] * events + design["noise"] * design["shift"]

    problem = Pipeline(
        SPACE,
        Normal(),
        Shift(),
        Identity(),
        SoftBins(),
        Mean(),
        nuisances=nuisances,
        treatment="marginalized",
    )
    checks = check_gradients(problem, n_events=2_000, n_repeats=8)
    assert [check.verdict for check in checks] == [Verdict.AGREES] * 2


def test_two_passes_give_the_gradient_of_kept_graphs():
    few, many = (make(chunk_size=size) for size in (1_000, 200))
    assert len(theta_of(few)) == 2
    theta = theta_of(few)
    answers = [evaluate(p, request_at(theta, gradient=True), Seed(0)) for p in (few, many)]
    assert many.chunk_size * 4 < 2_000  # more chunks than are kept
    step = 1e-5
    direction = torch.tensor([1.0, 0.0], dtype=torch.float64)
    up, down = (
        evaluate(many, request_at(theta + sign * step * direction), Seed(0)).value
        for sign in (1, -1)
    )
    assert answers[1].gradient[0].item() == pytest.approx((up - down) / (2 * step), rel=1e-6)
    assert answers[0].std_error == pytest.approx(answers[1].std_error, rel=0.6)


def test_pipeline_with_nuisances_survives_pickling():
    problem = make()
    copy = pickle.loads(pickle.dumps(problem))
    theta = theta_of(problem)
    first, second = (
        evaluate(p, request_at(theta, gradient=True), Seed(0)) for p in (problem, copy)
    )
    assert first.value == second.value
    assert torch.equal(first.gradient, second.gradient)


def test_absent_nuisances_change_no_bit():
    """The whole path with and without an idle nuisance parameter."""
    idle = Nuisances([Nuisance("idle", 0.0, 1.0)])

    def plain(**settings):
        return Pipeline(
            SPACE, Normal(), Plain(), Identity(), SoftBins(), Mean(), chunk_size=300, **settings
        )

    theta = theta_of(plain())
    first, second = (
        evaluate(p, request_at(theta, gradient=True), Seed(0))
        for p in (plain(), plain(nuisances=idle))
    )
    assert first.value == second.value
    assert first.std_error == second.std_error
    assert torch.equal(first.gradient, second.gradient)


def test_other_space_and_precision_keep_the_nuisances():
    problem = make().with_space(SPACE.freeze("noise")).with_dtype(torch.float32)
    assert problem.nuisances is NUISANCES
    assert summary_of(problem).slopes["share"].dtype is torch.float32


@dataclass(frozen=True)
class Two(Summary):
    moved: Float[Tensor, "n two"]
    fixed: Float[Tensor, "n two"]


class Both(Analysis):
    def forward(self, estimate, events):
        pair = torch.ones(2, dtype=events.dtype)
        return Two(estimate[:, None] * pair, events[:, None] * pair)


@pytest.mark.parametrize("slopes", ["forward", "differences"])
def test_field_that_no_nuisance_moves_has_zero_slopes(slopes):
    problem = Pipeline(
        SPACE,
        Normal(),
        Smear(),
        Identity(),
        Both(),
        Profiled(),
        nuisances=NUISANCES,
        treatment="profiled",
        slopes=slopes,
        dtype=torch.float64,
    )
    rng = Seed(0).generator()
    summary = problem.summarize(START, 7, rng)
    assert summary.slopes["moved"].shape == summary.slopes["fixed"].shape == (7, 2, 3)
    assert not summary.slopes["fixed"].any()


class Cut(torch.autograd.Function):
    """An operation without forward mode."""

    @staticmethod
    def forward(_, value):
        return value.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient


class Opaque(Simulator):
    def forward(self, events, design, rng):
        return Cut.apply(events * design["scale"] + design["shift"].sum())


def opaque(slopes):
    return Pipeline(
        SPACE,
        Normal(),
        Opaque(),
        Identity(),
        SoftBins(),
        Profiled(),
        nuisances=NUISANCES,
        treatment="profiled",
        slopes=slopes,
        dtype=torch.float64,
    )


def test_stage_without_forward_mode_is_refused_with_a_remedy():
    with pytest.raises(MethodError, match='Take `slopes="differences"`'):
        summary_of(opaque("forward"))


def test_stage_without_forward_mode_has_differences():
    assert summary_of(opaque("differences")).slopes["share"].abs().max() > 0


@dataclass(frozen=True)
class Indices(Summary):
    index: Int[Tensor, " n"]


class OnlyIndices(Analysis):
    def forward(self, estimate, events):
        return Indices((estimate > 0).long())


@pytest.mark.parametrize("slopes", ["forward", "differences"])
def test_summary_without_real_fields_is_refused(slopes):
    problem = Pipeline(
        SPACE,
        Normal(),
        Smear(),
        Identity(),
        OnlyIndices(),
        Profiled(),
        nuisances=NUISANCES,
        treatment="profiled",
        slopes=slopes,
    )
    with pytest.raises(MethodError, match="Indices has no floating-point field"):
        summary_of(problem)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"treatment": "margin"}, ConfigError, "must be one of fixed, .* got 'margin'"),
        ({"slopes": "backward"}, ConfigError, "must be one of forward, .* got 'backward'"),
        ({"treatment": "marginalized"}, DomainError, "`shift` is free: it has no prior"),
        (
            {"nuisances": Nuisances([Nuisance("noise", 0.0, 1.0)])},
            DesignError,
            "`noise` is a design parameter and a nuisance parameter",
        ),
        ({"hard": "other"}, DesignError, "hard pipeline must have the same nuisance parameters"),
    ],
)
def test_unusable_treatment_is_refused(settings, error, message):
    if "hard" in settings:
        settings = {"hard": make(Nuisances([SCALE]))}
    with pytest.raises(error, match=message):
        make(**{"objective": Mean(), **settings})


@pytest.mark.slow
def test_processes_give_the_bits_of_one_process():
    problem = make()
    recipe = ProblemRecipe(None, {}, (), problem)
    request = request_at(theta_of(problem), gradient=True, n_events=2_500)
    alone = evaluate(problem, request, Seed(0))
    with ProcessExecutor(problem, recipe, 2) as executor:
        (shared,) = executor.evaluate([request], Seed(0))
    assert alone.value == shared.value
    assert torch.equal(alone.gradient, shared.gradient)
