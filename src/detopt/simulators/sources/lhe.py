"""Events of hard processes in Les Houches event (LHE) files."""

__all__ = ["read_lhe"]

import itertools
from pathlib import Path

from detopt.errors import SimulationError
from detopt.optional import require
from detopt.simulators.sources.particles import Particles
from detopt.simulators.sources.reading import opened


def read_lhe(path: str | Path, n_events: int | None = None) -> Particles:
    """Particles of an LHE file, with weights and, as labels, `process` and `scale` [GeV].

    Incoming particles have status -1, intermediate ones 2, those that leave the process 1. The
    format has no places: all begin at the origin.

    Args:
        path: File, `.lhe` or `.lhe.gz`.
        n_events: Read no more than so many, or None for all.

    Raises:
        MissingExtraError: The package `pylhe` is not installed.
        NotFoundError: There is no such file.
        SimulationError: The file is empty, damaged or incomplete.

    References:
        J. Alwall et al., Comput. Phys. Commun. 176 (2007) 300.
    """
    package = require("pylhe", extra="events", purpose="Reading LHE files")
    momentum, pdg, status, event = [], [], [], []
    weight, process, scale = [], [], []
    with opened(path, "LHE") as file:
        content = package.LHEFile.fromfile(str(file), with_attributes=False)
        for number, one in enumerate(itertools.islice(content.events, n_events)):
            if len(one.particles) != one.eventinfo.nparticles:
                raise SimulationError(
                    f"Event {number} of the LHE file {file} says that it has "
                    f"{one.eventinfo.nparticles} particles and has {len(one.particles)}."
                )
            for particle in one.particles:
                momentum.append((particle.e, particle.px, particle.py, particle.pz))
                pdg.append(particle.id)
                status.append(particle.status)
                event.append(number)
            weight.append(one.eventinfo.weight)
            process.append(one.eventinfo.pid)
            scale.append(one.eventinfo.scale)
        if not weight:
            raise SimulationError(f"The LHE file {file} holds no event.")
        vertex = [(0.0, 0.0, 0.0, 0.0)] * len(pdg)
        labels = {"process": process, "scale": scale}
        return Particles.of(pdg, status, momentum, vertex, event, weight, labels)
