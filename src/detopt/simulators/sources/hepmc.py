"""Events in HepMC files, versions 3 and 2."""

__all__ = ["read_hepmc"]

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from detopt.errors import SimulationError
from detopt.optional import require
from detopt.simulators.sources.particles import Particles
from detopt.simulators.sources.reading import opened

SPEED_OF_LIGHT = 299_792_458.0  # m/s
M_PER_MM = 1e-3
LAST = 4096  # bytes in which the closing line is looked for


def read_hepmc(path: str | Path, n_events: int | None = None) -> Particles:
    """Particles of a HepMC file, with statuses, production vertices and first weights.

    Beam particles have status 4, decayed ones 2, those that leave the event 1.

    Args:
        path: File; `.gz` and other usual compressions are undone.
        n_events: Read no more than so many, or None for all.

    Raises:
        MissingExtraError: The package `pyhepmc` is not installed.
        NotFoundError: There is no such file.
        SimulationError: The file is empty, damaged or incomplete.

    References:
        A. Buckley et al., Comput. Phys. Commun. 260 (2021) 107310.
    """
    package = require("pyhepmc", extra="events", purpose="Reading HepMC files")
    with opened(path, "HepMC") as file:
        if n_events is None:
            _check_end(file)
        columns: list[tuple[np.ndarray, ...]] = []
        weights: list[float] = []
        with package.open(str(file)) as content:
            for event in itertools.islice(content, n_events):
                event.set_units(package.Units.GEV, package.Units.MM)
                columns.append(_event(event))
                weights.append(float(event.weights[0]) if len(event.weights) else 1.0)
        if not columns:
            raise SimulationError(f"The HepMC file {file} holds no event.")
        sizes = [len(one[0]) for one in columns]
        pdg, status, momentum, vertex = (np.concatenate(one) for one in zip(*columns, strict=True))
        return Particles.of(
            pdg, status, momentum, vertex, np.repeat(np.arange(len(sizes)), sizes), weights
        )


def _event(event: Any) -> tuple[np.ndarray, ...]:
    rows = event.numpy.particles
    momentum = np.stack([rows.e, rows.px, rows.py, rows.pz], axis=1)
    vertex = np.zeros((len(rows.pid), 4))
    if np.any(event.numpy.vertices.has_set_position):
        places: dict[int, tuple[float, ...]] = {}
        for row, particle in enumerate(event.particles):
            origin = particle.production_vertex
            if origin is None:
                continue
            if origin.id not in places:
                at = origin.position
                places[origin.id] = (at.t / SPEED_OF_LIGHT, at.x, at.y, at.z)
            vertex[row] = places[origin.id]
    return rows.pid.copy(), rows.status.copy(), momentum, vertex * M_PER_MM


def _check_end(file: Path) -> None:
    """Refuse a file that its program did not close, where the format shows it."""
    if file.suffix not in (".gz", ".hepmc", ".hepmc3", ".hepmc2", ".dat", ".txt"):
        return
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as content:
        head = content.read(LAST)
        tail = head
        while more := content.read(1 << 20):
            tail = (tail + more)[-LAST:]
    for kind in (b"HepMC::Asciiv3", b"HepMC::IO_GenEvent"):
        if kind + b"-START" in head and kind + b"-END" not in tail:
            raise SimulationError(
                f"The HepMC file {file} is incomplete: its closing line is missing. Write it "
                "again, or read its first events with `n_events`."
            )
