"""What enters the calorimeter, and where its showers come from: three simulators, one readout."""

__all__ = [
    "Beam",
    "FastShowers",
    "Geant4Showers",
    "LibraryShowers",
    "Showers",
    "Signals",
    "fast_showers",
]

import warnings
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from detopt.design import Design
from detopt.errors import ConfigError
from detopt.physics import materials
from detopt.physics.pion_showers import sample_pion_showers
from detopt.physics.shower_stacks import Stack
from detopt.physics.tuned_sampling import sample_tuned_showers
from detopt.pipeline import Simulator, Source
from detopt.simulators.geant4 import Geant4, Primaries, StackSimulator
from detopt.usecases.sampling_calorimeter.config import Config
from detopt.usecases.sampling_calorimeter.layers import Calorimeter
from detopt.usecases.sampling_calorimeter.library import ShowerLibrary

PARTICLES = {"electron": "e-", "photon": "photon", "pion": "pi+"}
HADRONIC = "option1-FTFP_BERT"  # physics list of pions
PER_METRE = 100.0  # GeV/cm to GeV/m
LEAST_DEPOSIT = 1e-9  # GeV; the tracks of less do not fluctuate more


@dataclass(frozen=True)
class Showers:
    """Particles that enter.

    Attributes:
        energy: Energy [GeV].
        number: Of the shower, in the library if there is one.
    """

    energy: Float[Tensor, " n"]
    number: Int[Tensor, " n"]


@dataclass(frozen=True)
class Signals:
    """Signals of the active layers, in GeV of visible energy."""

    layer: Float[Tensor, "n n_layers"]


class Beam(Source[Showers]):
    """Energies with as many particles in each octave, or those of a library.

    Args:
        config: Options of the use case.
        library: Showers to choose from, if there are any; none is chosen twice.
    """

    def __init__(self, config: Config, library: ShowerLibrary | None = None) -> None:
        super().__init__()
        self.config, self.library = config, library

    def forward(self, n_events: int, rng: Generator, dtype: torch.dtype) -> Showers:
        """Draw `n_events` particles, of a library at most all, with a warning."""
        if self.library is not None:
            number = _choose(len(self.library.energy), n_events, rng)
            return Showers(self.library.energy[number].to(dtype), number)
        uniform = torch.rand(n_events, generator=rng, dtype=torch.float64)
        low, high = self.config.low_energy, self.config.high_energy
        energy = (low * (high / low) ** uniform).to(dtype)
        return Showers(energy, torch.arange(n_events))


def _choose(n_showers: int, n_events: int, rng: Generator) -> Int[Tensor, " n"]:
    """Numbers of stored showers, each once: what is seen twice says nothing new."""
    if n_events > n_showers:
        warnings.warn(
            f"{n_events} showers were asked for, and the library has {n_showers} for this purpose: "
            "each counts once. Ask for fewer, or simulate a larger library.",
            stacklevel=2,
        )
    return torch.randperm(n_showers, generator=rng)[:n_events]


def fast_showers(
    config: Config, stack: Stack, energy: Float[Tensor, " n"], rng: Generator
) -> Float[Tensor, "n layers"]:
    """Energy in each layer by the fast model of the particle [GeV]; differentiable."""
    if config.particle == "pion":
        return sample_pion_showers(stack, energy, rng, config.e_over_h)
    return sample_tuned_showers(stack, energy, rng, config.particle)


class FastShowers(Simulator[Showers, Signals]):
    """Showers of the fast model; differentiable.

    Args:
        calorimeter: Maps designs to layers.
        hard: Whether layers are there or not, or partly there.
    """

    def __init__(self, calorimeter: Calorimeter, hard: bool = False) -> None:
        super().__init__()
        self.calorimeter, self.hard = calorimeter, hard

    def forward(self, events: Showers, design: Design, rng: Generator) -> Signals:
        """Signals of the events."""
        config = self.calorimeter.config
        stack = self.calorimeter.stack(design, self.hard)
        draw = _showers_of_present if self.hard else fast_showers
        return _read_out(draw(config, stack, events.energy, rng)[:, 1::2], config, rng)


def _showers_of_present(
    config: Config, stack: Stack, energy: Float[Tensor, " n"], rng: Generator
) -> Float[Tensor, "n layers"]:
    """`fast_showers` in the layers that have a thickness; the others are none for the model."""
    there = stack.thickness.detach().nonzero().flatten()
    deposit = energy.new_zeros(len(energy), len(stack.materials))
    if len(there) == 0:
        return deposit
    present = Stack(
        stack.thickness[there],
        tuple(stack.materials[i] for i in there.tolist()),
        tuple(stack.active[i] for i in there.tolist()),
    )
    return deposit.index_copy(1, there, fast_showers(config, present, energy, rng))


