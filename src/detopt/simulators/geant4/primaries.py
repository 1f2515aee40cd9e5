"""Particles that enter a simulation: from a gun, or from a list of events.

Kinetic energies are in GeV, positions in metres.
"""

__all__ = ["ParticleGun", "Primaries"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from detopt.errors import ConfigError, DomainError
from detopt.physics import particles
from detopt.pipeline import Source

Triple = tuple[float, float, float]
START: Triple = (0.0, 0.0, -1e-3)  # m; just in front of what begins at z = 0
FORWARD: Triple = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Primaries:
    """Particles at the begin of events; one a row, and an event may have several.

    Attributes:
        pdg: Number in the scheme of the PDG.
        energy: Kinetic energy [GeV].
        position: Where it starts [m].
        direction: Unit vector.
        event: Event of each row, from 0 in order; no event is left out.
    """

    pdg: Int[Tensor, " n"]
    energy: Float[Tensor, " n"]
    position: Float[Tensor, "n 3"]
    direction: Float[Tensor, "n 3"]
    event: Int[Tensor, " n"]

    @classmethod
    def gun(
        cls,
        particle: str | int,
        energy: float | Sequence[float] | Float[Tensor, " n"],
        n_events: int | None = None,
        position: Triple | Float[Tensor, "n 3"] = START,
        direction: Triple | Float[Tensor, "n 3"] = FORWARD,
    ) -> "Primaries":
        """One particle in each event.

        Args:
            particle: Name such as `e-`, `photon` or `pi+`, or number of the PDG.
            energy: Kinetic energy, the same for all or one for each event [GeV].
            n_events: Events; by default as many as there are energies.
            position: Where they start, the same for all or for each [m].
            direction: Where they go; it need not have length 1.

        Raises:
            NotFoundError: There is no such particle.
            DomainError: An energy is not positive, a direction is 0, a number is not finite, or the
                numbers of events do not agree.
        """
        energies = torch.as_tensor(energy, dtype=torch.float64)
        n = n_events if n_events is not None else max(1, energies.numel())
        if n < 1 or energies.numel() not in (1, n):
            raise DomainError(
                f"`energy` must be one number or one for each event: {energies.numel()} energies "
                f"for {n} events."
            )
        number = particles.get(particle).pdg_id
        where, towards = (
            torch.as_tensor(one, dtype=torch.float64).expand(n, 3) for one in (position, direction)
        )
        return cls.of([number] * n, energies.reshape(-1).expand(n), where, towards, range(n))

    @classmethod
    def of(
        cls,
        pdg: Sequence[int] | Int[Tensor, " n"],
        energy: Sequence[float] | Float[Tensor, " n"],
        position: Sequence[Triple] | Float[Tensor, "n 3"],
        direction: Sequence[Triple] | Float[Tensor, "n 3"],
        event: Sequence[int] | Int[Tensor, " n"],
    ) -> "Primaries":
        """A list of events, checked; directions are normalized.

        Args:
            pdg: Number of each particle in the scheme of the PDG.
            energy: Kinetic energies [GeV].
            position: Where they start [m].
            direction: Where they go.
            event: Event of each particle, from 0 in order.

        Raises:
            DomainError: The lists have different lengths, an energy is not positive, a direction is
                0, a number is not finite, or the events are not 0, 1, 2... in order.
        """
        numbers = torch.as_tensor(pdg, dtype=torch.int64)
        energies = torch.as_tensor(energy, dtype=torch.float64)
        where = torch.as_tensor(position, dtype=torch.float64)
        towards = torch.as_tensor(direction, dtype=torch.float64)
        events = torch.as_tensor(list(event) if isinstance(event, range) else event)
        n = len(numbers)
        shapes = [tuple(one.shape) for one in (energies, where, towards, events)]
        if n == 0 or shapes != [(n,), (n, 3), (n, 3), (n,)]:
            raise DomainError(
                f"Particles need as many energies, positions, directions and events, got {n} "
                f"numbers and the shapes {', '.join(map(str, shapes))}."
            )
        _check_values(energies, where, towards)
        steps = torch.cat([events[:1], events.diff()])
        if bool((steps < 0).any() or (steps > 1).any() or events[0] != 0):
            raise DomainError("The events of particles must be 0, 1, 2 and so on, in order.")
        unit = towards / towards.norm(dim=1, keepdim=True)
        return cls(numbers, energies, where, unit, events.to(torch.int64))

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return int(self.event[-1]) + 1

    @property
    def total_energy(self) -> Float[Tensor, " n_events"]:
        """Kinetic energy that enters, event by event [GeV]."""
        return self.energy.new_zeros(self.n_events).index_add(0, self.event, self.energy)

    def __len__(self) -> int:
        return len(self.pdg)


class ParticleGun(Source[Primaries]):
    """Draws one particle for each event, with a spectrum and a spot.

    Args:
        particle: Name such as `e-`, or number of the PDG.
        energy: Kinetic energy, or lowest and highest one of a spectrum [GeV].
        spectrum: `uniform`, or `log_uniform` with as many events in each octave.
        position: Centre of the spot [m].
        direction: Where the particles go.
        spot: Standard deviation of the position in x and in y [m].

    Raises:
        NotFoundError: There is no such particle.
        DomainError: An energy or the spot is out of range.
        ConfigError: The spectrum is unknown.
    """

    def __init__(
        self,
        particle: str | int,
        energy: float | tuple[float, float],
        spectrum: str = "log_uniform",
        position: Triple = START,
        direction: Triple = FORWARD,
        spot: float = 0.0,
    ) -> None:
        super().__init__()
        particles.get(particle)
        low, high = energy if isinstance(energy, tuple) else (energy, energy)
        if not 0 < low <= high < math.inf:
            raise DomainError(f"Energies must be > 0 GeV and in order, got {low:g} and {high:g}.")
        if not 0 <= spot < math.inf:
            raise DomainError(f"`spot` must be >= 0 m, got {spot:g}.")
        if spectrum not in ("uniform", "log_uniform"):
            raise ConfigError(f"`spectrum` must be uniform or log_uniform, got {spectrum!r}.")
        self.particle, self.low, self.high, self.spectrum = particle, low, high, spectrum
        self.position, self.direction, self.spot = position, direction, spot

    def forward(
        self,
        n_events: int,
        rng: Generator,
        dtype: torch.dtype,  # noqa: ARG002 (Geant4 works in float64)
    ) -> Primaries:
        """Draw `n_events` particles."""
        u = torch.rand(n_events, generator=rng, dtype=torch.float64)
        if self.spectrum == "uniform":
            energy = self.low + (self.high - self.low) * u
        else:
            energy = self.low * (self.high / self.low) ** u
        shift = self.spot * torch.randn(n_events, 2, generator=rng, dtype=torch.float64)
        position = torch.tensor(self.position, dtype=torch.float64).expand(n_events, 3).clone()
        position[:, :2] += shift
        return Primaries.gun(self.particle, energy, n_events, position, self.direction)


def _check_values(energy: Tensor, position: Tensor, direction: Tensor) -> None:
    if not bool((energy.isfinite() & (energy > 0)).all()):
        worst = energy[~(energy.isfinite() & (energy > 0))][0]
        raise DomainError(f"The kinetic energy of a particle must be > 0 GeV, got {worst:g}.")
    if not bool(position.isfinite().all() and direction.isfinite().all()):
        raise DomainError("Positions and directions of particles must be finite.")
    if bool((direction.norm(dim=1) == 0).any()):
        raise DomainError("The direction of a particle must not be (0, 0, 0).")
