"""Helix fits against a direct minimization with every scattering angle as a parameter."""

import math

import pytest
import torch
from scipy import optimize

from detopt.errors import DomainError
from detopt.physics.fields import helix
from detopt.physics.tracking import gluckstern_resolution, helix_fit, helix_step

PLANES = torch.linspace(0.0, 1.0, 6, dtype=torch.float64)
FIELD = torch.tensor([0.1, 1.5, 0.2], dtype=torch.float64)
RESOLUTION = torch.full((6,), 1e-4, dtype=torch.float64)
ANGLE = torch.full((6,), 1e-3, dtype=torch.float64)
TRUTH = torch.tensor([0.01, -0.02, 0.05, 0.1, 0.5], dtype=torch.float64)
PRIOR = torch.diag(torch.tensor([1e-2, 1e-2, 1e-1, 1e-1, 1.0], dtype=torch.float64) ** 2)
SCALES = torch.tensor([1e-4, 1e-4, 1e-3, 1e-3, 1e-2], dtype=torch.float64)


def carried(start, kicks):
    """States at the planes for scattering angles that are given."""
    states = [start]
    for k in range(len(PLANES) - 1):
        moved = helix_step(states[-1], PLANES[k], PLANES[k + 1], FIELD)
        states.append(moved + torch.nn.functional.pad(kicks[..., k, :], (2, 1)))
    return torch.stack(states, dim=-2)


def simulated(rng, n=1, angle=1e-3):
    kicks = angle * torch.randn(n, 5, 2, generator=rng, dtype=torch.float64)
    noise = 1e-4 * torch.randn(n, 6, 2, generator=rng, dtype=torch.float64)
    return carried(TRUTH.expand(n, 5), kicks)[..., :2] + noise


def test_step_follows_the_helix():
    # independent: carry along the path with the general helix until the plane is reached
    slopes = torch.cat([TRUTH[2:4], torch.ones(1, dtype=torch.float64)])
    momentum = slopes / slopes.norm() / TRUTH[4]
    start = torch.cat([TRUTH[:2], torch.zeros(1, dtype=torch.float64)])
    path = optimize.brentq(
        lambda s: helix(start, momentum, 1, FIELD, s)[0][2].item() - 0.7, 0.5, 1.0, xtol=1e-15
    )
    position, turned = helix(start, momentum, 1, FIELD, path)
    state = helix_step(TRUTH, PLANES[0], torch.tensor(0.7, dtype=torch.float64), FIELD)
    expected = torch.stack(
        [position[0], position[1], turned[0] / turned[2], turned[1] / turned[2], TRUTH[4]]
    )
    torch.testing.assert_close(state, expected, rtol=0.0, atol=1e-12)


def test_step_back_returns_to_the_start():
    there = helix_step(TRUTH, PLANES[0], PLANES[-1], FIELD)
    back = helix_step(there, PLANES[-1], PLANES[0], FIELD)
    torch.testing.assert_close(back, TRUTH, rtol=0.0, atol=1e-12)


def test_perfect_measurements_give_the_track_back():
    measurements = carried(TRUTH, torch.zeros(5, 2, dtype=torch.float64))[:, :2]
    fit = helix_fit(measurements, PLANES, FIELD, RESOLUTION, 0 * ANGLE, TRUTH, PRIOR)
    torch.testing.assert_close(fit.state[0], TRUTH, rtol=0.0, atol=1e-10)
    assert fit.chi_squared.item() == pytest.approx(0.0, abs=1e-10)


