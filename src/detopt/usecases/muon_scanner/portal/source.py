"""Cargo at the border: containers with goods, half of them with something hidden."""

__all__ = [
    "GOODS",
    "SIZES",
    "CargoScans",
    "CargoSource",
    "block_masses",
    "block_sizes",
    "hide",
    "spread_sizes",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import ConfigError
from detopt.pipeline import Source
from detopt.usecases.muon_scanner.flow import Scans
from detopt.usecases.muon_scanner.sources import MuonSource
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import Grid, Substance, container, loose, substance

UNIT = 0.05  # m; of the sizes
SIZES = ((2, 2, 1), (2, 2, 2), (2, 3, 2), (3, 3, 2), (3, 3, 3), (4, 3, 3), (4, 4, 4))  # units
COARSEST = 2.0  # voxels, in units: else all blocks are alike
CLEAN = -1  # kind of a scan without anything hidden
GOODS: Mapping[str, tuple[Substance, ...] | None] = {  # None for all that `container` knows
    "light": (loose("cellulose", 0.5), loose("water", 0.6), loose("Al", 0.2), loose("steel", 0.15)),
    "any": None,
}
KILOGRAMS = 1e3  # in 1 m3 of 1 g/cm3


@dataclass(frozen=True)
class CargoScans(Scans):
    """Scans of containers; the target is the mass of what is hidden [kg], or 0.

    Args:
        kind: Index of the hidden material, or -1.
        place: Middle of the block, x, y and z first [m]; of no use where there is none.
    """

    kind: Int[Tensor, " n_volumes"] | None = None
    place: Float[Tensor, "3 n_volumes"] | None = None


def hide(
    voxels: Int[Tensor, "n nx ny nz"],
    material: Int[Tensor, " n"],
    size: Int[Tensor, "n 3"],
    rng: torch.Generator,
) -> tuple[Int[Tensor, "n nx ny nz"], Float[Tensor, "3 n"]]:
    """Containers with a block of another material at a random place inside the walls.

    Also the middle of each block, counted in voxels from the lowest corner.

    Args:
        voxels: What the containers hold.
        material: Index of the block's material, < 0 for no block.
        size: Size of each block in voxels.
        rng: Where the places come from.
    """
    inside = (material >= 0).reshape(-1, 1, 1, 1)
    places = torch.rand(size.shape, generator=rng)
    middles = []
    for axis, n in enumerate(voxels.shape[1:]):
        length = size[:, axis]
        first = 1 + (places[:, axis] * (n - 2 - length + 1)).long()
        middles.append(first + length / 2)
        along = torch.arange(n)
        covered = (along >= first[:, None]) & (along < (first + length)[:, None])
        shape = [len(size), 1, 1, 1]
        shape[axis + 1] = n
        inside = inside & covered.reshape(shape)
    return torch.where(inside, material.reshape(-1, 1, 1, 1), voxels), torch.stack(middles)


class CargoSource(Source[CargoScans]):
    """Scans of containers: every second one hides a block, of each material in its turn.

    Args:
        medium: Grid and materials; the hidden ones are the last.
        hidden: Materials that may be hidden.
        n_items: Boxes of goods in a container.
        muons: What is scanned with.
        n_muons: Muons in a scan.
        goods: What the boxes hold, one of `GOODS`.

    Raises:
        ConfigError: The largest block does not fit.
    """

    def __init__(
        self,
        medium: Medium,
        hidden: Sequence[str],
        n_items: int,
        muons: MuonSource,
        n_muons: int,
        goods: str = "any",
    ) -> None:
        super().__init__()
        if max(medium.grid.voxel) > COARSEST * UNIT + 1e-9:
            raise ConfigError(
                f"Blocks of {UNIT * 100:g} to {UNIT * 400:g} cm are hidden: `voxel_size` must be "
                f"at most {COARSEST * UNIT:g} m, got {max(medium.grid.voxel):g} m."
            )
        self.sizes = block_sizes(medium.grid)
        largest = int(self.sizes.max())
        if min(medium.grid.shape) < largest + 2:
            raise ConfigError(
                f"A block of {largest} voxels does not fit into {medium.grid.shape}. Make "
                "`cargo_edge` larger or `voxel_size` smaller."
            )
        self.medium = medium
        self.hidden = tuple(hidden)
        self.n_items = n_items
        self.muons = muons
        self.n_muons = n_muons
        self.clutter = GOODS[goods]
        self.masses = block_masses(medium.grid, hidden)

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> CargoScans:
        """Fresh containers and fresh muons."""
        index = torch.arange(n_events)
        kind = torch.where(index % 2 == 0, CLEAN, (index // 2) % len(self.hidden))
        chosen = spread_sizes(n_events, rng)
        goods = container(
            self.medium.grid, n_events, rng, n_items=self.n_items, clutter=self.clutter
        )
        n_goods = len(self.medium.materials) - len(self.hidden)
        material = torch.where(kind == CLEAN, CLEAN, kind + n_goods)
        voxels, middle = hide(goods.voxels, material, self.sizes[chosen], rng)
        grid = self.medium.grid
        place = (torch.tensor(grid.low)[:, None] + torch.tensor(grid.voxel)[:, None] * middle).to(
            dtype
        )
        mass = torch.where(kind == CLEAN, 0.0, self.masses[kind.clamp_min(0), chosen])
        before = self.muons.draw(n_events, self.n_muons, rng, dtype)
        after, stopped = propagate(before, voxels, self.medium, rng)
        return CargoScans(voxels, mass.to(dtype), before, after, stopped, kind=kind, place=place)


def spread_sizes(n_scans: int, rng: torch.Generator) -> Int[Tensor, " n_scans"]:
    """A size of `SIZES` for each scan: equally probable ones, each as often as the others.

    Every second scan hides a block: those take the sizes in random order, without repetition
    until all have occurred. Which blocks are small is no matter of luck then.
    """
    n_hidden = n_scans // 2
    decks = [
        torch.randperm(len(SIZES), generator=rng) for _ in range(max(1, -(-n_hidden // len(SIZES))))
    ]
    return torch.cat(decks)[torch.arange(n_scans) // 2 % max(1, n_hidden)]


def block_sizes(grid: Grid) -> Int[Tensor, "n_sizes 3"]:
    """The blocks of `SIZES` in voxels of a grid, as close as whole voxels come."""
    length = UNIT * torch.tensor(SIZES, dtype=torch.float64)
    voxels = length / torch.tensor(grid.voxel, dtype=torch.float64)
    return (voxels + 0.5 - 1e-9).floor().clamp_min(1).long()


def block_masses(grid: Grid, hidden: Sequence[str]) -> Float[Tensor, "n_materials n_sizes"]:
    """Mass of each material in each block of `block_sizes` [kg] (float64)."""
    volumes = block_sizes(grid).double().prod(1) * math.prod(grid.voxel)
    densities = torch.tensor([substance(name).density for name in hidden], dtype=torch.float64)
    return KILOGRAMS * densities[:, None] * volumes
