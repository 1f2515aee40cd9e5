"""Geant4 as a function: geometry, particles and a seed to the energy deposited in each volume."""

__all__ = ["PHYSICS", "Deposits", "Geant4"]

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError
from detopt.physics import particles
from detopt.random import Seed
from detopt.simulators.files import Limits
from detopt.simulators.geant4.engines import get_engine
from detopt.simulators.geant4.folders import DataSet, find_data
from detopt.simulators.geant4.host import WORKER, Settings
from detopt.simulators.geant4.media import Medium, medium
from detopt.simulators.geant4.pool import Task, shared_pool
from detopt.simulators.geant4.primaries import Primaries
from detopt.simulators.geant4.turns import check_world, tilt, upright
from detopt.simulators.geant4.volumes import Box, Shape, Volume, walk

ELECTROMAGNETIC = (
    *("standard", "option1", "option2", "option3", "option4"),
    *("livermore", "penelope", "dna"),
)
HADRONIC = (*("FTFP_BERT", "FTFP_BERT_HP", "QGSP_BERT", "QGSP_BERT_HP", "QGSP_BIC", "QGSP_BIC_HP"),)
PHYSICS = (*ELECTROMAGNETIC, *HADRONIC)
WITH_SUBSTITUTE = ("option1", "standard")
HIGHEST = 0.1  # GeV, kinetic energy of a hadron that ionizes only
LEPTONS = range(11, 19)
PHOTON = 22
MEV_PER_GEV = 1e3
CM_PER_M = 100.0


@dataclass(frozen=True)
class Deposits:
    """What was deposited.

    Attributes:
        energy: Deposited energy in each active volume [GeV].
        volumes: Paths of these volumes, such as `World.Layer3`.
        incident: Kinetic energy that entered [GeV].
        label: Which Geant4, data and physics; it belongs beside every number and figure.
        digest: SHA-256 of the data.
        seed: Seed of the run.
    """

    energy: Float[Tensor, "n_events n_volumes"]
    volumes: tuple[str, ...]
    incident: Float[Tensor, " n_events"]
    label: str
    digest: str
    seed: int


@dataclass(frozen=True)
class Geant4:
    """Runs particles in geometries, each in a process of its own that is used again.

    Args:
        data: Folder of data; by default that of `GEANT4_DATA_DIR` or the written substitute.
        physics: Electromagnetic physics list, a hadronic one (with `standard` electromagnetic
            physics), or both, such as `option4-FTFP_BERT`.
        cut: Production cut: secondary particles with less range are not made [m].
        limits: Memory of a process, time of a call, and retries.
        event_timeout: Longest time of an event [s].
        n_workers: Processes that share the events of a call; the result does not depend on it.
        engine: Package with the libraries: `calzone`, or `geant4-pybind`, which has no
            photonuclear reactions unless the physics list does.
        program: Python file that serves instead of the engine.

    Raises:
        ConfigError: The physics list or the engine is unknown, or a number is out of range.

    Note:
        Substitute data allow `option1` and `standard`, and hadrons up to 100 MeV, which ionize
        only. Every row of particles has random numbers of its own: the deposits of an event do not
        depend on the number of events, on processes or on what ran before.

    References:
        S. Agostinelli et al., Nucl. Instrum. Meth. A 506 (2003) 250; V. Niess et al., calzone,
        arXiv:2412.02414.
    """

    data: str | Path | None = None
    physics: str = "option1"
    cut: float = 1e-3
    limits: Limits = field(default_factory=lambda: Limits(memory=8.0))
    event_timeout: float = 120.0
    n_workers: int = 1
    engine: str = "calzone"
    program: str = WORKER

    def __post_init__(self) -> None:
        split_physics(self.physics)
        get_engine(self.engine)
        for name, value in (("cut", self.cut), ("event_timeout", self.event_timeout)):
            if not value > 0:
                raise ConfigError(f"`{name}` must be > 0, got {value:g}.")
        if self.n_workers < 1:
            raise ConfigError(f"`n_workers` must be >= 1, got {self.n_workers}.")

    @property
    def data_set(self) -> DataSet:
        """The data that are used.

        Raises:
            NotFoundError: There are none.
            ConfigError: They are damaged or mixed, or do not allow the physics list.
        """
        found = find_data(self.data)
        if not found.official and self.physics not in WITH_SUBSTITUTE:
            raise ConfigError(
                f"The physics list `{self.physics}` needs the official data of Geant4. With a "
                f"substitute there are {' and '.join(WITH_SUBSTITUTE)}."
            )
        return found

    @property
    def label(self) -> str:
        """Which Geant4, data and physics."""
        return self._label(self.data_set)

    def _label(self, data: DataSet) -> str:
        version = get_engine(self.engine).version
        if self.engine == "calzone":
            return data.label(self.physics, version)
        return f"{data.label(self.physics, version)}; through {self.engine}"

    def run(self, world: Volume, primaries: Primaries, seed: int | Seed) -> Deposits:
        """Energy deposited in the active volumes.

        Args:
            world: The geometry; particles start in it.
            primaries: What enters.
            seed: Seed of the run.

        Raises:
            ConfigError: No volume is active.
            DomainError: Particles start outside, or are hadrons that the data do not describe, or
                the world is a cylinder along x or y or has a position.
            NotFoundError: There are no data or no such material.
            MissingExtraError: The engine is not installed.
            SimulationError: Geant4 failed; the message names the event and the seed.
        """
        data = self.data_set
        _check_particles(primaries, data, self.physics)
        engine = get_engine(self.engine)
        if self.program == WORKER:
            engine.require()
        volumes = tuple(path for path, volume in walk(world) if volume.active)
        if not volumes:
            raise ConfigError("No volume is active: nothing would be recorded.")
        _check_start(world, primaries)
        number = seed.number if isinstance(seed, Seed) else seed
        task = Task(
            {**describe(world), "volumes": volumes, "seed": _wide(number)},
            _rows(primaries),
            primaries.event.numpy(),
            number,
        )
        settings = Settings(
            data.folder,
            "-".join(part for part in split_physics(self.physics) if part),
            self.cut,
            self.limits,
            self.event_timeout,
            engine.file,
            self.program,
        )
        rows = torch.from_numpy(shared_pool(settings, self.n_workers).run(task)) / MEV_PER_GEV
        energy = rows.new_zeros(primaries.n_events, len(volumes))
        energy.index_add_(0, primaries.event, rows)
        incident = primaries.total_energy
        return Deposits(energy, volumes, incident, self._label(data), data.digest, number)


