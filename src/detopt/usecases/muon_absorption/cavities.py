"""Cavities of random place and size, as far below the ground as their size asks for."""

__all__ = ["Cavities", "CavityPrior"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError
from detopt.pipeline import Source
from detopt.usecases.muon_absorption.targets import Target

N_TRIALS = 200  # places of which the first that is covered is taken
UNCOVERED = 0.02  # share of cavities without such a place above which the target is refused


@dataclass(frozen=True)
class Cavities:
    """Empty spheres, and the random numbers of the densities around them.

    Attributes:
        center: Their centers [m].
        radius: Their radii [m].
        scale: Deviation of the target's mean density, in standard deviations.
        densities: Deviations of the densities of sectors, in standard deviations.
    """

    center: Float[Tensor, "n 3"]
    radius: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    densities: Float[Tensor, "n sectors"]


class CavityPrior(Source[Cavities]):
    """Places uniform in the target, radii uniform in their logarithm.

    Args:
        target: What is looked at.
        cover: Least distance of a center to the surface, in radii.
        n_sectors: Densities of the target.
        needed: Whether cavities are looked for; else they need not fit.

    Raises:
        ConfigError: Cavities are needed and do not fit into the target.
    """

    def __init__(
        self, target: Target, cover: float, n_sectors: int, *, needed: bool = True
    ) -> None:
        super().__init__()
        self.target = target
        self.cover = cover
        self.n_sectors = n_sectors
        _, missed = self._places(256, torch.Generator().manual_seed(0))
        if needed and missed > UNCOVERED:
            raise ConfigError(
                f"Cavities with a radius of {target.radius[0]:g} to {target.radius[1]:g} m and a "
                f"cover of {cover:g} radii do not fit into the target. Lower `radius` or `cover`."
            )

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Cavities:
        """Draw cavities."""
        (center, radius), _ = self._places(n_events, rng)
        scale = torch.randn(n_events, generator=rng, dtype=torch.float64)
        densities = torch.randn(n_events, self.n_sectors, generator=rng, dtype=torch.float64)
        return Cavities(center.to(dtype), radius.to(dtype), scale.to(dtype), densities.to(dtype))

    def _places(
        self, n: int, rng: torch.Generator
    ) -> tuple[tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]], float]:
        """Centers and radii, and the share of those that no trial could cover."""
        small, large = (math.log(radius) for radius in self.target.radius)
        uniform = torch.rand(n, generator=rng, dtype=torch.float64)
        radius = torch.exp(small + (large - small) * uniform)
        low, high = (
            torch.tensor(corner, dtype=torch.float64) for corner in self.target.terrain.target
        )
        trials = torch.rand(n, N_TRIALS, 3, generator=rng, dtype=torch.float64)
        place = low + (high - low) * trials
        depth = self.target.terrain.cover(place)
        room = torch.minimum(depth, place[..., 2] - low[2])
        fits = room > self.cover * radius[:, None]
        chosen = torch.where(fits.any(dim=1), fits.long().argmax(dim=1), room.argmax(dim=1))
        center = place[torch.arange(n), chosen]
        return (center, radius), float((~fits.any(dim=1)).double().mean())
