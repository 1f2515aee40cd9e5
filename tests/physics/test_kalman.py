"""Filter and smoother against a global least-squares fit that knows nothing of recursion."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detopt.errors import DomainError
from detopt.physics.kalman import LinearModel, kalman_filter, kalman_smoother, straight_line_model
from detopt.physics.tracking import fit_covariance, position_covariance

POSITIONS = torch.tensor([0.0, 0.3, 0.5, 1.1, 1.4], dtype=torch.float64)
RESOLUTION = torch.tensor([1e-3, 2e-3, 1e-3, 1e-3, 3e-3], dtype=torch.float64)
ANGLE = torch.tensor([2e-3, 1e-3, 0.0, 4e-3, 1e-3], dtype=torch.float64)
PRIOR_MEAN = torch.tensor([0.01, -0.02], dtype=torch.float64)
PRIOR = torch.tensor([[4e-4, 1e-5], [1e-5, 1e-4]], dtype=torch.float64)


def fit(measurements, prior=PRIOR, model=None):
    model = model or straight_line_model(POSITIONS, RESOLUTION, ANGLE)
    filtered = kalman_filter(measurements.unsqueeze(-1), model, PRIOR_MEAN, prior)
    return filtered, kalman_smoother(filtered, model)


def global_fit(measurements, prior=PRIOR):
    """Offset and slope at the first layer by generalized least squares with the prior."""
    design = torch.stack([torch.ones_like(POSITIONS), POSITIONS - POSITIONS[0]], dim=-1)
    covariance = position_covariance(POSITIONS, RESOLUTION, POSITIONS, ANGLE)
    weight = torch.linalg.inv(covariance)
    information = design.mT @ weight @ design + torch.linalg.inv(prior)
    pull = measurements @ weight @ design + PRIOR_MEAN @ torch.linalg.inv(prior)
    mean = torch.linalg.solve(information, pull.mT).mT
    residual, shift = measurements - mean @ design.mT, mean - PRIOR_MEAN
    chi_squared = (residual @ weight * residual).sum(-1)
    chi_squared = chi_squared + (shift @ torch.linalg.inv(prior) * shift).sum(-1)
    return mean, torch.linalg.inv(information), chi_squared


def test_smoothed_track_is_that_of_the_global_fit(rng):
    measurements = 0.01 * torch.randn(7, 5, generator=rng, dtype=torch.float64)
    filtered, smoothed = fit(measurements)
    mean, covariance, chi_squared = global_fit(measurements)
    torch.testing.assert_close(smoothed.mean[:, 0], mean, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(
        smoothed.covariance[:, 0], covariance.expand(7, 2, 2), rtol=1e-8, atol=0.0
    )
    torch.testing.assert_close(filtered.chi_squared, chi_squared, rtol=1e-8, atol=0.0)


def test_last_filtered_state_is_that_of_the_global_fit(rng):
    # with no scattering the line at the last layer is the line at the first, carried on
    measurements = 0.01 * torch.randn(5, generator=rng, dtype=torch.float64)
    model = straight_line_model(POSITIONS, RESOLUTION, 0 * ANGLE)
    filtered, _ = fit(measurements, model=model)
    weight = torch.diag(RESOLUTION**-2)
    design = torch.stack([torch.ones_like(POSITIONS), POSITIONS], dim=-1)
    inverse = torch.linalg.inv(PRIOR)
    covariance = torch.linalg.inv(design.mT @ weight @ design + inverse)
    mean = covariance @ (design.mT @ weight @ measurements + inverse @ PRIOR_MEAN)
    carry = torch.tensor([[1.0, 1.4], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(filtered.mean[-1], carry @ mean, rtol=1e-8, atol=0.0)
    torch.testing.assert_close(
        filtered.covariance[-1], carry @ covariance @ carry.mT, rtol=1e-8, atol=0.0
    )


def test_wide_prior_leaves_the_covariance_of_the_layers():
    wide = 1e2 * torch.eye(2, dtype=torch.float64)
    _, smoothed = fit(torch.zeros(5, dtype=torch.float64), prior=wide)
    layers = position_covariance(POSITIONS, RESOLUTION, POSITIONS, ANGLE)
    torch.testing.assert_close(
        smoothed.covariance[0], fit_covariance(POSITIONS, layers, degree=1), rtol=1e-6, atol=0.0
    )


@settings(deadline=None, max_examples=30)
@given(offset=st.floats(-1.0, 1.0), slope=st.floats(-1.0, 1.0))
def test_fit_moves_with_the_track(offset, slope):
    zero = torch.zeros(5, dtype=torch.float64)
    line = offset + slope * POSITIONS
    wide = 1e2 * torch.eye(2, dtype=torch.float64)
    _, at_rest = fit(zero, wide)
    model = straight_line_model(POSITIONS, RESOLUTION, ANGLE)
    start = PRIOR_MEAN + torch.tensor([offset, slope], dtype=torch.float64)
    filtered = kalman_filter(line.unsqueeze(-1), model, start, wide)
    moved = kalman_smoother(filtered, model)
    shift = torch.stack([line, torch.full_like(line, slope)], dim=-1)
    torch.testing.assert_close(moved.mean - shift, at_rest.mean, rtol=0.0, atol=1e-7)


def test_chi_squared_of_simulated_tracks_has_its_distribution(rng):
    covariance = position_covariance(POSITIONS, RESOLUTION, POSITIONS, ANGLE)
    design = torch.stack([torch.ones_like(POSITIONS), POSITIONS], dim=-1)
    covariance = covariance + design @ PRIOR @ design.mT
    normals = torch.randn(4000, 5, generator=rng, dtype=torch.float64)
    measurements = PRIOR_MEAN @ design.mT + normals @ torch.linalg.cholesky(covariance).mT
    filtered, _ = fit(measurements)
    assert stats.kstest(filtered.chi_squared.numpy(), stats.chi2(5).cdf).pvalue > 1e-3


def test_smoothing_never_widens_a_state():
    filtered, smoothed = fit(torch.zeros(5, dtype=torch.float64))
    gain = filtered.covariance - smoothed.covariance
    assert (torch.linalg.eigvalsh(gain) > -1e-15).all()


def test_shift_moves_the_prediction():
    model = straight_line_model(POSITIONS, RESOLUTION, ANGLE)
    shift = torch.zeros(5, 2, dtype=torch.float64)
    shift[2, 0] = 0.5
    measurements = 0.5 * (POSITIONS >= 0.5)
    kinked, _ = fit(measurements, model=dataclasses.replace(model, shift=shift))
    straight, _ = fit(torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(kinked.chi_squared, straight.chi_squared)


def test_gradients_match_finite_differences():
    def smoothed(measurements, positions, resolution, angle, mean):
        model = straight_line_model(positions, resolution, angle)
        filtered = kalman_filter(measurements, model, mean, torch.eye(2, dtype=torch.float64))
        result = kalman_smoother(filtered, model)
        return result.mean, result.covariance, filtered.chi_squared

    inputs = (
        torch.tensor([[[0.1], [0.3], [0.2]]], dtype=torch.float64),
        torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64),
        torch.tensor([0.3, 0.2, 0.3], dtype=torch.float64),
        torch.tensor([0.1, 0.2, 0.1], dtype=torch.float64),
        PRIOR_MEAN.clone(),
    )
    assert torch.autograd.gradcheck(smoothed, tuple(x.requires_grad_() for x in inputs))


def test_missing_measurement_is_refused():
    model = straight_line_model(POSITIONS, RESOLUTION, ANGLE)
    with pytest.raises(DomainError, match="the model has 5 layers, got 4"):
        kalman_filter(torch.zeros(4, 1, dtype=torch.float64), model, PRIOR_MEAN, PRIOR)


def test_result_of_another_model_is_refused():
    filtered, _ = fit(torch.zeros(5, dtype=torch.float64))
    short = straight_line_model(POSITIONS[:4], RESOLUTION[:4], ANGLE[:4])
    with pytest.raises(DomainError, match="the model has 4 layers, got 5"):
        kalman_smoother(filtered, short)


def test_single_layer_is_refused():
    with pytest.raises(DomainError, match="One layer measures no slope"):
        straight_line_model(POSITIONS[:1], RESOLUTION[:1], ANGLE[:1])


def test_model_takes_measurements_of_several_components(rng):
    identity = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    model = LinearModel(identity, 0 * identity, identity, identity)
    measurements = torch.randn(3, 2, generator=rng, dtype=torch.float64)
    filtered = kalman_filter(measurements, model, PRIOR_MEAN, identity[0])
    # three measurements and the prior with the same weight: their mean
    expected = (measurements.sum(0) + PRIOR_MEAN) / 4
    torch.testing.assert_close(filtered.mean[-1], expected)
