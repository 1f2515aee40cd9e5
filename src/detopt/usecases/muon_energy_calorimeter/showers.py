"""Templates of electromagnetic showers: shares of the energy by depth and by radius."""

__all__ = ["RADII", "ShowerBank", "corner_share"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.physics import materials
from detopt.physics.electromagnetic_showers import INDIVIDUAL, fluctuated_shape, mean_shape
from detopt.physics.shower_containment import contained_fraction, photon_tail
from detopt.physics.shower_media import homogeneous
from detopt.physics.shower_radial import radial_shape, relative_depth
from detopt.random import Seed

RADII = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # Molière radii; medians of the components
STEP = 0.5  # radiation lengths, of a slice
WINDOW = 90  # slices that a shower may fill; the rest counts to the last one
LOWEST, HIGHEST, N_ENERGIES, N_SHAPES = 0.01, 2e4, 44, 32  # GeV; templates of each energy


@dataclass(frozen=True)
class ShowerBank:
    r"""Random showers of GFLASH, each as shares of its energy by slice and radial component.

    A component has the density :math:`R^2/[\pi (r^2 + R^2)^2]` across the axis, as GFLASH has it
    for core and tail, whose energies are divided among neighbouring `RADII` evenly in
    :math:`\ln R`.

    Args:
        shares: Shares of each template; they sum to 1.
        slice_length: Of a slice [m].
        moliere_radius: Of the material [m].
    """

    shares: Float[Tensor, "energies shapes slices radii"]
    slice_length: float
    moliere_radius: float

    def templates(
        self, energy: Float[Tensor, " n"], uniform: Float[Tensor, " n"]
    ) -> Float[Tensor, "n slices radii"]:
        """A template for each shower: of the nearest energy, and any shape."""
        step = math.log(HIGHEST / LOWEST) / (N_ENERGIES - 1)
        row = (torch.log(energy / LOWEST) / step).round().clamp(0, N_ENERGIES - 1).long()
        column = (uniform * N_SHAPES).long().clamp(max=N_SHAPES - 1)
        return self.shares.flatten(0, 1)[row * N_SHAPES + column]

    def deposit(
        self,
        into: Float[Tensor, "tracks slices radii"],
        track: Int[Tensor, " n"],
        first: Int[Tensor, " n"],
        energy: Float[Tensor, " n"],
        uniform: Float[Tensor, " n"],
    ) -> None:
        """Add showers to tracks; what lies behind the last slice is lost.

        Args:
            into: Energies, changed in place.
            track: Track of each shower.
            first: Slice where it starts.
            energy: Its energy [GeV].
            uniform: Chooses the shape.
        """
        n_slices = into.shape[1]
        shares = self.templates(energy, uniform) * energy[:, None, None].to(self.shares)
        at = first[:, None] + torch.arange(WINDOW)
        inside = at < n_slices
        flat = (track[:, None] * n_slices + at)[inside]
        into.view(-1, into.shape[2]).index_add_(0, flat, shares[inside].to(into))

    @classmethod
    def of(cls, material: str) -> "ShowerBank":
        """Showers in a material; the same each time.

        Raises:
            NotFoundError: The material does not exist.
        """
        return _bank(material)


def corner_share(
    x: Float[Tensor, "*#batch"], y: Float[Tensor, "*#batch"], radius: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    r"""Share of a radial component between its axis and a corner.

    .. math::
        \int_0^x\!\!\int_0^y \frac{R^2\, dx' dy'}{\pi (x'^2 + y'^2 + R^2)^2} = \frac{1}{2\pi}
            \left[\frac{x}{\sqrt{x^2 + R^2}} \arctan\frac{y}{\sqrt{x^2 + R^2}}
            + \frac{y}{\sqrt{y^2 + R^2}} \arctan\frac{x}{\sqrt{y^2 + R^2}}\right]

    Args:
        x: Signed coordinate of the corner [m].
        y: The other one [m].
        radius: Median radius :math:`R` [m].

    Returns:
        Signed share; rectangles are differences.

    Note:
        Differentiable.
    """
    a, b = (x**2 + radius**2).sqrt(), (y**2 + radius**2).sqrt()
    return (x / a * torch.atan(y / a) + y / b * torch.atan(x / b)) / (2 * math.pi)


@functools.lru_cache(maxsize=4)
def _bank(name: str) -> ShowerBank:
    """Templates, from exact profiles at the middle of each slice."""
    material = materials.get(name)
    medium = homogeneous(material)
    rng = Seed("showers", name).generator()
    normals = torch.randn((N_ENERGIES, N_SHAPES, 2), generator=rng, dtype=torch.float64)
    grid = torch.linspace(math.log(LOWEST), math.log(HIGHEST), N_ENERGIES, dtype=torch.float64)
    energy = grid.exp()[:, None, None]
    shape = fluctuated_shape(energy[..., 0], medium, normals)
    shape = type(shape)(shape.maximum[..., None], shape.alpha[..., None])
    edges = STEP * torch.arange(WINDOW + 1, dtype=torch.float64)
    inside = contained_fraction(edges, shape, photon_tail(material.atomic_number))
    inside = torch.cat([inside[..., :-1], torch.ones_like(inside[..., :1])], dim=-1)
    share = inside.diff(dim=-1)

    age = relative_depth(
        (edges[1:] + edges[:-1]) / 2, shape, mean_shape(energy, medium, INDIVIDUAL)
    )
    radial = radial_shape(age, energy, medium)
    whole = share[..., None] * (
        radial.weight[..., None] * _divide(radial.core)
        + (1 - radial.weight[..., None]) * _divide(radial.tail)
    )
    length = STEP * material.radiation_length
    return ShowerBank(whole.float(), length, float(medium.moliere_radius))


def _divide(radius: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch radii"]:
    """Shares of the components, linear in the logarithm of the radius."""
    logarithm = torch.tensor(RADII, dtype=radius.dtype).log()
    position = ((radius.log() - logarithm[0]) / (logarithm[1] - logarithm[0]))[..., None]
    nodes = torch.arange(len(RADII), dtype=radius.dtype)
    return (1 - (position.clamp(0, len(RADII) - 1) - nodes).abs()).clamp(min=0.0)
