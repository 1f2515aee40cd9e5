"""Lines and planes in space: crossings by hand, errors of tilted and upright panels."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.design import Design
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.plane_fits import fit_plane_hits
from detopt.usecases.muon_scanner.realism.plane_hits import Response, plane_hits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker
from detopt.usecases.muon_scanner.realism.planes import (
    Planes,
    cross,
    flat_axes,
    joined,
    tilted_axes,
)

MUON = torch.tensor(5.0, dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def panels(heights=(0.1, 0.2, 0.3, 0.4), half=5.0):
    height = torch.tensor(heights, dtype=torch.float64)
    ones = torch.ones_like(height)
    return Planes(
        center=torch.stack([0 * ones, 0 * ones, height]),
        along=flat_axes(height),
        half_width=half * torch.stack([ones, ones]),
        resolution=1e-4 * ones,
        efficiency=0.9 * ones,
    )


def muons(n, rng, *, tangent=0.3, spread=1.0):
    position = spread * (torch.rand(2, 1, n, generator=rng, dtype=torch.float64) - 0.5)
    slope = tangent * torch.randn(2, 1, n, generator=rng, dtype=torch.float64)
    return Muons(position, slope, torch.full((1, n), 5.0, dtype=torch.float64), 0.0)


def upright(x, z=0.0, half=0.5):
    """A plane x = constant that looks towards +x."""
    planes = panels(heights=(z,), half=half)
    along = tensor([[0.0], [1.0], [0.0]], [[0.0], [0.0], [1.0]])
    return replace(
        planes,
        center=tensor([x], [0.0], [z]),
        along=along,
        is_flat=False,
        is_upright=torch.tensor([True]),
    )


def test_a_line_meets_an_upright_plane_where_it_should():
    # from (0.1, 0.2, 1) with dx/dz = -0.5: at x = 0.6 it has fallen by 1 to z = 0
    found = cross(upright(0.6), tensor([0.1], [0.2]), tensor([-0.5], [0.3]), 1.0)
    assert found.height.item() == pytest.approx(0.0)
    assert found.local[:, 0, 0].tolist() == pytest.approx([0.2 - 0.3, 0.0])
    assert found.outward.item()
    assert found.slant.item() == pytest.approx(math.sqrt(1 + 0.25 + 0.09) / 0.5)


def test_a_muon_that_moves_inwards_does_not_leave_through_the_side():
    assert not cross(upright(0.6), tensor([0.1], [0.2]), tensor([0.5], [0.3]), 1.0).outward.item()


@pytest.mark.parametrize("about_x", [0.0, 0.2])
@pytest.mark.parametrize("about_y", [0.0, -0.3])
def test_crossings_lie_on_line_and_plane(about_x, about_y, rng):
    planes = replace(
        panels(heights=(0.4,)), along=tilted_axes(tensor(about_x), tensor(about_y)), is_flat=False
    )
    tracks = muons(20, rng)
    found = cross(planes, tracks.position, tracks.slope, 0.0)
    u, v = planes.along[:, :, 0]
    points = planes.center[:, 0] + found.local[0, 0, 0, :, None] * u
    points = points + found.local[1, 0, 0, :, None] * v
    line = tracks.position[:, 0] + tracks.slope[:, 0] * points[:, 2]
    torch.testing.assert_close(points[:, :2].T, line)
    torch.testing.assert_close(points[:, 2], found.height[0, 0])


def test_tilted_axes_are_orthonormal():
    axes = tilted_axes(tensor(0.3, -0.2), tensor(0.1, 0.5))
    products = torch.einsum("aci,bci->iab", axes, axes)
    torch.testing.assert_close(products, torch.eye(2, dtype=torch.float64).expand(2, 2, 2))


def test_planes_without_tilt_cross_like_flat_ones(rng):
    tracks = muons(50, rng)
    flat = cross(panels(), tracks.position, tracks.slope, 0.0)
    general = cross(replace(panels(), is_flat=False), tracks.position, tracks.slope, 0.0)
    torch.testing.assert_close(general.local, flat.local)
    torch.testing.assert_close(general.slant, flat.slant.expand_as(general.slant))
    identity = torch.eye(2, dtype=torch.float64)[:, :, None, None, None]
    torch.testing.assert_close(general.projection, identity.expand_as(general.projection))


def test_the_projection_is_the_derivative_of_the_crossing(rng):
    planes = replace(
        panels(heights=(0.4,)), along=tilted_axes(tensor(0.2), tensor(-0.4)), is_flat=False
    )
    slope = tensor([0.3], [-0.5])
    position = tensor([0.1], [0.2]).requires_grad_()
    found = cross(planes, position, slope, 0.0)
    for row in range(2):
        (expected,) = torch.autograd.grad(found.local[row].sum(), position, retain_graph=True)
        torch.testing.assert_close(found.projection[row, :, 0], expected)


def test_crossings_have_the_right_gradient():
    def crossed(center, tilt, position, slope):
        planes = panels(heights=(0.4,))
        planes = replace(planes, center=center, along=tilted_axes(tilt[0], tilt[1]), is_flat=False)
        found = cross(planes, position, slope, 0.0)
        return found.local, found.height, found.slant

    inputs = (tensor([0.1], [0.0], [0.4]), tensor([0.2], [-0.3]), tensor([0.1], [0.2]))
    inputs = (*inputs, tensor([0.3], [-0.5]))
    assert torch.autograd.gradcheck(crossed, tuple(i.requires_grad_() for i in inputs))


def pulls(planes, tracks, rng, slope=None):
    """Errors of position and slope of fits over the errors that they state."""
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=False)
    fit = fit_plane_hits(hits, Tracker(planes, 0.0, backwards=False), MUON, slope)
    good = hits.usable > 0
    spread = (fit.centroid_variance + fit.arm.square() * fit.slope_variance).sqrt()
    position = ((fit.position - tracks.position) / spread)[:, good]
    return position, ((fit.slope - tracks.slope) / fit.slope_variance.sqrt())[:, good]


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_tilted_panels_measure_lines_with_the_stated_errors(tilt, rng):
    tilts = tensor(tilt, -tilt, tilt, -tilt)
    planes = replace(panels(), along=tilted_axes(tilts, tilts.flip(0)), is_flat=False)
    position, slope = pulls(planes, muons(4_000, rng), rng)
    for errors in (position, slope):  # the mean of x and y; 3 standard errors of a variance
        assert errors.mean().item() == pytest.approx(0, abs=0.04)
        assert errors.square().mean().item() == pytest.approx(1, abs=0.08)


def test_upright_panels_measure_muons_that_leave_through_the_side(rng):
    tracks = muons(3_000, rng, tangent=0.05, spread=0.1)
    tracks = replace(tracks, slope=tracks.slope + tensor(-1.0, 0.2)[:, None, None])
    planes = joined(upright(0.5, z=-0.5), upright(0.9, z=-0.9))
    position, slope = pulls(planes, tracks, rng, slope=tracks.slope)
    assert position.shape[1] > 2_000
    for errors in (position, slope):
        assert errors.mean().item() == pytest.approx(0, abs=0.05)
        assert errors.square().mean().item() == pytest.approx(1, abs=0.15)


def test_side_panels_need_no_panel_below_to_measure_a_muon(rng):
    tracks = muons(500, rng, tangent=0.0, spread=0.1)
    tracks = replace(tracks, slope=tracks.slope + tensor(-1.0, 0.0)[:, None, None])
    low = panels(heights=(-2.0, -2.1), half=0.2)
    sides = joined(upright(0.5, z=-0.5), upright(0.9, z=-0.9))
    usable = [
        plane_hits(tracks, planes, Response(None), rng, backwards=False)[0].usable.mean().item()
        for planes in (low, joined(low, sides))
    ]
    assert usable[0] == 0
    assert usable[1] == pytest.approx(0.81, abs=0.06)  # both respond


def test_side_panels_are_refused_where_panels_have_free_edges():
    with pytest.raises(ValueError, match="budget_mode: fixed"):
        Config(side_panels=("+x", "+x"), budget_mode="soft")


def test_side_panels_and_tilts_are_design_parameters():
    problem = build(Config(tilted=True, side_panels=("+x", "-y")))
    names = {parameter.name for parameter in problem.space.parameters}
    assert {"panel_tilt_x", "panel_tilt_y", "side_distance", "side_shift", "side_z"} <= names
    assert len(problem.space.start["panel_cost"]) == 10


def test_the_picture_shows_every_panel_and_the_slab():
    behind = {"n_behind": 2, "momentum": None, "known_momentum": "estimated"}
    problem = build(Config(side_panels=("+x", "-y"), **behind))
    names = [box.label for box in problem.scene(problem.space.start).boxes]
    assert names.count("panels beside") == 2
    assert names.count("panels behind the slab") == 2
    assert names.count("slab of Pb") == 1


def test_tracks_from_panels_that_cross_each_other_do_not_rule_the_gradient():
    options = {"n_above": 3, "n_below": 3, "center": (0.5, 0.5), "tilted": True}
    problem = build(Config(**options)).with_dtype(torch.float64)
    design = problem.space.start  # panels 1 cm apart, 0.5 m wide
    crossing = tensor(-0.04, 0.0, 0.04, 0.0, 0.0, 0.0).requires_grad_()
    tilted = Design({**design, "panel_tilt_x": crossing})
    events = problem.source(16, torch.Generator().manual_seed(0), torch.float64)
    readout = problem.simulator(events, tilted, torch.Generator().manual_seed(1))
    found = problem.reconstruction(readout, tilted)
    angle = (found.tracks.above.slope - found.tracks.below.slope).square().sum(0)
    each = (found.weight * angle).sum(1)
    slopes = torch.stack([torch.autograd.grad(one, crossing, retain_graph=True)[0] for one in each])
    assert float(slopes.abs().max()) < 100 * float(slopes.abs().median())  # 3e5 with all tracks
