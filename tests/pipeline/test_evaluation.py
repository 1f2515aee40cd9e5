"""Evaluations: pure functions of their arguments, with exact gradients of the whole sample."""

import dataclasses
import math
from dataclasses import dataclass, field

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, Real
from detopt.errors import DesignError, DomainError
from detopt.pipeline import FunctionProblem, Outcome, Problem, Request, Summary, evaluate, merge
from detopt.pipeline import evaluation as module
from detopt.pipeline.evaluation import chunks, summarize_chunk, summarize_design
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed

SEED = Seed(11)


@dataclass(frozen=True)
class Rows(Summary):
    x: Float[Tensor, " n_rows"]
    y: Float[Tensor, " n_rows"]
    label: Tensor  # integers: no gradient


@dataclass
class Spread(Problem):
    """Relative width of a response, plus a price: nonlinear in its summary and in the design."""

    space: DesignSpace = field(
        default_factory=lambda: DesignSpace(
            [
                Continuous("scale", 1.5, Interval(0.5, 3.0)),
                Continuous("shift", [1.0, 2.0], Real()),
                Continuous("weights", [[0.3, -0.2], [0.1, 0.4], [0.2, 0.5]], Real()),
            ]
        )
    )
    n_events: int = 100
    chunk_size: int = 100
    baselines: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    objective_name: str = "relative width"

    def summarize(self, design, n_events, rng):
        noise = torch.randn(5, n_events, 3, generator=rng, dtype=self.dtype)
        # a product of this shape is computed in two ways, with and without a graph
        response = torch.sigmoid(noise.transpose(0, 1) @ design["weights"]).sum((1, 2))
        x = design["scale"] * response + design["shift"][0]
        return Rows(x, x.square() + design["shift"][1], torch.arange(n_events))

    def judge(self, summary, design):
        width = summary.x.std() / summary.y.mean().sqrt()
        price = 0.1 * design["scale"].square()
        return Outcome(
            width + price + 1e-3 * summary.label.max(),
            terms={"width": width},
            cost=price,
            constraints={"length": design["scale"] - 2},
            metrics={"mean": summary.x.mean()},
        )

    def with_space(self, space):
        return dataclasses.replace(self, space=space)


@pytest.fixture
def theta(rng):
    return 0.3 * torch.randn(9, generator=rng, dtype=torch.float64)


def evaluated(problem, theta, seed=SEED, **wishes):
    return evaluate(problem, Request(theta, ("round", 0), **wishes), seed)


def assert_same_bits(one, other):
    assert one.value == other.value
    assert one.std_error == other.std_error or math.isnan(one.std_error)
    assert one.terms == other.terms
    assert torch.equal(one.gradient, other.gradient)


# --- the gradient of the whole


