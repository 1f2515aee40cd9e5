"""Volumes of the published benchmarks: the ladle furnace, and a block at a random place."""

__all__ = ["blocks", "ladle"]

import torch

from detopt.errors import ConfigError
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.volume import Substance, Volumes

LADLE_MATERIALS = ("air", "steel", "liquid_steel", "slag")
LADLE_FILLS = tuple(0.6 + 0.1 * i for i in range(8))  # m; height z of the metal's surface


def ladle() -> Volumes:
    """The ladle furnace of the published benchmark at its eight fill heights.

    1 x 1 x 1 m in voxels of 10 cm, from z = 0.4 to 1.4 m: walls and bottom one voxel of steel,
    liquid steel up to the fill height, 10 cm of slag on it, air above. The target is the height z
    of the metal's surface.
    """
    grid = Grid((0.0, 0.0, 0.4), (0.1, 0.1, 0.1), (10, 10, 10))
    centers = (grid.edges(2)[1:] + grid.edges(2)[:-1]) / 2
    voxels = torch.zeros(len(LADLE_FILLS), *grid.shape, dtype=torch.int64)
    inside = slice(1, 9)
    for volume, fill in zip(voxels, LADLE_FILLS, strict=True):
        volume[:] = 1
        content = torch.where(centers < fill, 2, torch.where(centers < fill + 0.1, 3, 0))
        volume[inside, inside, 1:] = content[1:]
    return Volumes(grid, LADLE_MATERIALS, voxels, torch.tensor(LADLE_FILLS, dtype=torch.float64))


def blocks(
    grid: Grid,
    n_volumes: int,
    rng: torch.Generator,
    *,
    size: tuple[int, int, int] = (4, 4, 2),
    filling: Substance = "water",
    block: Substance = "Pb",
) -> Volumes:
    """Volumes of one material with a block of another at a random place.

    Args:
        grid: The voxels.
        n_volumes: Number of volumes.
        rng: Where the places come from.
        size: Size of the block in voxels.
        filling: Material around it.
        block: Material of the block.

    Raises:
        ConfigError: The block is larger than the grid.
    """
    if any(s > n for s, n in zip(size, grid.shape, strict=True)):
        raise ConfigError(f"A block of {size} voxels does not fit into a grid of {grid.shape}.")
    voxels = torch.zeros(n_volumes, *grid.shape, dtype=torch.int64)
    inside = torch.ones(n_volumes, 1, 1, 1, dtype=torch.bool)
    for axis, (n, s) in enumerate(zip(grid.shape, size, strict=True)):
        first = torch.randint(n - s + 1, (n_volumes, 1), generator=rng)
        along = torch.arange(n)
        covered = (along >= first) & (along < first + s)
        shape = [n_volumes, 1, 1, 1]
        shape[axis + 1] = n
        inside = inside & covered.reshape(shape)
    return Volumes(grid, (filling, block), torch.where(inside, 1, voxels))
