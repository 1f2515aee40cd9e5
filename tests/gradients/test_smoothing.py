"""Gaussian smoothing: unbiased for what is smoothed, exact along complete blocks and guides."""

import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Limit, Real
from detopt.errors import MethodError
from detopt.gradients import GaussianSmoothing, Verdict, check_gradients
from detopt.optimizers import make
from detopt.pipeline import Evaluation, FunctionProblem, evaluate
from detopt.random import Seed

N_FREE = 6
SLOPE = torch.tensor([3.0, -1.0, 0.5, 2.0, 0.0, -4.0], dtype=torch.float64)
THETA = torch.linspace(-1, 1, N_FREE, dtype=torch.float64)


def answered(estimator, function, repeat=0, theta=THETA):
    """The estimate for a function without noise."""
    requests = estimator.requests(theta, ("repeat", repeat), None)
    nothing = [
        Evaluation(request, function(request.theta).item(), 0.0, None, None) for request in requests
    ]
    return estimator.combine(nothing)


def linear(theta):
    return theta @ SLOPE


def square(theta):
    return (theta**2).sum() + linear(theta)


def sample(estimator, function, n=300):
    return torch.stack([answered(estimator, function, k).gradient for k in range(n)])


@pytest.mark.parametrize("directions", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("n_pairs", [1, 4])
def test_mean_of_the_estimates_is_the_gradient(directions, n_pairs):
    found = sample(GaussianSmoothing(0.1, n_pairs, directions), square)
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - (SLOPE + 2 * THETA)).abs() < 4.5 * error).all())


def test_gaussian_noise_has_the_known_size():  # (d + 1) / n of the squared gradient
    found = sample(GaussianSmoothing(0.1, 3, "gaussian"), linear)
    relative = found.var(0).sum() / SLOPE.square().sum()
    assert relative.item() == pytest.approx((N_FREE + 1) / 3, rel=0.25)


def test_orthogonal_noise_has_the_known_size():  # d / n - 1 for one block
    found = sample(GaussianSmoothing(0.1, 3), linear)
    relative = found.var(0).sum() / SLOPE.square().sum()
    assert relative.item() == pytest.approx(N_FREE / 3 - 1, rel=0.25)


@pytest.mark.parametrize("n_pairs", [N_FREE, 2 * N_FREE])
def test_complete_blocks_are_exact_for_a_square(n_pairs):
    found = answered(GaussianSmoothing(0.3, n_pairs), square).gradient
    assert torch.allclose(found, SLOPE + 2 * THETA)


def test_gradient_is_that_of_the_smoothed_objective():  # E[exp(u + s e)] = exp(u + s^2 / 2)
    theta = torch.tensor([0.3], dtype=torch.float64)
    estimator = GaussianSmoothing(0.8, 3_000, "gaussian")
    found = answered(estimator, lambda t: t[0].exp(), theta=theta)
    assert found.gradient_std_error.item() < 0.1
    assert abs(found.gradient.item() - math.exp(0.62)) < 4 * found.gradient_std_error.item()


def test_guide_along_the_gradient_leaves_no_noise():
    estimator = GaussianSmoothing(0.1, 1, guide=lambda theta: 5 * SLOPE)
    found = answered(estimator, linear)
    assert torch.allclose(found.gradient, SLOPE)
    assert found.n_evaluations == 5


@pytest.mark.parametrize("directions", ["gaussian", "orthogonal"])
def test_any_guide_keeps_the_mean(directions):
    wrong = torch.eye(N_FREE, dtype=torch.float64)[:2] + 0.1
    estimator = GaussianSmoothing(0.1, 2, directions, guide=lambda theta: wrong)
    found = sample(estimator, square)
    error = found.std(0) / len(found) ** 0.5
    gap = (found.mean(0) - (SLOPE + 2 * THETA)).abs()
    assert bool((gap < 4.5 * error + 1e-9).all())


def test_directions_of_a_guide_that_repeat_count_once():
    estimator = GaussianSmoothing(0.1, 1, guide=lambda theta: torch.stack([SLOPE, 2 * SLOPE]))
    assert len(estimator.requests(THETA, (), None)) == 5


