"""Terrain that muons cross: an elevation grid of one density, or voxels of density.

Lengths are in metres, densities in g/cm3, grammages in g/cm2; z points up.
"""

__all__ = ["Terrain"]

import functools
import itertools
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics.voxels import voxel_segments

GRAMS_PER_METRE = 100.0  # g/cm2 in a metre at 1 g/cm3
LEVEL = 1e-6  # m; height differences below it count as level
PROMINENCE = 0.25  # share of the relief above which terrain belongs to the target
AIR = 0.05  # g/cm3; voxels below it are open air
DENSEST = 25.0  # g/cm3; osmium has 22.6
MASS_POINTS = 48  # along each axis, for the masses of sectors


@dataclass(frozen=True)
class Terrain:
    """A hill, a volcano, a building.

    Attributes:
        low: Lower corner in x, y and z; below its z all is ground.
        high: Upper corner.
        height: Elevation at the nodes of a regular grid over x and y, both ends included.
        voxels: Densities of a regular grid of voxels, instead of an elevation.
        density: Density below the elevation.
        material: Name of the material, for the energy loss.
        origin: Where the own (0, 0, 0) of the terrain lies on the user's map [m].
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    height: Float[Tensor, "nx ny"] | None
    voxels: Float[Tensor, "nx ny nz"] | None
    density: float
    material: str
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if (self.height is None) == (self.voxels is None):
            raise DomainError("A terrain needs either `height` or `voxels`.")
        grid = self.height if self.height is not None else self.voxels
        assert grid is not None
        if not bool(torch.isfinite(grid).all()):
            raise DomainError("The terrain holds values that are not finite. Fill the gaps first.")
        if any(not -math.inf < a < b < math.inf for a, b in zip(self.low, self.high, strict=True)):
            raise DomainError(
                f"`low` must lie below `high`, both finite, got {self.low} and {self.high}."
            )
        if not 0 < self.density <= DENSEST:
            raise DomainError(
                f"`density` must lie between 0 and {DENSEST:g} g/cm3, got {self.density:g}."
            )
        if self.height is not None and min(grid.shape) < 2:
            raise DomainError(f"An elevation grid needs 2 x 2 nodes, got {tuple(grid.shape)}.")
        if self.voxels is not None and not 0 <= float(grid.min()) <= float(grid.max()) <= DENSEST:
            raise DomainError(
                f"Densities must lie between 0 and {DENSEST:g} g/cm3, got {float(grid.min()):g} to "
                f"{float(grid.max()):g}. Divide kg/m3 by 1,000, and fill the gaps first."
            )

    def centered(self) -> "Terrain":
        """The same terrain around x = y = 0 and from z = 0 up, with its `origin`.

        Note:
            float32 resolves half a metre at a northing of 4,500 km, and 0.1 mm on a hill.
        """
        base = self.low[2] if self.height is None else float(self.height.min())
        x, y = ((a + b) / 2 for a, b in zip(self.low[:2], self.high[:2], strict=True))
        return replace(
            self,
            low=(self.low[0] - x, self.low[1] - y, self.low[2] - base),
            high=(self.high[0] - x, self.high[1] - y, self.high[2] - base),
            height=None if self.height is None else self.height - base,
            origin=(self.origin[0] + x, self.origin[1] + y, self.origin[2] + base),
        )

    def on_map(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A place in the coordinates of the user's map [m]."""
        return x + self.origin[0], y + self.origin[1], z + self.origin[2]

    @property
    def surface(self) -> Float[Tensor, "nx ny"]:
        """Elevation of the highest ground over each node, or over each column of voxels."""
        if self.height is not None:
            return self.height
        assert self.voxels is not None
        filled = self.voxels > AIR
        n = self.voxels.shape[2]
        top = (torch.arange(1, n + 1) * filled).amax(dim=-1)
        return self.low[2] + (self.high[2] - self.low[2]) / n * top.to(self.voxels)

    @property
    def mean_density(self) -> float:
        """Density of the ground, or mean of the voxels that are filled [g/cm3]."""
        if self.voxels is None:
            return self.density
        filled = self.voxels[self.voxels > AIR]
        return float(filled.mean()) if len(filled) else self.density

    @property
    def target(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Lower and upper corner of what stands out of the surroundings.

        A single row of nodes that stands out is half a cell wide to either side.

        Raises:
            DomainError: Nothing stands out.
        """
        surface = self.surface
        base = float(surface.min()) if self.voxels is None else self.low[2]
        top = float(surface.max())
        if top - base < LEVEL:
            raise DomainError("The terrain is flat: nothing stands out that muons could cross.")
        out = (surface > base + PROMINENCE * (top - base)).nonzero()
        low, high = out.amin(dim=0).tolist(), out.amax(dim=0).tolist()
        nodes = self.height is not None
        lower, upper = [], []
        for axis in (0, 1):
            cells = surface.shape[axis] - 1 if nodes else surface.shape[axis]
            step = (self.high[axis] - self.low[axis]) / cells
            first, last = low[axis], high[axis] + (0 if nodes else 1)
            if first == last:
                first, last = max(first - 0.5, 0.0), min(last + 0.5, cells)
            lower.append(self.low[axis] + step * first)
            upper.append(self.low[axis] + step * last)
        return (lower[0], lower[1], base), (upper[0], upper[1], top)

    def ground(self, x: Float[Tensor, "*batch"], y: Float[Tensor, "*batch"]) -> Tensor:
        """Elevation of the ground, bilinear between nodes; outside, that of the nearest edge.

        Args:
            x: First coordinate [m].
            y: Second coordinate [m].
        """
        surface = self.surface.to(x)
        nx, ny = surface.shape
        (i, f), (j, g) = self._cell(x, 0, nx), self._cell(y, 1, ny)
        flat = surface.reshape(-1)
        corner = i * ny + j
        right, ahead = min(ny - 1, 1), ny * min(nx - 1, 1)  # a single column has no neighbor
        near = torch.lerp(flat[corner], flat[corner + right], g)
        far = torch.lerp(flat[corner + ahead], flat[corner + ahead + right], g)
        return torch.lerp(near, far, f)

    def _cell(self, x: Tensor, axis: int, n: int) -> tuple[Tensor, Tensor]:
        """Index of the node below, and the share of the way to the next one."""
        low, high = self.low[axis], self.high[axis]
        if self.height is None:  # a column's elevation belongs to its middle
            half = (high - low) / n / 2
            low, high = low + half, high - half
        if n == 1:
            return torch.zeros_like(x, dtype=torch.long), torch.zeros_like(x)
        position = ((x - low) / (high - low) * (n - 1)).clamp(0, n - 1)
        below = position.detach().floor().clamp(max=n - 2).long()
        return below, position - below

    def steps(
        self, origin: Float[Tensor, "*#batch 3"], direction: Float[Tensor, "*batch 3"], n_steps: int
    ) -> tuple[Float[Tensor, "*batch steps 3"], Float[Tensor, "*batch steps"]]:
        """Matter along rays from a place to the end of the terrain, step by step.

        Args:
            origin: Where the rays start [m].
            direction: Their unit vectors.
            n_steps: Steps of equal length in an elevation grid; voxels are crossed exactly.

        Returns:
            Middle of each step [m], and its grammage [g/cm2].

        Note:
            In an elevation grid the height over ground is taken as linear in a step, so that a
            part of the step may lie in the ground. Differentiable in origin and direction.
        """
        origin = origin.expand_as(direction)
        if self.voxels is not None:
            return self._voxel_steps(origin, direction)
        edge = torch.linspace(0.0, 1.0, n_steps + 1, dtype=origin.dtype, device=origin.device)
        reach = self._reach(origin, direction).unsqueeze(-1)
        place = origin.unsqueeze(-2) + direction.unsqueeze(-2) * (reach * edge).unsqueeze(-1)
        depth = self.ground(place[..., 0], place[..., 1]) - place[..., 2]
        share = _positive_share(depth[..., :-1], depth[..., 1:])
        length = reach / n_steps
        middle = (place[..., 1:, :] + place[..., :-1, :]) / 2
        return middle, GRAMS_PER_METRE * self.density * share * length

    def _reach(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Length of the rays up to the top or the sides of the terrain."""
        low, high = (origin.new_tensor(side) for side in (self.low, self.high))
        slope = torch.where(direction.abs() < LEVEL, torch.full_like(direction, LEVEL), direction)
        leave = torch.maximum((low - origin) / slope, (high - origin) / slope)
        sideways = leave[..., :2].amin(dim=-1)
        rising = direction[..., 2] > LEVEL
        upward = torch.where(rising, leave[..., 2], sideways)
        return torch.minimum(sideways, upward).clamp(min=1.0)

    def _voxel_steps(self, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        assert self.voxels is not None
        low, high = (origin.new_tensor(side) for side in (self.low, self.high))
        nx, ny, nz = self.voxels.shape
        index, length = voxel_segments(origin, direction, low, high, (nx, ny, nz))
        density = self.voxels.to(origin).reshape(-1)[index]
        cell = torch.stack([index // (ny * nz), index // nz % ny, index % nz], dim=-1)
        size = (high - low) / torch.tensor([nx, ny, nz], device=low.device)
        return low + (cell + 0.5) * size, GRAMS_PER_METRE * density * length

    def grammage(
        self, origin: Float[Tensor, "*#batch 3"], direction: Float[Tensor, "*batch 3"], n_steps: int
    ) -> Float[Tensor, "*batch"]:
        """Matter along rays [g/cm2]; see `steps`."""
        return self.steps(origin, direction, n_steps)[1].sum(dim=-1)

    def cover(self, place: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Distance of places to the nearest ground surface [m], not positive in the air.

        Under an elevation it is that to the surface's tangent plane right above: exact under a
        plane slope. In voxels it is that to the nearest air, such as behind a wall or in a void,
        to a part of a voxel; what lies beside or above all voxels is air.

        Args:
            place: Where [m].
        """
        if self.voxels is not None:
            return self._to_air(place)
        x, y, z = place.unbind(-1)
        step = max(self.high[0] - self.low[0], self.high[1] - self.low[1]) / 200
        dx = (self.ground(x + step, y) - self.ground(x - step, y)) / (2 * step)
        dy = (self.ground(x, y + step) - self.ground(x, y - step)) / (2 * step)
        return (self.ground(x, y) - z) / torch.sqrt(1 + dx**2 + dy**2)

    def _to_air(self, place: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Distance to the air that is nearest to one of the eight voxels around a place [m]."""
        assert self.voxels is not None
        low, high = (place.new_tensor(side) for side in (self.low, self.high))
        shape = torch.tensor(self.voxels.shape)
        size = (high - low) / shape
        first = ((place - low) / size - 0.5).floor().long()
        distance = torch.full_like(place[..., 0], math.inf)
        for corner in itertools.product((0, 1), repeat=3):
            cell = (first + torch.tensor(corner)).clamp(min=0).minimum(shape - 1)
            air = low + (self._nearest_air[cell[..., 0], cell[..., 1], cell[..., 2]] + 0.5) * size
            beside = ((place - air).abs() - size / 2).clamp(min=0.0)
            distance = torch.minimum(distance, beside.norm(dim=-1))
        return distance

    @functools.cached_property
    def _nearest_air(self) -> Int[Tensor, "nx ny nz 3"]:
        """Indices of the voxel of air nearest to each voxel; the first ones outside count."""
        from scipy.ndimage import distance_transform_edt  # heavy: only for voxels

        assert self.voxels is not None
        filled = torch.nn.functional.pad(self.voxels > AIR, (0, 1, 1, 1, 1, 1))
        sides = zip(self.low, self.high, self.voxels.shape, strict=True)
        found = distance_transform_edt(
            filled.numpy(),
            sampling=[(b - a) / n for a, b, n in sides],
            return_distances=False,
            return_indices=True,
        )
        nearest = torch.from_numpy(found).long()[:, 1:-1, 1:-1, :-1]
        return nearest.movedim(0, -1) - torch.tensor([1, 1, 0])

    def sector_weights(
        self, place: Float[Tensor, "*batch 3"], counts: tuple[int, int, int]
    ) -> list[Float[Tensor, "*batch _"]]:
        """Hat functions of places over nodes along x, y and z of the target.

        Their products share a place's density among the nodes around it, and add up to 1.

        Args:
            place: Where [m].
            counts: Nodes along each axis.
        """
        low, high = self.target
        weights = []
        for axis, n in enumerate(counts):
            share = (place[..., axis] - low[axis]) / (high[axis] - low[axis])
            position = share.clamp(0.0, 1.0) * (n - 1)
            nodes = torch.arange(n, dtype=place.dtype, device=place.device)
            weights.append((1 - (position.unsqueeze(-1) - nodes).abs()).clamp(min=0.0))
        return weights

    def sector_masses(self, counts: tuple[int, int, int]) -> Float[Tensor, " sectors"]:
        """Shares of the target's mass that belong to the nodes of `sector_weights`; their sum is 1.

        Args:
            counts: Nodes along each axis.
        """
        low, high = self.target
        axes = [
            a + (b - a) * (torch.arange(MASS_POINTS, dtype=torch.float64) + 0.5) / MASS_POINTS
            for a, b in zip(low, high, strict=True)
        ]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
        x, y, z = self.sector_weights(place, counts)
        mass = torch.einsum("n,ni,nj,nk->ijk", self._density_at(place), x, y, z).flatten()
        return mass / mass.sum()

    def _density_at(self, place: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        if self.voxels is None:
            return self.density * (place[:, 2] < self.ground(place[:, 0], place[:, 1])).to(place)
        low, high = (place.new_tensor(side) for side in (self.low, self.high))
        shape = torch.tensor(self.voxels.shape)
        cell = ((place - low) / (high - low) * shape).long().clamp(min=0).minimum(shape - 1)
        return self.voxels.to(place)[cell[:, 0], cell[:, 1], cell[:, 2]]

    @property
    def diagonal(self) -> float:
        """Half the horizontal diagonal of the target [m]."""
        low, high = self.target
        return math.hypot(high[0] - low[0], high[1] - low[1]) / 2


def _positive_share(first: Tensor, last: Tensor) -> Tensor:
    """Share of a step in which a quantity that is linear from `first` to `last` is positive."""
    rise = last - first
    level = rise.abs() < LEVEL
    share = (last.clamp(min=0.0) - first.clamp(min=0.0)) / torch.where(level, 1.0, rise)
    return torch.where(level, (first > 0).to(first), share)
