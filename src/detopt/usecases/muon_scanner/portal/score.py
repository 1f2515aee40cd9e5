r"""The alarm of a portal: how far the largest excess of scattering stands out of the cargo."""

__all__ = [
    "SHARPNESS",
    "Excess",
    "PortalAnalysis",
    "PortalRows",
    "excess_score",
    "excesses",
    "known",
    "largest",
    "largest_near",
    "measured",
    "n_places",
]

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.pipeline import Analysis, Summary
from detopt.reconstruction import bin_probabilities, separable_sums
from detopt.usecases.muon_scanner.flow import Estimates, MomentumShares
from detopt.usecases.muon_scanner.portal.evidence import (
    Spectrum,
    angle_evidence,
    counted_evidence,
    momentum_evidence,
)
from detopt.usecases.muon_scanner.portal.source import CargoScans
from detopt.usecases.muon_scanner.volumes import Grid

CELL = 0.1  # m; edge of the cells in which excesses are looked for
CENTER, AROUND = 2, 8  # cells across the candidate, and across what it is compared with
LEAST_VARIANCE = 0.3  # of an excess, in units of squared evidence: no alarm from single muons
LEAST_FOURTH = 1e-4  # keeps the logarithm finite where no muon is measured
SHARPNESS = 3.0  # of the smooth maximum over the cells
NEAR = 0.1  # m; width of the neighbourhood of a known place
WORTHWHILE = 0.8  # share of measured muons above which the others may stay


@dataclass(frozen=True)
class PortalRows(Summary):
    """What the portal answers to each scan, and what was in it.

    Args:
        score: The excess that decides about the alarm.
        kind: Index of the hidden material, or -1.
        mass: Mass of what is hidden [kg], or 0.
        signal: The excess at the true place of the block; meaningless where there is none.
        noise: Logarithm of the typical large excess, see `excess_size`.
    """

    score: Float[Tensor, " n_rows"]
    kind: Int[Tensor, " n_rows"]
    mass: Float[Tensor, " n_rows"]
    signal: Float[Tensor, " n_rows"]
    noise: Float[Tensor, " n_rows"]


@dataclass(frozen=True)
class Excess:
    """How far each place of each scan stands out of its surroundings.

    Args:
        value: Excess in standard deviations.
        centers: Middles of the places along x, y and z [m].
    """

    value: Float[Tensor, "n_volumes x y z"]
    centers: tuple[Float[Tensor, " x"], Float[Tensor, " y"], Float[Tensor, " z"]]


def excesses(estimate: Estimates, grid: Grid, spectrum: Spectrum) -> Excess:
    r"""How far the evidence at each place stands out of its surroundings.

    The evidence :math:`f_i` of each muon, see `angle_evidence`, `momentum_evidence` where momenta
    are known or estimated, and `counted_evidence`, is spread
    over cells by the normal distribution of its scattering point. With its sum :math:`a` in a cube
    of 2 cells, the sum :math:`A` in the shell around it up to 8 cells, the sum :math:`Q` of
    :math:`f_i^2` in the shell and the ratio :math:`r` of their volumes, the excess in standard
    deviations is

    .. math::
        Z = \frac{a - r A}{\sqrt{r Q + r^2 Q + v_0}},

    that of Poisson numbers of muons with the evidence of the surroundings.

    Args:
        estimate: Scattering points and the probabilities of their measurement.
        grid: Extent of the cargo; the cells are cubes of about 0.1 m.
        spectrum: Of the muons whose momenta nothing is known of.

    Note:
        Goods larger than the shell leave no excess but at their edges. Differentiable.
    """
    poca = estimate.poca
    angles = poca.angle_squared, poca.angle_noise, estimate.weight
    if estimate.momenta is None:
        evidence = angle_evidence(*angles, spectrum)
    else:
        evidence = momentum_evidence(*angles, estimate.momenta)
    places = zip(
        (*poca.position, poca.height), (*poca.position_variance, poca.height_variance), strict=True
    )
    edges = [_edges(grid, axis, evidence.dtype) for axis in range(3)]
    columns = [
        bin_probabilities(center, variance, edges[axis])
        for axis, (center, variance) in enumerate(places)
    ]
    values = torch.stack(counted_evidence(evidence, estimate.weight), dim=-1)
    sums = separable_sums(columns[0], columns[1], columns[2], values)
    inner, inner_volume = _boxes(sums, CENTER)
    outer, outer_volume = _boxes(sums, AROUND)
    ratio = inner_volume / (outer_volume - inner_volume)
    a, _ = inner.unbind(1)
    around, squared = (outer - inner).unbind(1)
    variance = (ratio + ratio * ratio) * squared.clamp_min(0) + LEAST_VARIANCE
    x, y, z = (axis[1:] for axis in edges)  # a cube of two cells begins one cell below
    return Excess((a - ratio * around) / variance.sqrt(), (x, y, z))


def largest(excess: Excess) -> Float[Tensor, " n_volumes"]:
    r"""The score: the smooth maximum over all places.

    .. math:: \mathrm{asinh}\left[\frac{1}{b} \ln \sum e^{b Z}\right]
    """
    return ((SHARPNESS * excess.value).flatten(1).logsumexp(-1) / SHARPNESS).asinh()


def n_places(grid: Grid) -> int:
    """At how many places excesses are looked for."""
    return math.prod(_n_cells(grid, axis) for axis in range(3))


