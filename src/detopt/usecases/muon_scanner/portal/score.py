r"""The alarm of a portal: how far the largest excess of scattering stands out of the cargo."""

__all__ = [
    "Excess",
    "PortalAnalysis",
    "PortalRows",
    "Spectrum",
    "angle_evidence",
    "excess_score",
    "excesses",
    "largest",
    "largest_near",
    "measured",
]

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.physics import particles
from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.pipeline import Analysis, Summary
from detopt.random import Seed
from detopt.reconstruction import bin_probabilities, separable_sums
from detopt.usecases.muon_scanner.flow import Estimates
from detopt.usecases.muon_scanner.portal.source import CargoScans
from detopt.usecases.muon_scanner.sources import MuonBeam
from detopt.usecases.muon_scanner.volumes import Grid

N_MOMENTA = 6  # momenta that stand for the spectrum
N_DRAWN = 20_000  # muons to find them
THREAT = 20.0  # radiation lengths of the hypothesis: 6 cm of uranium, 11 cm of lead
CELL = 0.1  # m; edge of the cells in which excesses are looked for
CENTER, AROUND = 2, 8  # cells across the candidate, and across what it is compared with
LEAST_VARIANCE = 0.3  # of an excess, in units of squared evidence: no alarm from single muons
LEAST_FOURTH = 1e-4  # keeps the logarithm finite where no muon is measured
SHARPNESS = 3.0  # of the smooth maximum over the cells
NEAR = 0.1  # m; width of the neighbourhood of a known place
WORTHWHILE = 0.8  # share of measured muons above which the others may stay
ANGLE_FLOOR = 1e-8  # rad2: (0.1 mrad)^2


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
class Spectrum:
    r"""Strengths of scattering of the muons, :math:`(13.6\,\mathrm{MeV}/\beta p)^2` [rad2].

    Args:
        strength: Equally probable ones.
    """

    strength: Float[Tensor, " n"]

    @staticmethod
    def of(beam: MuonBeam) -> "Spectrum":
        """Quantiles of a spectrum, or the one momentum of a beam."""
        mass = particles.mass("muon")
        if beam.momentum is not None:
            momentum = torch.tensor([beam.momentum], dtype=torch.float64)
            return Spectrum(scattering_strength(momentum))
        rng = Seed("portal spectrum").generator()
        energy, _ = beam.model.sample(N_DRAWN, rng, torch.float64)
        strength = scattering_strength((energy.square() - mass**2).sqrt())
        levels = (torch.arange(N_MOMENTA, dtype=torch.float64) + 0.5) / N_MOMENTA
        return Spectrum(strength.quantile(levels))


