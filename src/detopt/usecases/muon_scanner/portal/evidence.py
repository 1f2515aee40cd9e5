r"""What the angle of a muon says about a dense block on its way."""

__all__ = ["Spectrum", "angle_evidence", "counted_evidence", "momentum_evidence"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import particles
from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.random import Seed
from detopt.usecases.muon_scanner.flow import MomentumShares
from detopt.usecases.muon_scanner.sources import MuonBeam

N_MOMENTA = 6  # momenta that stand for the spectrum
N_DRAWN = 20_000  # muons to find them
THREAT = 20.0  # radiation lengths of the hypothesis: 6 cm of uranium, 11 cm of lead
SINGLE = 2.0  # evidence with which a muon stands out alone: half of what raises an alarm
SINGLE_SQUARED = 60.0  # squared evidence in the shell that doubles a typical variance, 1, of Z
TOLERATED = 4.0  # noise of an angle, in geometric means of all, that is no worse than another
ANGLE_FLOOR = 1e-8  # rad2: (0.1 mrad)^2
EULER = 0.5772156649015329  # gamma
THICKNESSES = (0.1, 50.0)  # radiation lengths of the cargo, the least and the largest
USUAL_THICKNESS = 2.0  # where the search for it begins
N_NEWTON = 10
LEAST_SLOPE = 0.05  # of the mean logarithm of the angles in that of the thickness
LEAST_SHARE = 1e-12  # of a momentum; keeps its logarithm finite


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
    noise: Float[Tensor, "*batch n"],
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

    A track through two panels that stand close together has a much larger error than the others.
    Where the noise :math:`n_i` of its squared angle is beyond four times the geometric mean
    :math:`\bar n` of all, both variances grow by :math:`(n_i - 4 \bar n)/2`: such tracks would
    look like scattering, and raise the level of the alarm.

    Args:
        angle_squared: Squared angles between tracks [rad2].
        noise: What the measurement adds to them on average [rad2].
        weight: Probability that each was measured.
        spectrum: Of the muons.
        threat: Thickness :math:`t` of the block in radiation lengths.

    Note:
        Differentiable in angles, noise and weights, but for kinks at no evidence and at the
        tolerated noise. That noise, which knows no momentum, is spread with the momenta as the
        scattering is: an approximation.
    """
    strength = spectrum.strength.to(angle_squared)
    scale = strength.log().mean().exp()
    total = weight.sum(-1, keepdim=True).clamp_min(1e-6)

    def typical(values: Tensor) -> Tensor:
        return ((weight * (values + ANGLE_FLOOR).log()).sum(-1, keepdim=True) / total).exp()

    excess = (noise - TOLERATED * typical(noise)).clamp_min(0) / 2
    harmless = typical(angle_squared) * (math.exp(EULER) / 2) + excess
    relative = strength / scale
    dense = _log_density(angle_squared, harmless + threat * scale, relative)
    return (dense - _log_density(angle_squared, harmless, relative)).clamp_min(0)


def momentum_evidence(
    angle_squared: Float[Tensor, "*batch n"],
    noise: Float[Tensor, "*batch n"],
    weight: Float[Tensor, "*batch n"],
    momenta: MomentumShares,
    threat: float = THREAT,
) -> Float[Tensor, "*batch n"]:
    r"""The same evidence where something is known of the momentum of each muon.

    With the shares :math:`\pi_k` of momenta of the strengths :math:`s_k`, the noise :math:`n` of
    the squared angle, and cargo of :math:`t` radiation lengths, the density is

    .. math::
        p(\theta^2 \mid t) = \sum_k \frac{\pi_k}{2 v_k} e^{-\theta^2/2 v_k},
        \qquad v_k = \frac{n}{2} + t\, s_k .

    Harmless, :math:`t` is that of the whole scan, with which the mean of
    :math:`\ln \theta^2` is the expected one, :math:`\sum_k \pi_k \ln 2 v_k - \gamma`. A block adds
    `threat` to it.

    Args:
        angle_squared: Squared angles between tracks [rad2].
        noise: What the measurement adds to them on average [rad2].
        weight: Probability that each was measured.
        momenta: What is known of the momenta.
        threat: Thickness of the block in radiation lengths.

    Note:
        Differentiable in angles, noise, weights and shares, but for the kink at no evidence; the
        thickness of the cargo by the implicit function theorem.
    """
    strength = scattering_strength(momenta.momentum).to(angle_squared)
    half, squared = noise[..., None] / 2, angle_squared[..., None] / 2
    cargo = _cargo_thickness(angle_squared, half, weight, strength, momenta.share)[..., None]
    log_share = (momenta.share + LEAST_SHARE).log()

    def log_density(variance: Tensor) -> Tensor:
        return (log_share - variance.log() - squared / variance).logsumexp(-1)

    harmless = half + cargo * strength
    return (log_density(harmless + threat * strength) - log_density(harmless)).clamp_min(0)


def _cargo_thickness(
    angle_squared: Float[Tensor, "*batch n"],
    half_noise: Float[Tensor, "*batch n 1"],
    weight: Float[Tensor, "*batch n"],
    strength: Float[Tensor, "*momenta k"],
    share: Float[Tensor, "*batch n k"],
) -> Float[Tensor, "*batch 1"]:
    """Radiation lengths that give the mean logarithm of a scan's squared angles."""
    part = weight / weight.sum(-1, keepdim=True).clamp_min(1e-6)
    seen = (part * ((angle_squared + ANGLE_FLOOR).log() + EULER)).sum(-1, keepdim=True)
    low, high = (math.log(limit) for limit in THICKNESSES)

    def step(log_thickness: Tensor) -> Tensor:
        """Newton's step towards it."""
        variance = half_noise + log_thickness.exp()[..., None] * strength
        mean = (part * (share * (2 * variance).log()).sum(-1)).sum(-1, keepdim=True)
        slope = (part * (share * (1 - half_noise / variance)).sum(-1)).sum(-1, keepdim=True)
        return (seen - mean) / slope.detach().clamp_min(LEAST_SLOPE)

    found = torch.full_like(seen, math.log(USUAL_THICKNESS))
    with torch.no_grad():
        for _ in range(N_NEWTON):
            found = (found + step(found).clamp(-1, 1)).clamp(low, high)
    return (found + step(found)).clamp(low, high).exp()


def _log_density(
    angle_squared: Float[Tensor, "*batch n"],
    variance: Float[Tensor, "*batch n"],
    relative: Float[Tensor, " k"],
) -> Float[Tensor, "*batch n"]:
    """Logarithm of the mixture, up to a constant."""
    scaled = angle_squared / (2 * variance)
    shift = variance.log()[..., None] + relative.log()
    parts = torch.addcmul(-shift, scaled[..., None], relative.reciprocal(), value=-1)
    return parts.logsumexp(-1)


def counted_evidence(
    evidence: Float[Tensor, "*batch"], weight: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""What muons that are measured with some probability add to sums of evidence and its square.

    A muon of evidence :math:`f` that stands out alone decides about the score, which grows with
    the logarithm of sums. Measured with the probability :math:`w`, it raises the score by that
    share on average, while the logarithm of :math:`w f` would fall short of that of :math:`f` by
    little, and have the derivative :math:`1/w`. So it adds

    .. math::
        s \sinh\left(w\, \mathrm{asinh}\frac{f}{s}\right), \qquad
        q \left[\left(1 + \frac{f^2}{q}\right)^w - 1\right],

    which makes :math:`\mathrm{asinh}(a/s)` and :math:`\ln(1 + Q/q)` linear in :math:`w` where the
    muon is alone, and the score nearly so. They are :math:`f` and :math:`f^2` for :math:`w = 1`,
    0 for :math:`w = 0`, and :math:`w f` and :math:`w f^2` for muons that are ones of many, with
    :math:`f \ll s = 2` and :math:`f^2 \ll q = 60`.

    Args:
        evidence: Of each muon, >= 0.
        weight: Probability that it was measured; 0 or 1 in the hard-edged simulation.

    Returns:
        Parts of the sums of evidence and of squared evidence.

    Note:
        Differentiable.
    """
    alone = SINGLE * torch.sinh(weight * torch.asinh(evidence / SINGLE))
    squared = torch.expm1(weight * torch.log1p(evidence.square() / SINGLE_SQUARED))
    return alone, SINGLE_SQUARED * squared
