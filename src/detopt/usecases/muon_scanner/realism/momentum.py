r"""Momenta that nobody measured: averaged over the spectrum, or inferred from a known slab.

Scattering goes with :math:`q = (\beta c p)^{-2}`. What an estimator of the radiation length needs
in place of the true q of a muon is its mean, given all that is known of that muon.
"""

__all__ = ["MomentumPrior", "MomentumEstimate", "estimate_momentum", "momentum_prior"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import particles
from detopt.random import Seed
from detopt.reconstruction import ClosestApproach
from detopt.usecases.muon_scanner.flow import MomentumShares
from detopt.usecases.muon_scanner.realism.slab import Slab
from detopt.usecases.muon_scanner.sources import MuonSource
from detopt.usecases.muon_scanner.transport import Medium, propagate

N_SAMPLE = 160_000  # muons that make the prior: 1 % precise in the mean of q
N_NODES = 40  # of equal probability
N_SHARES = 8  # momenta, of as many nodes each, whose shares are told


@dataclass(frozen=True)
class MomentumPrior:
    """Momenta of the muons that cross the volume, in nodes of equal probability.

    Args:
        inverse_square: Mean of q before the volume in each node [1/GeV2].
        squared: Mean of its square [1/GeV4].
        behind: Momentum behind the volume [GeV/c].
    """

    inverse_square: Float[Tensor, " nodes"]
    squared: Float[Tensor, " nodes"]
    behind: Float[Tensor, " nodes"]

    @property
    def momentum(self) -> float:
        """The momentum whose q is the mean over the spectrum [GeV/c]."""
        return float(_momentum(self.inverse_square.mean()))

    @property
    def few(self) -> Float[Tensor, " shares"]:
        """Momenta that stand for as many nodes each: those of the geometric mean of q [GeV/c]."""
        return _momentum(_grouped(self.inverse_square.log()).mean(1).exp())


@dataclass(frozen=True)
class MomentumEstimate:
    """What is known of the momentum of each muon.

    Args:
        momentum: The momentum whose q is the posterior mean [GeV/c].
        weight: Relative weight of the muon's squared angle, 1 where the momentum is known.
        shares: The posterior itself, over a few momenta.
    """

    momentum: Float[Tensor, "*batch"]
    weight: Float[Tensor, "*batch"]
    shares: MomentumShares


def momentum_prior(muons: MuonSource, medium: Medium, voxels: Tensor) -> MomentumPrior:
    """The spectrum of the muons that come through given volumes, before and behind.

    Muons that stop inside are left out: whoever reaches the lower panels did not stop.

    Args:
        muons: Flux and starting area.
        medium: Materials of the volumes.
        voxels: Example volumes, of shape (n, nx, ny, nz).
    """
    rng = Seed("momentum prior").generator()
    n_each = -(-N_SAMPLE // len(voxels))
    before = muons.draw(len(voxels), n_each, rng, torch.float32)
    after, stopped = propagate(before, voxels, medium, rng)
    first, last = (m.momentum[~stopped].double() for m in (before, after))
    order = first.argsort()[: len(first) // N_NODES * N_NODES]
    first, last = (p[order].reshape(N_NODES, -1) for p in (first, last))
    q = _inverse_square(first)
    return MomentumPrior(q.mean(1), q.square().mean(1), last.log().mean(1).exp())


def estimate_momentum(
    prior: MomentumPrior,
    slab: Slab,
    kink: ClosestApproach,
    secant: Float[Tensor, "*batch"],
    found: Float[Tensor, "*batch"],
) -> MomentumEstimate:
    r"""Posterior mean of q from the scattering angle in the slab.

    With the nodes k of the prior, the slab's width :math:`\theta_0(p_k)` at the energy in its
    middle and the variance e of one measured component of the angle,

    .. math::
        \pi_k \propto \frac{1}{s_k} \exp\left(-\frac{\theta^2}{2 s_k}\right), \qquad
        s_k = \theta_0^2(p_k) + e, \qquad
        \bar q = \sum_k \left(f \pi_k + \frac{1 - f}{K}\right) q_k

    with the probability f that there is a track behind the slab, and K nodes.
    A squared angle in the volume has the mean :math:`\propto \bar q` then and the relative variance
    :math:`2\,\overline{q^2}/\bar q^2 - 1`: 1 for a known momentum, more for an unknown one. Its
    inverse is the weight.

    Args:
        prior: Spectrum of the muons that cross the volume.
        slab: The slab.
        kink: The tracks above and below it: angle and its noise.
        secant: Path over thickness in the slab.
        found: Probability that there is a track behind it.

    Note:
        Kinks in the panels count as far as they are errors of the tracks, with the width of the
        mean momentum: behind panels of 0.05 radiation lengths the mean of q is right to 5 %.
        Differentiable.
    """
    behind = prior.behind.to(secant).reshape(-1, *(1,) * secant.ndim)
    middle, _ = slab.energies(behind, secant)
    variance = slab.width(middle, secant).square() + kink.angle_noise / 2
    log_posterior = (kink.angle_squared / (-2 * variance) - variance.log()).log_softmax(0)
    posterior = (found * log_posterior.exp() + (1 - found) / len(behind)).movedim(0, -1)
    mean = posterior @ prior.inverse_square.to(secant)
    square = posterior @ prior.squared.to(secant)
    weight = 1 / (2 * square / mean.square() - 1)
    shares = MomentumShares(prior.few.to(secant), _grouped(posterior).sum(-1))
    return MomentumEstimate(_momentum(mean), weight, shares)


def _grouped(nodes: Float[Tensor, "*batch nodes"]) -> Float[Tensor, "*batch shares each"]:
    """Nodes by the momenta whose shares are told."""
    n_each = max(1, nodes.shape[-1] // N_SHARES)
    groups: Tensor = nodes.unflatten(-1, (-1, n_each))
    return groups


def _inverse_square(momentum: Tensor) -> Tensor:
    r""":math:`(\beta c p)^{-2} = (p^2 + m^2)/p^4`."""
    square = momentum.square()
    return (square + particles.mass("muon") ** 2) / square.square()


def _momentum(inverse_square: Tensor) -> Tensor:
    """The inverse of `_inverse_square`."""
    mass2 = particles.mass("muon") ** 2
    root = (1 + 4 * mass2 * inverse_square).sqrt()
    return ((1 + root) / (2 * inverse_square)).sqrt()
