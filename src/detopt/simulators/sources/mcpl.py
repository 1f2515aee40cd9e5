"""Particle lists in MCPL files, which Geant4, McStas, PHITS and others exchange."""

__all__ = ["read_mcpl"]

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from detopt.errors import SimulationError
from detopt.optional import require
from detopt.simulators.geant4.primaries import Primaries
from detopt.simulators.sources.particles import WeightedPrimaries
from detopt.simulators.sources.reading import opened

M_PER_CM, GEV_PER_MEV, S_PER_MS = 1e-2, 1e-3, 1e-3


def read_mcpl(path: str | Path, n_events: int | None = None) -> WeightedPrimaries:
    """Particles of an MCPL file, each an event of its own.

    Args:
        path: File, `.mcpl` or `.mcpl.gz`.
        n_events: Read no more than so many, or None for all.

    Raises:
        MissingExtraError: The package `mcpl` is not installed.
        NotFoundError: There is no such file.
        SimulationError: The file is empty or damaged, or a particle has no kinetic energy.

    References:
        T. Kittelmann et al., Comput. Phys. Commun. 218 (2017) 17.
    """
    package = require("mcpl", extra="events", purpose="Reading MCPL files")
    names = ("pdgcode", "ekin", "x", "y", "z", "ux", "uy", "uz", "time", "weight")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with opened(path, "MCPL") as file, _plain(file) as name, package.MCPLFile(name) as content:
        n = content.nparticles if n_events is None else min(n_events, content.nparticles)
        if n == 0:
            raise SimulationError(f"The MCPL file {file} holds no particle.")
        left = n
        for block in content.particle_blocks:
            if left <= 0:
                break
            for name in names:
                values = np.asarray(getattr(block, name))
                columns[name].append(np.broadcast_to(values, block.ekin.shape)[:left])
            left -= len(block.ekin)
        if left > 0:
            raise SimulationError(
                f"The MCPL file {file} ends after {n - left} of {n} particles. Copy it again."
            )
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        real = {
            name: torch.from_numpy(whole[name].astype(np.float64))
            for name in names
            if name != names[0]
        }
        position = torch.stack([real["x"], real["y"], real["z"]], 1) * M_PER_CM
        direction = torch.stack([real["ux"], real["uy"], real["uz"]], 1)
        number = torch.from_numpy(whole["pdgcode"].astype(np.int64))
        listed = Primaries.of(number, real["ekin"] * GEV_PER_MEV, position, direction, range(n))
        return WeightedPrimaries.weighted(listed, real["time"] * S_PER_MS, real["weight"])


@contextlib.contextmanager
def _plain(file: Path) -> Iterator[str]:
    """Name of the file, unpacked: the package leaves packed ones open."""
    if file.suffix != ".gz":
        yield str(file)
        return
    with tempfile.TemporaryDirectory(prefix="detopt-mcpl-") as folder:
        path = Path(folder) / "unpacked.mcpl"
        with gzip.open(file) as packed, path.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        yield str(path)