class Geant4Showers(Simulator[Showers, Signals]):
    """Real Geant4 events; not differentiable.

    Args:
        calorimeter: Maps designs to layers.

    Raises:
        ConfigError: Pions would interact, and the data are no official ones.
        NotFoundError: There are no data, for pions.
    """

    def __init__(self, calorimeter: Calorimeter) -> None:
        super().__init__()
        config = self.calorimeter_config = calorimeter.config
        geant4 = Geant4(n_workers=config.geant4_workers)
        if config.particle == "pion":
            if not geant4.data_set.official:
                raise ConfigError(
                    f"Pions of {config.high_energy:g} GeV make nuclear reactions, which substitute "
                    "data of Geant4 do not describe. Set GEANT4_DATA_DIR to the official data, or "
                    "take `source` fast."
                )
            geant4 = replace(geant4, physics=HADRONIC)
        self.simulator = StackSimulator(calorimeter.stack, config.width, geant4=geant4)

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Which Geant4, data and physics."""
        return self.simulator.data_labels

    def forward(self, events: Showers, design: Design, rng: Generator) -> Signals:
        """Signals of the events.

        Raises:
            MethodError: Somebody wants the derivative.
            NotFoundError: There are no data for Geant4.
            SimulationError: Geant4 failed; the message names the event and the seed.
        """
        config = self.calorimeter_config
        primaries = Primaries.gun(PARTICLES[config.particle], events.energy.double())
        deposits = self.simulator(primaries, design, rng)
        return _read_out(deposits.energy[:, 1::2].to(events.energy), config, rng)


class LibraryShowers(Simulator[Showers, Signals]):
    r"""Showers of a library of depths; differentiable.

    An active layer sees what the library's showers deposit, around the depth of its middle, in a
    slab of absorber with the same loss of a minimum ionizing particle. Its own response is
    left to the reconstruction.

    A layer that moves by its own thickness meets other tracks, and a derivative by the depth would
    be that of their chance. So the search has smooth showers, in which the tracks that cross a
    layer are drawn and move with it: factors with a log-normal distribution, whose variance is that
    of the library. Verdicts have the showers themselves.

    Args:
        calorimeter: Maps designs to layers.
        library: Showers in a block of the absorber.
        hard: Whether showers are as they are, and layers there or not; smooth and partly there
            otherwise.
    """

    def __init__(
        self, calorimeter: Calorimeter, library: ShowerLibrary, hard: bool = False
    ) -> None:
        super().__init__()
        self.calorimeter, self.library, self.hard = calorimeter, library, hard

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Where the showers of the library come from."""
        return (self.library.label,)

    def forward(self, events: Showers, design: Design, rng: Generator) -> Signals:
        """Signals of the events."""
        stack = self.calorimeter.stack(design, self.hard)
        block = materials.get(self.library.absorber)
        depth = (stack.depth.cumsum(0) - stack.depth / 2)[1::2] * block.radiation_length
        half = stack.ionization[1::2] / (PER_METRE * block.minimum_ionization * block.density) / 2
        table = self.library if self.hard else self.library.smooth
        behind, before = (table.deposited(depth + s * half) for s in (1, -1))
        deposit = (behind - before)[events.number].to(events.energy).clamp(min=0.0)
        if not self.hard:
            deposit = deposit * self._tracks(deposit, 2 * half, rng)
        return _read_out(deposit, self.calorimeter.config, rng)

    def _tracks(
        self, deposit: Float[Tensor, "n layers"], width: Float[Tensor, " layers"], rng: Generator
    ) -> Float[Tensor, "n layers"]:
        """Factors of mean 1 by which single tracks change the energy of a layer."""
        energy = self.library.track_energy(width).to(deposit)
        spread = torch.log1p(energy / deposit.clamp(min=LEAST_DEPOSIT))
        normals = torch.randn(deposit.shape, generator=rng, dtype=deposit.dtype)
        tiny = torch.finfo(deposit.dtype).tiny ** 0.5
        return torch.exp((spread + tiny).sqrt() * normals - spread / 2)


def _read_out(deposit: Float[Tensor, "n n_layers"], config: Config, rng: Generator) -> Signals:
    """Deposits with the fluctuations of photoelectrons and noise."""
    normals = torch.randn(deposit.shape, generator=rng, dtype=deposit.dtype)
    variance = deposit / config.light + config.noise**2
    tiny = torch.finfo(deposit.dtype).tiny ** 0.5  # the root stays differentiable without noise
    return Signals(deposit + (variance + tiny).sqrt() * normals)
