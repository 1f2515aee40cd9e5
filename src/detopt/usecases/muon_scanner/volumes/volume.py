"""Several volumes on one grid of voxels, each voxel of one material."""

__all__ = ["Substance", "Volumes", "loose", "substance", "substance_name"]

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import ConfigError, DomainError
from detopt.physics import materials
from detopt.physics.materials import Material
from detopt.reconstruction.voxel_grid import Grid

Substance = str | Material  # a shipped material by its name, or one of the user's own


def substance(given: Substance) -> Material:
    """The material itself.

    Raises:
        NotFoundError: No material of that name.
    """
    return materials.get(given) if isinstance(given, str) else given


def substance_name(given: Substance) -> str:
    """What to call it in files and pictures."""
    return given if isinstance(given, str) else given.name


@functools.cache
def loose(material: Substance, filling: float, around: Substance = "air") -> Material:
    r"""A material that fills a share of its space, such as stacked goods or a thin wall.

    .. math:: \rho = f \rho_1 + (1 - f) \rho_2, \qquad 1/X_0 = f/X_1 + (1 - f)/X_2

    Args:
        material: What fills the share f.
        filling: The share f of the volume, between 0 and 1, both excluded.
        around: What fills the rest.

    Raises:
        DomainError: The share is not between 0 and 1.

    Note:
        Exact for scattering and energy loss averaged over the space; the lumps are not resolved.
    """
    if not 0 < filling < 1:
        raise DomainError(f"`filling` must lie between 0 and 1, got {filling:g}.")
    solid, rest = substance(material), substance(around)
    parts: dict[Substance, float] = {
        solid: filling * solid.density,
        rest: (1 - filling) * rest.density,
    }
    name = f"{100 * filling:.3g} % {substance_name(material)} in {substance_name(around)}"
    return materials.mixture(parts, sum(parts.values()), name)


@dataclass(frozen=True)
class Volumes:
    """Several volumes on one grid.

    Args:
        grid: The voxels.
        materials: The materials that the voxels refer to: names, or materials of one's own.
        voxels: Index of the material in each voxel.
        target: What a scan shall find out, one number a volume, such as a fill height [m]; None
            where the voxels themselves are asked for.
    """

    grid: Grid
    materials: tuple[Substance, ...]
    voxels: Int[Tensor, "n_volumes nx ny nz"]
    target: Float[Tensor, " n_volumes"] | None = None

    def __post_init__(self) -> None:
        if self.voxels.numel() == 0 or len(self.voxels) == 0:
            raise ConfigError("The volume is empty: it has no voxels.")
        if tuple(self.voxels.shape[1:]) != self.grid.shape:
            raise ConfigError(
                f"The voxels have the shape {tuple(self.voxels.shape[1:])}, the grid "
                f"{self.grid.shape}."
            )
        low, high = int(self.voxels.min()), int(self.voxels.max())
        if low < 0 or high >= len(self.materials):
            raise ConfigError(
                f"A voxel refers to material {high if low >= 0 else low}, but the materials are "
                f"numbered from 0 to {len(self.materials) - 1}."
            )
        for given in self.materials:
            substance(given)

    def __len__(self) -> int:
        return len(self.voxels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the materials."""
        return tuple(substance_name(given) for given in self.materials)

    def radiation_lengths(self) -> Float[Tensor, " n_materials"]:
        """Radiation length of each material [m] (float64)."""
        lengths = [float(substance(given).radiation_length) for given in self.materials]
        return torch.tensor(lengths, dtype=torch.float64)

    def fractions(self) -> Mapping[str, float]:
        """Share of all voxels that each material fills."""
        counts = torch.bincount(self.voxels.reshape(-1), minlength=len(self.materials))
        shares = (counts / self.voxels.numel()).tolist()
        return dict(zip(self.names, shares, strict=True))

    @staticmethod
    def sparse(
        grid: Grid,
        background: Substance,
        filled: Mapping[Substance, Sequence[tuple[int, int, int]]],
    ) -> "Volumes":
        """One volume from a list of the voxels that are not background.

        Args:
            grid: The voxels.
            background: Material of all voxels that are not listed.
            filled: Indices (i, j, k) of the voxels of each material.

        Raises:
            ConfigError: An index lies outside the grid, or a voxel is listed twice.
        """
        voxels = torch.zeros(1, *grid.shape, dtype=torch.int64)
        seen = torch.zeros(grid.shape, dtype=torch.bool)
        for index, (given, places) in enumerate(filled.items(), start=1):
            where = torch.as_tensor(places, dtype=torch.int64).reshape(-1, 3)
            outside = ((where < 0) | (where >= torch.tensor(grid.shape))).any(1)
            if bool(outside.any()):
                place = tuple(where[outside][0].tolist())
                raise ConfigError(
                    f"Voxel {place} of {substance_name(given)} lies outside the grid {grid.shape}."
                )
            i, j, k = where.unbind(1)
            if len(where.unique(dim=0)) < len(where) or bool(seen[i, j, k].any()):
                raise ConfigError(f"A voxel of {substance_name(given)} is listed twice.")
            seen[i, j, k] = True
            voxels[0, i, j, k] = index
        return Volumes(grid, (background, *filled), voxels)
