"""Known geometries: path lengths, scattering in closed form, generators of volumes."""

import math

import pytest
import torch

from detopt.errors import ConfigError
from detopt.physics import materials
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.industry.furnace import furnace
from detopt.usecases.muon_scanner.industry.line_source import LineSource, energy_after
from detopt.usecases.muon_scanner.industry.pipe import AXIS, OUTER_RADIUS, pipe
from detopt.usecases.muon_scanner.industry.solids import (
    Body,
    Cylinder,
    Lines,
    lengths,
    scattering_moments,
)
from detopt.usecases.muon_scanner.industry.voxels import electric_furnaces, insulated_pipes
from detopt.usecases.muon_scanner.sources import MuonBeam, MuonSource
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import Grid, buried_walls, container

GEOMETRIES = {"pipe": pipe, "furnace": furnace}


def lines(*rows, height=0.0):
    position, slope = torch.tensor(rows, dtype=torch.float64).T.split(2)
    return Lines(position, slope, height)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((0.0, 0.0, 0.0, 0.0), 0.2),  # a vertical line through the axis: the diameter
        ((0.06, 0.0, 0.0, 0.0), 0.16),  # 6 cm off: 3-4-5
        ((0.0, 0.3, 0.0, 1.0), 0.2 * math.sqrt(2)),  # inclined along the axis
        ((0.0, 0.0, 2.0, 0.0), 0.2),  # across it, the distance is 0
        ((0.5, 0.0, 0.0, 0.0), 0.0),
    ],
)
def test_lines_cross_a_lying_cylinder_as_geometry_says(row, expected):
    body = Body(Cylinder("y", (0.0, 0.0), 0.1, blur=1e-6), "Fe")
    assert lengths([body], lines(row)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((0.0, 0.0, 0.0, 0.0), 0.5),  # from end to end
        ((0.05, 0.0, 0.0, 1e-5), 0.5),
        ((0.0, 0.0, 1.0, 0.0), 0.2 * math.sqrt(2)),  # through the mantle on both sides
        ((0.0, 0.0, 0.4, 0.0), 0.5 * math.sqrt(1.16)),  # |x| < 0.1 from z = -0.25 to 0.25
        ((0.2, 0.0, 0.0, 0.0), 0.0),
    ],
)
def test_lines_cross_a_standing_cylinder_as_geometry_says(row, expected):
    body = Body(Cylinder("z", (0.0, 0.0), 0.1, -0.25, 0.25, blur=1e-6), "Fe")
    assert lengths([body], lines(row)).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("blur", "within"), [(1e-3, 5e-3), (1e-4, 5e-4)])
def test_chords_add_up_to_the_area_of_a_disc_as_the_blur_shrinks(blur, within):
    offset = torch.linspace(-0.2, 0.2, 4001, dtype=torch.float64)
    many = Lines(torch.stack([offset, 0 * offset]), torch.zeros(2, 4001, dtype=torch.float64), 0.0)
    body = Body(Cylinder("y", (0.0, 0.0), 0.1, blur=blur), "Fe")
    area = lengths([body], many).mean().item() * 0.4
    assert area == pytest.approx(math.pi * 0.01, rel=within)


def test_nested_bodies_add_up_to_what_a_line_meets():
    length = [materials.get(name).radiation_length for name in ("steel", "water")]
    bodies = [
        Body(Cylinder("y", (0.0, 0.0), 0.10, blur=1e-6), "steel"),
        Body(Cylinder("y", (0.0, 0.0), 0.08, blur=1e-6), "water", "steel"),
    ]
    s00 = scattering_moments(bodies, lines((0.0, 0.0, 0.0, 0.0)), 0.0)[0].item()
    thickness = 0.04 / length[0] + 0.16 / length[1]
    expected = 0.0136**2 * thickness * (1 + 0.038 * math.log(thickness)) ** 2
    assert s00 == pytest.approx(expected, rel=1e-3)


def test_moments_are_those_of_a_slab():
    body = Body(Cylinder("z", (0.0, 0.0), 5.0, -0.3, -0.1), "Fe")
    s00, s01, s11 = scattering_moments([body], lines((0.0, 0.0, 0.0, 0.0)), 0.0).flatten().tolist()
    assert s01 / s00 == pytest.approx(0.2)  # the kick comes 0.2 m below the reference
    assert s11 / s00 == pytest.approx(0.2**2 + 0.2**2 / 12)