def test_fit_is_that_of_a_global_minimization(rng):
    measurements = simulated(rng)[0]
    start = TRUTH + torch.tensor([1e-3, -1e-3, 0.01, 0.02, 0.05], dtype=torch.float64)
    fit = helix_fit(measurements, PLANES, FIELD, RESOLUTION, ANGLE, start, PRIOR, n_iterations=10)
    slopes = fit.state[1:, 2:4]
    outer = torch.eye(2, dtype=torch.float64) + slopes.unsqueeze(-1) * slopes.unsqueeze(-2)
    stretch = 1e-6 * (1 + slopes.square().sum(-1))
    whiten = torch.linalg.inv(torch.linalg.cholesky(stretch[:, None, None] * outer))
    widths = PRIOR.diagonal().sqrt()

    def residuals(scaled):
        state, kicks = start + SCALES * scaled[:5], 1e-3 * scaled[5:].reshape(5, 2)
        misses = (carried(state, kicks)[:, :2] - measurements) / 1e-4
        scattered = (whiten @ kicks.unsqueeze(-1)).flatten()
        return torch.cat([misses.flatten(), scattered, SCALES * scaled[:5] / widths])

    solution = optimize.least_squares(
        lambda v: residuals(torch.as_tensor(v)).numpy(),
        torch.zeros(15, dtype=torch.float64).numpy(),
        jac=lambda v: torch.func.jacrev(residuals)(torch.as_tensor(v)).numpy(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    expected = start + SCALES * torch.as_tensor(solution.x[:5])
    torch.testing.assert_close(fit.state[0], expected, rtol=1e-8, atol=1e-11)
    assert fit.chi_squared.item() == pytest.approx(2 * solution.cost, rel=1e-8)

    information = torch.as_tensor(solution.jac.T @ solution.jac)
    covariance = torch.linalg.inv(information)[:5, :5] * SCALES * SCALES.unsqueeze(-1)
    torch.testing.assert_close(fit.covariance[0], covariance, rtol=1e-6, atol=1e-16)


def test_momentum_spread_without_matter_is_that_of_gluckstern():
    # a stiff track across the field: sigma(q/p) p is the relative resolution
    field = torch.tensor([0.0, 1.5, 0.0], dtype=torch.float64)
    stiff = torch.tensor([0.0, 0.0, 0.0, 0.0, 1e-2], dtype=torch.float64)
    measurements = torch.zeros(6, 2, dtype=torch.float64)
    prior = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 1e2], dtype=torch.float64))
    fit = helix_fit(measurements, PLANES, field, RESOLUTION, 0 * ANGLE, stiff, prior)
    spread = fit.covariance[0, 4, 4].sqrt().item() * 100.0
    expected = gluckstern_resolution(6, 1.0, 1e-4, 100.0, 1.5).item()
    assert spread == pytest.approx(expected, rel=1e-3)


def test_pulls_of_many_tracks_are_normal(rng):
    measurements = simulated(rng, n=300)
    fit = helix_fit(
        measurements, PLANES, FIELD, RESOLUTION, ANGLE, TRUTH.expand(300, 5), PRIOR, n_iterations=3
    )
    pulls = (fit.state[:, 0] - TRUTH) / fit.covariance[:, 0].diagonal(dim1=-2, dim2=-1).sqrt()
    assert pulls.mean(0).abs().max().item() < 0.25
    assert pulls.std(0).min().item() > 0.85
    assert pulls.std(0).max().item() < 1.15


def test_gradients_of_a_step_match_finite_differences():
    end = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    start = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    inputs = (TRUTH.clone().requires_grad_(), start, end, FIELD.clone().requires_grad_())
    assert torch.autograd.gradcheck(helix_step, inputs)


def test_gradients_of_a_fit_match_finite_differences(rng):
    def fitted(measurements, planes, resolution):
        fit = helix_fit(
            1e-3 * measurements, planes, FIELD, 1e-3 * resolution, ANGLE[:4], TRUTH, PRIOR, 2
        )
        return fit.state, 1e3 * fit.covariance

    inputs = (1e3 * simulated(rng)[0, :4], PLANES[:4].clone(), 1e3 * RESOLUTION[:4])
    assert torch.autograd.gradcheck(
        fitted, tuple(x.requires_grad_() for x in inputs), fast_mode=True
    )


def test_negative_charge_bends_the_other_way():
    field = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    straight = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.2], dtype=torch.float64)
    mirrored = straight * torch.tensor([1, 1, 1, 1, -1])
    one, other = (helix_step(s, PLANES[0], PLANES[-1], field) for s in (straight, mirrored))
    assert one[0].item() == pytest.approx(-other[0].item(), rel=1e-12)
    assert math.copysign(1.0, one[0].item()) == -1.0  # dp/dt = q v x B, v along z, B along y


def test_two_planes_are_refused():
    with pytest.raises(DomainError, match="Fewer do not measure a momentum"):
        helix_fit(
            torch.zeros(2, 2, dtype=torch.float64),
            PLANES[:2],
            FIELD,
            RESOLUTION[:2],
            ANGLE[:2],
            TRUTH,
            PRIOR,
        )


def test_fit_without_rounds_is_refused():
    measurements = torch.zeros(6, 2, dtype=torch.float64)
    with pytest.raises(DomainError, match="`n_iterations` must be >= 1"):
        helix_fit(measurements, PLANES, FIELD, RESOLUTION, ANGLE, TRUTH, PRIOR, n_iterations=0)
