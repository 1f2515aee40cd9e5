"""Straight-line fits: textbook least squares, with lost hits."""

import numpy as np
import pytest
import torch

from detopt.reconstruction import fit_lines

HEIGHTS = torch.tensor([1.10, 1.02, 0.95, 0.90], dtype=torch.float64)  # m
REFERENCE = 0.7  # m
SIGMA = torch.tensor([1e-4, 2e-4, 1e-4, 5e-4], dtype=torch.float64)  # m


@pytest.fixture
def hits(rng):
    """Measured x and y of five tracks in four panels [m]."""
    return torch.randn(2, 4, 5, generator=rng, dtype=torch.float64)


@pytest.fixture
def weights(rng):
    lost = torch.rand(4, 5, generator=rng, dtype=torch.float64)
    return (0.2 + 0.8 * lost) / SIGMA[:, None].square()


def fitted(hits, weights, heights=HEIGHTS, reference=REFERENCE):
    return fit_lines(hits * weights, weights, heights, reference)


@pytest.mark.parametrize("track", range(5))
@pytest.mark.parametrize("axis", [0, 1])
def test_fit_is_that_of_numpy(hits, weights, axis, track):
    expected, covariance = np.polyfit(
        HEIGHTS.numpy() - REFERENCE,
        hits[axis, :, track].numpy(),
        1,
        w=weights[:, track].sqrt().numpy(),
        cov="unscaled",
    )
    fit = fitted(hits, weights)
    found = fit.slope[axis, track].item(), fit.position[axis, track].item()
    assert found == pytest.approx(tuple(expected), rel=1e-5)
    assert fit.slope_variance[track].item() == pytest.approx(covariance[0, 0], rel=1e-5)
    assert position_variance(fit)[track].item() == pytest.approx(covariance[1, 1], rel=1e-5)
    shared = (fit.arm * fit.slope_variance)[track].item()
    assert shared == pytest.approx(covariance[0, 1], rel=1e-5)


def position_variance(fit):
    return fit.centroid_variance + fit.arm.square() * fit.slope_variance


def test_line_is_fitted_exactly():
    slope, point = torch.tensor([0.3, -0.2]).double(), torch.tensor([0.1, 0.4]).double()
    hits = point[:, None] + slope[:, None] * (HEIGHTS - REFERENCE)
    fit = fitted(hits[..., None], (1 / SIGMA.square())[:, None])
    torch.testing.assert_close(fit.slope[:, 0], slope, rtol=0, atol=1e-6)
    torch.testing.assert_close(fit.position[:, 0], point, rtol=0, atol=1e-6)


def test_float32_slope_is_far_better_than_its_error():
    slope = torch.tensor([0.3, -0.2])
    hits = (2.0 + slope[:, None] * (HEIGHTS.float() - REFERENCE))[..., None]
    fit = fit_lines(hits / 1e-8, torch.full((4, 1), 1e8), HEIGHTS.float(), REFERENCE)
    assert (fit.slope[:, 0] - slope).abs().max() < 0.05 * fit.slope_variance.sqrt()


def test_errors_of_a_toy_have_the_claimed_size(rng):
    n = 40_000
    noise = SIGMA[:, None] * torch.randn(2, 4, n, generator=rng, dtype=torch.float64)
    fit = fitted(noise, (1 / SIGMA.square())[:, None].expand(4, n))
    pulls = torch.stack(
        [fit.slope / fit.slope_variance.sqrt(), fit.position / position_variance(fit).sqrt()]
    )
    torch.testing.assert_close(pulls.std(-1), torch.ones(2, 2).double(), rtol=0.02, atol=0)


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_hit_without_weight_does_not_matter(hits, weights, lost):
    weights[lost] = 0
    kept = [i for i in range(4) if i != lost]
    far = hits.clone()
    far[:, lost] = 1e3
    expected = fitted(hits[:, kept], weights[kept], HEIGHTS[kept])
    found = fitted(far, weights)
    torch.testing.assert_close(found.slope, expected.slope, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.position, expected.position, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.slope_variance, expected.slope_variance, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_hits", [0, 1])
def test_track_with_too_few_hits_is_finite_and_uncertain(hits, weights, dtype, n_hits):
    weights[n_hits:, 0] = 0
    fit = fitted(hits.to(dtype), weights.to(dtype), HEIGHTS.to(dtype))
    assert all(bool(torch.isfinite(field).all()) for field in vars(fit).values())
    assert fit.slope_variance[0].sqrt() > 0.5  # rad: nothing is known


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_without_any_hit_is_finite(hits, weights, dtype):
    fit = fitted(hits.to(dtype), torch.zeros(4, 5, dtype=dtype), HEIGHTS.to(dtype))
    assert all(bool(torch.isfinite(field).all()) for field in vars(fit).values())
    assert fit.slope_variance.min().sqrt() > 100


def test_frame_does_not_matter(hits, weights):
    fit = fitted(hits, weights)
    moved = fitted(hits + 3.0, weights, HEIGHTS + 5.0, REFERENCE + 5.0)
    torch.testing.assert_close(moved.slope, fit.slope, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved.position, fit.position + 3.0, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved.slope_variance, fit.slope_variance)


def test_gradient_matches_finite_differences(rng):
    hits = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = 1 + torch.rand(4, 3, generator=rng, dtype=torch.float64)
    heights = HEIGHTS.clone().requires_grad_()

    def fit(hits, weights, heights):
        return tuple(vars(fit_lines(hits * weights, weights, heights, REFERENCE)).values())

    inputs = hits, weights.requires_grad_(), heights
    assert torch.autograd.gradcheck(fit, inputs, rtol=1e-4, atol=1e-5)
