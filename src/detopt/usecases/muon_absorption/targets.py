"""Targets: generated hills, volcanoes and buildings, and those of the user's files."""

__all__ = ["Target", "load_terrain", "make_target"]

import csv
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detopt.errors import ConfigError, DetoptError, DomainError
from detopt.physics import materials
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.terrain import GRAMS_PER_METRE, Terrain

N_NODES = 121  # of a generated elevation grid, in x and in y
BUILDING = (80, 60, 36)  # voxels of half a metre
STEPS = 5  # of a building
WIDTHS = 2.0  # radii of the largest cavity: less rock than that hides none that is covered
MASONRY = 0.85  # share of stone; the rest are joints
STEEPEST = 5.0  # relief of an elevation grid in its widths
ELEVATIONS = (-500.0, 9_000.0)  # m, of the ground anywhere on Earth
KINDS, CORNERS = ("elevation", "density"), ("low", "high")  # arrays of a file
COLUMNS = ["x", "y", "z"]
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Target:
    """What is looked at, and from where.

    Attributes:
        terrain: What muons cross.
        radius: Smallest and largest radius of a cavity [m].
        distance: Nearest and farthest place of a telescope from the target's middle [m].
        budget: Money for all telescopes and their time [k].
    """

    terrain: Terrain
    radius: tuple[float, float]
    distance: tuple[float, float]
    budget: float = 40.0

    @property
    def least_grammage(self) -> float:
        """Matter on a ray below which it belongs to the skyline and is not used [g/cm2]."""
        return WIDTHS * GRAMS_PER_METRE * self.terrain.mean_density * self.radius[1]


def make_target(config: Config) -> Target:
    """The target that `config` describes.

    Raises:
        ConfigError: The user's file is unusable, or there is no room for telescopes.
        NotFoundError: The material does not exist.
    """
    density = config.density or materials.get(config.material).density
    if config.terrain is not None:
        terrain = load_terrain(config.terrain, density, config.material)
        size = terrain.diagonal
        found = Target(terrain, (0.08 * size, 0.16 * size), (1.1 * size, 2.5 * size))
    elif config.target == "hill":
        found = Target(_hill(density, config.material), (6.0, 12.0), (150.0, 350.0))
    elif config.target == "volcano":
        found = Target(_volcano(density, config.material), (30.0, 60.0), (700.0, 1600.0), 400.0)
    else:
        found = Target(_building(density, config.material), (1.0, 2.0), (18.0, 60.0))
    return Target(
        found.terrain,
        config.radius or found.radius,
        config.distance or found.distance,
        config.budget or found.budget,
    )


