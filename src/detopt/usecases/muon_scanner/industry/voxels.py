"""Voxel volumes of electric furnaces and insulated pipes, for imaging."""

__all__ = ["electric_furnaces", "insulated_pipes"]

import math

import torch

from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.industry.furnace import furnace
from detopt.usecases.muon_scanner.industry.pipe import AXIS, OUTER_RADIUS, WALLS, pipe
from detopt.usecases.muon_scanner.industry.solids import Cylinder
from detopt.usecases.muon_scanner.volumes import Volumes


def electric_furnaces(n_volumes: int, rng: torch.Generator, grid: Grid | None = None) -> Volumes:
    """The furnace of `furnace` with its electrodes at random heights.

    Args:
        n_volumes: Number of volumes.
        rng: Where the heights come from.
        grid: The voxels; by default of 2 cm.

    Returns:
        Volumes; the target is the height of the first electrode's tip [m].
    """
    geometry = furnace()
    return geometry.rasterize(geometry.draw(n_volumes, rng, torch.float64), grid)


def insulated_pipes(n_volumes: int, rng: torch.Generator, grid: Grid | None = None) -> Volumes:
    """The pipe of `pipe`, with a wall that is worn on one side.

    The bore has the radius of a new pipe, and its center is off the axis in a random direction, so
    that the wall is thinnest there.

    Args:
        n_volumes: Number of volumes.
        rng: Where wear and direction come from.
        grid: The voxels; by default of 1 cm across, too coarse to show the wear in each.

    Returns:
        Volumes; the target is the thickness of the wall where it is thinnest [m].
    """
    geometry = pipe()
    new = WALLS[1]
    shift = (new - WALLS[0]) * torch.rand(n_volumes, generator=rng, dtype=torch.float64)
    turn = 2 * math.pi * torch.rand(n_volumes, generator=rng, dtype=torch.float64)
    # a bore of next to nothing leaves a bar of steel, out of which the shifted bore is cut
    bar = geometry.rasterize(torch.full((n_volumes, 1), 1e-6, dtype=torch.float64), grid)
    cells = bar.grid
    axes = [(cells.edges(axis)[1:] + cells.edges(axis)[:-1]) / 2 for axis in range(3)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    voxels = bar.voxels.clone()
    for volume, d, phi in zip(voxels, shift.tolist(), turn.tolist(), strict=True):
        center = (AXIS[0] + d * math.cos(phi), AXIS[1] + d * math.sin(phi))
        bore = Cylinder("y", center, OUTER_RADIUS - new)
        volume[bore.contains(points)] = 0
    return Volumes(cells, bar.materials, voxels, new - shift)
