"""Momenta that stand for the spectrum of cosmic muons."""

__all__ = ["MomentumClasses"]

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics.muon_flux import MuonFlux
from detopt.usecases.muon_scanner.industry.line_source import MASS, beta_momentum

N_ENERGIES = 4_096  # at which the spectrum is integrated
BEYOND = 1e-3  # share of muons that the last class takes in: small angles tell them apart
N_COSINES = 33  # nodes of the table of shares


@dataclass(frozen=True)
class MomentumClasses:
    """A spectrum as a few momenta, with shares that depend on the zenith angle.

    Args:
        momenta: Momentum that stands for each class [GeV/c].
        shares: Share of the muons in each class, for equal steps of the zenith angle's cosine from
            `lowest_cosine` to 1.
        lowest_cosine: Cosine of the largest zenith angle.
    """

    momenta: Float[Tensor, " n_classes"]
    shares: Float[Tensor, "n_cosines n_classes"]
    lowest_cosine: float

    @staticmethod
    def of(flux: MuonFlux, n_classes: int = 16) -> "MomentumClasses":
        r"""Momenta and shares that integrate a smooth function over the spectrum.

        The points and weights of Gauss and Legendre in the logarithm of the energy, and one class
        for the hardest 0.1 %, at the mean of their :math:`1/(\beta c p)^2`, to which scattering
        goes. Shares are those of the intensity itself: of as many drawn muons as an hour sees they
        would err as much as the fit.

        Args:
            flux: Spectrum.
            n_classes: Number of momenta. With 16 the density of angles is right to 2 %, and a
                radius to 1 % of its error after an hour; bins of equal width in the logarithm need
                a hundred for that.
        """
        low, high = (math.log(energy) for energy in flux.energy_range)
        edges = torch.linspace(low, high, N_ENERGIES + 1, dtype=torch.float64)
        fine = ((edges[1:] + edges[:-1]) / 2).exp()
        lowest = math.cos(flux.max_zenith)
        cosine = torch.linspace(lowest, 1.0, N_COSINES, dtype=torch.float64)

        def density(energy: Tensor) -> Tensor:
            """Intensity per logarithm of the energy."""
            cosines, energies = torch.meshgrid(cosine, energy, indexing="ij")
            return flux.model(energies, cosines) * energies

        flown = density(fine)
        spectrum = torch.trapezoid(flown * cosine[:, None], dim=0)
        last = int((spectrum.cumsum(0) < (1 - BEYOND) * spectrum.sum()).sum())
        strength = (spectrum / beta_momentum(fine).square())[last:].sum() / spectrum[last:].sum()
        points, weights = (
            torch.from_numpy(some) for some in np.polynomial.legendre.leggauss(n_classes - 1)
        )
        half = (edges[last] - low) / 2
        nodes = (low + half * (1 + points)).exp()
        hardest = flown[:, last:].sum(1, keepdim=True) * (edges[1] - edges[0])
        shares = torch.cat([density(nodes) * weights * half, hardest], dim=1)
        nodes = torch.cat([nodes, strength.rsqrt()[None]])
        momenta = (nodes.square() - MASS**2).sqrt()
        return MomentumClasses(momenta, shares / shares.sum(1, keepdim=True), lowest)

    def log_shares(self, secant: Float[Tensor, "*batch"]) -> Float[Tensor, "n_classes *batch"]:
        """Logarithm of the shares at the zenith angles of muons, interpolated."""
        steps = len(self.shares) - 1
        place = (1 / secant - self.lowest_cosine) / (1 - self.lowest_cosine) * steps
        place = place.clamp(0, steps - 0.001)
        index = place.detach().floor()
        part, row = place - index, index.long()
        table = self.shares.to(secant).log().T
        return table[:, row] * (1 - part) + table[:, row + 1] * part