def _grid(half: float) -> tuple[Tensor, Tensor]:
    axis = torch.linspace(-half, half, N_NODES, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def _hill(density: float, material: str) -> Terrain:
    """A ridge of 90 m that is 1.8 times longer than wide, with a shoulder."""
    half = 400.0
    x, y = _grid(half)
    ridge = 90 * torch.exp(-((x / 90) ** 2) / 2 - (y / 50) ** 2 / 2)
    shoulder = 35 * torch.exp(-(((x - 110) / 45) ** 2) / 2 - ((y - 25) / 40) ** 2 / 2)
    height = ridge + shoulder
    return Terrain((-half, -half, -20.0), (half, half, 130.0), height, None, density, material)


def _volcano(density: float, material: str) -> Terrain:
    """A cone of 450 m with a crater."""
    half = 2_000.0
    x, y = _grid(half)
    away = torch.sqrt(x**2 + y**2 + 60.0**2)
    cone = 620 * torch.exp(-away / 450)
    crater = 120 * torch.exp(-(((x - 40) ** 2 + y**2) / 90.0**2) / 2)
    height = cone - crater
    return Terrain((-half, -half, -50.0), (half, half, 700.0), height, None, density, material)


def _building(density: float, material: str) -> Terrain:
    """A stepped tomb of masonry, 30 x 20 x 15 m, in voxels of density."""
    nx, ny, nz = BUILDING
    voxels = torch.zeros(nx, ny, nz, dtype=torch.float64)
    for step in range(STEPS):
        inset = 10 + 4 * step
        voxels[inset : nx - inset, inset : ny - inset, 6 * step : 6 * (step + 1)] = (
            MASONRY * density
        )
    low, high = (-0.25 * nx, -0.25 * ny, 0.0), (0.25 * nx, 0.25 * ny, 0.5 * nz)
    return Terrain(low, high, None, voxels, density, material)


def load_terrain(path: Path, density: float, material: str) -> Terrain:
    """Terrain of a file, moved to the middle of its own coordinates.

    Args:
        path: An npz file with `elevation` (nx, ny) [m], `low` and `high` (x, y), or with
            `density` (nx, ny, nz) [g/cm3], `low` and `high` (x, y, z); or a csv file with the
            columns x, y, z of a regular grid [m], in the order of its header if it has one.
        density: Density below an elevation [g/cm3].
        material: Name of the material.

    Raises:
        ConfigError: The file does not exist, is damaged, lacks an array or a column, does not hold
            a grid, is flat or in degrees, or holds elevations or densities that no ground has.
    """
    try:
        read = _from_points if path.suffix.lower() == ".csv" else _from_arrays
        terrain = read(path, density, material).centered()
        low, high = terrain.target
    except ConfigError:
        raise
    except DetoptError as error:
        raise ConfigError(f"The terrain {path} cannot be used: {error}") from error
    except UNREADABLE as error:
        raise ConfigError(f"The terrain {path} cannot be read: {error}") from error
    relief, width = high[2] - low[2], max(terrain.high[0], terrain.high[1]) * 2
    if terrain.height is not None and relief > STEEPEST * width:
        raise ConfigError(
            f"The terrain {path} is {width:.3g} m wide and rises by {relief:.3g} m. Coordinates "
            f"must be in metres, as of a UTM grid; are these degrees?"
        )
    return terrain


def _from_arrays(path: Path, density: float, material: str) -> Terrain:
    held = _arrays(path)
    kind = next(name for name in KINDS if name in held)
    grid, dimension = held[kind], 2 if kind == "elevation" else 3
    shapes = [tuple(held[name].shape) for name in (kind, *CORNERS)]
    if grid.ndim != dimension or grid.numel() == 0 or shapes[1:] != [(dimension,)] * 2:
        raise ConfigError(
            f"In the terrain {path} `{kind}` must have {dimension} axes and `low` and `high` as "
            f"many numbers, got the shapes {shapes[0]}, {shapes[1]} and {shapes[2]}."
        )
    low, high = held["low"].tolist(), held["high"].tolist()
    if kind == "elevation":
        return _of_elevation(grid, (low[0], low[1]), (high[0], high[1]), density, material)
    corners = (low[0], low[1], low[2]), (high[0], high[1], high[2])
    return Terrain(*corners, None, grid, density, material)


def _arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an npz file that describe a terrain."""
    held = {}
    with path.open("rb") as content:
        file = np.load(content, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ConfigError(
                f"The terrain {path} is a single array. Store it together with `low` and `high`, "
                f"by `numpy.savez`."
            )
        for name in (name for name in (*KINDS, *CORNERS) if name in file):
            array = file[name]
            if array.dtype.kind not in "iuf":
                raise ConfigError(
                    f"In the terrain {path} `{name}` must hold real numbers, got {array.dtype}."
                )
            held[name] = torch.from_numpy(array.astype(np.float64))
        missing = [name for name in CORNERS if name not in held]
        if missing or not any(name in held for name in KINDS):
            lacks = ", ".join(missing) or "`elevation` or `density`"
            has = ", ".join(file.files) or "none"
            raise ConfigError(f"The terrain {path} lacks {lacks}; it has {has}.")
    return held


def _from_points(path: Path, density: float, material: str) -> Terrain:
    points = _points(path)
    x, y = np.unique(points[:, 0]), np.unique(points[:, 1])
    n_places = len(np.unique(points[:, :2], axis=0))
    if not len(points) == n_places == len(x) * len(y):
        raise ConfigError(
            f"The terrain {path} is no full grid: {len(points)} points at {n_places} places for "
            f"{len(x)} values of x and {len(y)} of y."
        )
    for name, axis in (("x", x), ("y", y)):
        if len(axis) < 2 or np.ptp(np.diff(axis)) > 1e-3 * np.diff(axis).mean():
            raise ConfigError(f"The values of {name} in the terrain {path} are not evenly spaced.")
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    height = torch.from_numpy(ordered[:, 2].reshape(len(x), len(y)).copy())
    low, high = (float(x[0]), float(y[0])), (float(x[-1]), float(y[-1]))
    return _of_elevation(height, low, high, density, material)


def _points(path: Path) -> np.ndarray:
    """Rows of x, y and z [m]."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    first = next(csv.reader(lines[:1]), [])
    headless = all(_is_number(cell) for cell in first)
    names = COLUMNS if headless else [cell.strip("# ").lower() for cell in first]
    if sorted(names) != COLUMNS:
        raise ConfigError(
            f"The terrain {path} must have 3 columns, x, y, z in metres; got {', '.join(names)}."
        )
    rows = lines if headless else lines[1:]
    if not rows:
        raise ConfigError(f"The terrain {path} holds no points.")
    points = np.loadtxt(rows, delimiter=",", ndmin=2)
    if points.shape[1] != len(COLUMNS):
        raise ConfigError(
            f"The terrain {path} must have 3 columns, x, y, z; got {points.shape[1]}."
        )
    return points[:, [names.index(name) for name in COLUMNS]]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _of_elevation(
    height: Tensor,
    low: tuple[float, float],
    high: tuple[float, float],
    density: float,
    material: str,
) -> Terrain:
    base, top = float(height.min()), float(height.max())
    if base < ELEVATIONS[0] or top > ELEVATIONS[1]:
        raise DomainError(
            f"Elevations must lie between {ELEVATIONS[0]:g} and {ELEVATIONS[1]:g} m, got {base:g} "
            f"to {top:g}. If the file marks missing data so, fill the gaps first."
        )
    relief = max(top - base, 1.0)
    corners = (*low, base - relief / 5), (*high, top + relief / 5)
    return Terrain(*corners, height, None, density, material)
