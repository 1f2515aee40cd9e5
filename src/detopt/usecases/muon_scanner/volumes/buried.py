"""Walls under the ground, as an archaeologist looks for them."""

__all__ = ["buried_walls"]

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from detopt.errors import ConfigError
from detopt.physics import materials
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.volume import Volumes

SOIL_DENSITY = 1.6  # g/cm3; standard rock in grains
COVER = (0.2, 0.6)  # share of the depth of the ground that lies above the walls
THICKNESS = (0.4, 0.8)  # m


def buried_walls(grid: Grid, n_volumes: int, rng: torch.Generator, *, n_walls: int = 2) -> Volumes:
    """Ground with straight stone walls at random places and directions.

    The grid is soil, standard rock at 1.6 g/cm3. A wall of granite, 0.4 to 0.8 m thick, crosses it
    from side to side and reaches from a random depth, 20 to 60 % of that of the grid, to its
    bottom. The target is the depth of the highest wall [m].

    Args:
        grid: The voxels; the surface is on top.
        n_volumes: Number of volumes.
        rng: Where the walls come from.
        n_walls: Walls in each.

    Raises:
        ConfigError: There is no wall.
    """
    if n_walls < 1:
        raise ConfigError(f"`n_walls` must be >= 1, got {n_walls}.")
    soil = materials.mixture({"standard_rock": 1}, SOIL_DENSITY, "soil")
    draws = torch.rand(4, n_walls, n_volumes, generator=rng, dtype=torch.float64)
    depth = (grid.high[2] - grid.low[2]) * (COVER[0] + (COVER[1] - COVER[0]) * draws[0])
    walls = torch.zeros(n_volumes, *grid.shape, dtype=torch.bool)
    for index in range(n_walls):
        walls |= _wall(grid, depth[index], *draws[1:, index])
    return Volumes(grid, (soil, "granite"), walls.long(), depth.amin(0))


def _wall(
    grid: Grid, depth: Tensor, thickness: Tensor, place: Tensor, turn: Tensor
) -> Bool[Tensor, "n_volumes nx ny nz"]:
    x, y, z = ((grid.edges(axis)[1:] + grid.edges(axis)[:-1]) / 2 for axis in range(3))
    middle = [(low + high) / 2 for low, high in zip(grid.low, grid.high, strict=True)]
    reach = min(grid.high[axis] - grid.low[axis] for axis in (0, 1)) / 2
    angle = (math.pi * turn)[:, None, None]
    across = (x - middle[0])[:, None] * angle.cos() + (y - middle[1]) * angle.sin()
    offset = (reach * (place - 0.5))[:, None, None]
    half = (THICKNESS[0] + (THICKNESS[1] - THICKNESS[0]) * thickness)[:, None, None] / 2
    inside = (across - offset).abs() <= half
    below = grid.high[2] - z >= depth[:, None]
    return inside[..., None] & below[:, None, None, :]
