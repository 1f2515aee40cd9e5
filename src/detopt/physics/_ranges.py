"""Tables of loss and range against energy, made once for each particle and material."""

__all__ = ["StoppingTables", "look_up", "radiative", "residual", "tables"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._medium import Beam, collision_loss, radiative_loss
from detopt.physics._octaves import OctaveTable, chained
from detopt.physics._radiative import gauss
from detopt.physics._spline import UniformSpline
from detopt.physics.materials import Material

STEP = 0.02  # of ln T
LOWEST_PER_MASS = 1e-6  # kinetic energy over mass where the table of a heavy particle begins
LOWEST_ELECTRON = 1e-5  # GeV
HIGHEST = 1e5  # GeV
QUADRATURE = 4  # Gauss-Legendre points in a step
NEWTON_STEPS = 6
# Range over T / S at the bottom of the table: of S prop. to velocity, and of slow electrons in a
# medium of atomic number Z, by rising power of Z, after NIST ESTAR
SLOW_HEAVY, SLOW_ELECTRON = 2.0, (0.567, 0.0016)


@dataclass(frozen=True)
class StoppingTables:
    """Splines on logarithmic axes, in GeV, GeV cm2/g and g/cm2."""

    collision: UniformSpline  # ln of the collision loss against ln T
    total: UniformSpline  # ln of the whole loss against ln T
    range_of_energy: UniformSpline  # ln R against ln T
    energy_of_range: UniformSpline  # ln T against ln R


def look_up(beam: Beam, medium: Material, name: str, x: Float[Tensor, "*batch"]) -> Tensor:
    """A quantity of `StoppingTables` at `x`; single precision takes a faster table, to 1e-4.

    Not a number where `x` is negative or not finite.
    """
    if x.dtype == torch.float32:
        return _octaves(beam, medium, name, x.device)(x)
    finite = torch.where(x == torch.inf, torch.nan, x)
    return torch.exp(getattr(tables(beam, medium), name)(torch.log(finite)))


def radiative(beam: Beam, medium: Material, energy: Float[Tensor, "*batch"]) -> Tensor:
    """Radiative loss; single precision takes a faster table, to 1e-4."""
    if energy.dtype == torch.float32:
        return _radiative_octaves(beam, medium, energy.device)(energy)
    outside = (energy < 0) | (energy == torch.inf)
    return torch.where(outside, torch.nan, radiative_loss(beam, medium, energy))


def residual(
    beam: Beam,
    medium: Material,
    energy: Float[Tensor, "*#batch"],
    path: Float[Tensor, "*#batch"],
    density: float,
) -> Tensor:
    """Energy left after a path; 0, with zero gradient, where that is below the table.

    Args:
        beam: What loses energy.
        medium: Where.
        energy: Kinetic energy before [GeV].
        path: Path length in a unit of the caller's.
        density: Mass thickness of a unit of path [g/cm2].
    """
    if energy.dtype == torch.float32:
        inner = _octaves(beam, medium, "range_of_energy", energy.device)
        outer = _octaves(beam, medium, "energy_of_range", energy.device, True)
        return chained(energy, inner, path, density, outer)
    inverse = tables(beam, medium).energy_of_range
    smallest = math.exp(inverse.start)
    left = look_up(beam, medium, "range_of_energy", energy) - density * path
    stopped = left <= smallest
    after = torch.exp(inverse(torch.log(torch.where(stopped, smallest, left))))
    return torch.where(stopped, torch.zeros_like(left), after)


@functools.lru_cache(maxsize=64)
def _octaves(
    beam: Beam, medium: Material, name: str, device: torch.device, stops: bool = False
) -> OctaveTable:
    spline: UniformSpline = getattr(tables(beam, medium), name)
    smallest = math.exp(spline.start) if stops else 0.0
    return OctaveTable.of(lambda x: torch.exp(spline(torch.log(x))), device, smallest)


@functools.lru_cache(maxsize=64)
def _radiative_octaves(beam: Beam, medium: Material, device: torch.device) -> OctaveTable:
    return OctaveTable.of(lambda x: radiative_loss(beam, medium, x), device)


@functools.lru_cache(maxsize=256)
def tables(beam: Beam, medium: Material) -> StoppingTables:
    """The tables of a particle in a material."""
    lowest = LOWEST_ELECTRON if beam.is_electron else LOWEST_PER_MASS * beam.mass
    start = math.log(lowest)
    n = math.ceil((math.log(HIGHEST) - start) / STEP) + 1
    logs = start + STEP * torch.arange(n, dtype=torch.float64)
    energy = torch.exp(logs)
    collision = collision_loss(beam, medium, energy)
    total = collision + radiative_loss(beam, medium, energy)

    nodes, weights = gauss(QUADRATURE)
    inner = torch.exp(logs[:-1, None] + STEP * nodes)
    loss = collision_loss(beam, medium, inner) + radiative_loss(beam, medium, inner)
    cells = STEP * (weights * inner / loss).sum(dim=-1)
    first, per_number = SLOW_ELECTRON
    slow = first + per_number * medium.atomic_number if beam.is_electron else SLOW_HEAVY
    depth = slow * energy[0] / total[0] + _running_sum(cells)
    forward = UniformSpline.through(start, STEP, torch.log(depth))

    return StoppingTables(
        collision=UniformSpline.through(start, STEP, torch.log(collision)),
        total=UniformSpline.through(start, STEP, torch.log(total)),
        range_of_energy=forward,
        energy_of_range=_invert(forward, logs),
    )


def _running_sum(cells: Float[Tensor, " n"]) -> Float[Tensor, " points"]:
    return torch.cat([torch.zeros(1, dtype=cells.dtype), torch.cumsum(cells, dim=0)])


def _invert(forward: UniformSpline, logs: Float[Tensor, " n"]) -> UniformSpline:
    """The inverse of an increasing spline, by Newton's method on a uniform grid."""
    values = forward(logs)
    n = 2 * logs.shape[0]
    grid = torch.linspace(float(values[0]), float(values[-1]), n, dtype=torch.float64)
    right = torch.searchsorted(values, grid).clamp(1, logs.shape[0] - 1)
    share = (grid - values[right - 1]) / (values[right] - values[right - 1])
    guess = torch.lerp(logs[right - 1], logs[right], share)
    for _ in range(NEWTON_STEPS):
        with torch.enable_grad():
            trial = guess.detach().requires_grad_()
            level = forward(trial)
            (slope,) = torch.autograd.grad(level.sum(), trial)
        guess = (trial - (level - grid) / slope).detach()
    return UniformSpline.through(float(grid[0]), float(grid[1] - grid[0]), guess)
