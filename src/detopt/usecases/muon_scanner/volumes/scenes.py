"""Volumes put together: one inside another, and from a small YAML file of meshes and arrays."""

__all__ = ["insert", "load_scene"]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from detopt.errors import ConfigError
from detopt.reconstruction.voxel_grid import Grid
from detopt.units import Length
from detopt.usecases.muon_scanner.volumes.files import load_volumes
from detopt.usecases.muon_scanner.volumes.meshes import MeshPart, voxelize
from detopt.usecases.muon_scanner.volumes.volume import Substance, Volumes

Vector = tuple[Length, Length, Length]


class _Mesh(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path
    material: str
    scale: float = Field(1.0, gt=0)
    shift: Vector = (0.0, 0.0, 0.0)


class _Inset(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path


class _Scene(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Vector
    high: Vector
    voxel: Annotated[Length, Field(gt=0)]
    background: str = "air"
    samples: int = Field(1, ge=1)
    meshes: tuple[_Mesh, ...] = ()
    volumes: tuple[_Inset, ...] = ()


def load_scene(path: Path) -> Volumes:
    """Volumes from a YAML file that lists meshes and arrays.

    .. code-block:: yaml

        low: [0, 0, 0]          # corners of the volume [m], or texts with units
        high: [1 m, 1 m, 60 cm]
        voxel: 2 cm
        background: air
        samples: 3              # points along each axis of a voxel, see `voxelize`
        meshes:                 # later ones overwrite: from the outside in
          - {file: vessel.stl, material: steel, scale: 0.001, shift: [0.5, 0.5, 0]}
          - {file: melt.obj, material: liquid_steel, scale: 0.001, shift: [0.5, 0.5, 0]}
        volumes:                # npz or HDF5, put over the meshes, see `insert`
          - {file: deposit.npz}

    Paths are relative to the file.

    Raises:
        ConfigError: The file cannot be read, lacks something or names something unknown.
        MissingExtraError: Meshes need `trimesh`.
    """
    scene = _read(path)
    shape = []
    for low, high in zip(scene.low, scene.high, strict=True):
        count = round((high - low) / scene.voxel)
        if count < 1 or abs(count * scene.voxel - (high - low)) > 1e-6:
            raise ConfigError(
                f"`voxel` of {scene.voxel:g} m must divide the extent {high - low:g} m in {path}."
            )
        shape.append(count)
    grid = Grid(scene.low, (scene.voxel,) * 3, (shape[0], shape[1], shape[2]))
    parts = [
        MeshPart(path.parent / mesh.file, mesh.material, mesh.scale, mesh.shift)
        for mesh in scene.meshes
    ]
    volumes = voxelize(parts, grid, background=scene.background, n_samples=scene.samples)
    for inset in scene.volumes:
        volumes = insert(volumes, load_volumes(path.parent / inset.file))
    return volumes


def insert(outer: Volumes, inner: Volumes) -> Volumes:
    """Volumes with others inside: what `inner` covers is overwritten.

    The result has the voxels of `outer`, or of `inner` where those are smaller, along each axis;
    a voxel is what its center is.

    Args:
        outer: What is around, one volume or as many as in `inner`.
        inner: What is put in, one volume or as many as in `outer`. The result has the targets of
            whichever gives any, `inner` first.

    Raises:
        ConfigError: The numbers of volumes do not fit, or `inner` reaches out of `outer`.
    """
    n_volumes = max(len(outer), len(inner))
    if {len(outer), len(inner)} - {1, n_volumes}:
        raise ConfigError(f"Cannot put {len(inner)} volumes into {len(outer)}.")
    grid = _finer(outer.grid, inner.grid)
    slack = 1e-6
    for axis in range(3):
        below = inner.grid.low[axis] < outer.grid.low[axis] - slack
        if below or inner.grid.high[axis] > outer.grid.high[axis] + slack:
            raise ConfigError(
                f"The inner volume reaches from {inner.grid.low} to {inner.grid.high}, out of the "
                f"outer one, which reaches from {outer.grid.low} to {outer.grid.high} m."
            )
    substances = list(dict.fromkeys((*outer.materials, *inner.materials)))
    around, _ = _resampled(outer, grid, substances)
    within, covered = _resampled(inner, grid, substances)
    target = inner.target if inner.target is not None else outer.target
    if target is not None and len(target) < n_volumes:
        target = target.expand(n_volumes)
    return Volumes(grid, tuple(substances), torch.where(covered, within, around), target)


def _finer(first: Grid, second: Grid) -> Grid:
    """The space of the first grid, cut along each axis as finely as the finer one."""
    shape, voxel = [], []
    for axis in range(3):
        extent = first.high[axis] - first.low[axis]
        count = max(first.shape[axis], round(extent / second.voxel[axis]))
        shape.append(count)
        voxel.append(extent / count)
    return Grid(first.low, (voxel[0], voxel[1], voxel[2]), (shape[0], shape[1], shape[2]))


def _resampled(volumes: Volumes, grid: Grid, substances: list[Substance]) -> tuple[Tensor, Tensor]:
    """Materials at the centers of another grid's voxels, and which of these are covered."""
    number = torch.tensor([substances.index(given) for given in volumes.materials])
    picked = number[volumes.voxels]
    covered = torch.ones(grid.shape, dtype=torch.bool)
    for axis in range(3):
        edges = grid.edges(axis)
        centers = (edges[1:] + edges[:-1]) / 2
        place = ((centers - volumes.grid.low[axis]) / volumes.grid.voxel[axis]).floor().long()
        count = volumes.grid.shape[axis]
        shape = [1, 1, 1]
        shape[axis] = -1
        covered = covered & ((place >= 0) & (place < count)).reshape(shape)
        picked = picked.index_select(axis + 1, place.clamp(0, count - 1))
    return picked, covered


def _read(path: Path) -> _Scene:
    try:
        data: Any = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read the scene {path}: {error}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"The scene {path} must hold names and values, got {data!r}.")
    try:
        return _Scene(**data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "scene"
        raise ConfigError(f"The scene {path}: `{where}`: {first['msg']}.") from error
