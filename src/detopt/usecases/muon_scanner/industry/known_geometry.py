"""Objects whose drawing is known but for a few numbers: what is asked of the scanner."""

__all__ = ["KnownGeometry"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.industry.solids import Body, Cylinder
from detopt.usecases.muon_scanner.volumes import Substance, Volumes


@dataclass(frozen=True)
class KnownGeometry:
    """Nested solids that depend on unknown parameters.

    Args:
        grid: The space between the panels.
        section: Lowest and highest x and y of the horizontal section in the middle through which
            muons are drawn; those that pass beside it tell nothing of the parameters.
        low: Smallest value of each parameter [m].
        high: Largest value of each parameter [m].
        bodies: Maps parameters, one row a volume, to solids.
        name: What the parameters are, such as "inner radius".
        n_knots: At how many values over its range each parameter is compared, where an exposure
            tells it to a large part of the range; None where it tells it to a small part, so that
            the information suffices.

    Raises:
        DomainError: `n_knots` is below 3.
    """

    grid: Grid
    section: tuple[tuple[float, float], tuple[float, float]]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bodies: Callable[[Float[Tensor, "n_volumes n_parameters"]], Sequence[Body]]
    name: str
    n_knots: int | None = None

    def __post_init__(self) -> None:
        if self.n_knots is not None and self.n_knots < 3:
            raise DomainError(f"`n_knots` must be >= 3 or None, got {self.n_knots}.")

    @property
    def reference(self) -> float:
        """Height in the middle, at which tracks are compared [m]."""
        return (self.grid.low[2] + self.grid.high[2]) / 2

    @property
    def beam_grid(self) -> Grid:
        """The section as a flat grid of one cell."""
        (left, right), (front, back) = self.section
        return Grid((left, front, self.reference), (right - left, back - front, 1.0), (1, 1, 1))

    @property
    def nominal(self) -> Float[Tensor, " n_parameters"]:
        """The middle of the range of each parameter [m] (float64)."""
        ends = torch.tensor([self.low, self.high], dtype=torch.float64)
        return ends.mean(0)

    def spread(self, n: int) -> Float[Tensor, "n_parameters n"]:
        """Values at equal distances over the range of each parameter [m] (float64)."""
        part = torch.linspace(0, 1, n, dtype=torch.float64)
        low, high = (torch.tensor(ends, dtype=torch.float64) for ends in (self.low, self.high))
        return torch.outer(low, 1 - part) + torch.outer(high, part)

    @property
    def knot_values(self) -> Float[Tensor, "n_parameters n_knots"]:
        """Values of each parameter at its knots [m] (float64).

        Raises:
            DomainError: The geometry has no knots.
        """
        if self.n_knots is None:
            raise DomainError(
                f"The geometry of the {self.name} has no knots: use `fit_parameters`, or give it "
                "`n_knots`."
            )
        return self.spread(self.n_knots)

    def draw(
        self, n_volumes: int, rng: torch.Generator, dtype: torch.dtype
    ) -> Float[Tensor, "n_volumes n_parameters"]:
        """Parameters, uniform over their ranges."""
        low = torch.tensor(self.low, dtype=dtype)
        high = torch.tensor(self.high, dtype=dtype)
        return low + (high - low) * torch.rand(n_volumes, len(low), generator=rng, dtype=dtype)

    def rasterize(
        self, parameters: Float[Tensor, "n_volumes n_parameters"], grid: Grid | None = None
    ) -> Volumes:
        """The solids as voxels, each of the material at its center; the target is the first column.

        Args:
            parameters: One row a volume.
            grid: The voxels; by default those of the geometry.
        """
        cells = self.grid if grid is None else grid
        axes = [(cells.edges(axis)[1:] + cells.edges(axis)[:-1]) / 2 for axis in range(3)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        substances: list[Substance] = ["air"]
        voxels = torch.zeros(len(parameters), *cells.shape, dtype=torch.int64)
        for volume, row in zip(voxels, parameters.double(), strict=True):
            for body in self.bodies(row[None]):
                given: Substance = "air" if body.material is None else body.material
                if given not in substances:
                    substances.append(given)
                volume[_flat(body.shape).contains(points)] = substances.index(given)
        return Volumes(cells, tuple(substances), voxels, parameters[:, 0].double())


def _flat(shape: Cylinder) -> Cylinder:
    """The same cylinder with plain numbers, for one volume."""
    radius, low, high = (float(value) for value in (shape.radius, shape.low, shape.high))
    return Cylinder(shape.axis, shape.center, radius, low, high)
