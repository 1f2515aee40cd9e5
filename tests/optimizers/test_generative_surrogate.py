"""L-GSO: it finds minima, judges by the problem, and goes on to the same bits."""

import dataclasses
import io
import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Continuous, DesignSpace, Interval, Limit, Real
from detopt.errors import MethodError, SimulationError
from detopt.optimizers import make
from detopt.optimizers.replay import Replay, columns, summary_of
from detopt.pipeline import FunctionProblem, Outcome, Summary, evaluate
from detopt.random import Seed
from detopt.runtime.executors import ProblemRecipe, make_executor

SPACE = DesignSpace([Continuous("a", 0.5, Real()), Continuous("b", 0.0, Real())])
SHORT = {"training": {"n_steps": 20, "n_warm_steps": 5, "batch": 128}, "n_drawn": 200}
N_EVENTS = 100


def quadratic(design, n_events, rng):
    noise = 0.3 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    return (design["a"] - 1).square() + (design["b"] + 0.5).square() + noise


def problem_of(space=SPACE, function=quadratic, n_events=N_EVENTS):
    return FunctionProblem(space, function, n_events=n_events, dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Points(Summary):
    """A value and a point for each event."""

    value: Float[Tensor, " n"]
    point: Float[Tensor, "n 2"]


@dataclasses.dataclass(frozen=True)
class Counts(Summary):
    """What nobody can draw with a derivative."""

    count: Tensor


class Widths(FunctionProblem):
    """The variance of the values, and a price: no mean of a value an event."""

    def summarize(self, design, n_events, rng):
        noise = torch.randn(n_events, 3, generator=rng, dtype=torch.float64)
        return Points((0.5 + (design["a"] - 1).square()) * noise[:, 0], noise[:, 1:])

    def judge(self, summary, design):
        return Outcome(summary.value.var() + design["b"].square())


class Counting(FunctionProblem):
    """Whole numbers."""

    def summarize(self, design, n_events, rng):
        return Counts(torch.arange(n_events))

    def judge(self, summary, design):
        return Outcome(summary.count.double().mean())


def walk(optimizer, problem, n_rounds):
    asked = []
    for _ in range(n_rounds):
        requests = optimizer.ask()
        asked += [request.theta for request in requests]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return asked


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


# --- rows of evaluations


@pytest.mark.parametrize("gradient", [False, True])
def test_rows_come_only_when_asked_for_and_change_nothing(gradient):
    problem = problem_of()
    problem.chunk_size = 30
    request = next(iter(make("lgso", SPACE, 3).ask()))
    asked = dataclasses.replace(request, gradient=gradient)
    full = evaluate(problem, asked, Seed(1))
    bare = evaluate(problem, dataclasses.replace(asked, rows=False), Seed(1))
    assert bare.rows is None
    assert full.rows is not None
    assert full.rows.n_rows == N_EVENTS
    assert (full.value, full.std_error) == (bare.value, bare.std_error)
    assert full.value == float(full.rows.value.mean())
    if gradient:
        assert torch.equal(full.gradient, bare.gradient)


def test_workers_send_the_same_rows():
    recipe = ProblemRecipe("hump", {"n_samples": 50}, (), None)
    problem = recipe.make()
    requests = make("lgso", problem.space, 3, {"batch": 1}).ask()
    found = []
    for workers in (1, 2):
        with make_executor(problem, recipe, workers) as executor:
            found.append(executor.evaluate(requests, Seed(2)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.rows.value, other.rows.value)


def test_columns_of_a_summary_come_back():
    summary = Points(torch.rand(5), torch.rand(5, 2))
    flat = columns(summary)
    assert flat.shape == (5, 3)
    back = summary_of(flat, summary)
    assert torch.equal(back.value, summary.value)
    assert torch.equal(back.point, summary.point)


def test_oldest_rows_are_forgotten_first():
    problem, replay = problem_of(), Replay(2, capacity=250)
    for request in make("lgso", SPACE, 3).ask()[:4]:
        replay.append(evaluate(problem, request, Seed(0)))
    assert len(replay) == 2
    assert sum(one.numel() for one in replay.rows) == 200


def test_unknown_errors_stay_unknown():
    """An error of 0 would make a noisy value exact for the regression beside the model."""
    replay = Replay(2, capacity=10_000)
    for request in make("lgso", SPACE, 3).ask():
        answer = evaluate(problem_of(), dataclasses.replace(request, std_error=False), Seed(0))
        replay.append(answer)
    assert bool(replay.values[:, 1].isnan().all())
    assert bool(replay.values[:, 0].isfinite().all())


# --- minima


@pytest.mark.parametrize("step", ["trust_region", "adam"])
def test_minimum_of_a_noisy_quadratic_is_found(step):
    options = {"step": step, "training": {"n_steps": 60, "n_warm_steps": 20}, "n_drawn": 500}
    optimizer = make("lgso", SPACE, 9, options, problem_of())
    walk(optimizer, problem_of(), 9)
    assert optimizer.recommend().tolist() == pytest.approx((1.0, -0.5), abs=0.25)


def test_gradient_agrees_with_the_truth_and_the_regression():
    problem = problem_of(n_events=400)
    optimizer = make("lgso", SPACE, 9, {"batch": 12, "radius": 0.25}, problem)
    walk(optimizer, problem, 1)
    truth = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(optimizer.agreement.gradient, truth, atol=0.3, rtol=0)
    assert optimizer.agreement.cosine > 0.95


def test_problem_judges_the_drawn_rows():
    problem = Widths(SPACE, quadratic, n_events=400, dtype=torch.float64)
    training = {"n_steps": 150}
    optimizer = make("lgso", SPACE, 5, {"batch": 12, "training": training}, problem)
    walk(optimizer, problem, 1)
    theta = torch.tensor([0.5, 0.4], dtype=torch.float64, requires_grad=True)
    value = optimizer.objective(theta)
    (gradient,) = torch.autograd.grad(value, theta)
    assert value.item() == pytest.approx(0.75**2 + 0.4**2, rel=0.35)
    assert gradient[0] < 0  # -1.5 is exact
    assert gradient[1].item() == pytest.approx(0.8, abs=0.6)  # by the price alone


# --- gradient


def test_surrogate_has_the_derivative_of_finite_differences():
    optimizer = make("lgso", SPACE, 5, SHORT, problem_of())
    walk(optimizer, problem_of(), 1)
    theta = torch.tensor([0.5, 0.1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(optimizer.objective(theta), theta)
    step = 0.05 * torch.eye(2, dtype=torch.float64)
    with torch.no_grad():
        differences = [
            float(optimizer.objective(theta + s) - optimizer.objective(theta - s)) / 0.1
            for s in step
        ]
    assert gradient.tolist() == pytest.approx(differences, abs=0.02)


# --- laws


@pytest.mark.parametrize(
    "options",
    [{}, {"step": "adam"}, {"generator": "gan"}, {"generator": "diffusion"}, {"warm": False}],
    ids=str,
)
def test_stored_state_goes_on_to_the_same_bits(options):
    problem = problem_of()
    whole = make("lgso", SPACE, 9, {**SHORT, **options}, problem)
    walk(whole, problem, 3)
    first = make("lgso", SPACE, 9, {**SHORT, **options}, problem)
    walk(first, problem, 2)
    state = through_a_file(first.state_dict())
    walk(first, problem, 1)
    torch.manual_seed(5)  # the global generators have no say
    second = make("lgso", SPACE, 9, {**SHORT, **options}, problem)
    second.load_state_dict(state)
    walk(second, problem, 1)
    assert torch.equal(second.recommend(), whole.recommend())
    for ours, theirs in zip(second.ask(), whole.ask(), strict=True):
        assert torch.equal(ours.theta, theirs.theta)


def test_stored_state_is_small():
    problem = problem_of(n_events=100_000)
    optimizer = make("lgso", SPACE, 9, SHORT, problem)
    walk(optimizer, problem, 1)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    assert buffer.tell() < 3_000_000


def test_designs_are_a_latin_hypercube_around_the_start():
    requests = make("lgso", SPACE, 9, {"batch": 10, "radius": 1.0}).ask()
    assert torch.equal(requests[0].theta, SPACE.theta(SPACE.start))
    around = torch.stack([request.theta for request in requests[1:]]) - requests[0].theta
    half_width = math.sqrt(1.5)
    slices = ((around / half_width + 1) * 5).floor().sort(dim=0).values
    assert slices.tolist() == [[i, i] for i in range(10)]


def test_only_allowed_designs_are_handed_out():
    limit = Limit("sum", lambda d: d["a"] + d["b"], 0.8)
    space = DesignSpace(SPACE.parameters, limits=[limit])
    problem = problem_of(space, lambda d, n, rng: (-d["a"] - d["b"]).expand(n))
    optimizer = make("lgso", space, 9, SHORT, problem)
    asked = walk(optimizer, problem, 3)
    assert all(space.allows(theta) for theta in [*asked, optimizer.recommend()])


def test_failures_are_survived():
    def fragile(design, n_events, rng):
        if design["a"] > 0.7:
            raise SimulationError("The magnet quenched.")
        return quadratic(design, n_events, rng)

    problem = problem_of(function=fragile)
    problem.on_failure = "skip"
    optimizer = make("lgso", SPACE, 9, SHORT, problem)
    walk(optimizer, problem, 2)
    assert optimizer.round == 2
    assert bool(optimizer.recommend().isfinite().all())


def test_adam_steps_back_from_where_simulations_fail():
    """A step leads behind a wall: the next round looks again where simulations are possible."""

    def walled(design, n_events, rng):
        if design["a"] > 0.7:
            raise SimulationError("The magnet quenched.")
        return quadratic(design, n_events, rng)

    problem = problem_of(function=walled)
    problem.on_failure = "skip"
    options = SHORT | {"step": "adam", "learning_rate": 1.0, "radius": 0.1}
    optimizer = make("lgso", SPACE, 20, options, problem)
    failed = []
    for _ in range(3):
        answers = [evaluate(problem, request, Seed(0)) for request in optimizer.ask()]
        failed.append([bool(answer.failure) for answer in answers])
        if len(failed) < 3:
            optimizer.tell(answers)
    assert not any(failed[0])
    assert all(failed[1])
    assert not failed[2][0]
    assert float(optimizer.recommend()[0]) <= 0.7


# --- refusals


def test_whole_numbers_are_refused():
    problem = Counting(SPACE, quadratic, n_events=5)
    optimizer = make("lgso", SPACE, 9, SHORT, problem)
    with pytest.raises(MethodError, match="`count` of the summary holds int64 numbers"):
        walk(optimizer, problem, 1)


def test_long_rows_are_refused():
    with pytest.raises(MethodError, match="has 65 numbers; a generative surrogate models from 1"):
        columns(Points(torch.rand(3), torch.rand(3, 64)))


def test_rows_that_only_the_problem_can_judge_are_refused_without_it():
    problem = Widths(SPACE, quadratic, n_events=20, dtype=torch.float64)
    with pytest.raises(MethodError, match="Rows of Points must be judged by the problem"):
        walk(make("lgso", SPACE, 9, SHORT), problem, 1)


def test_mean_that_is_not_the_objective_is_refused():
    class Shifted(FunctionProblem):
        def judge(self, summary, design):
            return Outcome(summary.value.mean() + 1)

    with pytest.raises(MethodError, match="and not the mean"):
        walk(make("lgso", SPACE, 9, SHORT), Shifted(SPACE, quadratic, n_events=20), 1)


def test_rows_that_are_missing_or_not_finite_are_refused():
    optimizer, problem = make("lgso", SPACE, 9, SHORT), problem_of()
    answers = [evaluate(problem, request, Seed(0)) for request in optimizer.ask()]
    with pytest.raises(MethodError, match="came without its rows"):
        optimizer.tell([dataclasses.replace(answers[0], rows=None)])
    broken = answers[0].rows.replace([torch.full((N_EVENTS,), math.inf, dtype=torch.float64)])
    with pytest.raises(MethodError, match="is not finite, which a generative"):
        optimizer.tell([dataclasses.replace(answers[0], rows=broken)])


def test_objective_before_the_first_round_is_refused():
    with pytest.raises(MethodError, match="no surrogate before the first round"):
        make("lgso", SPACE, 9).objective(torch.zeros(2, dtype=torch.float64))


def test_discrete_parameters_are_refused():
    space = DesignSpace(
        [Continuous("a", 0.5, Interval(0.0, 1.0)), Categorical("c", ("x", "y"), "x")]
    )
    with pytest.raises(MethodError, match="cannot choose the discrete parameters c"):
        make("lgso", space, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "`radius` must be > 0, got 0.0"),
        ({"learning_rate": math.inf}, "`learning_rate` must be > 0, got inf"),
        ({"batch": 0}, "`batch` must be a whole number >= 1, got 0"),
        ({"n_drawn": 0}, "`n_drawn` must be a whole number >= 1, got 0"),
        ({"step": "newton"}, "`step` must be one of trust_region, adam, got 'newton'"),
        ({"generator": "vae"}, "`generator` must be one of flow, gan, diffusion, got 'vae'"),
        ({"training": {"n_steps": 0}}, "`n_steps` must be a whole number >= 1, got 0"),
        ({"training": {"epochs": 3}}, "does not take these options"),
    ],
)
def test_value_out_of_range_is_refused(options, message):
    with pytest.raises(MethodError, match=message):
        make("lgso", SPACE, 9, options)