@pytest.mark.parametrize("task", GEOMETRIES)
def test_moments_have_the_gradient_of_differences(task, rng):
    geometry = GEOMETRIES[task]()
    position = 0.1 * torch.randn(2, 1, 12, generator=rng, dtype=torch.float64)
    slope = 0.3 * torch.randn(2, 1, 12, generator=rng, dtype=torch.float64)
    start = geometry.nominal[None].clone().requires_grad_()

    def moments(parameters, x, t):
        found = scattering_moments(
            geometry.bodies(parameters), Lines(x, t, geometry.reference), geometry.reference
        )
        return 1e4 * found

    inputs = (start, position.requires_grad_(), slope.requires_grad_())
    assert torch.autograd.gradcheck(moments, inputs, eps=1e-7, atol=1e-3, rtol=1e-3)


def source(geometry, n_muons, **settings):
    beam = MuonBeam(height=geometry.reference, crossing=False, **settings)
    return LineSource(geometry, MuonSource(beam, geometry.beam_grid), n_muons)


def test_the_closed_form_scatters_like_the_transport_through_voxels(rng):
    # the same muons through the pipe in fine voxels, in small steps: independent of the solids
    geometry = pipe()
    radius = torch.full((1, 1), 0.13, dtype=torch.float64)
    grid = Grid((-0.35, -5.0, 0.0), (0.005, 10.0, 0.005), (140, 1, 100))
    volumes = geometry.rasterize(radius, grid)
    n = 20_000
    scans = source(geometry, n, momentum=3.0, max_zenith=0.5).scans(radius, rng)
    near = (scans.before.position[0] - AXIS[0]).abs() < 0.14
    medium = Medium(grid, volumes.materials, n_samples=2)
    voxels, _ = propagate(scans.before, volumes.voxels, medium, rng)
    here = (scans.after.slope - scans.before.slope)[:, near]
    there = (voxels.slope - scans.before.slope)[:, near]
    assert here.std().item() == pytest.approx(there.std().item(), rel=0.03)
    back = voxels.position + voxels.slope * (geometry.reference - voxels.height)
    shift = (back - scans.before.position)[:, near]
    mine = (scans.after.position - scans.before.position)[:, near]
    assert mine.std().item() == pytest.approx(shift.std().item(), rel=0.05)
    loss = (scans.before.momentum - scans.after.momentum)[near].mean().item()
    other = (scans.before.momentum - voxels.momentum)[near].mean().item()
    assert loss == pytest.approx(other, rel=0.03)


def test_the_energy_behind_a_slab_follows_from_the_range():
    from detopt.physics import energy_loss

    body = Body(Cylinder("z", (0.0, 0.0), 5.0, 0.0, 0.3), "Fe")
    energy = torch.tensor([1.0, 3.0, 20.0], dtype=torch.float64)
    path = torch.full((1, 3), 0.3, dtype=torch.float64)
    mass = 0.1056583755
    expected = energy_loss.residual_energy("muon", "Fe", energy - mass, 0.3) + mass
    torch.testing.assert_close(energy_after([body], path, energy), expected, rtol=5e-3, atol=0)


def test_slow_muons_stop_in_the_furnace(rng):
    scans = source(furnace(), 500, momentum=0.3).scans(furnace().nominal[None].float(), rng)
    assert scans.stopped.float().mean().item() > 0.3


def test_the_muons_of_a_scan_are_those_of_the_flux(rng):
    geometry = pipe()
    made = source(geometry, 5_000, momentum=None)
    (left, right), (front, back) = geometry.section
    rate = made.muons.beam.model.rate_per_area * (right - left) * (back - front)
    assert made.muons.rate == pytest.approx(rate)
    scans = made(2, rng, torch.float32)
    assert isinstance(scans.before, Muons)
    middle = (scans.before.position + scans.after.position)[0] / 2
    assert middle.abs().max() <= right + 1e-6
    assert middle.std().item() == pytest.approx((right - left) / 12**0.5, rel=0.02)
    assert scans.parameters.shape == (2, 1)


