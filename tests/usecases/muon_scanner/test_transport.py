"""Transport through voxels: against Highland's formula, stopping powers and geometry."""

import math

import pytest
import torch

from detopt.physics import energy_loss, materials, particles
from detopt.physics.scattering import highland_angle
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import Grid

SLAB = 0.1  # m
N_MUONS = 100_000
MASS = particles.mass("muon")


def vertical(n_muons, momentum, height=SLAB, slope=(0.0, 0.0)):
    slopes = torch.tensor(slope, dtype=torch.float64)[:, None, None].expand(2, 1, n_muons)
    return Muons(
        torch.full((2, 1, n_muons), 50.0, dtype=torch.float64),
        slopes.clone(),
        torch.full((1, n_muons), momentum, dtype=torch.float64),
        height,
    )


def slab(material, n_layers=1, **settings):
    grid = Grid((0.0, 0.0, 0.0), (100.0, 100.0, SLAB / n_layers), (1, 1, n_layers))
    voxels = torch.zeros(1, 1, 1, n_layers, dtype=torch.int64)
    return voxels, Medium(grid, (material,), **settings)


def highland(material, momentum, path=SLAB):
    beta = momentum / math.hypot(momentum, MASS)
    length = materials.get(material).radiation_length
    return float(highland_angle(path, length, momentum, beta))


@pytest.mark.parametrize("n_steps", [1, 10, 100])
@pytest.mark.parametrize("material", ["Pb", "Fe", "water"])
def test_the_width_is_highlands_whatever_the_step(material, n_steps, rng):
    voxels, medium = slab(material, step=SLAB / n_steps, energy_loss=False)
    after, _ = propagate(vertical(N_MUONS, 3.0), voxels, medium, rng)
    width = after.slope.square().mean().sqrt().item()
    assert width == pytest.approx(highland(material, 3.0), rel=0.01)


@pytest.mark.parametrize("n_layers", [1, 10])
def test_offset_and_angle_are_correlated_as_in_a_slab(n_layers, rng):
    voxels, medium = slab("Pb", n_layers, energy_loss=False)
    after, _ = propagate(vertical(N_MUONS, 3.0), voxels, medium, rng)
    offset, angle = after.position[0, 0] - 50.0, -after.slope[0, 0]  # falling: dx = -slope dz
    assert offset.std().item() == pytest.approx(SLAB * highland("Pb", 3.0) / math.sqrt(3), rel=0.02)
    correlation = torch.corrcoef(torch.stack([offset, angle]))[0, 1].item()
    assert correlation == pytest.approx(math.sqrt(3) / 2, abs=0.01)


def test_an_inclined_muon_scatters_as_its_longer_path_demands(rng):
    tilt = 0.8
    voxels, medium = slab("Fe", energy_loss=False)
    after, _ = propagate(vertical(N_MUONS, 5.0, slope=(tilt, 0.0)), voxels, medium, rng)
    secant2 = 1 + tilt**2
    width = highland("Fe", 5.0, SLAB * math.sqrt(secant2))
    across = (after.slope[1, 0] / math.sqrt(secant2)).std().item()  # d(ty)/d(angle) = sqrt(1+t2)
    along = ((after.slope[0, 0] - tilt) / secant2).std().item()  # d(tx)/d(angle) = 1 + t2
    assert across == pytest.approx(width, rel=0.01)
    assert along == pytest.approx(width, rel=0.01)


def test_nothing_happens_outside_the_grid(rng):
    voxels, medium = slab("Pb")
    muons = vertical(1_000, 3.0)
    outside = Muons(muons.position - 200.0, muons.slope, muons.momentum, muons.height)
    after, stopped = propagate(outside, voxels, medium, rng)
    torch.testing.assert_close(after.slope, outside.slope)
    torch.testing.assert_close(after.momentum, outside.momentum)
    assert not stopped.any()


@pytest.mark.parametrize(("material", "momentum"), [("Fe", 1.0), ("Pb", 3.0), ("water", 0.5)])
@pytest.mark.parametrize("n_layers", [1, 5])
def test_the_energy_left_follows_from_the_range(material, momentum, n_layers, rng):
    voxels, medium = slab(material, n_layers)
    after, _ = propagate(vertical(100, momentum), voxels, medium, rng)
    kinetic = math.hypot(momentum, MASS) - MASS
    expected = float(energy_loss.residual_energy("muon", material, kinetic, SLAB))
    found = (after.momentum.square() + MASS**2).sqrt() - MASS
    loss = kinetic - found.mean().item()
    assert loss == pytest.approx(kinetic - expected, rel=0.01)


def test_slow_muons_stop(rng):
    voxels, medium = slab("Pb", 10)
    _, stopped = propagate(vertical(100, 0.2), voxels, medium, rng)  # range: about 6 cm
    assert stopped.all()


def test_material_is_sampled_across_voxel_boundaries(rng):
    # a muon that spends half of its path in lead and half in nothing
    grid = Grid((0.0, 0.0, 0.0), (0.1, 10.0, 0.01), (2, 1, 10))
    voxels = torch.tensor([[[[0]], [[1]]]], dtype=torch.int64).expand(1, 2, 1, 10)
    medium = Medium(grid, ("Pb", "air"), n_samples=8, energy_loss=False)
    n = N_MUONS
    position = torch.stack([torch.full((1, n), 0.15), torch.full((1, n), 5.0)]).double()
    slope = torch.stack([torch.ones(1, n), torch.zeros(1, n)]).double()
    muons = Muons(position, slope, torch.full((1, n), 5.0, dtype=torch.float64), 0.1)
    after, _ = propagate(muons, voxels, medium, rng)
    path = math.sqrt(2) * 0.1 / 2
    assert (after.slope[1, 0] / math.sqrt(2)).std().item() == pytest.approx(
        highland("Pb", 5.0, path), rel=0.02
    )


def test_the_same_seed_gives_the_same_muons():
    voxels, medium = slab("Fe", 3)
    runs = [
        propagate(vertical(100, 1.0), voxels, medium, torch.Generator().manual_seed(4))[0]
        for _ in range(2)
    ]
    assert torch.equal(runs[0].slope, runs[1].slope)