def split_physics(physics: str) -> tuple[str, str]:
    """The electromagnetic and the hadronic part of a physics list, the latter empty if none.

    Raises:
        ConfigError: A part is unknown.
    """
    first, _, second = physics.partition("-")
    parts = ("standard", first) if first in HADRONIC and not second else (first, second)
    if parts[0] not in ELECTROMAGNETIC or parts[1] not in ("", *HADRONIC):
        raise ConfigError(
            f"There is no physics list {physics!r}. Take one of {', '.join(ELECTROMAGNETIC)}, with "
            f"a hadronic one behind a dash if wanted: {', '.join(HADRONIC)}."
        )
    return parts


def describe(world: Volume) -> dict[str, Any]:
    """Geometry and media of a request; daughters stand in the coordinates of a mother's solid.

    Raises:
        DomainError: The world is a cylinder along x or y, or has a position.
        NotFoundError: There is no material of a given name.
    """
    check_world(world)
    media: dict[str, Medium] = {}

    def tree(volume: Volume) -> dict[str, Any]:
        one = medium(volume.material)
        media[one.name] = one
        node: dict[str, Any] = {"material": one.name, **_shape(volume.shape)}
        if any(volume.position):
            node["position"] = [CM_PER_M * x for x in volume.position]
        if volume.active:
            node["role"] = "record_deposits"
        return node | {daughter.name: tree(daughter) for daughter in upright(volume).daughters}

    geometry = {world.name: tree(world)}
    return {"geometry": geometry, "media": [vars(one) for one in media.values()]}


def _shape(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, Box):
        return {"box": [CM_PER_M * length for length in shape.size]}
    sizes = {"radius": CM_PER_M * shape.radius, "length": CM_PER_M * shape.length}
    if shape.inner_radius:
        sizes["thickness"] = CM_PER_M * (shape.radius - shape.inner_radius)
    angles = tilt(shape)
    return {"cylinder": sizes, **({"rotation": list(angles)} if any(angles) else {})}


def _rows(primaries: Primaries) -> npt.NDArray[Any]:
    """Particles as engines take them: MeV and cm."""
    kind = [("pid", "i4"), ("energy", "f8"), ("position", "f8", 3), ("direction", "f8", 3)]
    rows = np.zeros(len(primaries), dtype=kind)
    rows["pid"] = primaries.pdg.numpy()
    rows["energy"] = primaries.energy.numpy() * MEV_PER_GEV
    rows["position"] = primaries.position.numpy() * CM_PER_M
    rows["direction"] = primaries.direction.numpy()
    return rows


def _wide(seed: int) -> int:
    """128 bits that neighbouring seeds do not share; odd, as the generator wants it."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little") | 1


def _check_particles(primaries: Primaries, data: DataSet, physics: str) -> None:
    hadronic = split_physics(physics)[1]
    if data.official and hadronic:
        return
    what = f"the physics list `{physics}` does" if data.official else "substitute data do"
    how = "add a hadronic one, such as `option1-FTFP_BERT`" if data.official else ""
    how = how or "set GEANT4_DATA_DIR to the official data"
    for number in primaries.pdg.unique().tolist():
        if abs(number) in LEPTONS or number == PHOTON:
            continue
        highest = primaries.energy[primaries.pdg == number].max().item()
        if highest > HIGHEST:
            raise DomainError(
                f"A {particles.get(number).name} of {highest:g} GeV makes nuclear reactions, which "
                f"{what} not describe. Stay below {HIGHEST} GeV, or {how}."
            )


def _check_start(world: Volume, primaries: Primaries) -> None:
    half = torch.tensor(world.shape.extent, dtype=torch.float64) / 2
    outside = (primaries.position.abs() > half).any(1)
    if bool(outside.any()):
        event = int(primaries.event[outside][0])
        where = ", ".join(f"{x:g}" for x in primaries.position[outside][0].tolist())
        raise DomainError(
            f"The particle of event {event} starts at ({where}) m, outside the world."
        )
