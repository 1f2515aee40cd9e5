"""Vertices against hand-worked cases and a direct minimization."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from detopt.errors import DomainError
from detopt.physics.tracking import fit_vertex

AXES = torch.eye(3, dtype=torch.float64)
coordinates = st.lists(st.floats(-5.0, 5.0), min_size=3, max_size=3)


def bundle(rng, n=5, batch=()):
    directions = torch.randn(*batch, n, 3, generator=rng, dtype=torch.float64)
    points = 0.1 * torch.randn(*batch, n, 3, generator=rng, dtype=torch.float64)
    resolution = 0.01 + 0.01 * torch.rand(*batch, n, generator=rng, dtype=torch.float64)
    return points, directions, resolution


def test_lines_along_the_axes_have_the_covariance_worked_by_hand():
    # each coordinate is measured by the two lines across it
    vertex = fit_vertex(2 * AXES, AXES, torch.full((3,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(vertex.position, 0 * AXES[0])
    torch.testing.assert_close(vertex.covariance, 0.005 * AXES)
    assert vertex.chi_squared.item() == pytest.approx(0.0, abs=1e-20)


def test_two_skew_lines_meet_halfway():
    # along x at z = 0, along y at z = 0.2: chi2 = 2 (0.1/0.1)^2
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.2]], dtype=torch.float64)
    vertex = fit_vertex(points, AXES[:2], torch.full((2,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(vertex.position, torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64))
    assert vertex.chi_squared.item() == pytest.approx(2.0)


def test_vertex_is_that_of_a_direct_minimization(rng):
    points, directions, resolution = bundle(rng)
    unit = directions / directions.norm(dim=-1, keepdim=True)

    def residuals(position):
        miss = torch.linalg.cross(torch.as_tensor(position) - points, unit)
        return (miss / resolution.unsqueeze(-1)).flatten().numpy()

    solution = optimize.least_squares(residuals, [0.0, 0.0, 0.0], xtol=1e-15, gtol=1e-15)
    vertex = fit_vertex(points, directions, resolution)
    torch.testing.assert_close(vertex.position, torch.as_tensor(solution.x), rtol=0.0, atol=1e-8)
    assert vertex.chi_squared.item() == pytest.approx(2 * solution.cost, rel=1e-8)


@settings(deadline=None)
@given(shift=coordinates)
def test_vertex_moves_with_the_tracks(shift):
    points, directions, resolution = bundle(torch.Generator().manual_seed(1))
    moved = torch.tensor(shift, dtype=torch.float64)
    one, other = (fit_vertex(points + by, directions, resolution) for by in (0 * moved, moved))
    torch.testing.assert_close(other.position, one.position + moved, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(other.covariance, one.covariance)


def test_vertex_does_not_depend_on_where_a_track_is_taken(rng):
    points, directions, resolution = bundle(rng)
    one = fit_vertex(points, directions, resolution)
    other = fit_vertex(points + 3 * directions, -2 * directions, resolution)
    torch.testing.assert_close(other.position, one.position, rtol=0.0, atol=1e-9)


def test_track_of_infinite_resolution_does_not_count(rng):
    points, directions, resolution = bundle(rng)
    left_out = torch.cat([resolution[:4], torch.tensor([math.inf], dtype=torch.float64)])
    one = fit_vertex(points, directions, left_out)
    other = fit_vertex(points[:4], directions[:4], resolution[:4])
    torch.testing.assert_close(one.position, other.position, rtol=0.0, atol=1e-12)


def test_chi_squared_of_simulated_vertices_has_its_distribution(rng):
    points, directions, resolution = bundle(rng, n=4, batch=(2000,))
    points = (
        resolution.unsqueeze(-1) * 10 * torch.randn(2000, 4, 3, generator=rng, dtype=torch.float64)
    )
    vertex = fit_vertex(points / 10, directions, resolution)
    assert vertex.position.shape == (2000, 3)
    assert stats.kstest(vertex.chi_squared.numpy(), stats.chi2(5).cdf).pvalue > 1e-3


def test_gradients_match_finite_differences(rng):
    def fitted(points, directions, resolution):
        vertex = fit_vertex(points, directions, resolution)
        return vertex.position, vertex.covariance, vertex.chi_squared

    points, directions, resolution = bundle(rng, n=3)
    inputs = (10 * points, directions, 30 * resolution)
    assert torch.autograd.gradcheck(fitted, tuple(x.requires_grad_() for x in inputs))


def test_single_track_is_refused():
    with pytest.raises(DomainError, match="One track has no vertex"):
        fit_vertex(AXES[:1], AXES[:1], torch.ones(1, dtype=torch.float64))


def test_tracks_in_a_batch_have_a_covariance_each(rng):
    points, directions, resolution = bundle(rng)
    several = points + torch.randn(7, 1, 3, generator=rng, dtype=torch.float64)
    vertex = fit_vertex(several, directions, resolution)
    assert vertex.covariance.shape == (7, 3, 3)
    alone = fit_vertex(several[3], directions, resolution)
    torch.testing.assert_close(vertex.covariance[3], alone.covariance)


def test_a_track_that_is_left_out_moves_nothing(rng):
    points, directions, resolution = bundle(rng)
    without = fit_vertex(points[:4], directions[:4], resolution[:4])
    resolution[4] = torch.inf
    resolution.requires_grad_()
    vertex = fit_vertex(points, directions, resolution)
    torch.testing.assert_close(vertex.position, without.position)
    (slope,) = torch.autograd.grad(vertex.position.sum(), resolution)
    assert slope.isfinite().all()
    assert slope[4] == 0
