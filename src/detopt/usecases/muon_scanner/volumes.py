"""Volumes to be scanned: voxel grids of materials, generated or read from a user's file."""

__all__ = ["Grid", "Volumes", "blocks", "ladle", "load_volumes", "save_volumes"]

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import ConfigError
from detopt.physics import materials

LADLE_MATERIALS = ("air", "steel", "liquid_steel", "slag")
LADLE_FILLS = tuple(0.6 + 0.1 * i for i in range(8))  # m; height z of the metal's surface
FILE_KEYS = ("materials", "voxels", "x_edges", "y_edges", "z_edges")


@dataclass(frozen=True)
class Grid:
    """Equal voxels, with edges along the axes.

    Args:
        low: Lowest corner (x, y, z) [m].
        voxel: Edge lengths of a voxel [m].
        shape: Number of voxels in x, y and z.
    """

    low: tuple[float, float, float]
    voxel: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def high(self) -> tuple[float, float, float]:
        """Highest corner [m]."""
        x, y, z = (lo + n * d for lo, n, d in zip(self.low, self.shape, self.voxel, strict=True))
        return x, y, z

    def edges(self, axis: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, " n_edges"]:
        """Edges along one axis [m]."""
        steps = torch.arange(self.shape[axis] + 1, dtype=torch.float64)
        return (self.low[axis] + self.voxel[axis] * steps).to(dtype)


@dataclass(frozen=True)
class Volumes:
    """Several volumes on one grid.

    Args:
        grid: The voxels.
        materials: Names of the materials that the voxels refer to.
        voxels: Index of the material in each voxel.
        target: What a scan shall find out, one number a volume, such as a fill height [m]; None
            where the voxels themselves are asked for.
    """

    grid: Grid
    materials: tuple[str, ...]
    voxels: Int[Tensor, "n_volumes nx ny nz"]
    target: Float[Tensor, " n_volumes"] | None = None

    def __post_init__(self) -> None:
        if self.voxels.numel() == 0 or len(self.voxels) == 0:
            raise ConfigError("The volume is empty: it has no voxels.")
        if tuple(self.voxels.shape[1:]) != self.grid.shape:
            raise ConfigError(
                f"The voxels have the shape {tuple(self.voxels.shape[1:])}, the grid "
                f"{self.grid.shape}."
            )
        low, high = int(self.voxels.min()), int(self.voxels.max())
        if low < 0 or high >= len(self.materials):
            raise ConfigError(
                f"A voxel refers to material {high if low >= 0 else low}, but the materials are "
                f"numbered from 0 to {len(self.materials) - 1}."
            )
        for name in self.materials:
            materials.get(name)

    def __len__(self) -> int:
        return len(self.voxels)

    def radiation_lengths(self) -> Float[Tensor, " n_materials"]:
        """Radiation length of each material [m] (float64)."""
        lengths = [float(materials.get(name).radiation_length) for name in self.materials]
        return torch.tensor(lengths, dtype=torch.float64)


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
    filling: str = "water",
    block: str = "Pb",
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


def save_volumes(path: Path, volumes: Volumes) -> None:
    """Write volumes to an npz file that `load_volumes` reads."""
    arrays: dict[str, np.ndarray] = {
        "materials": np.array(volumes.materials),
        "voxels": volumes.voxels.numpy().astype(np.int16),
    }
    for axis, name in enumerate(("x_edges", "y_edges", "z_edges")):
        arrays[name] = volumes.grid.edges(axis).numpy().round(9)
    if volumes.target is not None:
        arrays["target"] = volumes.target.numpy().round(9)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_volumes(path: Path) -> Volumes:
    """Volumes from an npz file.

    It holds `materials` (names), `voxels` (index of the material, one volume of shape (nx, ny,
    nz) or several of shape (n, nx, ny, nz)), the voxels' edges `x_edges`, `y_edges`, `z_edges`
    in metres, equally spaced, z pointing up, and optionally `target`, one number a volume.

    Raises:
        ConfigError: The file is missing, incomplete or inconsistent.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"Cannot read the volume file {path}: {error}") from error
    missing = [key for key in FILE_KEYS if key not in arrays]
    if missing:
        raise ConfigError(f"The volume file {path} lacks {', '.join(missing)}.")
    voxels = arrays["voxels"]
    if voxels.ndim not in {3, 4} or not np.issubdtype(voxels.dtype, np.integer):
        raise ConfigError(
            "`voxels` must be whole numbers of shape (nx, ny, nz) or (n, nx, ny, nz), got "
            f"{voxels.dtype} of shape {voxels.shape}."
        )
    if voxels.size == 0:
        raise ConfigError(f"The volume in {path} is empty: it has no voxels.")
    if voxels.ndim == 3:
        voxels = voxels[None]
    grid = _grid([arrays[key] for key in FILE_KEYS[2:]])
    target = None
    if "target" in arrays:
        target = torch.as_tensor(arrays["target"], dtype=torch.float64).reshape(-1)
        if len(target) != len(voxels):
            raise ConfigError(f"{len(voxels)} volumes need as many targets, got {len(target)}.")
    names = tuple(str(name) for name in arrays["materials"].reshape(-1))
    return Volumes(grid, names, torch.as_tensor(voxels.astype(np.int64)), target)


def _grid(edges: list[np.ndarray]) -> Grid:
    lows, sizes, shape = [], [], []
    for name, axis in zip("xyz", edges, strict=True):
        steps = np.diff(axis.astype(float).reshape(-1))
        if len(steps) == 0 or not np.all(steps > 0) or np.ptp(steps) > 1e-4 * steps.mean():
            raise ConfigError(f"`{name}_edges` must rise in equal steps [m], got {axis.tolist()}.")
        lows.append(float(axis[0]))
        sizes.append(float(steps.mean()))
        shape.append(len(steps))
    return Grid((lows[0], lows[1], lows[2]), (sizes[0], sizes[1], sizes[2]), (*shape,))  # type: ignore[arg-type]
