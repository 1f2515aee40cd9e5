"""Volumes of random content, to train an imaging network with."""

__all__ = ["random_scenes", "scattering_densities", "training_materials"]

import functools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.reconstruction.poca_imaging import REFERENCE_MOMENTUM
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.volume import Substance, loose, substance

N_LIGHT = 7  # the first of the materials, which may fill a whole volume
MOST_BODIES = 7
IN_AIR = 0.5  # share of the volumes whose filling is air
IN_SHELL = 0.3  # share with closed walls
BOX, ELLIPSOID = 0.6, 0.8  # shares of the bodies up to which they are boxes, ellipsoids; else rods


@functools.cache
def training_materials() -> tuple[Substance, ...]:
    """Air and what trucks, furnaces and walls hold, from light to dense."""
    return (
        "air",
        loose("cellulose", 0.1),
        loose("cellulose", 0.5),
        loose("water", 0.6),
        "water",
        loose("Al", 0.2),
        loose("steel", 0.1),
        "concrete",
        "Al",
        loose("steel", 0.4),
        "Ti",
        "Fe",
        "Cu",
        loose("Pb", 0.5),
        "Pb",
        "W",
        "U",
    )


def scattering_densities() -> Float[Tensor, " n_materials"]:
    r"""Scattering density :math:`(13.6\,\mathrm{MeV}/p_0)^2/X_0` of each [rad2/m at 3 GeV/c]."""
    lengths = [float(substance(given).radiation_length) for given in training_materials()]
    return (HIGHLAND_SCALE / REFERENCE_MOMENTUM) ** 2 / torch.tensor(lengths)


def random_scenes(
    grid: Grid, n_volumes: int, rng: torch.Generator
) -> Int[Tensor, "n_volumes nx ny nz"]:
    """Volumes with boxes, ellipsoids and rods of random materials and places.

    Half of them are filled with air, the others with something light; some have closed walls one
    voxel thick. Up to seven bodies, each from one voxel to half of the volume along an axis, lie
    anywhere in it; where they overlap, the later one stays.

    Args:
        grid: The voxels.
        n_volumes: Number of volumes.
        rng: Where everything comes from.

    Returns:
        Indices into `training_materials`.
    """
    n_materials = len(training_materials())
    light = torch.randint(1, N_LIGHT, (n_volumes,), generator=rng)
    filling = torch.where(torch.rand(n_volumes, generator=rng) < IN_AIR, 0, light)
    voxels = filling[:, None, None, None].expand(-1, *grid.shape).clone()
    n_bodies = torch.randint(MOST_BODIES + 1, (n_volumes,), generator=rng)
    for i in range(MOST_BODIES):
        kind = torch.randint(n_materials, (n_volumes,), generator=rng)
        inside = _body(grid, n_volumes, rng) & (i < n_bodies)[:, None, None, None]
        voxels = torch.where(inside, kind[:, None, None, None], voxels)
    wall = torch.randint(1, n_materials, (n_volumes,), generator=rng)
    walled = torch.rand(n_volumes, generator=rng) < IN_SHELL
    rim = torch.ones(grid.shape, dtype=torch.bool)
    rim[1:-1, 1:-1, 1:-1] = False
    outer = walled[:, None, None, None] & rim
    return torch.where(outer, wall[:, None, None, None], voxels)


def _body(grid: Grid, n_volumes: int, rng: torch.Generator) -> Bool[Tensor, "n_volumes nx ny nz"]:
    """A box, an ellipsoid or a rod along an axis in each volume."""
    shape = torch.tensor(grid.shape)
    place, size = torch.rand(2, n_volumes, 3, generator=rng).unbind(0)
    half = (1 + (size * (shape / 2 - 1)).floor()) / 2
    middle = half + (place * (shape - 2 * half)).round()
    reduced = []
    for axis, n in enumerate(grid.shape):
        apart = torch.arange(n) + 0.5 - middle[:, axis, None]
        view = [n_volumes, 1, 1, 1]
        view[axis + 1] = n
        reduced.append((apart / half[:, axis, None]).reshape(view))
    kind = torch.rand(n_volumes, 1, 1, 1, generator=rng)
    along = torch.randint(3, (n_volumes, 1, 1, 1), generator=rng)
    squares = [r.square() for r in reduced]
    box = (squares[0] < 1) & (squares[1] < 1) & (squares[2] < 1)
    ellipsoid = squares[0] + squares[1] + squares[2] < 1
    rod = torch.zeros_like(box)
    for axis in range(3):
        first, second = (squares[other] for other in range(3) if other != axis)
        rod |= (along == axis) & (first + second < 1) & (squares[axis] < 1)
    return torch.where(kind < BOX, box, torch.where(kind < ELLIPSOID, ellipsoid, rod))
