"""Volumes in files: npz and HDF5, of materials or of radiation lengths."""

__all__ = ["HDF5_SUFFIXES", "load_volumes", "save_volumes"]

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detopt.errors import ConfigError
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.lengths import from_radiation_lengths
from detopt.usecases.muon_scanner.volumes.volume import Volumes

EDGES = ("x_edges", "y_edges", "z_edges")
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
REAL = "iuf"  # kinds of arrays of real numbers
Arrays = dict[str, np.ndarray]


def save_volumes(path: Path, volumes: Volumes) -> None:
    """Write volumes to an npz or, by its suffix, HDF5 file that `load_volumes` reads.

    Materials of one's own have no name that a file could refer to: with them, radiation lengths
    are written instead of materials.
    """
    if all(isinstance(given, str) for given in volumes.materials):
        arrays: Arrays = {
            "materials": np.array(volumes.materials),
            "voxels": volumes.voxels.numpy().astype(np.int16),
        }
    else:
        arrays = {"radiation_lengths": volumes.radiation_lengths()[volumes.voxels].numpy()}
    for axis, name in enumerate(EDGES):
        arrays[name] = volumes.grid.edges(axis).numpy().round(9)
    if volumes.target is not None:
        arrays["target"] = volumes.target.numpy().round(9)
    if path.suffix in HDF5_SUFFIXES:
        _write_hdf5(path, arrays)
    else:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_volumes(path: Path) -> Volumes:
    """Volumes from an npz or, by its suffix, HDF5 file.

    It holds the voxels' edges `x_edges`, `y_edges`, `z_edges` in metres, equally spaced, z
    pointing up, and the voxels, one volume of shape (nx, ny, nz) or several of shape
    (n, nx, ny, nz), in one of two ways: either `voxels`, the index of the material in each, and
    `materials`, their names; or `radiation_lengths` in metres, see `from_radiation_lengths`.
    There may be a `target`, one finite number a volume.

    Raises:
        ConfigError: The file is missing, damaged, incomplete or inconsistent.
        NotFoundError: It names a material that does not exist.
    """
    arrays = _read_hdf5(path) if path.suffix in HDF5_SUFFIXES else _read_npz(path)
    content = ("radiation_lengths",) if "radiation_lengths" in arrays else ("materials", "voxels")
    missing = [key for key in (*content, *EDGES) if key not in arrays]
    if missing:
        raise ConfigError(f"The volume file {path} lacks {', '.join(missing)}.")
    voxels = arrays[content[-1]]
    _check(voxels, content[-1], path)
    if voxels.ndim == 3:
        voxels = voxels[None]
    grid = _grid({key: _finite(arrays[key], key, path) for key in EDGES})
    target = None
    if "target" in arrays:
        target = torch.from_numpy(_finite(arrays["target"], "target", path))
        if len(target) != len(voxels):
            raise ConfigError(f"{len(voxels)} volumes need as many targets, got {len(target)}.")
    if content[0] == "radiation_lengths":
        return from_radiation_lengths(grid, torch.from_numpy(voxels.astype(np.float64)), target)
    names = tuple(_text(name) for name in arrays["materials"].reshape(-1))
    return Volumes(grid, names, torch.as_tensor(voxels.astype(np.int64)), target)


def _check(voxels: np.ndarray, name: str, path: Path) -> None:
    kinds, described = ("iu", "whole numbers") if name == "voxels" else (REAL, "real numbers")
    if voxels.ndim not in {3, 4} or voxels.dtype.kind not in kinds:
        raise ConfigError(
            f"`{name}` must be {described} of shape (nx, ny, nz) or (n, nx, ny, nz), got "
            f"{voxels.dtype} of shape {voxels.shape}."
        )
    if voxels.size == 0:
        raise ConfigError(f"The volume in {path} is empty: it has no voxels.")


def _finite(values: np.ndarray, name: str, path: Path) -> np.ndarray:
    """The values in a row, as float64."""
    if values.dtype.kind not in REAL or not np.isfinite(values).all():
        raise ConfigError(
            f"`{name}` in {path} must be finite real numbers, got {values.reshape(-1).tolist()}."
        )
    return values.astype(np.float64).reshape(-1)


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as stream:
            content: Any = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.ndarray):
                return {key: np.asarray(content[key]) for key in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"Cannot read the volume file {path}: {error}") from error
    raise ConfigError(
        f"The volume file {path} holds one array without a name; it must be an npz archive of "
        "several. Write it by `numpy.savez`."
    )


def _read_hdf5(path: Path) -> Arrays:
    import h5py  # slow to load

    try:
        with h5py.File(path, "r") as file:
            return {key: np.asarray(file[key]) for key in file if hasattr(file[key], "shape")}
    except (OSError, KeyError) as error:  # KeyError: a link that leads nowhere
        raise ConfigError(f"Cannot read the volume file {path}: {error}") from error


def _write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    import h5py  # slow to load

    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            is_text = values.dtype.kind == "U"
            file.create_dataset(key, data=values.astype("S") if is_text else values)


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _grid(edges: Mapping[str, np.ndarray]) -> Grid:
    lows, sizes, shape = [], [], []
    for name, axis in edges.items():
        steps = np.diff(axis)
        if len(steps) == 0 or not np.all(steps > 0) or np.ptp(steps) > 1e-4 * steps.mean():
            raise ConfigError(f"`{name}` must rise in equal steps [m], got {axis.tolist()}.")
        lows.append(float(axis[0]))
        sizes.append(float(steps.mean()))
        shape.append(len(steps))
    return Grid((lows[0], lows[1], lows[2]), (sizes[0], sizes[1], sizes[2]), (*shape,))  # type: ignore[arg-type]
