r"""Task `density`: how well are the densities of sectors measured?

The density is :math:`\rho (1 + \sum_j h_j x_j)` with hat functions :math:`h_j` on nodes. The
counts depend on the deviations :math:`x` through :math:`G = \partial\lambda/\partial x`; with a
prior of the width :math:`\tau` the covariance of a linear fit is

.. math::
    V = \left(G^T W G + \tau^{-2}\right)^{-1}, \qquad W^{-1} = \lambda + (\epsilon\lambda)^2

Directions close to the skyline are not used, where the counts are known worst. Sectors count by
their share of the target's mass: one that holds no rock does not count.
"""

__all__ = [
    "CountSectors",
    "DensityError",
    "ExpectedDensities",
    "FittedDensities",
    "KeepErrors",
    "SquaredErrors",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Reconstruction, Simulator, Summary
from detopt.usecases.muon_absorption.cavities import Cavities
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.counts import angular_bins, drawn_bins
from detopt.usecases.muon_absorption.targets import Target
from detopt.usecases.muon_absorption.telescope import place_telescopes


@dataclass(frozen=True)
class Sectors:
    """Counts of all bins, with what a fit knows about them.

    Attributes:
        counts: Muons, or expected muons at the mean density.
        mean: Expected muons at the mean density.
        slope: Their change for a unit of each deviation.
        true: Deviations.
        mass: Share of each sector in the target's mass.
    """

    counts: Float[Tensor, "n bins"]
    mean: Float[Tensor, " bins"]
    slope: Float[Tensor, "bins sectors"]
    true: Float[Tensor, "n sectors"]
    mass: Float[Tensor, " sectors"]


@dataclass(frozen=True)
class SquaredErrors(Summary):
    """Mean square of the relative error of the densities, of each target."""

    error: Float[Tensor, " n"]


class CountSectors(Simulator[Cavities, Sectors]):
    """Muons through sectors of random density.

    Args:
        config: Options.
        target: What muons cross.
        random: Whether counts are drawn, with sharp edges of the acceptance; else expected ones.
    """

    def __init__(self, config: Config, target: Target, *, random: bool) -> None:
        super().__init__()
        self.config = config
        self.terrain = target.terrain
        self.least = target.least_grammage
        self.random = random
        self.mass = target.terrain.sector_masses(config.sectors)

    def forward(self, events: Cavities, design: Design, rng: torch.Generator) -> Sectors:
        """Counts of each target."""
        config, terrain = self.config, self.terrain
        telescopes = place_telescopes(config, terrain, design)
        if self.random:
            bins = drawn_bins(config, terrain, telescopes, rng, self.least)
        else:
            bins = angular_bins(config, terrain, telescopes, self.least)
        origin = telescopes.place[:, None, None]
        place, grammage = terrain.steps(origin, bins.rays, config.n_steps)
        x, y, z = terrain.sector_weights(place, config.sectors)
        share = torch.einsum("tbrs,tbrsi,tbrsj,tbrsk->tbrijk", grammage, x, y, z).flatten(3)
        slope = bins.change(share).flatten(0, 1)
        mean = bins.expected().flatten()
        true = config.sector_spread * events.densities
        mass = self.mass.to(mean)
        if not self.random:
            return Sectors(mean.expand(len(true), -1), mean, slope, true, mass)
        denser = torch.einsum("tbrs,ns->ntbr", share, true)
        expected = bins.expected(-denser).flatten(1)
        normal = torch.randn(expected.shape, generator=rng, dtype=expected.dtype)
        shifted = expected * torch.exp(config.systematic * normal - config.systematic**2 / 2)
        return Sectors(torch.poisson(shifted, generator=rng), mean, slope, true, mass)


class ExpectedDensities(Reconstruction[Sectors, SquaredErrors]):
    """Variance that a fit expects.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Sectors, design: Design) -> SquaredErrors:  # noqa: ARG002
        """Mean variance of the sectors by mass, the same for all targets."""
        covariance, _ = _fit(readout, self.config)
        error = covariance.diagonal() @ readout.mass
        return SquaredErrors(error.expand(len(readout.true)))


class FittedDensities(Reconstruction[Sectors, SquaredErrors]):
    """A linear fit with the prior, and its true error.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Sectors, design: Design) -> SquaredErrors:  # noqa: ARG002
        """Mean square of the error of the sectors by mass, of each target."""
        covariance, weighted = _fit(readout, self.config)
        found = (readout.counts - readout.mean) @ (weighted @ covariance)
        return SquaredErrors((found - readout.true).square() @ readout.mass)


def _fit(
    readout: Sectors, config: Config
) -> tuple[Float[Tensor, "sectors sectors"], Float[Tensor, "bins sectors"]]:
    """Covariance of the fit, and the slopes over the variance of the counts."""
    variance = readout.mean + (config.systematic * readout.mean).square() + 1e-12
    weighted = readout.slope / variance.unsqueeze(-1)
    prior = torch.eye(weighted.shape[1], dtype=weighted.dtype) / config.sector_spread**2
    return torch.linalg.inv(readout.slope.mT @ weighted + prior), weighted


class KeepErrors(Analysis[SquaredErrors, Cavities, SquaredErrors]):
    """Hands the errors on."""

    def forward(self, estimate: SquaredErrors, events: Cavities) -> SquaredErrors:  # noqa: ARG002
        """Rows of the summary."""
        return estimate


class DensityError(Objective[SquaredErrors]):
    """Root mean square of the relative error of the density of a sector, weighted by its mass."""

    def forward(self, summary: SquaredErrors, design: Design) -> Outcome:
        """Over all sectors, by mass, and all targets."""
        return Outcome(summary.error.mean().sqrt(), cost=design["money"].sum())
