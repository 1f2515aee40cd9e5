"""Panels that scatter and slow muons down: kinks by hand, and the fits that know of them."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.physics.kalman import kalman_filter, straight_line_model
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.panels import Side, hard_hits, soft_hits
from detopt.usecases.muon_scanner.realism.kinks import (
    arms,
    displacements,
    pass_panels,
    slope_changes,
)
from detopt.usecases.muon_scanner.realism.plane_fits import fit_plane_hits
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits, Response, plane_hits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker
from detopt.usecases.muon_scanner.realism.planes import Planes, cross, flat_axes

MUON_MASS = 0.1056583755  # GeV
UP = (0.1, 0.2, 0.35, 0.4)  # m


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def panels(heights=UP, half=5.0, efficiency=0.9, **more):
    height = torch.tensor(heights, dtype=torch.float64)
    ones = torch.ones_like(height)
    return Planes(
        center=torch.stack([0 * ones, 0 * ones, height]),
        along=flat_axes(height),
        half_width=half * torch.stack([ones, ones]),
        resolution=1e-4 * ones,
        efficiency=efficiency * ones,
        **more,
    )


def thick(thickness, **more):
    planes = panels(**more)
    return replace(planes, thickness=torch.full((len(planes),), thickness, dtype=torch.float64))


def muons(n, rng, momentum=1.0, tangent=0.0):
    position = torch.rand(2, 1, n, generator=rng, dtype=torch.float64) - 0.5
    slope = tangent * torch.randn(2, 1, n, generator=rng, dtype=torch.float64)
    return Muons(position, slope, torch.full((1, n), momentum, dtype=torch.float64), 0.0)


def highland(thickness, momentum):
    """Lynch and Dahl's formula, by hand [rad]."""
    beta = momentum / math.hypot(momentum, MUON_MASS)
    bracket = 1 + 0.038 * math.log(thickness / beta**2)
    return 0.0136 / (beta * momentum) * math.sqrt(thickness) * bracket


@pytest.mark.parametrize("momentum", [0.5, 3.0])
@pytest.mark.parametrize("thickness", [0.002, 0.05])
def test_the_line_beyond_a_panel_is_turned_by_highlands_angle(thickness, momentum, rng):
    planes = thick(thickness, heights=(-0.1,))
    tracks = muons(20_000, rng, momentum)
    _, beyond = plane_hits(tracks, planes, Response(None), rng, backwards=False)
    turned = beyond.slope - tracks.slope
    expected = highland(thickness, momentum)
    assert turned.square().mean().sqrt().item() == pytest.approx(expected, rel=0.02)


def test_only_muons_that_cross_the_area_are_scattered(rng):
    planes = thick(0.05, heights=(-0.1,), half=0.25)
    tracks = muons(2_000, rng)
    _, beyond = plane_hits(tracks, planes, Response(None), rng, backwards=False)
    inside = (tracks.position.abs() <= 0.25).all(0)
    turned = (beyond.slope != tracks.slope).any(0)
    assert torch.equal(turned, inside)


def test_kinks_move_the_panels_beyond_and_no_other():
    kinks = tensor([[1e-3], [2e-3], [4e-3]], [[0.0], [0.0], [0.0]])
    height = tensor(1.0, 1.5, 2.0)[:, None]
    # above the volume the lowest panel comes first, below it the highest
    above = displacements(height, kinks, backwards=True)[0, :, 0]
    below = displacements(height, kinks, backwards=False)[0, :, 0]
    assert above.tolist() == pytest.approx([0.0, 0.5e-3, 1.0e-3 + 1.0e-3])
    assert below.tolist() == pytest.approx([-1.0e-3 - 4.0e-3, -2.0e-3, 0.0])


def test_displacements_of_heights_for_each_muon_are_those_of_common_ones(rng):
    kinks = torch.randn(2, 3, 1, 5, generator=rng, dtype=torch.float64)
    height = tensor(1.0, 1.5, 2.0)[:, None, None]
    own = displacements(height.expand(3, 1, 5), kinks, backwards=True)
    torch.testing.assert_close(own, displacements(height, kinks, backwards=True))


