"""Stopping of one kind of particle in one medium: the formulas that the tables are made of.

Energies are in GeV, mass stopping powers in GeV cm2/g.
"""

__all__ = ["Beam", "collision_loss", "load_data", "radiative_loss", "resolve"]

import functools
import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics import _collision, _composition, _constants, _radiative, materials, particles
from detopt.physics._spline import UniformSpline
from detopt.physics.materials import Material
from detopt.physics.particles import Particle

ELECTRON, MUON = 11, 13  # PDG numbers
LOWEST_BETA_GAMMA = 0.00653  # proton of 20 keV, below which the loss is taken as prop. to velocity
CORRECTION_STEPS = 31  # grid steps that continue the corrections to beta gamma = 100
MUON_RADIATION_THRESHOLD = 0.2  # GeV total energy; radiation is below 1e-4 of the loss there


@dataclass(frozen=True)
class Beam:
    """What the stopping of a particle depends on."""

    mass: float  # GeV
    charge: float
    number: int  # PDG number

    @property
    def is_electron(self) -> bool:
        """Whether it is an electron or positron."""
        return abs(self.number) == ELECTRON

    @property
    def is_muon(self) -> bool:
        """Whether it is a muon of either sign."""
        return abs(self.number) == MUON


def resolve(particle: str | int | Particle, material: str | Material) -> tuple[Beam, Material]:
    """The particle and the material that a user named.

    Raises:
        NotFoundError: One of them does not exist.
        DomainError: The particle is neutral, or a quark.
    """
    found = particle if isinstance(particle, Particle) else particles.get(particle)
    if found.charge == 0:
        raise DomainError(
            f"{found.name!r} is neutral and loses no energy by collisions with electrons. "
            "Take a charged particle."
        )
    if found.is_quark:
        raise DomainError(
            f"{found.name!r} is a quark, which crosses no matter on its own. Take a hadron."
        )
    medium = material if isinstance(material, Material) else materials.get(material)
    return Beam(found.mass, found.charge, found.pdg_id), medium


