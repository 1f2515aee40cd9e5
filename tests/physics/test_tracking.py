"""Track covariances against Gluckstern, closed forms and a plain least-squares fit."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics.scattering import highland_angle
from detopt.physics.tracking import (
    TrackingLayers,
    fit_covariance,
    gluckstern_resolution,
    position_covariance,
    track_resolution,
)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def layers(n=10, first=0.1, last=1.1, resolution=1e-4, thickness=0.0):
    radius = torch.linspace(first, last, n, dtype=torch.float64)
    return TrackingLayers(
        radius, torch.full_like(radius, resolution), torch.full_like(radius, thickness)
    )


def test_three_points_measure_the_sagitta():
    # Review of Particle Physics: sigma(p)/p = sqrt(3/2) sigma 8 p/(0.3 B L^2)
    expected = math.sqrt(1.5) * 1e-4 * 8 * 10.0 / (0.299792458 * 2.0 * 0.5**2)
    assert gluckstern_resolution(3, 0.5, 1e-4, 10.0, 2.0).item() == pytest.approx(expected)


def test_many_points_have_the_published_limit():
    # Review of Particle Physics, eq. 35.47: sqrt(720/(N + 4)) for N points, N > 10
    expected = math.sqrt(720 / 204) * 1e-4 / 0.299792458
    assert gluckstern_resolution(200, 1.0, 1e-4, 1.0, 1.0).item() == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.parametrize("n_points", [3, 4, 10, 100])
@pytest.mark.parametrize("first", [0.0, 0.1, 20.0])
def test_momentum_resolution_without_matter_is_that_of_gluckstern(n_points, first):
    tracker = layers(n_points, first, first + 1.0)
    resolution = track_resolution(tracker, momentum=10.0, field=2.0).momentum
    expected = gluckstern_resolution(n_points, 1.0, 1e-4, 10.0, 2.0)
    assert resolution.item() == pytest.approx(expected.item(), rel=1e-6)


@settings(deadline=None)
@given(scale=st.floats(0.1, 10.0))
def test_momentum_resolution_scales_with_momentum_field_and_length(scale):
    once = track_resolution(layers(), 10.0, 2.0).momentum
    faster = track_resolution(layers(), scale * 10.0, 2.0).momentum
    longer = track_resolution(layers(10, scale * 0.1, scale * 1.1), 10.0, 2.0).momentum
    torch.testing.assert_close(faster, scale * once)
    torch.testing.assert_close(longer * scale**2, once)


def test_two_layers_have_the_impact_parameter_worked_by_hand():
    # a line through (r1, y1), (r2, y2): d0 = (r2 y1 - r1 y2)/(r2 - r1), and the inner layer kicks
    # the outer point by (r2 - r1) theta
    r1, r2, s1, s2, kick = 0.03, 0.12, 2e-5, 3e-5, 1e-3
    radius, angles = vector(r1, r2), vector(kick, kick)
    covariance = fit_covariance(
        radius, position_covariance(radius, vector(s1, s2), radius, angles), degree=1
    )
    expected = ((r2 * s1) ** 2 + (r1 * s2) ** 2) / (r2 - r1) ** 2 + (r1 * kick) ** 2
    assert covariance[0, 0].item() == pytest.approx(expected, rel=1e-10)


def test_line_through_equal_layers_has_the_textbook_slope():
    # variance of the slope: sigma^2 over the sum of the squared distances to the centroid
    radius = vector(1.0, 2.0, 4.0, 5.0)
    covariance = fit_covariance(radius, 1e-8 * torch.eye(4, dtype=torch.float64), degree=1)
    assert covariance[1, 1].item() == pytest.approx(1e-8 / 10.0, rel=1e-12)


def test_reference_only_moves_the_parameters():
    radius, weight = vector(0.1, 0.3, 0.4, 0.9), torch.eye(4, dtype=torch.float64)
    here = fit_covariance(radius, weight, degree=2)
    there = fit_covariance(radius, weight, degree=2, reference=0.7)
    shift = torch.tensor([[1.0, 0.7, 0.245], [0.0, 1.0, 0.7], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(there, shift @ here @ shift.mT, rtol=1e-9, atol=1e-12)


def test_scattering_correlates_later_layers():
    covariance = position_covariance(
        vector(0.0, 1.0, 2.0), vector(0.1, 0.1, 0.1), vector(0.5), vector(2.0)
    )
    expected = [[0.01, 0.0, 0.0], [0.0, 1.01, 3.0], [0.0, 3.0, 9.01]]
    torch.testing.assert_close(covariance, torch.tensor(expected, dtype=torch.float64))


def test_inclined_track_scatters_as_its_longer_path_says():
    # one scattering layer between the beam and two perfect ones: z0 error is r theta0/sin^2
    tracker = TrackingLayers(
        vector(0.1, 0.5, 1.0), vector(math.inf, 1e-9, 1e-9), vector(0.02, 0.0, 0.0)
    )
    theta, momentum, mass = 0.6, 2.0, 0.13957039
    total = momentum / math.sin(theta)
    angle = highland_angle(
        0.02 / math.sin(theta), 1.0, total, total / math.hypot(total, mass)
    ).item()
    tracker = dataclasses.replace(
        tracker, resolution=vector(1e-9, 1e-9, 1e-9), longitudinal=tracker.resolution
    )
    line = track_resolution(tracker, momentum, 1.0, polar_angle=theta).longitudinal_impact
    assert line.item() == pytest.approx(0.1 * angle / math.sin(theta) ** 2, rel=1e-5)


def test_passive_layer_without_matter_changes_nothing():
    tracker = layers(5)
    padded = TrackingLayers(
        *(
            torch.cat([vector(value), getattr(tracker, name)])
            for name, value in (("radius", 0.05), ("resolution", math.inf), ("thickness", 0.0))
        )
    )
    torch.testing.assert_close(
        track_resolution(padded, 5.0, 1.0).transverse,
        track_resolution(tracker, 5.0, 1.0).transverse,
        rtol=1e-7,
        atol=0.0,
    )


def test_more_matter_measures_worse():
    thickness = torch.tensor([0.0, 0.01, 0.05], dtype=torch.float64)
    tracker = layers()
    heavier = dataclasses.replace(tracker, thickness=thickness.unsqueeze(-1).expand(3, 10))
    resolution = track_resolution(heavier, 1.0, 2.0)
    assert (resolution.momentum.diff() > 0).all()
    assert (resolution.impact.diff() > 0).all()
    assert (resolution.polar.diff() > 0).all()


def test_batches_of_designs_agree_with_single_ones():
    radii = torch.stack([layers().radius, 2 * layers().radius])
    tracker = dataclasses.replace(layers(thickness=0.01), radius=radii)
    together = track_resolution(tracker, vector(1.0, 5.0), 2.0).impact
    alone = track_resolution(dataclasses.replace(tracker, radius=radii[1]), 5.0, 2.0).impact
    torch.testing.assert_close(together[1], alone)


def test_gradients_of_the_resolutions_match_finite_differences():
    def resolutions(radius, resolution, thickness, momentum, angle):
        tracker = TrackingLayers(radius, 1e-4 * resolution, thickness)
        result = track_resolution(tracker, momentum, 2.0, angle)
        return 1e2 * result.momentum, 1e4 * result.impact, 1e3 * result.polar

    inputs = (
        vector(0.05, 0.2, 0.6, 1.0),
        vector(1.0, 1.5, 1.0, 2.0),
        vector(0.01, 0.02, 0.01, 0.02),
        vector(2.0, 5.0),
        vector(1.0, 0.7),
    )
    assert torch.autograd.gradcheck(resolutions, tuple(x.requires_grad_() for x in inputs))


def test_gradients_of_the_covariances_match_finite_differences():
    def covariances(positions, resolution, scatterers, angle):
        at_layers = position_covariance(positions, resolution, scatterers, angle)
        return at_layers, fit_covariance(positions, at_layers, degree=2)

    inputs = (
        vector(0.1, 0.3, 0.7, 1.0),
        vector(0.1, 0.2, 0.1, 0.1),
        vector(0.2, 0.5),
        vector(0.3, 0.1),
    )
    assert torch.autograd.gradcheck(covariances, tuple(x.requires_grad_() for x in inputs))


def test_gradient_of_gluckstern_matches_finite_differences():
    inputs = tuple(vector(value).requires_grad_() for value in (1.0, 0.2, 3.0, 2.0))
    assert torch.autograd.gradcheck(lambda *args: gluckstern_resolution(5, *args), inputs)


def test_two_points_are_refused_by_gluckstern():
    with pytest.raises(DomainError, match="do not measure a curvature"):
        gluckstern_resolution(2, 1.0, 1e-4, 1.0, 1.0)


def test_two_layers_are_refused_for_a_momentum():
    with pytest.raises(DomainError, match="more than 2 layers"):
        track_resolution(layers(2), 1.0, 1.0)


@pytest.mark.parametrize(
    ("resolution", "longitudinal", "message"),
    [
        ((1e-4, math.inf, 1e-4), None, "`resolution` must be finite in more than 2 layers"),
        ((1e-4,) * 3, (1e-4, math.inf, math.inf), "`longitudinal` must be finite in more than 1"),
    ],
)
def test_passive_layers_do_not_count_as_measurements(resolution, longitudinal, message):
    along = None if longitudinal is None else vector(*longitudinal)
    tracker = dataclasses.replace(layers(3), resolution=vector(*resolution), longitudinal=along)
    with pytest.raises(DomainError, match=message):
        track_resolution(tracker, 1.0, 1.0)


def test_tracker_without_field_is_refused():
    with pytest.raises(DomainError, match="`field` must be > 0"):
        track_resolution(layers(), 1.0, 0.0)


def test_several_resolutions_are_mapped_at_once():
    several = torch.tensor([1e-4, 2e-4], dtype=torch.float64)

    def curvature_error(resolution):
        tracker = layers()
        other = dataclasses.replace(
            tracker, resolution=resolution * torch.ones_like(tracker.resolution)
        )
        return track_resolution(other, 1.0, 1.0).momentum

    found = torch.func.vmap(curvature_error)(several)
    expected = torch.stack([curvature_error(one) for one in several])
    torch.testing.assert_close(found, expected)


def test_gradient_of_a_layer_without_matter_is_that_of_a_thin_one():
    def errors(thickness):
        found = track_resolution(dataclasses.replace(layers(5), thickness=thickness), 1.0, 1.0)
        return torch.stack([found.impact, found.momentum, found.longitudinal_impact])

    known = vector(0.0, 0.01, 0.01, 0.01, 0.01)
    slope = torch.autograd.functional.jacobian(errors, known)[:, 0]
    step = vector(1e-7, 0.0, 0.0, 0.0, 0.0)
    difference = (errors(known + step) - errors(known)) / 1e-7
    torch.testing.assert_close(slope, difference, rtol=1e-4, atol=0.0)
    assert (slope > 0).all()