def test_energy_grows_backwards_and_falls_forwards():
    planes = replace(panels(heights=(0.1, 0.2)), areal_density=tensor(10.0, 10.0))
    tracks = Muons(torch.zeros(2, 1, 1).double(), torch.zeros(2, 1, 1).double(), tensor([1.0]), 0.0)
    crossing = cross(planes, tracks.position, tracks.slope, 0.0)
    gate = torch.ones(2, 1, 1, dtype=torch.float64)
    least = 2 * 10.0 * 1.936e-3  # GeV; minimum of polystyrene, Particle Data Group 2022
    for backwards, sign in ((True, 1), (False, -1)):
        passage = pass_panels(planes, crossing, gate, tracks, backwards=backwards, soft=True)
        change = math.hypot(passage.leaving.item(), MUON_MASS) - math.hypot(1.0, MUON_MASS)
        assert 1.0 < sign * change / least < 1.08


def test_a_slow_muon_stops_in_the_panels_and_leaves_no_hit_behind(rng):
    planes = replace(
        panels(heights=(-0.1, -0.2), efficiency=0.999), areal_density=tensor(100.0, 100.0)
    )
    tracks = muons(100, rng, momentum=0.2)  # a range of about 40 g/cm2
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=False)
    assert hits.root_weight[0, 1].abs().max() == 0


@pytest.mark.parametrize("smoothness", [None, 0.05])
def test_ideal_panels_give_the_hits_of_the_ideal_simulation(smoothness, rng):
    planes = panels(half=0.4)
    tracks = muons(500, rng, tangent=0.3)
    side = Side(
        planes.center[2],
        planes.center[:2],
        planes.half_width,
        planes.resolution,
        planes.efficiency,
    )
    state = rng.get_state()
    real, beyond = plane_hits(tracks, planes, Response(smoothness), rng, backwards=True)
    rng.set_state(state)
    ideal = (
        hard_hits(tracks, side, rng)
        if smoothness is None
        else soft_hits(tracks, side, smoothness, rng)
    )
    torch.testing.assert_close(real.usable, ideal.usable)
    there = ideal.usable > 0 if smoothness is None else ideal.usable >= 0  # hard: tracks only
    root = real.root_weight[0]
    torch.testing.assert_close(root.square()[:, there], ideal.weights[:, there])
    weighted = (root * real.scaled[:, 0])[:, :, there]
    torch.testing.assert_close(weighted, ideal.weighted[:, :, there])
    assert torch.equal(beyond.slope, tracks.slope)


def test_the_fit_with_kinks_is_that_of_a_kalman_filter(rng):
    planes = thick(0.02)
    tracks = muons(50, rng, momentum=0.5)
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=True)
    all_hit = (hits.root_weight[0] > 0).all(0)[0]
    fit = fit_plane_hits(hits, Tracker(planes, 0.1, backwards=True), tracks.momentum)
    steepness = fit.slope[0, 0].square() + fit.slope[1, 0].square()
    assert steepness[all_hit].max() < 2e-3  # so that the mean variance of both planes is Highland's
    # from the farthest panel to the nearest, whose own kink comes on top
    measured = (hits.scaled[0, 0] / hits.root_weight[0]).flip(0)[:, 0].T[all_hit]
    position = 0.4 - planes.center[2].flip(0)
    angle = torch.full((4,), highland(0.02, 0.5), dtype=torch.float64)
    model = straight_line_model(position, planes.resolution, angle)
    wide = 1e4 * torch.eye(2, dtype=torch.float64)
    found = kalman_filter(measured[..., None], model, torch.zeros(2, dtype=torch.float64), wide)
    kept = fit.position[0, 0, all_hit]
    torch.testing.assert_close(kept, found.mean[:, -1, 0], rtol=1e-4, atol=2e-7)
    torch.testing.assert_close(
        -fit.slope[0, 0, all_hit], found.mean[:, -1, 1], rtol=1e-2, atol=1e-5
    )
    variance = found.covariance[..., -1, 1, 1] + angle[0].square()
    expected = variance.expand_as(fit.slope_variance[0, all_hit])
    torch.testing.assert_close(fit.slope_variance[0, all_hit], expected, rtol=1e-3, atol=0.0)


