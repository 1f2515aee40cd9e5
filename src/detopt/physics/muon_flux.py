"""Sampling of atmospheric muons that cross a horizontal plane, with their absolute rate.

Energies are in GeV, rates per second and m2, zenith angles in radians.
"""

__all__ = ["Intensity", "MuonFlux"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._numerics import bilinear, interpolate
from detopt.physics._octaves import INTEGERS, MANTISSA_BITS, cell_of, edges
from detopt.physics._tensors import TensorLike, as_tensor

Intensity = Callable[[Tensor, Tensor], Tensor]  # (energy, cos_zenith) -> 1/(m2 s sr GeV)

N_ENERGIES, N_COSINES = 1025, 513  # points of the integration grids
N_ROWS, N_QUANTILES = 65, 513  # entries of the tables that are sampled
WARP = 4  # the tables are even in the fourth root of the probability, which resolves the tails
N_BITS = 31  # of a draw; its probability is cut into cells by octaves, which resolves the tails
CELL_BITS = 6  # an octave has 2^6 cells
N_CELLS = (N_BITS + 1) << CELL_BITS
N_DITHERS = 256  # steps in which a draw falls to one row of a table or the next
FIRST_CELL = {dtype: int(cell_of(torch.ones((), dtype=dtype), CELL_BITS)) for dtype in INTEGERS}
BLOCK = 1 << 17  # muons that are drawn together, so that what is between stays in the cache


class _Tables(NamedTuple):
    """Quantiles, as chords in cells of a draw and on a grid of the fourth root of it."""

    rate_per_area: float  # 1/(m2 s)
    cosine: Complex[Tensor, " n_cells"]  # offset and slope in the draw, of all muons
    energy: Complex[Tensor, " n_rows_and_cells"]  # likewise, a row per cosine
    cosine_at_energy: Float[Tensor, "n_rows n_quantiles"]  # a row per log energy


@dataclass(frozen=True)
class MuonFlux:
    r"""Muons through a horizontal plane, drawn from any intensity :math:`I(E, \cos\theta)`.

    The density of the draws is :math:`I(E, c)\, c`: a horizontal plane shows an inclined muon
    only the projection of its area. Draws are continuous in both variables. The quantiles are
    tabulated once per flux and interpolated, which reproduces the distribution functions within
    :math:`10^{-3}`.

    Args:
        model: Intensity [1/(m2 s sr GeV)] as a function of energy and cosine, for instance
            `detopt.physics.fluxes.guan_intensity`.
        energy_range: Lowest and highest energy [GeV], as the model defines energy: the total
            energy in the two models of `detopt.physics.fluxes`.
        max_zenith: Largest zenith angle [rad], at most a right angle.

    Raises:
        DomainError: The energies do not increase, or the angle is not between 0 and a right angle.
    """

    model: Intensity
    energy_range: tuple[float, float] = field(default=(0.5, 500.0))
    max_zenith: float = math.radians(70.0)

    def __post_init__(self) -> None:
        low, high = self.energy_range
        if not 0 < low < high < math.inf:
            raise DomainError(
                f"`energy_range` must hold two increasing energies > 0 GeV, got {low} and {high}."
                " A usual choice is (0.5, 500.0)."
            )
        if not 0 < self.max_zenith <= math.pi / 2:
            raise DomainError(
                f"`max_zenith` must lie between 0 and pi/2 rad, got {self.max_zenith}. "
                "Convert degrees with `math.radians`."
            )

    @property
    def rate_per_area(self) -> float:
        r"""Muons through a horizontal plane [1/(m2 s)], :math:`2\pi\iint I\,c\,dE\,dc`."""
        return _tables(self).rate_per_area

    def rate(self, area: TensorLike) -> Tensor:
        """Muons per second through a horizontal `area` [m2]; differentiable in it."""
        require_positive(area=area)
        return self.rate_per_area * as_tensor(area)

    def exposure_time(self, n_muons: TensorLike, area: TensorLike) -> Tensor:
        """Time [s] in which `n_muons` are expected through a horizontal `area` [m2]."""
        require_positive(n_muons=n_muons)
        rate = self.rate(area)
        return as_tensor(n_muons, rate) / rate

    def sample(
        self, shape: int | tuple[int, ...], rng: Generator, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws energies [GeV] and cosines of the zenith angle; the azimuth is uniform.

        Args:
            shape: Number of muons, or shape of the draws.
            rng: Source of the draws; its device is that of the result.
            dtype: Floating type of the result, torch's default if None.

        Returns:
            Energy [GeV] and cosine of the zenith angle, both of `shape`.
        """
        tables = _tables_on(self, dtype or torch.get_default_dtype(), rng.device)
        size = torch.Size((shape,) if isinstance(shape, int) else shape)
        energy = torch.empty(size.numel(), dtype=tables.cosine_at_energy.dtype, device=rng.device)
        cosine = torch.empty_like(energy)
        rows_per_cosine = (N_ROWS - 1) / (1 - math.cos(self.max_zenith))
        for block, steep in zip(energy.split(BLOCK), cosine.split(BLOCK), strict=True):
            if block.data_ptr() == energy.data_ptr() or len(block) < BLOCK:
                scratch = _Scratch(block)
            scratch.draw(rng)
            scratch.chord(tables.cosine, scratch.first, out=steep)
            rows = scratch.dithered_rows(steep, rows_per_cosine)
            scratch.chord(tables.energy, scratch.second, rows, out=block)
        return energy.reshape(size), cosine.reshape(size)

    def sample_zenith(self, energy: TensorLike, rng: Generator) -> Tensor:
        r"""Draws the cosine of the zenith angle of muons whose energy is given.

        The density is :math:`I(E, c)\, c` at fixed :math:`E`.

        Args:
            energy: Energy of each muon [GeV], inside `energy_range`.
            rng: Source of the draws, on the device of `energy`.

        Returns:
            Cosine of the zenith angle, of the shape of `energy`.

        Raises:
            DomainError: A Python number lies outside `energy_range`.
        """
        low, high = self.energy_range
        if not isinstance(energy, Tensor) and not low <= energy <= high:
            raise DomainError(
                f"`energy` must lie between {low:g} and {high:g} GeV, got {energy}. "
                "Widen the `energy_range` of the flux."
            )
        energies = as_tensor(energy)
        table = _tables_on(self, energies.dtype, energies.device).cosine_at_energy
        row = torch.log(energies / low) * ((N_ROWS - 1) / math.log(high / low))
        return bilinear(table, row, _roots(energies.shape, rng, table))


class _Scratch:
    """Room for what is between the draws and the quantiles of a block.

    Attributes:
        first: Odd random integers below 2^31.
        second: As many again.
    """

    def __init__(self, like: Float[Tensor, " m"]) -> None:
        self._draws = torch.empty_like(like, dtype=torch.int64)
        self.first, self.second = self._draws.view(torch.int32).chunk(2)
        self._number = torch.empty_like(like)
        integer = INTEGERS[like.dtype]
        self._pattern = self._number.view(integer)
        self._cell, self._steps = (torch.empty_like(like, dtype=integer) for _ in range(2))
        self._choice = torch.empty_like(like, dtype=torch.int32)
        self._chord = torch.empty_like(like, dtype=like.dtype.to_complex())
        self._offset, self._slope = torch.view_as_real(self._chord).unbind(-1)

    def draw(self, rng: Generator) -> None:
        """Cut the integers from 64-bit draws."""
        self._draws.random_(-(2**63), None, generator=rng)
        self._draws.bitwise_and_(_twice(2**N_BITS - 1)).bitwise_or_(_twice(1))

    def dithered_rows(self, cosine: Float[Tensor, " m"], rows_per_cosine: float) -> Tensor:
        """The row of a table below or above each cosine, at random, times the steps between rows.

        The mean over the choice is the distribution function linear between the rows.
        """
        scale = rows_per_cosine * N_DITHERS
        torch.add((N_ROWS - 1) * N_DITHERS - scale, cosine, alpha=scale, out=self._number)
        torch.bitwise_and(self.first, N_DITHERS - 1, out=self._choice)
        return self._steps.copy_(self._number).add_(self._choice).bitwise_and_(-N_DITHERS)

    def chord(
        self,
        table: Complex[Tensor, " n"],
        bits: Tensor,
        steps: Tensor | None = None,
        *,
        out: Float[Tensor, " m"],
    ) -> None:
        """Quantile at each draw: the straight line of its cell, in a row if the table has rows."""
        self._number.copy_(bits)
        shift = MANTISSA_BITS[out.dtype] - CELL_BITS
        torch.bitwise_right_shift(self._pattern, shift, out=self._cell)
        if steps is not None:
            self._cell.add_(steps, alpha=N_CELLS // N_DITHERS)
        torch.index_select(table, 0, self._cell, out=self._chord)
        torch.addcmul(self._offset, self._slope, self._number, out=out)


def _twice(word: int) -> int:
    """A word of 32 bits in both halves of one of 64."""
    return word << 32 | word


def _roots(shape: int | tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    """Uniform draws as columns of the tables."""
    uniform = torch.rand(shape, generator=rng, dtype=like.dtype, device=like.device)
    return uniform.sqrt().sqrt() * (N_QUANTILES - 1)


@lru_cache(maxsize=32)
def _tables_on(flux: MuonFlux, dtype: torch.dtype, device: torch.device) -> _Tables:
    rate, *chords_of, at_energy = _tables(flux)
    cosine, energy = (_ahead(chords, dtype).to(device) for chords in chords_of)
    return _Tables(rate, cosine, energy, at_energy.to(device, dtype))


def _ahead(chords: Complex[Tensor, " n"], dtype: torch.dtype) -> Complex[Tensor, " m"]:
    """Chords behind so many unused ones that the cell of a draw is their place."""
    return torch.nn.functional.pad(chords, (FIRST_CELL[dtype], 0)).to(dtype.to_complex())


@lru_cache(maxsize=32)
def _tables(flux: MuonFlux) -> _Tables:
    low, high = (math.log(energy) for energy in flux.energy_range)
    log_energy = torch.linspace(low, high, N_ENERGIES, dtype=torch.float64)
    cosine = torch.linspace(math.cos(flux.max_zenith), 1.0, N_COSINES, dtype=torch.float64)
    energies, cosines = torch.meshgrid(log_energy.exp(), cosine, indexing="ij")
    density = flux.model(energies, cosines) * energies * cosines  # per log energy and cosine

    above = _cumulative(density.mT.flip(-1), log_energy[1] - log_energy[0])
    inclined = _cumulative(density, cosine[1] - cosine[0])
    all_energies = _cumulative(above[:, -1:].mT, cosine[1] - cosine[0])
    every = (N_COSINES - 1) // (N_ROWS - 1), (N_ENERGIES - 1) // (N_ROWS - 1)

    grid = torch.linspace(0.0, 1.0, N_QUANTILES, dtype=torch.float64)
    energies_above = _quantiles(above[:: every[0]], log_energy.flip(0), _draws() / 2**N_BITS)
    return _Tables(
        rate_per_area=2 * math.pi * all_energies[0, -1].item(),
        cosine=_chords(_quantiles(all_energies, cosine, _draws() / 2**N_BITS)),
        energy=_chords(energies_above.exp()),
        cosine_at_energy=_quantiles(inclined[:: every[1]], cosine, grid**WARP),
    )


def _draws() -> Float[Tensor, " n"]:
    """The draws at which the cells begin, and the end of the last one."""
    return edges(FIRST_CELL[torch.float32], N_CELLS, CELL_BITS).clamp(max=2**N_BITS)


def _chords(quantiles: Float[Tensor, "rows n"]) -> Complex[Tensor, " m"]:
    """Offset and slope in each cell of each row."""
    draws = _draws()
    slope = quantiles.diff() / draws.diff().clamp(min=1e-300)
    return torch.complex(quantiles[:, :-1] - slope * draws[:-1], slope).flatten()


def _cumulative(density: Float[Tensor, "rows n"], step: Tensor) -> Float[Tensor, "rows n"]:
    """Integral from the first point to each point of a regular grid, by the trapezoidal rule."""
    inner = torch.cumulative_trapezoid(density, dim=-1) * step
    return torch.nn.functional.pad(inner, (1, 0))


def _quantiles(
    cumulative: Float[Tensor, "rows n"],
    values: Float[Tensor, " n"],
    probabilities: Float[Tensor, " m"],
) -> Float[Tensor, "rows m"]:
    """Values at which each row reaches the probabilities."""
    roots = (cumulative / cumulative[:, -1:]) ** (1 / WARP)
    rows = len(cumulative)
    wanted = (probabilities ** (1 / WARP)).expand(rows, -1)
    return interpolate(wanted, roots, values.expand(rows, -1))
