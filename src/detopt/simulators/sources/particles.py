r"""Events of a generator or of a file: particles with four-momenta, or particles on their way.

Energies and momenta are in GeV with :math:`c = 1`, positions in metres, times in seconds.
"""

__all__ = ["Particles", "WeightedPrimaries"]

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.simulators.geant4.primaries import Primaries

FINAL = 1  # status of a particle that leaves the event, in HepMC, LHE and here


@dataclass(frozen=True)
class WeightedPrimaries(Primaries):
    """Particles at the begin of events, with times and weights.

    Attributes:
        time: When each particle starts [s].
        weight: Weight of each event.
    """

    time: Float[Tensor, " n"]
    weight: Float[Tensor, " n_events"]

    @classmethod
    def weighted(
        cls, primaries: Primaries, time: Float[Tensor, " n"], weight: Float[Tensor, " n_events"]
    ) -> "WeightedPrimaries":
        """Primaries with times and weights, checked.

        Raises:
            DomainError: There is not one time a particle and one weight an event, or one is not
                finite.
        """
        _check("time", time, len(primaries))
        _check("weight", weight, primaries.n_events)
        return cls(
            primaries.pdg,
            primaries.energy,
            primaries.position,
            primaries.direction,
            primaries.event,
            time,
            weight,
        )

    def select(self, index: Int[Tensor, " m"]) -> "WeightedPrimaries":
        """The events with these numbers, in this order, numbered anew from 0."""
        rows, event = _rows(self.event, self.n_events, index)
        columns = (self.pdg, self.energy, self.position, self.direction)
        pdg, energy, position, direction = (column[rows] for column in columns)
        return WeightedPrimaries(
            pdg, energy, position, direction, event, self.time[rows], self.weight[index]
        )

    def to(self, dtype: torch.dtype) -> "WeightedPrimaries":  # noqa: ARG002 (as `ParticleGun`)
        """Itself: Geant4 works in float64."""
        return self