def test_guide_of_all_directions_is_central_differences():
    estimator = GaussianSmoothing(0.1, 1, guide=lambda theta: torch.eye(N_FREE).double())
    assert torch.allclose(answered(estimator, square).gradient, SLOPE + 2 * THETA)


def test_standard_error_is_that_of_repetitions():
    estimator = GaussianSmoothing(0.1, 50, "gaussian")
    spread = sample(estimator, linear, 50).std(0)
    stated = answered(estimator, linear).gradient_std_error
    assert torch.allclose(stated, spread, rtol=0.5)
    assert bool(answered(GaussianSmoothing(), linear).gradient_std_error.isnan().all())


def test_directions_follow_from_stream_and_seed():
    def first(seed, stream):
        return GaussianSmoothing(seed=seed).requests(THETA, stream, None)[1].theta

    assert torch.equal(first(0, ("round", 1)), first(0, ("round", 1)))
    assert not torch.equal(first(0, ("round", 1)), first(0, ("round", 2)))
    assert not torch.equal(first(0, ("round", 1)), first(1, ("round", 1)))


def test_estimate_of_a_cut_agrees_with_differences():  # a hard cut has no pathwise derivative
    space = DesignSpace([Continuous("a", 0.4, Real()), Continuous("b", 0.3, Real())])

    def passes(design, n, rng):
        z = torch.randn(n, generator=rng, dtype=design["a"].dtype)
        return (z < design["a"]).to(z) + design["b"] ** 2

    problem = FunctionProblem(space, passes, n_events=4_000)
    found = check_gradients(problem, GaussianSmoothing(0.1), n_repeats=12)
    assert {check.verdict for check in found} == {Verdict.AGREES}


def test_limits_of_the_space_are_kept_and_counted():
    limit = Limit("sum", lambda design: design["a"] + design["b"], 0.75)
    space = DesignSpace(
        [Continuous("a", 0.4, Real()), Continuous("b", 0.3, Real())], limits=[limit]
    )
    problem = FunctionProblem(space, lambda d, n, rng: (d["a"] * 2 - d["b"]).expand(n))
    problem = problem.with_dtype(torch.float64)
    optimizer = make("adam", space, 5, {"estimator": GaussianSmoothing(0.2)})
    requests = optimizer.ask()
    assert all(space.allows(request.theta) for request in requests)
    estimate = optimizer.estimator.combine([evaluate(problem, r, Seed(1)) for r in requests])
    assert bool(torch.isfinite(estimate.gradient).all())
    assert estimate.gradient[0] > 0 > estimate.gradient[1]


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_impossible_width_is_refused(sigma):
    with pytest.raises(MethodError, match="`sigma` must be > 0"):
        GaussianSmoothing(sigma)


def test_impossible_pairs_and_guides_are_refused():
    with pytest.raises(MethodError, match="`n_pairs` must be >= 1, got 0"):
        GaussianSmoothing(n_pairs=0)
    short = GaussianSmoothing(guide=lambda theta: theta[:2])
    with pytest.raises(MethodError, match="directions of 6 entries"):
        short.requests(THETA, (), None)


@pytest.mark.parametrize("directions", ["gaussian", "orthogonal"])
def test_limits_do_not_bias_the_gradient(directions):
    """A direction that is cut off at a limit keeps its weight, or is refused."""
    limit = Limit("sum", lambda d: d["a"] + d["b"], 0.05)
    space = DesignSpace(
        [Continuous("a", 0.0, Real()), Continuous("b", 0.0, Real())], limits=[limit]
    )
    slope = torch.tensor([3.0, -1.0], dtype=torch.float64)
    estimator = GaussianSmoothing(0.1, 400, directions)
    theta = space.theta(space.start)
    if directions == "gaussian":
        with pytest.raises(MethodError, match=r"limits of sum .* Set `directions` to orthogonal"):
            estimator.allowed_requests(space, theta, (), None)
        return
    requests = estimator.allowed_requests(space, theta, (), None)
    answers = [Evaluation(r, float(slope @ r.theta), 0.0, None, None) for r in requests]
    torch.testing.assert_close(estimator.combine(answers).gradient, slope)
