"""The gradient check: it says agrees where the gradient is right, and only there."""

import json

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Integer, Limit, Real
from detopt.errors import MethodError
from detopt.gradients import FiniteDifferences, Verdict, check_gradients
from detopt.gradients.check import GradientCheck
from detopt.pipeline import FunctionProblem


def uniform(n, rng):
    return torch.rand(n, generator=rng, dtype=torch.float64)


def normal(n, rng):
    return torch.randn(n, generator=rng, dtype=torch.float64)


def smooth(a, b, n, rng):
    return (a + b * normal(n, rng) - 1) ** 2 + 0.3 * a * b


def half_detached(a, b, n, rng):
    return a * a.detach() * (1 + normal(n, rng)) + b


def detached(a, b, n, rng):
    return a.detach() ** 2 + b * (1 + normal(n, rng))


def hard_cut(a, b, n, rng):
    return (normal(n, rng) < a).double() + b


def hard_cut_and_smooth(a, b, n, rng):
    return (normal(n, rng) < a).double() + 0.2 * a + b


def draw(a, b, n, rng):
    return (uniform(n, rng) < torch.sigmoid(a)).double() * 2 + b


def draw_with_paths(a, b, n, rng):
    chosen = uniform(n, rng) < torch.sigmoid(a)
    return torch.where(chosen, 2 + a, 1 - a**2) + b


def reciprocal_weights(a, b, n, rng):
    return a / uniform(n, rng) + b


def cauchy(a, b, n, rng):
    return a * torch.tan(torch.pi * (uniform(n, rng) - 0.5)) + b


def pure_noise(a, b, n, rng):
    return a * 1e3 * normal(n, rng) + b


def problem_of(function, n_events=500, start=(0.4, 0.3), chunk_size=10_000):
    space = DesignSpace([Continuous(x, s, Real()) for x, s in zip("ab", start, strict=True)])

    def values(design, n, rng):
        return (function(design["a"], design["b"], n, rng)).expand(n)

    return FunctionProblem(space, values, n_events=n_events, chunk_size=chunk_size)


def verdicts(function, n_events=500, **settings):
    return [check.verdict for check in check_gradients(problem_of(function, n_events), **settings)]


@pytest.mark.parametrize("n_events", [20, 500])
def test_right_gradient_of_a_noisy_objective_agrees(n_events):
    assert verdicts(smooth, n_events) == [Verdict.AGREES, Verdict.AGREES]


