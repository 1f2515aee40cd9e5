r"""Single energy losses of muons of high energy: how many, how large, and what is left below a cut.

Energies are in GeV, lengths in metres, mass thicknesses in g/cm2. A muon above some 100 GeV loses
most of its energy in few radiative events; what they are, not their mean, tells its energy.
"""

__all__ = ["PROCESSES", "HardLosses", "hard_losses", "loss_spectrum", "soft_straggling"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics import _collision, _composition, _radiative, _vavilov, materials
from detopt.physics._constants import MUON_MASS
from detopt.physics._domain import require_positive
from detopt.physics._tensors import TensorLike, as_tensors
from detopt.physics.energy_loss import stopping_power
from detopt.physics.materials import Material

PROCESSES = ("bremsstrahlung", "pair production", "nuclear", "knock-on")
CM_PER_METRE = 100.0
LOWEST, HIGHEST, N_ENERGIES = 1.0, 3e4, 48  # total energies [GeV] of the table
N_NODES = 800  # of the integral over the fraction
DEEPEST, N_QUANTILES = 16.0, 512  # of the table in -ln(survival)
SMALLEST = 1e-30  # of a survival; keeps the logarithm finite


def loss_spectrum(
    material: str | Material, energy: TensorLike, fraction: TensorLike, process: str
) -> Float[Tensor, "*batch"]:
    r"""Number of losses per mass thickness and per interval of :math:`\ln v`.

    .. math::
        v \frac{dN}{dv} = \frac{N_A}{A} v \frac{d\sigma}{dv}

    Args:
        material: Name or `Material`.
        energy: Total energy :math:`E` of the muon [GeV], > 0.2.
        fraction: Fraction :math:`v` of it that is lost, between 0 and 1.
        process: One of `PROCESSES`.

    Returns:
        Losses per g/cm2 and unit of :math:`\ln v` [cm2/g]; 0 where they are not possible.

    Raises:
        NotFoundError: The material does not exist.
        DomainError: There is no such process, or a Python number is out of its range.

    Note:
        :math:`\int v (v\,dN/dv)\, d\ln v` is the component of :math:`b(E)`, which
        `radiative_stopping_power` sums. Knock-on electrons are those of free electrons at rest.
        The suppression of Landau, Pomeranchuk and Migdal is not in it: in PbWO4 it reaches losses
        above some TeV. Differentiable.

    References:
        See `radiative_stopping_power`; knock-on electrons of particles with spin 1/2: B. Rossi,
        High-Energy Particles, Prentice-Hall (1952), section 2.3.
    """
    require_positive(energy=energy, fraction=fraction)
    if process not in PROCESSES:
        raise DomainError(f"`process` must be one of {', '.join(PROCESSES)}, got {process!r}.")
    medium = material if isinstance(material, Material) else materials.get(material)
    total, v = torch.broadcast_tensors(*as_tensors(energy, fraction))
    if process == "knock-on":
        return _knock_on(medium, total, v)
    elements = _composition.load_table().elements
    found = torch.zeros_like(v)
    for symbol, weight in medium.composition.items():
        number, mass = elements[symbol].atomic_number, elements[symbol].atomic_mass
        if process == "nuclear":
            found = found + weight * _radiative.nuclear_spectrum(total, v, mass)
            continue
        inside = v < _radiative.largest_fraction(total, number)
        if process == "bremsstrahlung":
            one = _radiative.bremsstrahlung_spectrum(total, v, number, mass)
        else:
            inside = inside & (total * v > 4 * _collision.ELECTRON_MASS)
            one = _radiative.pair_spectrum(total, torch.where(inside, v, 0.5), number, mass)
        found = found + weight * torch.where(inside, one, 0.0)
    return found


@dataclass(frozen=True)
class HardLosses:
    r"""Losses above a cut, of all processes together, and the mean of what is below it.

    Args:
        cut: Smallest single loss [GeV].
        rate: Losses per metre, on a grid of :math:`\ln E`.
        mean: Their sum [GeV/m], on the same grid.
        below: Mean loss below the cut [GeV/m], on the same grid.
        quantile: Logarithm of the loss, where :math:`-\ln` of the share above is that of a node.
    """

    cut: float
    rate: Float[Tensor, " energies"]
    mean: Float[Tensor, " energies"]
    below: Float[Tensor, " energies"]
    quantile: Float[Tensor, "energies quantiles"]

    def rate_at(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Losses above the cut per metre."""
        return self._look_up(self.rate, energy)

    def mean_at(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Mean of the losses above the cut [GeV/m]."""
        return self._look_up(self.mean, energy)

    def below_at(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Mean of the losses below the cut, ionization above all [GeV/m]."""
        return self._look_up(self.below, energy)

    def loss(
        self, energy: Float[Tensor, "*batch"], uniform: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """A single loss above the cut [GeV].

        Args:
            energy: Total energy of the muon [GeV]; from 1 GeV to 30 TeV, held beyond.
            uniform: Share of losses that are larger, above 0 to 1.
        """
        row, along = self._locate(energy)
        position = -torch.log(uniform) * ((N_QUANTILES - 1) / DEEPEST)
        cell = position.floor().clamp(0, N_QUANTILES - 2).long()
        offset = (position - cell).clamp(max=1.0)
        table, flat = self.quantile.to(energy), row * N_QUANTILES + cell
        flattened = table.reshape(-1)
        low, high = (
            torch.lerp(flattened[flat + k], flattened[flat + k + 1], offset)
            for k in (0, N_QUANTILES)
        )
        return torch.minimum(torch.lerp(low, high, along).exp(), energy)

    def _look_up(
        self, table: Float[Tensor, " energies"], energy: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        row, along = self._locate(energy)
        values = table.to(energy).log()
        return torch.lerp(values[row], values[row + 1], along).exp()

    def _locate(self, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Row of the table, and the share of the next one."""
        step = math.log(HIGHEST / LOWEST) / (N_ENERGIES - 1)
        position = (torch.log(energy / LOWEST) / step).clamp(0, N_ENERGIES - 1)
        row = position.floor().clamp(max=N_ENERGIES - 2)
        return row.long(), position - row


@functools.lru_cache(maxsize=32)
def hard_losses(material: str | Material, cut: float) -> HardLosses:
    """Tables of the losses above `cut`, made at the first call.

    Args:
        material: Name or `Material`.
        cut: Smallest single loss [GeV], at most 0.9 (of a muon of 1 GeV).

    Raises:
        NotFoundError: The material does not exist.
        DomainError: The cut is not > 0, or too large.

    Note:
        What is above the cut and the mean of what is below add up to `stopping_power`.
        Interpolated in the logarithms of energy and share, to 1 % of the mean. The hardest
        1e-7 of the losses count as the hardest that is left.
    """
    require_positive(cut=cut)
    if cut > 0.9 * LOWEST:
        raise DomainError(f"`cut` must be at most {0.9 * LOWEST} GeV, got {cut}.")
    medium = material if isinstance(material, Material) else materials.get(material)
    step = math.log(HIGHEST / LOWEST) / (N_ENERGIES - 1)
    energy = LOWEST * torch.exp(step * torch.arange(N_ENERGIES, dtype=torch.float64))
    thickness = medium.density * CM_PER_METRE  # g/cm2 in a metre
    share = torch.linspace(0, 1, N_NODES, dtype=torch.float64)
    logarithm = torch.log(cut / energy)[:, None] * (1 - share)  # of v, up to almost 1
    v = logarithm.exp().clamp(max=1 - 1e-12)
    total = energy[:, None].expand_as(v)
    spectrum = thickness * sum(
        (loss_spectrum(medium, total, v, name) for name in PROCESSES), torch.zeros_like(v)
    )
    width = logarithm.diff(dim=1)
    cells = (spectrum[:, 1:] + spectrum[:, :-1]) / 2 * width
    losses = (spectrum * v)[:, 1:] + (spectrum * v)[:, :-1]
    mean = (losses / 2 * width).sum(1) * energy
    above = torch.cat([cells.flip(1).cumsum(1).flip(1), torch.zeros_like(energy)[:, None]], dim=1)
    rate = above[:, 0]
    quantile = _inverse(above / rate[:, None], logarithm + energy.log()[:, None])
    whole = stopping_power("muon", medium, energy - MUON_MASS) * thickness
    return HardLosses(cut, rate, mean, whole - mean, quantile)


def soft_straggling(
    material: str | Material, cut: float, path: float, score: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    r"""Ionization below a cut, less its mean, of a muon that is almost as fast as light.

    .. math::
        \Delta - \langle\Delta\rangle = \xi (\lambda - \langle\lambda\rangle), \qquad
        \xi = \frac{K}{2} \frac{Z}{A} \rho x, \quad \kappa = \xi / T_{cut}

    Args:
        material: Name or `Material`.
        cut: Largest energy :math:`T_{cut}` of a knock-on electron [GeV].
        path: Path :math:`x` [m].
        score: Standard-normal numbers, one for each path.

    Returns:
        Deviations of the loss [GeV].

    Raises:
        NotFoundError: The material does not exist.
        DomainError: A number is not > 0.

    Note:
        By Vavilov's distribution with :math:`T_{cut}` in place of the largest transfer.
        Differentiable in `score`.

    References:
        P. V. Vavilov, Sov. Phys. JETP 5 (1957) 749.
    """
    require_positive(cut=cut, path=path)
    medium = material if isinstance(material, Material) else materials.get(material)
    width = _collision.K / 2 * medium.z_over_a * medium.density * CM_PER_METRE * path
    kappa, slow = (torch.tensor(x, dtype=score.dtype) for x in (width / cut, 0.0))
    return width * _vavilov.deviation(score, kappa, slow)


def _knock_on(
    medium: Material, energy: Float[Tensor, "*batch"], v: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Electrons that are struck out, per g/cm2 and unit of ln v."""
    gamma = energy / MUON_MASS
    beta_squared = 1 - gamma**-2
    largest = _collision.largest_transfer(gamma, MUON_MASS)
    transfer = v * energy
    shape = 1 - beta_squared * transfer / largest + v**2 / 2
    number = _collision.K / 2 * medium.z_over_a / beta_squared * shape / transfer
    return torch.where(transfer < largest, number, 0.0)


def _inverse(
    above: Float[Tensor, "energies nodes"], logarithm: Float[Tensor, "energies nodes"]
) -> Float[Tensor, "energies quantiles"]:
    """Logarithm of the loss at even values of minus the logarithm of the share above."""
    depth = -torch.log(above.clamp(min=SMALLEST)).contiguous()
    target = torch.linspace(0, DEEPEST, N_QUANTILES, dtype=torch.float64)
    target = target.expand(len(above), -1).contiguous()
    right = torch.searchsorted(depth, target, right=True).clamp(1, above.shape[1] - 1)
    low, high = depth.gather(1, right - 1), depth.gather(1, right)
    offset = ((target - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
    return torch.lerp(logarithm.gather(1, right - 1), logarithm.gather(1, right), offset)