def excess_size(excess: Excess) -> Float[Tensor, " n_volumes"]:
    r"""Logarithm of the size of the excesses at all places, :math:`\ln \langle Z^4 \rangle^{1/4}`.

    It goes with the largest one, and is known better.
    """
    fourth = excess.value.square().square().flatten(1).mean(1)
    return (fourth + LEAST_FOURTH).log() / 4


def largest_near(
    excess: Excess, place: Float[Tensor, "3 n_volumes"]
) -> Float[Tensor, " n_volumes"]:
    r"""The smooth maximum around a known place, in the same scale.

    .. math:: \mathrm{asinh}\left[\frac{1}{b} \ln \sum_c w_c\, e^{b Z_c}\right], \qquad
        w_c \propto e^{-|r_c - r|^2 / 2 d^2}
    """
    weights = [
        torch.softmax(-((center - middle[:, None]) / NEAR).square() / 2, dim=-1)
        for center, middle in zip(excess.centers, place, strict=True)
    ]
    kernel = torch.einsum("vi,vj,vk->vijk", *weights)
    logarithm = (kernel + torch.finfo(kernel.dtype).tiny).log()
    total = (logarithm + SHARPNESS * excess.value).flatten(1).logsumexp(-1)
    return (total / SHARPNESS).asinh()


def excess_score(
    estimate: Estimates, grid: Grid, spectrum: Spectrum
) -> Float[Tensor, " n_volumes"]:
    """The score of each scan, see `excesses` and `largest`."""
    return largest(excesses(estimate, grid, spectrum))


def _edges(grid: Grid, axis: int, dtype: torch.dtype) -> Float[Tensor, " n_edges"]:
    return torch.linspace(grid.low[axis], grid.high[axis], _n_cells(grid, axis) + 1, dtype=dtype)


def _n_cells(grid: Grid, axis: int) -> int:
    return max(AROUND, round(grid.shape[axis] * grid.voxel[axis] / CELL))


def _boxes(
    sums: Float[Tensor, "v c x y z"], width: int
) -> tuple[Float[Tensor, "v c x y z"], Float[Tensor, "x y z"]]:
    """Sums over cubes of `width` cells around every cell, cut at the walls, and their volumes."""
    x, y, z = (_band(n, width, sums.dtype) for n in sums.shape[2:])
    total = torch.einsum("vcijk,ai,bj,dk->vcabd", sums, x, y, z)
    volume = torch.einsum("a,b,d->abd", x.sum(1), y.sum(1), z.sum(1))
    return total, volume


def _band(n: int, width: int, dtype: torch.dtype) -> Float[Tensor, "n n"]:
    """Which cells belong to the window of each cell."""
    offset = torch.arange(n) - torch.arange(n)[:, None] + (width - 1) // 2
    return ((offset >= 0) & (offset < width)).to(dtype)


def measured(estimate: Estimates) -> Estimates:
    """The estimates without muons that nothing measured: as many in each scan as in the fullest.

    Those that are left over in other scans have the weight 0 and count for nothing, as before.
    """
    seen = estimate.weight.detach() > 0
    n_seen = max(1, int(seen.sum(-1).max()))
    if n_seen > WORTHWHILE * seen.shape[-1]:
        return estimate
    index = seen.to(torch.uint8).topk(n_seen, dim=-1, sorted=False).indices

    def pick(values: Tensor) -> Tensor:
        if values.ndim == index.ndim:
            return values.gather(-1, index)
        return values.gather(-1, index.expand(len(values), *index.shape))

    poca, momenta = estimate.poca, estimate.momenta
    fields = {one.name: pick(getattr(poca, one.name)) for one in dataclasses.fields(poca)}
    if momenta is not None:
        share = pick(momenta.share.movedim(-1, 0)).movedim(0, -1)
        momenta = dataclasses.replace(momenta, share=share)
    return Estimates(
        poca=dataclasses.replace(poca, **fields),
        secant=pick(estimate.secant),
        weight=pick(estimate.weight),
        momentum=pick(estimate.momentum),
        momenta=momenta,
    )


def known(estimate: Estimates) -> Estimates:
    """The estimates with momenta that are known for certain."""
    momentum = estimate.momentum[..., None]
    return dataclasses.replace(
        estimate, momenta=MomentumShares(momentum, torch.ones_like(momentum))
    )


class PortalAnalysis(Analysis[Estimates, CargoScans, PortalRows]):
    """The score of each scan, beside what was hidden.

    Args:
        grid: Extent of the cargo.
        spectrum: Of the muons.
        is_known: Whether the momentum of each muon is known.
    """

    def __init__(self, grid: Grid, spectrum: Spectrum, *, is_known: bool = False) -> None:
        super().__init__()
        self.grid = grid
        self.spectrum = spectrum
        self.is_known = is_known

    def forward(self, estimate: Estimates, events: CargoScans) -> PortalRows:
        """One row a scan."""
        assert events.kind is not None
        assert events.place is not None
        seen = measured(estimate)
        excess = excesses(known(seen) if self.is_known else seen, self.grid, self.spectrum)
        return PortalRows(
            largest(excess).double(),
            events.kind,
            events.target.double(),
            largest_near(excess, events.place).double(),
            excess_size(excess).double(),
        )