def test_fits_state_the_errors_that_they_make(rng):
    planes = thick(0.02)
    tracks = muons(5_000, rng, momentum=0.5, tangent=0.1)
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=True)
    fit = fit_plane_hits(hits, Tracker(planes, 0.0, backwards=True), tracks.momentum)
    good = hits.usable > 0
    pull = ((fit.slope - tracks.slope) / fit.slope_variance.sqrt())[:, good]
    assert pull.square().mean().item() == pytest.approx(1, abs=0.06)


def test_a_fit_that_knows_of_the_kinks_is_better_than_one_that_does_not(rng):
    planes = thick(0.05)
    tracks = muons(5_000, rng, momentum=0.5)
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=True)
    good = hits.usable > 0

    def error(believed):
        fit = fit_plane_hits(hits, Tracker(believed, 0.0, backwards=True), tracks.momentum)
        return (fit.position - tracks.position)[:, good].square().mean().item()

    assert error(planes) < 0.8 * error(replace(planes, thickness=None))


def test_kinks_and_fits_have_the_right_gradient(rng):
    tracks = muons(3, rng, tangent=0.2)
    normals = torch.randn(2, 3, 1, 3, generator=rng, dtype=torch.float64)
    scaled = torch.randn(2, 1, 3, 1, 3, generator=rng, dtype=torch.float64)
    gate = torch.ones(3, 1, 3, dtype=torch.float64)

    def simulated(height, thickness, density):
        planes = panels(heights=(0.1, 0.2, 0.35))
        center = torch.stack([0 * height, 0 * height, height])
        planes = replace(planes, center=center, thickness=thickness, areal_density=density)
        crossing = cross(planes, tracks.position, tracks.slope, 0.0)
        passage = pass_panels(planes, crossing, gate, tracks, backwards=True, soft=True)
        kinks = slope_changes(passage.width, tracks.slope, normals)
        return displacements(crossing.height, kinks, backwards=True)

    def fitted(height, thickness, root):
        planes = panels(heights=(0.1, 0.2, 0.35))
        center = torch.stack([0 * height, 0 * height, height])
        planes = replace(planes, center=center, thickness=thickness)
        hits = PlaneHits(root[None, :, None, None].expand(1, 3, 1, 3), scaled, gate, gate[0])
        fit = fit_plane_hits(hits, Tracker(planes, 0.0, backwards=True), tracks.momentum)
        return fit.slope, fit.slope_variance, fit.position

    heights, thickness = tensor(0.1, 0.2, 0.35), tensor(0.01, 0.02, 0.03)
    density, root = tensor(1.0, 2.0, 1.5), tensor(90.0, 120.0, 100.0)
    for function, third in ((simulated, density), (fitted, root)):
        inputs = tuple(i.clone().requires_grad_() for i in (heights, thickness, third))
        assert torch.autograd.gradcheck(function, inputs)


def test_arms_are_zero_towards_the_volume():
    height = tensor(1.0, 1.5)[:, None]
    assert arms(height, backwards=True).tolist() == [[0.0, 0.0], [0.5, 0.0]]
    assert arms(height, backwards=False).tolist() == [[0.0, -0.5], [0.0, 0.0]]


def test_a_thickness_that_is_no_thickness_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Config(panel_thickness=-0.01)


def test_thickness_is_a_design_parameter_only_where_panels_have_one():
    assert "panel_thickness" not in build(Config()).space.start
    assert "panel_thickness" in build(Config(panel_thickness=0.01)).space.start