@pytest.mark.parametrize("n_chunks", [1, 2, 4, 5, 9], ids=lambda n: f"{n} chunks")
def test_gradient_of_chunks_is_the_gradient_of_the_whole(theta, n_chunks):
    problem = Spread(n_events=90, chunk_size=math.ceil(90 / n_chunks))
    leaf = theta.clone().requires_grad_()
    design = problem.space.design(leaf)
    work = chunks(problem, Request(theta, ("round", 0)), SEED)
    assert len(work) == n_chunks
    whole = merge([problem.summarize(design, c.n_events, c.seed.generator()) for c in work])
    objective = problem.judge(whole, design).objective
    (expected,) = torch.autograd.grad(objective, leaf)

    found = evaluated(problem, theta, gradient=True)

    assert found.value == pytest.approx(objective.item(), rel=1e-14)
    torch.testing.assert_close(found.gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n_events", [90, 400], ids=["few chunks", "many chunks"])
def test_gradient_matches_central_differences(theta, n_events):
    problem = Spread(n_events=n_events, chunk_size=40)
    found = evaluated(problem, theta, gradient=True).gradient
    steps = 1e-5 * torch.eye(9, dtype=torch.float64)
    sides = [evaluated(problem, theta + s * row).value for row in steps for s in (1, -1)]
    expected = torch.tensor(sides, dtype=torch.float64).reshape(9, 2).diff(dim=1)[:, 0] / -2e-5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_chunks", [1, 3, 7])
def test_kept_graphs_and_two_passes_give_the_same_bits(theta, monkeypatch, dtype, n_chunks):
    problem = Spread(n_events=29 * n_chunks, chunk_size=29, dtype=dtype)
    monkeypatch.setattr(module, "N_RETAINED", 100)
    kept = evaluated(problem, theta, gradient=True)
    monkeypatch.setattr(module, "N_RETAINED", 0)
    twice = evaluated(problem, theta, gradient=True)
    assert_same_bits(kept, twice)
    assert torch.equal(
        kept.gradient_std_error.nan_to_num(-1), twice.gradient_std_error.nan_to_num(-1)
    )


@pytest.mark.parametrize("n_retained", [0, 100], ids=["two passes", "kept graphs"])
def test_gradient_does_not_need_the_callers_grad_mode(theta, monkeypatch, n_retained):
    monkeypatch.setattr(module, "N_RETAINED", n_retained)
    expected = evaluated(Spread(), theta, gradient=True)
    with torch.no_grad():
        assert_same_bits(evaluated(Spread(), theta, gradient=True), expected)
    assert expected.gradient.abs().min() > 0


def test_design_that_no_event_sees_has_the_gradient_of_its_price():
    space = DesignSpace([Continuous("a", 2.0, Real())])
    problem = Spread(space=space)
    problem.summarize = lambda design, n, rng: Rows(torch.rand(n), torch.ones(n), torch.arange(n))
    problem.judge = lambda summary, design: Outcome(summary.x.mean() + design["a"].square())
    theta = torch.tensor([3.0], dtype=torch.float64)
    assert evaluated(problem, theta, gradient=True).gradient.tolist() == [6.0]


# --- purity


@pytest.mark.parametrize("gradient", [False, True])
def test_evaluation_depends_on_its_arguments_only(theta, gradient):
    problem = Spread(n_events=250)
    first = evaluated(problem, theta, gradient=gradient)
    evaluated(problem, theta + 1, seed=Seed(5))
    torch.rand(7)
    second = evaluated(problem, theta, gradient=gradient)
    assert (first.value, first.std_error, first.terms) == (
        second.value,
        second.std_error,
        second.terms,
    )


def test_evaluation_leaves_the_global_generator_alone(theta):
    before = torch.get_rng_state()
    evaluated(Spread(), theta, gradient=True)
    assert torch.equal(before, torch.get_rng_state())


def test_evaluation_does_not_keep_a_view_of_theta(theta):
    found = evaluated(Spread(), theta)
    expected = theta.clone()
    theta += 1
    assert torch.equal(found.request.theta, expected)


@pytest.mark.parametrize("other", [{"seed": Seed(12)}, {"stream": ("round", 1)}])
def test_other_streams_give_other_events(theta, other):
    request = Request(theta, other.get("stream", ("round", 0)))
    value = evaluate(Spread(), request, other.get("seed", SEED)).value
    assert value != evaluated(Spread(), theta).value


def test_designs_of_one_stream_share_their_events():
    space = DesignSpace([Continuous("a", 2.0, Real())])
    problem = FunctionProblem(space, lambda d, n, rng: d["a"] + torch.randn(n, generator=rng))
    values = [evaluated(problem, torch.tensor([a], dtype=torch.float64)).value for a in (1.0, 3.0)]
    assert values[1] - values[0] == pytest.approx(2.0, abs=1e-5)  # the noise cancels


def test_result_does_not_depend_on_the_number_of_threads(theta):
    problem = Spread(n_events=120_000, chunk_size=60_000, dtype=torch.float32)
    wishes = {"gradient": True, "std_error": False}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = evaluated(problem, theta, **wishes)
        torch.set_num_threads(3)
        three = evaluated(problem, theta, **wishes)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_same_bits(one, three)


# --- chunks


@pytest.mark.parametrize(
    ("n_events", "sizes"), [(100, [40, 40, 20]), (80, [40, 40]), (40, [40]), (7, [7]), (1, [1])]
)
def test_chunks_have_a_fixed_size_and_a_rest(theta, n_events, sizes):
    work = chunks(Spread(chunk_size=40), Request(theta, ("a",), n_events=n_events), SEED)
    assert [chunk.n_events for chunk in work] == sizes
    assert len({chunk.seed.number for chunk in work}) == len(sizes)


def test_more_events_begin_with_the_same_chunks(theta):
    problem = Spread(chunk_size=40)
    few, many = (
        [summarize_chunk(problem, c)[0].x for c in chunks(problem, request, SEED)]
        for request in (Request(theta, (), n_events=80), Request(theta, (), n_events=130))
    )
    assert torch.equal(torch.cat(few), torch.cat(many)[:80])


@pytest.mark.parametrize("gradient", [False, True])
def test_number_of_events_need_not_be_a_multiple_of_the_chunk(theta, gradient):
    problem = Spread(chunk_size=40)
    found = evaluated(problem, theta, n_events=93, gradient=gradient)
    assert found.n_events == 93
    assert found.terms["metric:mean"] != evaluated(problem, theta, n_events=80).terms["metric:mean"]


@pytest.mark.parametrize("n_events", [0, -3])
def test_evaluation_without_events_is_refused(theta, n_events):
    with pytest.raises(DomainError, match=f"must be >= 1, got {n_events}"):
        evaluated(Spread(), theta, n_events=n_events)


def test_terms_are_named_by_their_kind(theta):
    names = set(evaluated(Spread(), theta).terms)
    assert names == {"width", "cost", "constraint:length", "metric:mean"}


# --- errors


def gauss(design, n_events, rng):
    return design["mean"] + 2 * torch.randn(n_events, generator=rng, dtype=torch.float64)


def gauss_problem(**settings):
    space = DesignSpace([Continuous("mean", 1.0, Real())])
    return FunctionProblem(space, gauss, dtype=torch.float64, **settings)


def test_standard_error_is_that_of_a_mean():  # sigma / sqrt(n)
    theta = torch.tensor([1.0], dtype=torch.float64)
    errors = [
        evaluated(gauss_problem(n_events=400), theta, seed=Seed(i)).std_error for i in range(40)
    ]
    assert sum(errors) / 40 == pytest.approx(2 / 20, rel=0.05)


def test_bootstrap_interval_covers_the_mean_of_a_gaussian():
    problem = gauss_problem()
    design = Design({"mean": torch.tensor(1.0, dtype=torch.float64)})

    def covers(i):
        summary = problem.summarize(design, 60, Seed(i).generator())
        samples = bootstrap(problem, summary, design, Seed(i), n_samples=60)
        low, high = samples.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
        return bool(low < 1.0 < high)

    coverage = sum(covers(i) for i in range(100)) / 100
    assert coverage == pytest.approx(0.93, abs=0.06)  # of 95 %, less for so few; 2.4 sigma


def test_designs_are_resampled_alike():
    problem = gauss_problem()
    designs = [Design({"mean": torch.tensor(m, dtype=torch.float64)}) for m in (1.0, 1.5)]
    samples = [
        bootstrap(problem, problem.summarize(d, 60, SEED.generator()), d, SEED) for d in designs
    ]
    torch.testing.assert_close(samples[1] - samples[0], torch.full((64,), 0.5).double())


def test_error_of_the_gradient_of_a_mean_has_the_reference_value():
    # d/da of the mean of (a z)^2 is 2 a mean(z^2), with the standard deviation 2 a sqrt(2 / n)
    space = DesignSpace([Continuous("a", 1.0, Real())])
    problem = FunctionProblem(
        space,
        lambda d, n, rng: (d["a"] * torch.randn(n, generator=rng)).square(),
        n_events=4_000,
        chunk_size=20,
    )
    theta = torch.tensor([3.0], dtype=torch.float64)
    found = evaluated(problem, theta, gradient=True, std_error=False)
    assert found.gradient_std_error.item() == pytest.approx(6 * (2 / 4_000) ** 0.5, rel=0.15)


def test_errors_of_one_row_and_one_chunk_are_unknown():
    theta = torch.tensor([1.0], dtype=torch.float64)
    found = evaluated(gauss_problem(), theta, n_events=1, gradient=True)
    assert math.isnan(found.std_error)
    assert bool(found.gradient_std_error.isnan().all())


# --- designs by value


def test_design_on_a_closed_bound_can_be_evaluated():
    problem = Spread(dtype=torch.float64)
    design = Design({**problem.space.start, "scale": torch.tensor(3.0, dtype=torch.float64)})
    summary, outcome = summarize_design(problem, design, SEED, 70)
    assert summary.n_rows == 70
    assert outcome.cost.item() == pytest.approx(0.9)


def test_design_beyond_a_bound_is_not_evaluated():
    problem = Spread()
    design = Design({**problem.space.start, "scale": torch.tensor(3.1)})
    with pytest.raises(DesignError, match="`scale` must be <= 3"):
        summarize_design(problem, design, SEED, 70)


# --- summaries


def test_merging_concatenates_in_order():
    parts = [
        Rows(torch.tensor([x]), torch.tensor([-x]), torch.tensor([1])) for x in (3.0, 1.0, 2.0)
    ]
    merged = merge(parts)
    assert merged.x.tolist() == [3.0, 1.0, 2.0]
    assert merged.y.tolist() == [-3.0, -1.0, -2.0]
    assert merged.n_rows == 3


def test_rows_of_a_summary_keep_together():
    summary = Rows(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor([1, 2]))
    rows = summary.rows(torch.tensor([1, 1, 0]))
    assert (rows.x.tolist(), rows.y.tolist()) == ([2.0, 2.0, 1.0], [20.0, 20.0, 10.0])
    assert rows.label.tolist() == [2, 2, 1]


@pytest.mark.parametrize("n_events", [400, 300, 250])
def test_error_of_the_gradient_is_its_scatter_for_any_last_chunk(n_events):
    """For x of mean square noise a: the derivative is the mean of squares, of variance 2 / n."""
    space = DesignSpace([Continuous("x", 1.0, Real())])
    problem = FunctionProblem(
        space,
        lambda d, n, rng: d["x"] * torch.randn(n, generator=rng, dtype=torch.float64).square(),
        n_events=n_events,
        chunk_size=100,
        dtype=torch.float64,
    )
    requests = [
        Request(torch.ones(1, dtype=torch.float64), ("r", i), gradient=True, std_error=False)
        for i in range(200)
    ]
    errors = torch.cat([evaluate(problem, r, SEED).gradient_std_error for r in requests])
    assert errors.square().mean().item() == pytest.approx(2 / n_events, rel=0.3)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda d, n, rng: d["x"].square(), r"\(\) of float32"),
        (lambda d, n, rng: torch.rand(n, generator=rng) < 0.5, r"\(10,\) of bool"),
        (lambda d, n, rng: 1.0, "a float"),
    ],
    ids=["mean", "booleans", "number"],
)
def test_function_without_a_number_for_each_event_is_refused(function, got):
    space = DesignSpace([Continuous("x", 1.0, Real())])
    problem = FunctionProblem(space, function, n_events=10)
    with pytest.raises(DomainError, match=rf"shape \(10,\) of float32 or float64, got {got}"):
        evaluate(problem, Request(torch.ones(1, dtype=torch.float64), ("r",)), SEED)