def scattering_strength(momentum: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Variance of the projected angle for a radiation length, without logarithm [rad2]."""
    beta_p = momentum.square() / (momentum.square() + particles.mass("muon") ** 2).sqrt()
    return (HIGHLAND_SCALE / beta_p).square()


def angle_evidence(
    angle_squared: Float[Tensor, "*batch n"],
    weight: Float[Tensor, "*batch n"],
    spectrum: Spectrum,
    threat: float = THREAT,
) -> Float[Tensor, "*batch n"]:
    r"""Evidence of each muon for a dense block on its way: log likelihood ratio, at least 0.

    The momenta are unknown. With the strengths :math:`s_k` of the spectrum and their geometric
    mean :math:`s`, the squared angle in space has the density

    .. math::
        p(\theta^2 \mid v) = \frac{1}{K} \sum_k \frac{1}{2 v_k} e^{-\theta^2/2 v_k},
        \qquad v_k = v\, s_k / s .

    Harmless, :math:`v` is what the whole scan shows on average, resolution included: the geometric
    mean of its squared angles, which for this density is :math:`2 v e^{-\gamma}`. With a block of
    :math:`t` radiation lengths it is :math:`v + t s`. The logarithm of the ratio is taken where
    it is positive: a small angle is no evidence that another muon missed the block.

    Args:
        angle_squared: Squared angles between tracks [rad2].
        weight: Probability that each was measured.
        spectrum: Of the muons.
        threat: Thickness :math:`t` of the block in radiation lengths.

    Note:
        Differentiable in angles and weights, but for the kink at no evidence.
    """
    strength = spectrum.strength.to(angle_squared)
    scale = strength.log().mean().exp()
    total = weight.sum(-1, keepdim=True).clamp_min(1e-6)
    logarithm = (weight * (angle_squared + ANGLE_FLOOR).log()).sum(-1, keepdim=True) / total
    harmless = logarithm.exp() * (math.exp(_EULER) / 2)
    relative = strength / scale
    dense = _log_density(angle_squared, harmless + threat * scale, relative)
    return (dense - _log_density(angle_squared, harmless, relative)).clamp_min(0)


_EULER = 0.5772156649015329


def _log_density(
    angle_squared: Float[Tensor, "*batch n"],
    variance: Float[Tensor, "*batch 1"],
    relative: Float[Tensor, " k"],
) -> Float[Tensor, "*batch n"]:
    """Logarithm of the mixture, up to a constant."""
    rate = 1 / (2 * variance * relative)
    parts = torch.addcmul(rate.log().unsqueeze(-2), angle_squared[..., None], -rate.unsqueeze(-2))
    return parts.logsumexp(-1)


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

    The evidence :math:`f_i` of each muon, see `angle_evidence`, is spread over cells by the normal
    distribution of its scattering point. With its sum :math:`a` in a cube of 2 cells, the sum
    :math:`A` in the shell around it up to 8 cells, the sum :math:`Q` of :math:`f_i^2` in the shell
    and the ratio :math:`r` of their volumes, the excess in standard deviations is

    .. math::
        Z = \frac{a - r A}{\sqrt{r Q + r^2 Q + v_0}},

    that of Poisson numbers of muons with the evidence of the surroundings.

    Args:
        estimate: Scattering points and the probabilities of their measurement.
        grid: Extent of the cargo; the cells are cubes of about 0.1 m.
        spectrum: Of the muons.

    Note:
        Goods larger than the shell leave no excess but at their edges. Differentiable.
    """
    poca = estimate.poca
    evidence = angle_evidence(poca.angle_squared, estimate.weight, spectrum)
    places = zip(
        (*poca.position, poca.height), (*poca.position_variance, poca.height_variance), strict=True
    )
    edges = [_edges(grid, axis, evidence.dtype) for axis in range(3)]
    columns = [
        bin_probabilities(center, variance, edges[axis])
        for axis, (center, variance) in enumerate(places)
    ]
    counted = estimate.weight * evidence
    values = torch.stack([counted, counted * evidence], dim=-1)
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
    n_cells = max(AROUND, round(grid.shape[axis] * grid.voxel[axis] / CELL))
    return torch.linspace(grid.low[axis], grid.high[axis], n_cells + 1, dtype=dtype)


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

    poca = estimate.poca
    fields = {one.name: pick(getattr(poca, one.name)) for one in dataclasses.fields(poca)}
    return Estimates(
        poca=dataclasses.replace(poca, **fields),
        secant=pick(estimate.secant),
        weight=pick(estimate.weight),
        momentum=pick(estimate.momentum),
    )


class PortalAnalysis(Analysis[Estimates, CargoScans, PortalRows]):
    """The score of each scan, beside what was hidden.

    Args:
        grid: Extent of the cargo.
        spectrum: Of the muons.
    """

    def __init__(self, grid: Grid, spectrum: Spectrum) -> None:
        super().__init__()
        self.grid = grid
        self.spectrum = spectrum

    def forward(self, estimate: Estimates, events: CargoScans) -> PortalRows:
        """One row a scan."""
        assert events.kind is not None
        assert events.place is not None
        excess = excesses(measured(estimate), self.grid, self.spectrum)
        return PortalRows(
            largest(excess).double(),
            events.kind,
            events.target.double(),
            largest_near(excess, events.place).double(),
            excess_size(excess).double(),
        )
