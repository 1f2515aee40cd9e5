r"""Generated tau-pair events: five processes, one event of each a row.

Resonances decay isotropically to two taus, are boosted by their transverse momentum, and hand a
fraction :math:`x` of each tau's momentum to its visible part, the rest to neutrinos along it (the
collinear approximation). For :math:`\tau \to \pi\nu` without polarization :math:`x` is uniform.
Top pairs and W bosons have independent taus with falling spectra and a neutrino of the W. Spectra
are power laws, :math:`dN/dp \propto p\,(1 + p^2/p_0^2)^{-k}`, whose quantiles are closed.

Momenta and masses are in GeV, angles in radians; the beam is the z axis.

References:
    R. K. Ellis et al., Nucl. Phys. B 297 (1988) 221 (collinear approximation);
    Y. S. Tsai, Phys. Rev. D 4 (1971) 2821 (tau decays).
"""

__all__ = ["PROCESSES", "Features", "Pairs", "TauPairs"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.pipeline import Source

PROCESSES = ("ggH", "VBF", "Z", "tt", "W")
RESONANCES = 3  # the first processes
MASSES = (125.25, 125.25, 91.19)  # GeV
Z_WIDTH = 2.50  # GeV
Z_REACH = 0.96  # of the Breit-Wigner distribution is kept, central
# Transverse momentum of the pair with two jets: scale p_0 [GeV] and power k
BOOST = ((80.0, 2.5), (110.0, 3.5), (60.0, 2.5))
# Transverse momenta of the two legs of top pairs and of W: visible tau, second tau or fake
LEGS = (((55.0, 3.5), (45.0, 3.5)), ((45.0, 4.0), (30.0, 3.5)))
NEUTRINO = ((60.0, 3.5), (40.0, 4.0))  # of top pairs and W: extra missing momentum
LEG_RAPIDITY = 1.1  # rms of the difference of the legs' rapidities, of top pairs and W
# Two leading jets: median [GeV] and logarithmic spread of the mass, per process
JET_MASS = ((180.0, 0.75), (620.0, 0.65), (160.0, 0.70), (200.0, 0.60), (150.0, 0.70))
# Rapidity gap = intercept + slope ln(mass/100 GeV), and its spread
JET_GAP = ((1.0, 1.05), (1.6, 1.25), (0.9, 1.05), (0.7, 0.75), (0.9, 1.05))
GAP_SPREAD = 0.7
MET_NOISE = 15.0  # GeV: resolution of each component of the missing momentum
VISIBLE_RESOLUTION = 0.08  # relative, of a visible tau
JET_RESOLUTION = 0.10  # relative, of the mass of the jets
LOWEST_FRACTION = 0.15  # softer visible parts fail the selection


@dataclass(frozen=True)
class Pairs:
    """What a detector could see; transverse vectors, one event of each process a row.

    Args:
        first: Transverse momentum of the visible part of the first tau [GeV].
        second: The same of the second tau, or of the jet that fakes it.
        missing: Transverse momentum of all neutrinos [GeV].
        rapidity_gap: Difference of the rapidities of the visible parts.
        boost: Transverse momentum of the pair before its decay [GeV].
        jet_mass: Mass of the two jets [GeV].
        jet_gap: Difference of their rapidities.
        noise: Standard normal numbers for two missing components, two taus and the jets.
    """

    first: Float[Tensor, "n 5 2"]
    second: Float[Tensor, "n 5 2"]
    missing: Float[Tensor, "n 5 2"]
    rapidity_gap: Float[Tensor, "n 5"]
    boost: Float[Tensor, "n 5"]
    jet_mass: Float[Tensor, "n 5"]
    jet_gap: Float[Tensor, "n 5"]
    noise: Float[Tensor, "n 5 5"]


@dataclass(frozen=True)
class Features:
    """What is measured of each event, with its weight in expected events.

    Args:
        visible_mass: Mass of the visible taus [GeV].
        missing: Missing transverse momentum [GeV].
        tau_momentum: Transverse momentum of the first tau [GeV].
        transverse_mass: Of the first tau and the missing momentum [GeV].
        jet_mass: Mass of the jets [GeV].
        jet_gap: Difference of their rapidities.
        weights: Expected events that each row stands for, before division by the rows.
    """

    visible_mass: Float[Tensor, "n 5"]
    missing: Float[Tensor, "n 5"]
    tau_momentum: Float[Tensor, "n 5"]
    transverse_mass: Float[Tensor, "n 5"]
    jet_mass: Float[Tensor, "n 5"]
    jet_gap: Float[Tensor, "n 5"]
    weights: Float[Tensor, "n 5"]

    def columns(self) -> Float[Tensor, "n 5 6"]:
        """Inputs of a network: logarithms and ratios of order one."""
        scales = (
            (self.visible_mass + 10.0, 60.0, 0.5),
            (self.missing + 10.0, 45.0, 0.5),
            (self.tau_momentum + 10.0, 40.0, 0.5),
            (self.transverse_mass + 20.0, 55.0, 0.5),
            (self.jet_mass, 220.0, 0.8),
        )
        logarithms = [(value / scale).log() / spread for value, scale, spread in scales]
        return torch.stack([*logarithms, (self.jet_gap - 2.0) / 1.5], dim=-1)


class TauPairs(Source[Pairs]):
    """Draws events of all processes."""

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Pairs:
        """Draw `n_events` rows, in double precision, and round them to `dtype`."""
        uniform = torch.rand(n_events, 5, 8, generator=rng, dtype=torch.float64)
        normal = torch.randn(n_events, 5, 8, generator=rng, dtype=torch.float64)
        resonant = _resonances(uniform[:, :RESONANCES])
        pairs = _independent(uniform[:, RESONANCES:], normal[:, RESONANCES:, 5])
        first, second, missing, rapidity_gap, boost = (
            torch.cat([a, b], dim=1) for a, b in zip(resonant, pairs, strict=True)
        )
        jet_mass, jet_gap = _jets(normal[..., 6], normal[..., 7])
        kinds = (first, second, missing, rapidity_gap, boost, jet_mass, jet_gap, normal[..., :5])
        return Pairs(*(value.to(dtype) for value in kinds))


def power_law(uniform: Tensor, scale: Tensor | float, power: Tensor | float) -> Tensor:
    r"""Quantile of :math:`dN/dp \propto p\,(1 + p^2/p_0^2)^{-k}`.

    .. math:: p = p_0 \sqrt{(1 - u)^{-1/(k - 1)} - 1}
    """
    return scale * ((1 - uniform) ** (-1 / (power - 1)) - 1).sqrt()


def _resonances(uniform: Tensor) -> tuple[Tensor, ...]:
    """Visible momenta, missing momentum, rapidity gap and boost of decays to two taus."""
    mass = torch.tensor(MASSES, dtype=uniform.dtype).expand(uniform.shape[:2]).clone()
    width = Z_WIDTH / 2 * torch.tan(math.pi * Z_REACH * (uniform[:, 2, 7] - 0.5))
    mass[:, 2] = mass[:, 2] + width
    settings = torch.tensor(BOOST, dtype=uniform.dtype)
    boost = power_law(uniform[..., 0], settings[:, 0], settings[:, 1])
    energy = (mass.square() + boost.square()).sqrt()
    cosine = 2 * uniform[..., 1] - 1
    azimuth = 2 * math.pi * uniform[..., 2]
    sine = (1 - cosine.square()).sqrt()
    legs = []
    for sign in (1, -1):
        x, y, z = sine * azimuth.cos(), sine * azimuth.sin(), cosine  # of unit length, at rest
        along = mass / 2 * (energy / mass * sign * x + boost / mass)
        legs.append((along, mass / 2 * sign * y, mass / 2 * sign * z))
    fractions = LOWEST_FRACTION + (1 - LOWEST_FRACTION) * uniform[..., 3:5]
    transverse = [torch.stack(leg[:2], dim=-1) for leg in legs]
    visible = [fractions[..., i, None] * transverse[i] for i in range(2)]
    missing = sum((1 - fractions[..., i, None]) * transverse[i] for i in range(2))
    assert isinstance(missing, Tensor)
    rapidity = [torch.asinh(leg[2] / (leg[0].square() + leg[1].square()).sqrt()) for leg in legs]
    return visible[0], visible[1], missing, rapidity[0] - rapidity[1], boost


def _independent(uniform: Tensor, normal: Tensor) -> tuple[Tensor, ...]:
    """The same for top pairs and W: legs that know nothing of each other."""
    legs = torch.tensor(LEGS, dtype=uniform.dtype)
    invisible = torch.tensor(NEUTRINO, dtype=uniform.dtype)
    momenta = [power_law(uniform[..., i], legs[:, i, 0], legs[:, i, 1]) for i in range(2)]
    angles = [2 * math.pi * uniform[..., 2 + i] for i in range(2)]
    first, second = (_vector(p, a) for p, a in zip(momenta, angles, strict=True))
    # the neutrino of the W is mostly opposite to its tau
    momentum = power_law(uniform[..., 4], invisible[:, 0], invisible[:, 1])
    missing = _vector(momentum, angles[0] + math.pi + 2 * torch.pi * (uniform[..., 5] - 0.5) * 0.7)
    boost = (first + second + missing).square().sum(dim=-1).sqrt()
    return first, second, missing, LEG_RAPIDITY * normal, boost


def _vector(length: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)


def _jets(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mass and rapidity gap of the two jets."""
    mass = torch.tensor(JET_MASS, dtype=first.dtype)
    gap = torch.tensor(JET_GAP, dtype=first.dtype)
    logarithm = mass[:, 0].log() + mass[:, 1] * first
    mean = gap[:, 0] + gap[:, 1] * (logarithm - math.log(100.0))
    return logarithm.exp(), (mean + GAP_SPREAD * second).abs()