def collision_loss(
    beam: Beam, medium: Material, kinetic_energy: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Mean loss to atomic electrons [GeV cm2/g]."""
    tau = kinetic_energy / beam.mass
    excitation = medium.stopping_excitation_energy
    if beam.is_electron:
        return _collision.berger_seltzer(
            tau, beam.charge > 0, medium.z_over_a, excitation, medium.sternheimer
        )
    beta_gamma = torch.sqrt(tau * (tau + 2))
    loss = _heavy_loss(beam, medium, beta_gamma.clamp(min=LOWEST_BETA_GAMMA))
    if beam.is_muon:
        loss = loss + _collision.electron_bremsstrahlung(tau + 1, beam.mass, medium.z_over_a)

    return loss * (beta_gamma / LOWEST_BETA_GAMMA).clamp(max=1.0)


def radiative_loss(
    beam: Beam, medium: Material, kinetic_energy: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Mean loss to radiation [GeV cm2/g], 0 for particles heavier than a muon."""
    if beam.is_electron:
        spline = _electron_radiation(medium)
        return (kinetic_energy + beam.mass) * torch.exp(spline(torch.log(kinetic_energy)))
    if beam.is_muon:
        energy = kinetic_energy + beam.mass
        above = energy.clamp(min=MUON_RADIATION_THRESHOLD)
        onset = ((energy - beam.mass) / (MUON_RADIATION_THRESHOLD - beam.mass)).clamp(max=1.0)
        return energy * torch.exp(_muon_radiation(medium)(torch.log(above))) * onset
    return torch.zeros_like(kinetic_energy)


def _heavy_loss(
    beam: Beam, medium: Material, beta_gamma: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """The Bethe formula less shell, Barkas and Bloch corrections.

    The corrections come from the tabulated elements. What the excitation energy of the medium
    differs from theirs, by binding or by interpolation in the atomic number, is faded out where
    the bracket falls below 1, so that the loss stays positive.
    """
    fractions, known = _electron_shares(medium)
    bare = _collision.bethe(beta_gamma, beam.mass, 1.0, medium.z_over_a, known, medium.sternheimer)
    beta_squared = beta_gamma**2 / (1 + beta_gamma**2)
    scale = _collision.K * medium.z_over_a / beta_squared
    half_delta = medium.sternheimer.delta(beta_gamma) / 2
    bracket = bare / scale + half_delta - _corrections(fractions)(torch.log(beta_gamma))
    binding = math.log(medium.stopping_excitation_energy / known)
    bound = bracket - binding * bracket**2 / (1 + bracket**2)

    return beam.charge**2 * scale * (bound - half_delta)


@functools.lru_cache(maxsize=512)
def _electron_shares(medium: Material) -> tuple[tuple[tuple[str, float], ...], float]:
    """Share of the electrons by element, and the excitation energy of their corrections [GeV]."""
    table = _composition.load_table().elements
    counts = {
        symbol: weight * table[symbol].atomic_number / table[symbol].atomic_mass
        for symbol, weight in medium.composition.items()
    }
    total = sum(counts.values())
    shares = tuple((symbol, count / total) for symbol, count in counts.items())
    by_number = {e.atomic_number: e.mean_excitation_energy for e in table.values()}
    tabulated = load_data("shell_corrections.json")["correction"]
    logs = {int(z): torch.tensor(by_number[int(z)], dtype=torch.float64).log() for z in tabulated}
    logarithm = sum(s * _by_element(logs, table[symbol].atomic_number) for symbol, s in shares)
    return shares, math.exp(logarithm)


@functools.lru_cache(maxsize=512)
def _corrections(shares: tuple[tuple[str, float], ...]) -> UniformSpline:
    """Corrections of the bracket against ln(beta gamma), for given shares of the electrons."""
    table = _composition.load_table().elements
    raw = load_data("shell_corrections.json")
    by_number = {int(z): torch.tensor(c, dtype=torch.float64) for z, c in raw["correction"].items()}
    mean = sum(s * _by_element(by_number, table[symbol].atomic_number) for symbol, s in shares)
    assert isinstance(mean, Tensor)
    # above 250 MeV per proton mass the leading, 1 / (beta gamma)^2 term of the shells is left
    ahead = torch.arange(1, CORRECTION_STEPS + 1, dtype=torch.float64) * raw["step"]
    values = torch.cat([mean, mean[-1] * torch.exp(-2 * ahead)])
    return UniformSpline.through(math.log(raw["start"]), raw["step"], values)


def _by_element(rows: dict[int, Tensor], atomic_number: int) -> Tensor:
    """Row of an element; between those tabulated, linear in the atomic number."""
    known = sorted(rows)
    below = max((z for z in known if z <= atomic_number), default=known[0])
    above = min((z for z in known if z >= atomic_number), default=known[-1])
    if below == above or atomic_number > known[-1]:
        return rows[below]
    weight = (atomic_number - below) / (above - below)
    return torch.lerp(rows[below], rows[above], weight)


@functools.lru_cache(maxsize=512)
def _electron_radiation(medium: Material) -> UniformSpline:
    """Table of ln(radiative loss over total energy) [cm2/g] against ln T, of electrons."""
    table = _composition.load_table().elements
    raw = load_data("bremsstrahlung.json")
    rows = torch.tensor(raw["coefficients"], dtype=torch.float64)
    powers = torch.arange(rows.shape[1], dtype=torch.float64)
    unit = _collision.FINE_STRUCTURE * _radiative.ELECTRON_RADIUS**2 * _constants.AVOGADRO
    total = torch.zeros(rows.shape[0], dtype=torch.float64)
    for symbol, weight in medium.composition.items():
        number, mass = table[symbol].atomic_number, table[symbol].atomic_mass
        shape = torch.exp(rows @ math.log(number) ** powers)
        total += weight * unit * number * (number + 1) / mass * shape
    return UniformSpline.through(math.log(raw["start"]), raw["step"], total.log())


@functools.lru_cache(maxsize=512)
def _muon_radiation(medium: Material) -> UniformSpline:
    """Table of ln b [cm2/g] against ln E of muons."""
    grid = math.log(_radiative.LOWEST), math.log(_radiative.HIGHEST)
    energy = torch.linspace(*grid, _radiative.POINTS, dtype=torch.float64)
    total = torch.zeros_like(energy)
    for symbol, weight in medium.composition.items():
        total += weight * _radiative.radiative_loss(symbol)(energy).exp()
    step = (grid[1] - grid[0]) / (_radiative.POINTS - 1)
    return UniformSpline.through(grid[0], step, total.log())


@functools.cache
def load_data(name: str) -> Any:
    path = resources.files("detopt.physics") / "data" / name
    return json.loads(path.read_text(encoding="utf-8"))