@dataclass(frozen=True)
class Particles:
    """Particles of events, one a row.

    Attributes:
        pdg: Number in the scheme of the PDG.
        status: As the generator gives it; 1 is a particle that leaves the event.
        momentum: Energy and momentum (E, px, py, pz) [GeV].
        vertex: Time [s] and place (x, y, z) [m] where each begins.
        event: Event of each row, from 0 in order; no event is left out.
        weight: Weight of each event.
        labels: Further numbers of each event, by name.
    """

    pdg: Int[Tensor, " n"]
    status: Int[Tensor, " n"]
    momentum: Float[Tensor, "n 4"]
    vertex: Float[Tensor, "n 4"]
    event: Int[Tensor, " n"]
    weight: Float[Tensor, " n_events"]
    labels: Mapping[str, Float[Tensor, " n_events"]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        pdg: Any,
        status: Any,
        momentum: Any,
        vertex: Any,
        event: Any,
        weight: Any,
        labels: Mapping[str, Any] | None = None,
    ) -> "Particles":
        """Particles from lists or arrays, checked; see the attributes for shapes and units.

        Raises:
            DomainError: There are none, lengths differ, a number is not finite, an energy is
                negative, or the events are not 0, 1, 2... in order.
        """
        numbers, states, events = (
            torch.as_tensor(one, dtype=torch.int64) for one in (pdg, status, event)
        )
        momenta, vertices, weights = (
            torch.as_tensor(one, dtype=torch.float64) for one in (momentum, vertex, weight)
        )
        n = len(numbers)
        shapes = [tuple(one.shape) for one in (states, momenta, vertices, events)]
        if n == 0 or shapes != [(n,), (n, 4), (n, 4), (n,)]:
            raise DomainError(
                "Particles need as many states, momenta, vertices and events, at least one; got "
                f"{n} numbers and the shapes {', '.join(map(str, shapes))}."
            )
        ends = (*torch.aminmax(momenta), *torch.aminmax(vertices))  # NaN if one of them is
        if not all(math.isfinite(one) for one in ends):
            raise DomainError("Momenta and vertices of particles must be finite.")
        if bool((momenta[:, 0] < 0).any()):
            raise DomainError(
                f"The energy of a particle must be >= 0 GeV, got {momenta[:, 0].min():g}."
            )
        steps = torch.cat([events[:1], events.diff()])
        if bool((steps < 0).any() or (steps > 1).any() or events[0] != 0):
            raise DomainError("The events of particles must be 0, 1, 2 and so on, in order.")
        n_events = int(events[-1]) + 1
        extra = {
            name: torch.as_tensor(one, dtype=torch.float64) for name, one in (labels or {}).items()
        }
        for name, values in {"weight": weights, **extra}.items():
            _check(name, values, n_events)
        return cls(numbers, states, momenta, vertices, events, weights, extra)

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return int(self.event[-1]) + 1

    @property
    def mass(self) -> Float[Tensor, " n"]:
        r"""Mass :math:`\sqrt{\max(E^2 - p^2, 0)}` of each particle [GeV]."""
        energy, three = self.momentum[:, 0], self.momentum[:, 1:].norm(dim=1)
        squared: Tensor = (energy - three) * (energy + three)
        return squared.clamp(min=0.0).sqrt()

    @property
    def kinetic_energy(self) -> Float[Tensor, " n"]:
        r"""Kinetic energy :math:`p^2 / (E + m)` of each particle [GeV]."""
        squared = self.momentum[:, 1:].square().sum(1)
        whole = self.momentum[:, 0] + self.mass
        energy: Tensor = squared / torch.where(whole > 0, whole, torch.ones_like(whole))
        return energy

    @property
    def total(self) -> Float[Tensor, "n_events 4"]:
        """Sum of the four-momenta in each event [GeV]."""
        return self.momentum.new_zeros(self.n_events, 4).index_add(0, self.event, self.momentum)

    @property
    def final(self) -> "Particles":
        """The particles that leave the events: those with status 1.

        Raises:
            DomainError: An event has none.
        """
        return self.where(self.status == FINAL)

    def where(self, mask: Bool[Tensor, " n"]) -> "Particles":
        """The particles for which `mask` is true.

        Raises:
            DomainError: An event would have none; `select` the others first.
        """
        left = torch.bincount(self.event[mask], minlength=self.n_events)
        if bool((left == 0).any()):
            raise DomainError(
                f"Event {int(left.argmin())} has no such particle. Keep other events with `select`."
            )
        return dataclasses.replace(
            self,
            pdg=self.pdg[mask],
            status=self.status[mask],
            momentum=self.momentum[mask],
            vertex=self.vertex[mask],
            event=self.event[mask],
        )

    def select(self, index: Int[Tensor, " m"]) -> "Particles":
        """The events with these numbers, in this order, numbered anew from 0."""
        rows, event = _rows(self.event, self.n_events, index)
        return Particles(
            self.pdg[rows],
            self.status[rows],
            self.momentum[rows],
            self.vertex[rows],
            event,
            self.weight[index],
            {name: values[index] for name, values in self.labels.items()},
        )

    def to(self, dtype: torch.dtype) -> "Particles":
        """The same with real numbers in `dtype`."""
        return dataclasses.replace(
            self,
            momentum=self.momentum.to(dtype),
            vertex=self.vertex.to(dtype),
            weight=self.weight.to(dtype),
            labels={name: values.to(dtype) for name, values in self.labels.items()},
        )

    def primaries(self) -> WeightedPrimaries:
        """Particles that leave the events, as what enters Geant4.

        Raises:
            DomainError: An event has none, or one is at rest.
        """
        ends = self.final
        place = ends.vertex.double()
        momentum = ends.momentum[:, 1:].double()
        listed = Primaries.of(
            ends.pdg, ends.kinetic_energy.double(), place[:, 1:], momentum, ends.event
        )
        return WeightedPrimaries.weighted(listed, place[:, 0], ends.weight.double())

    def __len__(self) -> int:
        return len(self.pdg)


def _rows(event: Tensor, n_events: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the events in `index`, and the new number of the event of each."""
    counts = torch.bincount(event, minlength=n_events)
    starts = counts.cumsum(0) - counts
    sizes = counts[index]
    new = torch.repeat_interleave(torch.arange(len(index)), sizes)
    within = torch.arange(len(new)) - (sizes.cumsum(0) - sizes)[new]
    return starts[index][new] + within, new


def _check(name: str, values: Tensor, n: int) -> None:
    if tuple(values.shape) != (n,):
        raise DomainError(f"`{name}` needs {n} numbers, got the shape {tuple(values.shape)}.")
    if not bool(values.isfinite().all()):
        raise DomainError(f"`{name}` must be finite.")
