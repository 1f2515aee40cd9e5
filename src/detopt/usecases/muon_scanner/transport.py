"""Muons through a voxel volume: multiple scattering and energy loss, without a graph.

Nothing here depends on the design, so no gradient is recorded. All muons of all volumes move
together, one step of height at a time.
"""

__all__ = ["Medium", "propagate"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.physics import particles
from detopt.physics.scattering import HIGHLAND_LOG, HIGHLAND_SCALE
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.volumes import Grid, Substance, substance

SLOWEST = 0.01  # GeV; kinetic energy below which a muon counts as stopped
LOSS_RANGE = (0.005, 2_000.0)  # GeV; kinetic energies of the loss table
N_LOSS = 4096  # 0.3 % apart: the nearest entry is good to 0.2 %
THINNEST = 1e-6  # radiation lengths: keeps the logarithm finite on a path through nothing


@dataclass(frozen=True)
class Medium:
    """What the transport needs to know of the volume.

    Args:
        grid: The voxels.
        materials: The materials, by name or of one's own.
        step: Height of a step [m], or None for one step a voxel.
        n_samples: Points of each step at which the material is looked up.
        energy_loss: Whether muons lose energy.
    """

    grid: Grid
    materials: tuple[Substance, ...]
    step: float | None = None
    n_samples: int = 4
    energy_loss: bool = True

    @property
    def n_substeps(self) -> int:
        """Steps in each layer of voxels."""
        height = self.grid.voxel[2]
        return 1 if self.step is None else max(1, math.ceil(height / self.step - 1e-9))


@torch.no_grad()
def propagate(
    muons: Muons,
    voxels: Int[Tensor, "n_volumes nx ny nz"],
    medium: Medium,
    rng: torch.Generator,
) -> tuple[Muons, Bool[Tensor, "n_volumes n_muons"]]:
    r"""Muons at the bottom of the volume, and which of them stopped inside.

    Each step scatters by the Highland width with the logarithm of the *whole* path, so that the
    result does not depend on the step, with offset and angle correlated as in a slab. In slopes,
    with :math:`n^2 = 1 + t_x^2 + t_y^2` and :math:`a^2 = 1 + t_x^2`, projected angles
    :math:`\theta_1, \theta_2` across the direction of flight become

    .. math::
        \delta t_x = n a\, \theta_1, \qquad
        \delta t_y = n \frac{t_x t_y}{a} \theta_1 + \frac{n^2}{a} \theta_2.

    Energy loss is the mean ionization and radiation, by the midpoint rule.

    Note:
        The material is sampled at `n_samples` points of a step, on the straight line through it;
        outside the grid there is nothing. Exact for small angles in each step.
    """
    mass = particles.mass("muon")
    lookup = _Lookup(voxels, medium, muons.position.dtype)
    top = medium.grid.high[2]
    position = muons.position + muons.slope * (top - muons.height)
    slope = muons.slope
    height = medium.grid.voxel[2] / medium.n_substeps
    energy = (muons.momentum.square() + mass**2).sqrt()
    scale = _bracket(lookup, position, slope, energy, mass) * math.sqrt(height)
    strength = scale * energy / (energy.square() - mass**2)  # 1/(beta p) = E/p^2
    normals = muons.momentum.new_empty(4, *muons.momentum.shape)
    offset, angle = normals[:2], normals[2:]

    for i in range(medium.n_substeps * medium.grid.shape[2]):
        layer = medium.grid.shape[2] - 1 - i // medium.n_substeps
        cells = lookup.cells(position, slope, layer, height)
        squares = slope.square()
        a2 = squares[0] + 1
        n2 = squares[1] + a2
        n = n2.sqrt()
        if medium.energy_loss:
            middle, energy = lookup.slow_down(cells, n * height, energy, mass)
            strength = scale * middle / (middle.square() - mass**2)
        width = (lookup.density(cells) * n2).mul_(n).sqrt_().mul_(strength)  # n theta_0

        normals.normal_(generator=rng).mul_(width)
        _turn(normals.view(2, 2, *n.shape), slope, n, a2)
        before, slope = slope, slope - angle  # falling: dx/dz turns the other way
        position.sub_(before.add(slope), alpha=height / 2)
        position.add_(offset, alpha=height / math.sqrt(12))
    stopped = (
        energy <= mass + SLOWEST if medium.energy_loss else torch.zeros_like(n, dtype=torch.bool)
    )
    after = Muons(position, slope, _momentum(energy, mass), medium.grid.low[2])
    return after, stopped


def _turn(
    angles: Float[Tensor, "2 2 *batch"],
    slope: Float[Tensor, "2 *batch"],
    n: Float[Tensor, "*batch"],
    a2: Float[Tensor, "*batch"],
) -> None:
    """Projected angles, times n, into changes of slope: in place, along the second axis."""
    a = a2.sqrt()
    first, second = angles.unbind(1)
    second.mul_(n).addcmul_(first, slope[0] * slope[1]).div_(a)
    first.mul_(a)


class _Lookup:
    """Materials and their tables, flattened for gathering; a rim of nothing around the grid."""

    def __init__(
        self, voxels: Int[Tensor, "n_volumes nx ny nz"], medium: Medium, dtype: torch.dtype
    ) -> None:
        grid = medium.grid
        nothing = len(medium.materials)
        padded = torch.nn.functional.pad(voxels.permute(3, 0, 1, 2), (1, 1, 1, 1), value=nothing)
        self._nz, n_volumes, nx, self._ny = padded.shape
        self._thickness = grid.voxel[2]
        self._n_samples = medium.n_samples
        self._layer_size = n_volumes * nx * self._ny
        self._volume = (torch.arange(n_volumes) * (nx * self._ny))[:, None]

        # x and y in voxels, counted from the rim
        self._per_voxel = 1 / torch.tensor(grid.voxel[:2], dtype=dtype)[:, None, None, None]
        low = torch.tensor(grid.low[:2], dtype=dtype)[:, None, None, None]
        self._rim = 1 - low * self._per_voxel
        self._first = torch.zeros((), dtype=dtype)
        self._last = torch.tensor([nx - 0.5, self._ny - 0.5], dtype=dtype)[:, None, None, None]
        fractions = (torch.arange(self._n_samples, dtype=dtype) + 0.5) / self._n_samples
        self._fractions = fractions[:, None, None]

        # tables in shares of a sample: a sum over the samples is their mean
        inverse = _inverse_lengths(medium.materials, dtype) / self._n_samples
        self._inverse_length = inverse[padded.reshape(-1)]
        if medium.energy_loss:
            self._rows = padded.reshape(-1) * N_LOSS
            self._loss = _loss_table(medium.materials, self._n_samples, dtype)

    def _cell(self, points: Float[Tensor, "2 n *batch"]) -> Int[Tensor, "n *batch"]:
        """Voxels at points, numbered within their layer."""
        scaled = torch.addcmul(self._rim, points, self._per_voxel)
        x, y = scaled.clamp_(self._first, self._last).long()
        cell: Tensor = x.mul_(self._ny).add_(y).add_(self._volume)
        return cell

    def cells(
        self, position: Tensor, slope: Tensor, layer: int, height: float
    ) -> Int[Tensor, "n_samples n_volumes n_muons"]:
        """Voxels at the middles of equal pieces of a step."""
        points = torch.addcmul(position[:, None], self._fractions, slope[:, None], value=-height)
        return self._cell(points).add_(layer * self._layer_size)

    def density(self, cells: Tensor) -> Float[Tensor, "n_volumes n_muons"]:
        """Mean radiation lengths per metre."""
        return self._sum(self._inverse_length.take(cells))

    def whole_path(self, position: Tensor, slope: Tensor) -> Float[Tensor, "n_volumes n_muons"]:
        """Thickness of the whole straight path in radiation lengths."""
        layers = torch.arange(self._nz)[:, None, None]
        depth = (self._nz - 0.5 - layers).to(position.dtype) * self._thickness
        cells = self._cell(position[:, None] - depth * slope[:, None])
        cells += layers * self._layer_size
        path = self._n_samples * self._thickness * (1 + slope.square().sum(0)).sqrt()
        return self._inverse_length.take(cells).sum(0) * path

    def slow_down(
        self, cells: Tensor, path: Tensor, energy: Tensor, mass: float
    ) -> tuple[Tensor, Tensor]:
        """Energies in the middle and at the end of a step; a stopped muon stays at the least."""
        rows = self._rows.take(cells)
        least = mass + SLOWEST
        middle = torch.addcmul(energy, self._rate(rows, energy - mass), path, value=-0.5)
        middle.clamp_min_(least)
        after = torch.addcmul(energy, self._rate(rows, middle - mass), path, value=-1)
        return middle, after.clamp_min_(least)

    def _rate(self, rows: Tensor, kinetic: Tensor) -> Float[Tensor, "n_volumes n_muons"]:
        """Mean energy loss [GeV/m]."""
        low, high = LOSS_RANGE
        place = kinetic.div(low).log_().mul_((N_LOSS - 1) / math.log(high / low))
        index = place.clamp_(0, N_LOSS - 1).round_().long()
        return self._sum(self._loss.take(rows + index))

    def _sum(self, samples: Tensor) -> Float[Tensor, "n_volumes n_muons"]:
        return samples[0] if self._n_samples == 1 else samples.sum(0)


def _bracket(
    lookup: _Lookup, position: Tensor, slope: Tensor, energy: Tensor, mass: float
) -> Float[Tensor, "n_volumes n_muons"]:
    """13.6 MeV [1 + 0.038 ln(t / beta^2)] with the thickness t of the whole straight path."""
    beta2 = 1 - (mass / energy).square()
    total = lookup.whole_path(position, slope).clamp_min(THINNEST)
    return HIGHLAND_SCALE * (1 + HIGHLAND_LOG * (total / beta2).log())


def _momentum(energy: Tensor, mass: float) -> Tensor:
    return (energy.square() - mass**2).sqrt()


@functools.cache
def _inverse_lengths(given: tuple[Substance, ...], dtype: torch.dtype) -> Float[Tensor, " n"]:
    """Radiation lengths per metre; the last entry is nothing."""
    inverse = [1 / float(substance(one).radiation_length) for one in given]
    return torch.tensor([*inverse, 0.0], dtype=dtype)


@functools.cache
def _loss_table(
    given: tuple[Substance, ...], n_samples: int, dtype: torch.dtype
) -> Float[Tensor, " n_entries"]:
    """Mean energy loss of muons [GeV/m] over the number of samples; the last rows are nothing."""
    from detopt.physics import energy_loss

    low, high = LOSS_RANGE
    kinetic = torch.logspace(math.log10(low), math.log10(high), N_LOSS, dtype=torch.float64)
    rows = [
        energy_loss.stopping_power("muon", medium, kinetic) * medium.density * 100
        for medium in map(substance, given)
    ]
    table = torch.stack([*rows, torch.zeros_like(kinetic)]).to(dtype) / n_samples
    return table.reshape(-1)
