"""The quadratic that is learned from noisy values, and the step in its trust region."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.surrogates import LocalQuadratic, trust_region_step


def points(n, d, rng, spread=0.5):
    return spread * torch.randn(n, d, generator=rng, dtype=torch.float64)


def quadratic(d, rng):
    gradient = torch.randn(d, generator=rng, dtype=torch.float64)
    root = torch.randn(d, d, generator=rng, dtype=torch.float64) / d**0.5
    return gradient, root @ root.T


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(5)


def test_enough_exact_values_give_the_quadratic_back(rng):
    gradient, hessian = quadratic(4, rng)
    theta = points(60, 4, rng)
    values = 3.0 + theta @ gradient + (theta @ hessian * theta).sum(1) / 2
    model = LocalQuadratic.fit(
        theta, values, torch.zeros(60).double(), torch.zeros(4).double(), 1.0
    )
    assert model.value == pytest.approx(3.0, abs=0.05)
    torch.testing.assert_close(model.gradient, gradient, rtol=0.05, atol=0.05)
    torch.testing.assert_close(model.hessian, hessian, rtol=0.2, atol=0.2)


def test_the_gradient_is_that_at_the_center(rng):
    gradient, hessian = quadratic(3, rng)
    theta, center = points(60, 3, rng), torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    values = theta @ gradient + (theta @ hessian * theta).sum(1) / 2
    model = LocalQuadratic.fit(theta, values, torch.zeros(60).double(), center, 1.0)
    torch.testing.assert_close(model.gradient, gradient + hessian @ center, rtol=0.05, atol=0.05)


def test_fewer_values_than_dimensions_tell_the_gradient_along_their_span(rng):
    gradient = torch.randn(50, generator=rng, dtype=torch.float64)
    theta = points(11, 50, rng)
    model = LocalQuadratic.fit(
        theta, theta @ gradient, torch.zeros(11).double(), torch.zeros(50).double(), 1.0
    )
    span = torch.linalg.qr(theta.T)[0]
    seen = span @ (span.T @ gradient)
    assert float(torch.cosine_similarity(model.gradient, seen, dim=0)) > 0.98
    across = gradient - seen
    assert abs(float(model.gradient @ across / across.norm())) < 1e-6


def test_standard_errors_cover_the_truth(rng):
    gradient = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    pulls = []
    for _ in range(200):
        theta = points(12, 3, rng)
        noise = 0.3 * torch.randn(12, generator=rng, dtype=torch.float64)
        model = LocalQuadratic.fit(
            theta,
            theta @ gradient + noise,
            torch.full((12,), 0.3, dtype=torch.float64),
            torch.zeros(3).double(),
            1.0,
        )
        pulls.append((model.gradient - gradient) / model.gradient_std_error)
    inside = (torch.stack(pulls).abs() < 1).double().mean()
    assert 0.55 < float(inside) < 0.9


def test_values_and_their_errors_scale_the_model(rng):
    theta = points(20, 3, rng)
    values, errors = theta.sin().sum(1), torch.full((20,), 0.1, dtype=torch.float64)
    center = torch.zeros(3).double()
    one = LocalQuadratic.fit(theta, values, errors, center, 1.0)
    ten = LocalQuadratic.fit(theta, 10 * values, 10 * errors, center, 1.0)
    torch.testing.assert_close(ten.gradient, 10 * one.gradient)
    torch.testing.assert_close(ten.hessian, 10 * one.hessian)


def test_an_unknown_error_is_found_from_the_scatter(rng):
    gradient = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    theta = points(80, 3, rng)
    noise = 0.3 * torch.randn(80, generator=rng, dtype=torch.float64)
    unknown = torch.full((80,), torch.nan, dtype=torch.float64)
    model = LocalQuadratic.fit(
        theta, theta @ gradient + noise, unknown, torch.zeros(3).double(), 1.0
    )
    assert 0.1 < model.prior.noise < 0.6
    torch.testing.assert_close(model.gradient, gradient, rtol=0, atol=0.3)


@pytest.mark.parametrize(
    ("n", "value", "radius", "match"),
    [(1, 0.0, 1.0, "at least 2"), (3, float("nan"), 1.0, "finite"), (3, 0.0, 0.0, "radius")],
)
def test_unusable_data_are_refused(n, value, radius, match):
    theta = torch.ones(n, 2, dtype=torch.float64)
    with pytest.raises(DomainError, match=match):
        LocalQuadratic.fit(
            theta,
            torch.full((n,), value, dtype=torch.float64),
            torch.zeros(n).double(),
            torch.zeros(2).double(),
            radius,
        )


@given(st.integers(0, 10_000), st.floats(0.01, 10.0), st.booleans())
def test_the_step_is_the_lowest_of_the_ball(seed, radius, convex):
    rng = torch.Generator().manual_seed(seed)
    gradient, hessian = quadratic(4, rng)
    hessian = hessian if convex else hessian - torch.eye(4, dtype=torch.float64)
    step = trust_region_step(gradient, hessian, radius)

    def objective(s):
        return s @ gradient + (s @ hessian * s).sum(-1) / 2

    assert float(step.norm()) <= radius * (1 + 1e-9)
    others = torch.randn(2_000, 4, generator=rng, dtype=torch.float64)
    others *= (
        radius
        * torch.rand(2_000, 1, generator=rng, dtype=torch.float64)
        / others.norm(dim=1, keepdim=True)
    )
    assert float(objective(step)) <= float(objective(others).min()) + 1e-9 * radius


def test_a_flat_objective_asks_for_no_step():
    nothing = torch.zeros(3, dtype=torch.float64)
    assert torch.equal(trust_region_step(nothing, torch.zeros(3, 3).double(), 1.0), nothing)
