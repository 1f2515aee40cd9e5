"""Triangle meshes as voxels: STL, OBJ and other files, with a material each."""

__all__ = ["MeshPart", "voxelize"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from detopt.errors import ConfigError, DomainError, MissingExtraError
from detopt.optional import require
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.volume import Substance, Volumes, loose

SHARES = 20  # steps of the share of a voxel that a mesh fills
NUDGE = 1.2e-5  # of a voxel: no ray runs exactly through an edge of a mesh drawn on the grid


@dataclass(frozen=True)
class MeshPart:
    """A closed surface and what is inside.

    Args:
        path: File of the mesh: STL, OBJ, PLY or whatever else `trimesh` reads.
        material: Material inside.
        scale: Metres of a unit of the file, such as 0.001 for millimetres.
        shift: Where the file's origin lies (x, y, z) [m].
    """

    path: Path
    material: Substance
    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


def voxelize(
    parts: Sequence[MeshPart],
    grid: Grid,
    *,
    background: Substance = "air",
    n_samples: int = 1,
) -> Volumes:
    r"""Meshes as one volume of voxels.

    A point is inside a closed surface that winds around it: a ray from it crosses the surface
    more often in one direction than in the other. So solids of one file may overlap, and a cavity
    is a surface inside that faces the other way. One vertical ray serves a whole column of voxels.
    Later parts overwrite earlier ones, so nested parts are listed from the outside in.

    Args:
        parts: The meshes.
        grid: The voxels.
        background: Material outside all parts.
        n_samples: Points along each axis of a voxel, evenly spread. With 1 a voxel is what its
            center is. With more, a voxel that a part fills to a share is a mixture by volume of
            the part and of what was there, with the share rounded to a twentieth.

    Raises:
        ConfigError: A mesh cannot be read, is not closed, has several solids whose faces do not
            agree on their outside, or fills no voxel.
        DomainError: `n_samples` is below 1.
        MissingExtraError: It needs `trimesh`, or what `trimesh` needs for that kind of file.

    Note:
        The volume of a part is right to about the number of voxels on its surface times a voxel
        over `n_samples`.
    """
    if n_samples < 1:
        raise DomainError(f"`n_samples` must be >= 1, got {n_samples}.")
    substances: list[Substance] = [background]
    voxels = torch.zeros(grid.shape, dtype=torch.int64)
    for part in parts:
        triangles = _triangles(part)
        steps = (_share(triangles, grid, n_samples) * SHARES).round().long()
        if not bool(steps.any()):
            raise _missed(part, triangles, grid)
        inside = steps == SHARES
        partial = (steps > 0) & ~inside
        for step, below in torch.stack([steps[partial], voxels[partial]], 1).unique(dim=0).tolist():
            mixed = loose(part.material, step / SHARES, substances[below])
            voxels[partial & (steps == step) & (voxels == below)] = _number(substances, mixed)
        if bool(inside.any()):
            voxels[inside] = _number(substances, part.material)
    return Volumes(grid, tuple(substances), voxels[None])


def _missed(part: MeshPart, triangles: np.ndarray, grid: Grid) -> ConfigError:
    low, high = (
        ", ".join(f"{value:.4g}" for value in corner)
        for corner in (triangles.min((0, 1)), triangles.max((0, 1)))
    )
    return ConfigError(
        f"The mesh {part.path} fills no voxel: it reaches from ({low}) to ({high}) m, the voxels "
        f"of {grid.voxel} m from {grid.low} to {grid.high} m. Check `scale` and `shift`; for a "
        "thin part take smaller voxels or more samples."
    )


def _number(substances: list[Substance], given: Substance) -> int:
    """Index of a material, which is added if it is new."""
    if given not in substances:
        substances.append(given)
    return substances.index(given)


def _triangles(part: MeshPart) -> np.ndarray:
    """Corners of all triangles [m], of shape (n, 3, 3)."""
    trimesh = require("trimesh", extra="volumes", purpose="Reading a mesh")
    try:
        mesh: Any = trimesh.load(part.path, force="mesh")
    except ImportError as error:
        raise MissingExtraError(
            f"Reading the mesh {part.path} needs another package: {error}."
        ) from error
    except Exception as error:  # every kind of file has its own errors for a damaged one
        raise ConfigError(f"Cannot read the mesh {part.path}: {error}") from error
    if len(mesh.faces) == 0:
        raise ConfigError(f"The mesh {part.path} has no faces.")
    mesh.merge_vertices()
    if not mesh.is_watertight:
        raise ConfigError(
            f"The mesh {part.path} is not closed: it has no inside. Repair it in the program that "
            "made it."
        )
    if not mesh.is_winding_consistent:
        if mesh.body_count > 1:
            raise ConfigError(
                f"The faces of the mesh {part.path} do not agree on their outside: its "
                f"{mesh.body_count} solids may overlap or be hollow. Recalculate the normals in "
                "the program that made it."
            )
        trimesh.repair.fix_winding(mesh)
    corners: np.ndarray = np.array(mesh.triangles, dtype=float)
    corners *= part.scale
    corners += np.asarray(part.shift)
    return corners


def _share(triangles: np.ndarray, grid: Grid, n_samples: int) -> Tensor:
    """Share of the sampled points of each voxel that are inside; float64, shape of the grid."""
    inside = _inside(triangles, [_points(grid, axis, n_samples) for axis in range(3)])
    nx, ny, nz = grid.shape
    split = inside.double().reshape(nx, n_samples, ny, n_samples, nz, n_samples)
    return split.mean((1, 3, 5))


def _points(grid: Grid, axis: int, n_samples: int) -> np.ndarray:
    steps = np.arange(grid.shape[axis] * n_samples) + 0.5
    return grid.low[axis] + (steps + NUDGE * (1 + axis)) * grid.voxel[axis] / n_samples


def _inside(triangles: np.ndarray, points: Sequence[np.ndarray]) -> Bool[Tensor, "x y z"]:
    """Whether the points of a lattice are inside a closed surface.

    Each triangle changes the winding of all points above it, in the columns that cross it: by 1 or
    -1, as it faces up or down.
    """
    x, y, z = points
    turns = np.zeros((len(x), len(y), len(z) + 1), dtype=np.int16)
    for a, b, c in triangles:
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        first = np.searchsorted(x, low[0]), np.searchsorted(y, low[1])
        last = np.searchsorted(x, high[0]), np.searchsorted(y, high[1])
        determinant = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if first[0] == last[0] or first[1] == last[1] or determinant == 0:
            continue
        dx = x[first[0] : last[0], None] - a[0]
        dy = y[None, first[1] : last[1]] - a[1]
        u = (dx * (c[1] - a[1]) - (c[0] - a[0]) * dy) / determinant
        v = ((b[0] - a[0]) * dy - dx * (b[1] - a[1])) / determinant
        i, j = np.nonzero((u >= 0) & (v >= 0) & (u + v <= 1))
        height = a[2] + u[i, j] * (b[2] - a[2]) + v[i, j] * (c[2] - a[2])
        place = i + first[0], j + first[1], np.searchsorted(z, height)
        np.add.at(turns, place, 1 if determinant > 0 else -1)
    winding = turns[:, :, :-1].cumsum(-1, dtype=np.int16)
    return torch.from_numpy(winding != 0)
