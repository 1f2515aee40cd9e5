"""Cargo containers with clutter, with or without a hidden block."""

__all__ = ["container"]

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from detopt.errors import ConfigError
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.volume import Substance, Volumes, loose, substance

WALL = 2e-3  # m of steel on every side
FLOOR = 28e-3  # m of wood, taken for cellulose, on the steel below
KILOGRAMS = 1e3  # in 1 m3 of 1 g/cm3
SMALLEST_ITEM = 0.3  # m
LARGEST_ITEM = 1.2  # m


@functools.cache
def _clutter() -> tuple[Substance, ...]:
    """Paper, drinks, aluminium profiles, machines, steel parts, concrete: with air between."""
    return (
        loose("cellulose", 0.5),
        loose("water", 0.6),
        loose("Al", 0.2),
        loose("steel", 0.15),
        loose("steel", 0.4),
        loose("concrete", 0.9),
    )


def container(
    grid: Grid,
    n_volumes: int,
    rng: torch.Generator,
    *,
    n_items: int = 6,
    clutter: Sequence[Substance] | None = None,
    hidden: Substance | None = None,
    size: tuple[int, int, int] = (1, 1, 1),
    present: Bool[Tensor, " n_volumes"] | None = None,
) -> Volumes:
    """Closed containers with random goods; a block may be hidden among them.

    The outermost voxels are walls of 2 mm of steel with air, at the bottom also 28 mm of wood.
    Goods are boxes of 0.3 to 1.2 m that stand on the floor at random places; where they overlap,
    the later one stays. The block replaces goods anywhere inside. The target is its mass [kg], 0
    where there is none.

    Args:
        grid: The voxels; the container fills them.
        n_volumes: Number of containers.
        rng: Where goods and places come from. What is drawn does not depend on `hidden`, `size`
            and `present`: the same generator fills the same goods into a container with and
            without a block.
        n_items: Boxes of goods in a container.
        clutter: Materials of the goods; by default paper, drinks, aluminium, machines, steel and
            concrete, packed loosely.
        hidden: Material of the block, or None for no block at all.
        size: Size of the block in voxels.
        present: In which containers the block is; by default in all.

    Raises:
        ConfigError: The grid has no inside, or the block does not fit into it.
    """
    if min(grid.shape) < 3:
        raise ConfigError(f"A container needs 3 voxels along each axis, got {grid.shape}.")
    inner = tuple(n - 2 for n in grid.shape)
    if any(not 1 <= s <= n for s, n in zip(size, inner, strict=True)):
        raise ConfigError(f"A block of {size} voxels does not fit into an inside of {inner}.")
    goods = tuple(_clutter() if clutter is None else clutter)
    shells = _shells(grid)
    block = () if hidden is None else (hidden,)
    substances: tuple[Substance, ...] = ("air", *shells, *goods, *block)

    voxels = torch.zeros(n_volumes, *grid.shape, dtype=torch.int64)
    kinds = torch.randint(len(goods), (n_items, n_volumes), generator=rng) + 1 + len(shells)
    for kind in kinds if goods else ():
        inside = _item(grid, n_volumes, rng)
        voxels = torch.where(inside, kind[:, None, None, None], voxels)
    places = torch.rand(3, n_volumes, generator=rng)
    target = torch.zeros(n_volumes, dtype=torch.float64)
    if hidden is not None:
        first = [(place * (n - s + 1)).long() + 1 for place, n, s in _axes(places, inner, size)]
        last = [start + s for start, s in zip(first, size, strict=True)]
        there = torch.ones(n_volumes, dtype=torch.bool) if present is None else present
        inside = _boxes(grid, first, last) & there[:, None, None, None]
        voxels = torch.where(inside, len(substances) - 1, voxels)
        edges = zip(size, grid.voxel, strict=True)
        volume = functools.reduce(lambda product, pair: product * pair[0] * pair[1], edges, 1.0)
        target = there.double() * volume * substance(hidden).density * KILOGRAMS
    for index, axis, end in ((2, 3, -1), (1, 3, 0), *((2, a, e) for a in (1, 2) for e in (0, -1))):
        voxels.select(axis, end).fill_(index)
    return Volumes(grid, substances, voxels, target)


def _axes(
    places: Tensor, inner: Sequence[int], size: Sequence[int]
) -> list[tuple[Tensor, int, int]]:
    return list(zip(places.unbind(0), inner, size, strict=True))


def _shells(grid: Grid) -> tuple[Substance, Substance]:
    """Floor and wall as mixtures that fill a voxel."""
    thinnest = min(grid.voxel)
    if thinnest <= FLOOR + WALL:
        raise ConfigError(
            f"Voxels of {thinnest:g} m cannot hold a floor of {FLOOR + WALL:g} m. Use larger ones."
        )
    wood = loose("cellulose", FLOOR / (grid.voxel[2] - WALL))
    return loose("steel", WALL / grid.voxel[2], wood), loose("steel", WALL / thinnest)


def _item(grid: Grid, n_volumes: int, rng: torch.Generator) -> Bool[Tensor, "n_volumes nx ny nz"]:
    """A box of goods on the floor of each container."""
    draws = torch.rand(3, 2, n_volumes, generator=rng)
    first: list[Int[Tensor, " n_volumes"]] = []
    last: list[Int[Tensor, " n_volumes"]] = []
    for axis, (edge, place) in enumerate(draws):
        inner = grid.shape[axis] - 2
        least = min(inner, max(1, round(SMALLEST_ITEM / grid.voxel[axis])))
        most = min(inner, max(least, round(LARGEST_ITEM / grid.voxel[axis])))
        length = least + (edge * (most - least + 1)).long()
        free = inner - length + 1
        start = torch.ones_like(length) if axis == 2 else 1 + (place * free).long()
        first.append(start)
        last.append(start + length)
    return _boxes(grid, first, last)


def _boxes(
    grid: Grid, first: Sequence[Tensor], last: Sequence[Tensor]
) -> Bool[Tensor, "n_volumes nx ny nz"]:
    """Voxels from `first` to before `last` along each axis."""
    inside = torch.ones(len(first[0]), 1, 1, 1, dtype=torch.bool)
    for axis, (start, end) in enumerate(zip(first, last, strict=True)):
        along = torch.arange(grid.shape[axis])
        covered = (along >= start[:, None]) & (along < end[:, None])
        shape = [len(start), 1, 1, 1]
        shape[axis + 1] = grid.shape[axis]
        inside = inside & covered.reshape(shape)
    return inside
