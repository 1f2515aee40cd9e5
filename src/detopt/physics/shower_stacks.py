r"""Stacks of passive and active layers, and the average medium that a shower sees in them.

Thicknesses are in metres, energies in GeV. A stack is any order of slabs; a cell is a run of
passive layers with the active ones behind it.
"""

__all__ = ["Layer", "Stack", "e_over_mip", "sampling_fraction", "stack_medium", "sum_cells"]

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import TensorLike, as_tensors
from detopt.physics.materials import Material
from detopt.physics.shower_media import SCATTERING_ENERGY, Medium, gflash_critical_energy

TRANSITION = 0.007  # per unit of atomic number; GFLASH
PER_METRE = 100.0  # GeV/cm to GeV/m
THINNEST = 1e-9  # m: thickness that a layer of none counts as, so that ratios stay finite


@dataclass(frozen=True)
class Layer:
    """One slab of a stack."""

    material: Material
    thickness: TensorLike  # [m]
    active: bool = False


@dataclass(frozen=True)
class Stack:
    """Slabs one behind the other, for one design or a batch of designs.

    Attributes:
        thickness: Thickness of each slab [m], >= 0; the leading axes are designs. Showers see
            a nanometre where there is none.
        materials: Material of each slab.
        active: Whether a slab is read out.
    """

    thickness: Float[Tensor, "*designs layers"]
    materials: tuple[Material, ...]
    active: tuple[bool, ...]

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> "Stack":
        """The stack of these layers, front first; thicknesses broadcast against each other.

        Raises:
            DomainError: There is no layer, or a Python number for a thickness is not positive.
        """
        if not layers:
            raise DomainError("A stack needs at least one layer, got none.")
        for layer in layers:
            require_positive(thickness=layer.thickness)
        thickness = torch.broadcast_tensors(*as_tensors(*(layer.thickness for layer in layers)))
        materials = tuple(layer.material for layer in layers)
        return cls(
            torch.stack(thickness, dim=-1), materials, tuple(layer.active for layer in layers)
        )

    def with_thickness(self, thickness: Float[Tensor, "*designs layers"]) -> "Stack":
        """The same materials in other thicknesses [m]: another design, or a batch of them."""
        return replace(self, thickness=thickness)

    def cells(self) -> list[int]:
        """Number of the cell of each layer: a passive layer behind an active one opens the next."""
        numbers, current = [], 0
        for k, active in enumerate(self.active):
            current += k > 0 and self.active[k - 1] and not active
            numbers.append(current)
        return numbers

    def column(self, name: str) -> Float[Tensor, " layers"]:
        """An attribute of the materials, layer by layer."""
        values = [getattr(material, name) for material in self.materials]
        return torch.tensor(values, dtype=self.thickness.dtype, device=self.thickness.device)

    @property
    def is_sampling(self) -> bool:
        """Whether there are active and passive layers."""
        return any(self.active) and not all(self.active)

    @property
    def n_samples(self) -> int:
        """Number of cells that are read out."""
        pairs = zip(self.cells(), self.active, strict=True)
        return len({cell for cell, active in pairs if active})

    @property
    def active_mask(self) -> Bool[Tensor, " layers"]:
        """Whether a layer is read out."""
        return torch.tensor(self.active, device=self.thickness.device)

    @property
    def sampling_mask(self) -> Bool[Tensor, " layers"]:
        """Whether a layer is read out and shares its cell with a passive one."""
        cells = self.cells()
        pairs = list(zip(cells, self.active, strict=True))
        passive = {cell for cell, active in pairs if not active}
        mask = [active and cell in passive for cell, active in pairs]
        return torch.tensor(mask, device=self.thickness.device)

    @property
    def matter(self) -> Float[Tensor, "*designs layers"]:
        """Thickness of each layer as showers see it [m]: a layer of none has a nanometre."""
        absent = self.thickness == 0
        return torch.where(absent, self.thickness + THINNEST, self.thickness)

    @property
    def depth(self) -> Float[Tensor, "*designs layers"]:
        """Thickness of each layer in radiation lengths."""
        return self.matter / self.column("radiation_length")

    @property
    def ionization(self) -> Float[Tensor, "*designs layers"]:
        """What a minimum ionizing particle loses in each layer [GeV]."""
        per_metre = PER_METRE * self.column("minimum_ionization") * self.column("density")
        return self.matter * per_metre