def test_a_rasterized_pipe_has_the_volume_of_its_wall():
    grid = Grid((-0.35, 0.0, 0.0), (0.002, 1.0, 0.002), (350, 1, 250))
    volumes = pipe().rasterize(torch.tensor([[0.135]]), grid)
    steel = volumes.names.index("steel")
    area = (volumes.voxels == steel).sum().item() * 0.002**2
    assert area == pytest.approx(math.pi * (OUTER_RADIUS**2 - 0.135**2), rel=0.02)
    assert volumes.target.item() == pytest.approx(0.135)


def test_electrodes_end_at_their_heights(rng):
    volumes = electric_furnaces(3, rng)
    graphite = volumes.names.index("electrode")
    grid = volumes.grid
    column = (volumes.voxels == graphite)[:, round((0.18 - grid.low[0]) / 0.02), 25]
    lowest = column.long().argmax(-1) * 0.02
    assert (lowest - volumes.target).abs().max().item() <= 0.021


def test_worn_pipes_lack_steel_where_they_are_worn(rng):
    grid = Grid((-0.35, 0.0, 0.0), (0.002, 1.0, 0.002), (350, 1, 250))
    volumes = insulated_pipes(2, rng, grid)
    assert volumes.target.min() >= 0.008
    assert volumes.target.max() <= 0.020
    steel = volumes.voxels == volumes.names.index("steel")
    area = steel.sum((1, 2, 3)).double() * 0.002**2
    expected = math.pi * (OUTER_RADIUS**2 - (OUTER_RADIUS - 0.02) ** 2)
    torch.testing.assert_close(area, torch.full_like(area, expected), rtol=0.02, atol=0)


TRUCK = Grid((0.0, 0.0, 0.0), (0.2, 0.2, 0.2), (15, 12, 12))


def test_a_hidden_block_has_its_mass_and_lies_inside(rng):
    volumes = container(TRUCK, 40, rng, hidden="U", size=(1, 2, 1))
    block = volumes.voxels == volumes.names.index("U")
    assert (block.sum((1, 2, 3)) == 2).all()
    assert not block[:, 0].any()
    assert not block[..., 0].any()
    mass = 2 * 0.2**3 * materials.get("U").density * 1e3
    torch.testing.assert_close(volumes.target, torch.full_like(volumes.target, mass))


def test_the_same_seed_hides_a_block_in_the_same_goods():
    def make(**settings):
        return container(TRUCK, 10, torch.Generator().manual_seed(3), **settings)

    without, some = make(), make(hidden="Pb", present=torch.arange(10) % 2 == 0)
    assert (some.target > 0).tolist() == [i % 2 == 0 for i in range(10)]
    changed = (some.voxels != without.voxels).sum((1, 2, 3))
    assert (changed <= 1).all()
    assert torch.equal(some.voxels[1::2], without.voxels[1::2])


def test_walls_of_a_container_are_thin_steel(rng):
    volumes = container(TRUCK, 2, rng)
    wall = volumes.materials[int(volumes.voxels[0, 0, 5, 5])]
    assert 0.2 / wall.radiation_length == pytest.approx(0.002 / 0.01782, rel=0.02)
    assert volumes.target.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("grid", "size", "complaint"),
    [
        (Grid((0.0, 0.0, 0.0), (0.2, 0.2, 0.2), (2, 5, 5)), (1, 1, 1), "3 voxels"),
        (TRUCK, (14, 1, 1), "does not fit"),
        (TRUCK, (0, 1, 1), "does not fit"),
        (Grid((0.0, 0.0, 0.0), (0.02, 0.02, 0.02), (9, 9, 9)), (1, 1, 1), "cannot hold"),
    ],
)
def test_containers_that_cannot_be_are_refused(grid, size, complaint, rng):
    with pytest.raises(ConfigError, match=complaint):
        container(grid, 1, rng, hidden="U", size=size)


def test_buried_walls_reach_from_their_depth_to_the_bottom(rng):
    grid = Grid((0.0, 0.0, -4.0), (0.2, 0.2, 0.2), (30, 30, 20))
    volumes = buried_walls(grid, 5, rng)
    wall = volumes.voxels == 1
    highest = wall.any(1).any(1).long().sum(-1) * 0.2
    assert (4.0 - highest - volumes.target).abs().max().item() <= 0.2
    assert (wall[..., 0] >= wall[..., -1]).all()
    assert 0.02 < volumes.fractions()["granite"] < 0.5


def test_no_wall_is_refused(rng):
    with pytest.raises(ConfigError, match="n_walls"):
        buried_walls(TRUCK, 1, rng, n_walls=0)
