r"""Task `density`: how well are the densities of sectors measured?

Densities vary from node to node of a grid in the target, and are fitted to the counts; see
`detopt.usecases.muon_absorption.density_fit`.

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
from detopt.usecases.muon_absorption.density_fit import (
    SectorModel,
    expected_error,
    fitted_densities,
    prior_densities,
)
from detopt.usecases.muon_absorption.targets import Target
from detopt.usecases.muon_absorption.telescope import place_telescopes


@dataclass(frozen=True)
class Sectors:
    """Counts of all bins, with what a fit knows about them.

    Attributes:
        counts: Muons, or expected muons.
        model: Expected muons for given densities.
        density: True densities of the sectors, in units of the mean density.
        mass: Share of each sector in the target's mass.
    """

    counts: Float[Tensor, "n bins"]
    model: SectorModel
    density: Float[Tensor, "n sectors"]
    mass: Float[Tensor, " sectors"]


@dataclass(frozen=True)
class SquaredErrors(Summary):
    """Mean square of the error of the densities over the mean density, of each target."""

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
        model = SectorModel(bins, share)
        density = prior_densities(events.densities, config.sector_spread)
        mass = self.mass.to(share)
        expected = model.expected(density)
        if not self.random:
            return Sectors(expected, model, density, mass)
        normal = torch.randn(expected.shape, generator=rng, dtype=expected.dtype)
        shifted = expected * torch.exp(config.systematic * normal - config.systematic**2 / 2)
        return Sectors(torch.poisson(shifted, generator=rng), model, density, mass)


class ExpectedDensities(Reconstruction[Sectors, SquaredErrors]):
    """Error that a fit expects.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Sectors, design: Design) -> SquaredErrors:  # noqa: ARG002
        """Mean square of the error of the sectors by mass, the same for all targets."""
        error = expected_error(readout.model, self.config) @ readout.mass
        return SquaredErrors(error.expand(len(readout.density)))


class FittedDensities(Reconstruction[Sectors, SquaredErrors]):
    """A fit with the prior, and its true error.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Sectors, design: Design) -> SquaredErrors:  # noqa: ARG002
        """Mean square of the error of the sectors by mass, of each target."""
        found = fitted_densities(readout.model, readout.counts, self.config)
        return SquaredErrors((found - readout.density).square() @ readout.mass)


class KeepErrors(Analysis[SquaredErrors, Cavities, SquaredErrors]):
    """Hands the errors on."""

    def forward(self, estimate: SquaredErrors, events: Cavities) -> SquaredErrors:  # noqa: ARG002
        """Rows of the summary."""
        return estimate


class DensityError(Objective[SquaredErrors]):
    """Root mean square of the error of a sector's density over the mean density, by mass."""

    def forward(self, summary: SquaredErrors, design: Design) -> Outcome:
        """Over all sectors, by mass, and all targets."""
        return Outcome(summary.error.mean().sqrt(), cost=design["money"].sum())