def stack_medium(stack: Stack) -> Medium:
    r"""The average medium of a stack, in which GFLASH lets the shower develop.

    .. math::
        X_\text{eff} = \frac{\sum d_i}{\sum t_i}, \quad
        E_{c,\text{eff}} = \frac{\sum t_i E_{c,i}}{\sum t_i}, \quad
        R_{M,\text{eff}} = E_s \frac{\sum d_i}{\sum t_i E_{c,i}}, \quad
        \hat e = \frac{1}{1 + 0.007 (Z_p - Z_a)}

    with :math:`t_i = d_i/X_i`. Atomic numbers are averaged with the masses.

    Args:
        stack: The stack; layers of one kind make a homogeneous medium.

    Note:
        The mean over the whole stack. Geant4 averages the critical energy with masses over
        lengths instead; mass over length in g/cm2, which is meant, is what stands here.
        Differentiable in the thicknesses.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, section 4 and appendix A.2.1.
    """
    depth, thickness = stack.depth, stack.matter
    critical = gflash_critical_energy(
        stack.column("radiation_length"), stack.column("density"), stack.column("z_over_a")
    )
    total, length = depth.sum(-1), thickness.sum(-1)
    energy = (depth * critical).sum(-1)
    mass, number = thickness * stack.column("density"), stack.column("atomic_number")

    return Medium(
        radiation_length=length / total,
        moliere_radius=SCATTERING_ENERGY * length / energy,
        critical_energy=energy / total,
        atomic_number=(mass * number).sum(-1) / mass.sum(-1),
        cell_thickness=total / stack.n_samples if stack.is_sampling else 0.0,
        transition=1 - e_over_mip(stack) if stack.is_sampling else 0.0,
        sampling=stack.is_sampling,
    )


def sampling_fraction(stack: Stack) -> Float[Tensor, "*designs"]:
    """Share of a minimum ionizing particle's loss in a stack that is in active layers.

    Args:
        stack: The layers.

    Note:
        Differentiable in the thicknesses.

    References:
        R. Wigmans, Calorimetry (2017), chapter 3.
    """
    ionization = stack.ionization
    active = stack.active_mask
    return torch.where(active, ionization, 0.0).sum(-1) / ionization.sum(-1)


def e_over_mip(stack: Stack) -> Float[Tensor, "*designs"]:
    r"""Ratio of the response to shower electrons and to minimum ionizing particles.

    .. math::
        \hat e = \frac{1}{1 + 0.007 (Z_p - Z_a)}

    with the atomic numbers of passive and active layers, averaged with the masses.

    Args:
        stack: The layers, of which some are active and some passive.

    Note:
        Good to 20 % where passive layers are the heavier ones, as it was measured; above 1 where
        they are the lighter ones. Differentiable in the thicknesses.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, section 4.
    """
    mass = stack.matter * stack.column("density")
    charge = mass * stack.column("atomic_number")
    active = stack.active_mask
    inside, outside = (
        torch.where(where, charge, 0.0).sum(-1) / torch.where(where, mass, 0.0).sum(-1)
        for where in (active, ~active)
    )
    return 1 / (1 + TRANSITION * (outside - inside))


def sum_cells(
    stack: Stack, values: Float[Tensor, "*batch layers"]
) -> Float[Tensor, "*batch layers"]:
    """The sum over the cell of each layer, written to every layer of the cell."""
    cells = torch.tensor(stack.cells(), device=values.device)
    shape = (*values.shape[:-1], stack.cells()[-1] + 1)
    return values.new_zeros(shape).index_add(-1, cells, values)[..., cells]
