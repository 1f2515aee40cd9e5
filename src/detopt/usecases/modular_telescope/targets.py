"""Four targets, each with a place, a size and a time that are usual for it.

They were chosen before any was evaluated, for the quality that each asks for: a far and small
cavity for angular resolution, a void above a tunnel for area, a lump in cargo for scattering, and a
place in space for two views. Two views turn out to win the first two targets as well: what is
expected behind an object is uncertain, and taken as independent at two places.
"""

__all__ = ["TARGETS", "Objects", "ObjectSource", "Target"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.pipeline import Source

DAY = 86_400.0  # s


@dataclass(frozen=True)
class Target:
    """An object of unknown place and size, and what is around it.

    Attributes:
        center: Middle of where it may be, seen from the first tracker [m]; z points up.
        half: Half of the edges of the box in which it may be [m].
        radius: Smallest and largest radius [m].
        contrast: Density of the object less that of what it replaces [g/cm3].
        grammage: Matter in front of the tracker [g/cm2], along its axis.
        layered: Whether that is a flat layer, whose grammage rises with the zenith angle.
        exposure: Time of a measurement [s].
        gap: Room that two trackers leave between them for the object [m]; 0 if they cannot.
        radiation_length: That of the object [m].
        measured: The relative error of its mass, or the error of its place [m].
    """

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    radius: tuple[float, float]
    contrast: float
    grammage: float
    layered: bool
    exposure: float
    gap: float = 0.0
    radiation_length: float = 0.1
    measured: str = "mass"

    @property
    def is_overhead(self) -> bool:
        """Whether trackers look up to it."""
        return self.center[0] == self.center[1] == 0

    @property
    def distance(self) -> float:
        """From the first tracker to the middle of the box [m]."""
        return math.hypot(*self.center)


TARGETS = {
    "cavity": Target(  # in a hill, from the valley
        center=(580.0, 0.0, 150.0),
        half=(60.0, 60.0, 25.0),
        radius=(8.0, 15.0),
        contrast=-2.65,
        grammage=4.0e4,
        layered=False,
        exposure=90 * DAY,
    ),
    "void": Target(  # above the roof of a tunnel
        center=(0.0, 0.0, 12.0),
        half=(6.0, 4.0, 3.0),
        radius=(0.7, 1.5),
        contrast=-2.65,
        grammage=5.3e3,
        layered=True,
        exposure=1 * DAY,
    ),
    "cargo": Target(  # a lump of lead in a container
        center=(0.0, 0.0, 1.7),
        half=(0.3, 0.3, 0.6),
        radius=(0.05, 0.12),
        contrast=10.75,
        grammage=150.0,
        layered=True,
        exposure=600.0,
        gap=2.8,
        radiation_length=0.0056,
    ),
    "block": Target(  # of iron, in a building, from the street
        center=(10.0, 0.0, 6.0),
        half=(4.0, 4.0, 2.0),
        radius=(0.5, 0.9),
        contrast=6.9,
        grammage=400.0,
        layered=False,
        exposure=10 * DAY,
        measured="place",
    ),
}


@dataclass(frozen=True)
class Objects:
    """Spheres.

    Attributes:
        center: Their centers [m].
        radius: Their radii [m].
    """

    center: Float[Tensor, "n 3"]
    radius: Float[Tensor, " n"]


class ObjectSource(Source[Objects]):
    """Places uniform in the target's box, radii uniform in their logarithm.

    Args:
        target: The target.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Objects:
        """Draw objects."""
        uniform = torch.rand(n_events, 4, generator=rng, dtype=torch.float64)
        half = torch.tensor(self.target.half, dtype=torch.float64)
        center = torch.tensor(self.target.center, dtype=torch.float64)
        place = center + half * (2 * uniform[:, :3] - 1)
        small, large = (math.log(radius) for radius in self.target.radius)
        radius = torch.exp(small + (large - small) * uniform[:, 3])
        return Objects(place.to(dtype), radius.to(dtype))
