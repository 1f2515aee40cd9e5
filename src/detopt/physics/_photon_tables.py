"""Mass attenuation of photons from tables in single precision, with sharp absorption edges."""

__all__ = ["PROCESSES", "AttenuationTable", "attenuation", "attenuation_table"]

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import _composition
from detopt.physics._cross_sections import PhotonElement, photon_element
from detopt.physics._octaves import OctaveTable
from detopt.physics.materials import Material

PROCESSES = ("photoelectric", "compton", "pair", "rayleigh")
CM2_PER_BARN_MOLE = 0.602214076  # Avogadro's number times a barn, cm2/mol


@dataclass(frozen=True)
class _Steps:
    """Photoelectric absorption of an element with edges: a smooth part times a step function."""

    below: OctaveTable  # without edges
    edges: Float[Tensor, " edges"]  # [GeV], increasing
    factors: Float[Tensor, " steps"]  # below the first edge, above it, ...

    def __call__(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        step = torch.bucketize(energy.detach(), self.edges, out_int32=True, right=True)
        factor = self.factors.index_select(0, step.flatten()).reshape(energy.shape)
        return self.below(energy) * factor


@dataclass(frozen=True)
class AttenuationTable:
    """What is smooth in the energy, and the elements with edges."""

    smooth: OctaveTable
    steps: tuple[_Steps, ...]

    def __call__(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Mass attenuation coefficient [cm2/g], differentiable but at the edges."""
        total: Tensor = self.smooth(energy)
        for step in self.steps:
            total = total + step(energy)
        return total


def attenuation(
    medium: Material, processes: tuple[str, ...], energy: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Sum of the mass attenuation coefficients of processes [cm2/g], from the cross sections."""
    total = torch.zeros_like(energy)
    for element, atoms in _elements(medium):
        for process in processes:
            total = total + atoms * getattr(element, process)(energy)
    return total


@functools.lru_cache(maxsize=128)
def attenuation_table(
    medium: Material, processes: tuple[str, ...], device: torch.device
) -> AttenuationTable:
    """The same as a table in single precision."""
    stepped = [
        (element, atoms)
        for element, atoms in _elements(medium)
        if element.edges and "photoelectric" in processes
    ]

    def below(element: PhotonElement, atoms: float, energy: Tensor) -> Tensor:
        return atoms * torch.exp(element.smooth_photoelectric(torch.log(energy)))

    def smooth(energy: Tensor) -> Tensor:
        rest = tuple(process for process in processes if process != "photoelectric")
        total = attenuation(medium, rest, energy)
        if "photoelectric" in processes:
            for element, atoms in _elements(medium):
                total = total if element.edges else total + below(element, atoms, energy)
        return total

    return AttenuationTable(
        smooth=OctaveTable.of(smooth, device),
        steps=tuple(
            _steps(element, functools.partial(below, element, atoms), device)
            for element, atoms in stepped
        ),
    )


def _steps(
    element: PhotonElement, below: functools.partial[Tensor], device: torch.device
) -> _Steps:
    energies, jumps = torch.tensor(sorted(element.edges), dtype=torch.float64).unbind(dim=-1)
    factors = torch.exp(torch.nn.functional.pad(jumps.cumsum(0), (1, 0)))
    return _Steps(
        below=OctaveTable.of(below, device),
        edges=energies.to(device, torch.float32).contiguous(),
        factors=factors.to(device, torch.float32),
    )


def _elements(medium: Material) -> list[tuple[PhotonElement, float]]:
    """Each element of a material, with its mass attenuation per cross section [cm2/g/barn]."""
    table = _composition.load_table().elements
    return [
        (
            photon_element(table[symbol].atomic_number),
            weight * CM2_PER_BARN_MOLE / table[symbol].atomic_mass,
        )
        for symbol, weight in medium.composition.items()
    ]
