"""Recorded muons of a known scattering density, drawn from the model itself."""

import math

import pytest
import torch

from detopt.reconstruction import Grid, RecordedMuons

PLANES = (0.9, 0.7, 0.5, -0.5, -0.7, -0.9)  # m


@pytest.fixture
def record():
    """Makes muons that scatter in each voxel of a grid with its density [rad2/m at 3 GeV]."""

    def make(density, grid, n, seed=0, resolution=1e-5, momenta=(1.0, 10.0), steep=0.2, spread=1.0):
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        low, high = (torch.tensor(corner, dtype=torch.float64) for corner in (grid.low, grid.high))
        share = 0.5 + spread * (torch.rand(2, n, generator=rng, dtype=torch.float64) - 0.5)
        middle = (low[2] + high[2]) / 2
        slope = steep * normal(2, n)
        position = low[:2, None] + share * (high - low)[:2, None] + slope * (PLANES[0] - middle)
        place = torch.rand(n, generator=rng, dtype=torch.float64)
        momentum = momenta[0] * (momenta[1] / momenta[0]) ** place
        hits, height = [], PLANES[0]
        edges = grid.edges(2).flip(0).tolist()
        stops = [(z, None) for z in PLANES[:3]]
        stops += [(b, k) for k, b in zip(range(grid.shape[2] - 1, -1, -1), edges[1:], strict=True)]
        stops += [(z, None) for z in PLANES[3:]]
        for z, layer in stops:
            if layer is not None:
                position, slope = layer_scatter(
                    position, slope, height, z, density, grid, layer, momentum, normal
                )
            else:
                position = position - slope * (height - z)
                hits.append(position + resolution * normal(2, n))
            height = edges[0] if z == PLANES[2] else z
            if z == PLANES[2]:
                position = position - slope * (z - height)
        heights = torch.tensor(PLANES, dtype=torch.float64)
        return RecordedMuons(
            hits=torch.stack(hits, dim=1),
            heights=heights,
            resolution=torch.full((6,), resolution, dtype=torch.float64),
            is_above=heights > 0,
            momentum=momentum,
        )

    return make


def layer_scatter(position, slope, top, bottom, density, grid, layer, momentum, normal):
    """One layer of voxels, of the density in the middle of the straight path."""
    n = len(momentum)
    thickness = top - bottom
    at = torch.stack([*(position - slope * thickness / 2), torch.full((n,), (top + bottom) / 2)])
    cell, inside = grid.find(at)
    here = torch.where(inside, density.reshape(-1)[cell], 0.0)
    secant = (1 + slope.square().sum(0)).sqrt()
    beta_p = momentum.square() / (momentum.square() + 0.1056583755**2).sqrt()
    width = (here * thickness * secant).sqrt() * 3.0 / beta_p
    first, second = normal(2, n), normal(2, n)
    along = slope / slope.norm(dim=0).clamp_min(1e-12)
    across = torch.stack([-along[1], along[0]])
    angle = width * second
    offset = thickness * secant * width * (first / math.sqrt(12) + second / 2)
    turned = angle[0] * secant.square() * along + angle[1] * secant * across
    moved = offset[0] * secant * along + offset[1] * across
    return position - slope * thickness - moved, slope + turned


@pytest.fixture
def box():
    """A grid of 4 x 4 x 4 voxels of 10 cm around the origin."""
    return Grid((-0.2, -0.2, -0.2), (0.1, 0.1, 0.1), (4, 4, 4))