@pytest.mark.parametrize(
    ("function", "n_events", "verdict"),
    [
        (half_detached, 200, Verdict.BIASED),
        (detached, 200, Verdict.ZERO),
        (hard_cut, 4_000, Verdict.ZERO),
        (hard_cut_and_smooth, 4_000, Verdict.BIASED),
        (draw, 4_000, Verdict.ZERO),
        (draw_with_paths, 4_000, Verdict.BIASED),
        (pure_noise, 100, Verdict.NOISE),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_gradient_is_found_out(function, n_events, verdict, seed):
    found = verdicts(function, n_events, seed=seed)
    assert found == [verdict, Verdict.AGREES]


@pytest.mark.parametrize("function", [reciprocal_weights, cauchy])
@pytest.mark.parametrize("seed", [0, 1])
def test_heavy_tail_is_noise(function, seed):  # 48 repetitions miss one in a hundred
    found = verdicts(function, seed=seed, n_repeats=48)
    assert found == [Verdict.NOISE, Verdict.AGREES]


@pytest.mark.parametrize("seed", range(20))
def test_right_gradient_raises_no_false_alarm(seed):
    assert set(verdicts(smooth, 40, seed=seed, n_repeats=12)) == {Verdict.AGREES}


def test_parameter_without_influence_agrees():
    assert verdicts(lambda a, b, n, rng: b * normal(n, rng) ** 2 + 0 * a) == [Verdict.AGREES] * 2


def test_gradient_that_is_not_finite_is_noise():
    found = check_gradients(problem_of(lambda a, b, n, rng: (a - a.detach()).sqrt() + b))
    assert found[0].verdict is Verdict.NOISE


def saddle(a, b, n, rng):
    return a * b.detach() + 0.01 * normal(n, rng)


def test_symmetric_start_does_not_hide_an_error():
    problem = problem_of(saddle, start=(0.0, 0.0))
    start = problem.space.theta(problem.space.start)
    hidden = check_gradients(problem, theta=start)
    assert [check.verdict for check in hidden] == [Verdict.AGREES, Verdict.AGREES]
    assert check_gradients(problem)[1].verdict is Verdict.ZERO


def test_differences_agree_with_themselves():
    found = check_gradients(problem_of(hard_cut, 4_000), FiniteDifferences(step=0.05))
    assert [check.verdict for check in found] == [Verdict.AGREES, Verdict.AGREES]


def test_numbers_of_the_check_have_the_reference_values():  # of mean (a z)^2: 2 a
    theta = torch.tensor([0.5, 0.0], dtype=torch.float64)
    problem = problem_of(lambda a, b, n, rng: (a * normal(n, rng)) ** 2 + b, 5_000)
    (check, _) = check_gradients(problem, theta=theta, n_repeats=10)
    assert check.name == "a"
    assert check.estimate == pytest.approx(1.0, abs=4 * check.std_error)
    assert check.reference == pytest.approx(1.0, abs=4 * check.reference_error)
    assert check.std_error == pytest.approx((2 / 50_000) ** 0.5, rel=0.6)


def test_check_is_reproducible():
    assert check_gradients(problem_of(smooth)) == check_gradients(problem_of(smooth))


def test_check_runs_in_float64_and_leaves_the_problem_alone():
    seen = set()

    def spy(a, b, n, rng):
        seen.add(a.dtype)
        return smooth(a, b, n, rng)

    problem = problem_of(spy)
    check_gradients(problem, n_repeats=8, n_events=10)
    assert seen == {torch.float64}
    assert problem.dtype is torch.float32


def test_progress_is_counted_to_its_end():
    steps = []
    check_gradients(
        problem_of(smooth), n_repeats=8, n_events=40, progress=lambda *step: steps.append(step)
    )
    assert steps[:8] == [(i + 1, 8) for i in range(8)]


def test_check_is_valid_json():
    checks = [check.as_dict() for check in check_gradients(problem_of(half_detached, 50))]
    loaded = json.loads(json.dumps(checks, allow_nan=False))
    assert set(loaded[0]) == {
        "name", "estimate", "std_error", "reference", "reference_error", "z", "verdict"
    }  # fmt: skip
    assert loaded[0]["verdict"] == "biased"


def test_number_that_is_not_finite_is_null_in_json():
    check = GradientCheck("a", float("nan"), float("nan"), 1.0, 0.1, float("nan"), Verdict.NOISE)
    assert check.as_dict()["estimate"] is None
    assert check.as_dict()["reference"] == 1.0


def test_discrete_parameter_is_refused():
    space = DesignSpace([Continuous("a", 0.4, Real()), Integer("n", 2, 1, 3)])
    problem = FunctionProblem(space, lambda d, n, rng: d["a"] * torch.rand(n, generator=rng))
    with pytest.raises(MethodError, match="no gradient to check"):
        check_gradients(problem)
    frozen = problem.with_space(space.freeze("n"))
    assert [check.name for check in check_gradients(frozen, n_repeats=8)] == ["a"]


def weak(a, b, n, rng):  # a derivative of 0.02 in noise that estimate and differences share
    return 0.02 * a + a * normal(n, rng) + 0 * b


def weak_and_biased(a, b, n, rng):
    return weak(a, b, n, rng) + b + 0.5 * (a.detach() - a) * normal(n, rng) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_extra_repetitions_resolve_noise_that_both_share(seed):
    assert Verdict.NOISE in verdicts(weak, 100, seed=seed)
    found = check_gradients(problem_of(weak, 100), n_extra=2_000, seed=seed)
    assert [check.verdict for check in found] == [Verdict.AGREES] * 2
    assert found[0].reference == pytest.approx(0.02, abs=4 * found[0].reference_error)
    assert found[0].reference_error < 0.3 * 0.02


@pytest.mark.parametrize("seed", range(3))
def test_extra_repetitions_do_not_hide_a_bias(seed):
    found = check_gradients(problem_of(weak_and_biased, 100), n_extra=240, seed=seed)
    assert [check.verdict for check in found] == [Verdict.BIASED, Verdict.AGREES]
    assert found[0].reference == pytest.approx(0.02, abs=4 * found[0].reference_error)


def rare(a, b, n, rng):  # one event in 300 decides; most evaluations have none
    return a * (uniform(n, rng) < 1 / 300).double() * 300 + b


@pytest.mark.parametrize("seed", range(2))
def test_extra_repetitions_go_on_until_a_suspected_tail_is_known_well(seed):
    assert Verdict.NOISE in verdicts(rare, 100, seed=seed)
    found = check_gradients(problem_of(rare, 100), n_extra=3_000, seed=seed)
    assert [check.verdict for check in found] == [Verdict.AGREES] * 2
    assert found[0].std_error <= 0.05 * found[0].reference
    assert found[0].estimate == pytest.approx(1, abs=4 * found[0].std_error)


def test_progress_counts_extra_repetitions():
    steps = []
    check_gradients(
        problem_of(weak, 100), n_repeats=8, n_extra=12, progress=lambda *step: steps.append(step)
    )
    first = [(i + 1, 8) for i in range(8)] + [(8 + i + 1, 20) for i in range(12)]
    assert steps[:20] == first
    assert steps[20] == (21, 28)


def test_extra_repetitions_are_made_only_where_noise_hides():
    settings = {"n_repeats": 12, "seed": 1}
    problem = problem_of(smooth)
    assert check_gradients(problem, n_extra=500, **settings) == check_gradients(problem, **settings)


def test_differences_that_are_not_finite_are_noise():
    theta = torch.tensor([0.4, 0.3], dtype=torch.float64)
    problem = problem_of(lambda a, b, n, rng: torch.where(a == 0.4, a, torch.inf) + b)
    found = check_gradients(problem, theta=theta)
    assert [check.verdict for check in found] == [Verdict.NOISE, Verdict.AGREES]


def test_negative_number_of_extra_repetitions_is_refused():
    with pytest.raises(MethodError, match="`n_extra` must be >= 0, got -1"):
        check_gradients(problem_of(smooth), n_extra=-1)


@pytest.mark.parametrize("n_repeats", [0, 1, 7])
def test_too_few_repetitions_are_refused(n_repeats):
    with pytest.raises(MethodError, match=f"must be >= 8 .* got {n_repeats}"):
        check_gradients(problem_of(smooth), n_repeats=n_repeats)


@pytest.mark.parametrize("seed", range(4))
def test_check_stays_within_the_limits(seed):
    """The objective is not defined beyond them."""
    space = DesignSpace(
        [Continuous("x", 0.9, Real())], limits=[Limit("x", lambda design: design["x"], 1.0)]
    )

    def root(design, n_events, rng):
        return (1 - design["x"]).sqrt() * (1 + 0.1 * normal(n_events, rng).to(design["x"]))

    problem = FunctionProblem(space, root, n_events=200)
    (found,) = check_gradients(problem, seed=seed, n_repeats=8)
    assert found.verdict is Verdict.AGREES
