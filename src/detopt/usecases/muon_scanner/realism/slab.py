r"""A slab of known material below the scanner, whose scattering tells the momentum."""

__all__ = ["SLAB_MATERIALS", "Slab", "pass_slab"]

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import materials, particles
from detopt.physics.energy_loss import stopping_power
from detopt.physics.scattering import highland_angle
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.kinks import slope_changes, survival
from detopt.usecases.muon_scanner.transport import SLOWEST

SLAB_MATERIALS = ("Fe", "Pb")


@dataclass(frozen=True)
class Slab:
    """A horizontal slab, wider than all panels.

    Args:
        top: Height of its upper face [m].
        thickness: Thickness [m].
        material: One of `SLAB_MATERIALS`.
    """

    top: Float[Tensor, ""]
    thickness: Float[Tensor, ""]
    material: str

    @property
    def middle(self) -> Float[Tensor, ""]:
        """Height of its middle [m]."""
        return self.top - self.thickness / 2

    def energies(
        self, momentum: Float[Tensor, "*#batch"], secant: Float[Tensor, "*#batch"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """Total energy in the middle and behind [GeV], for momenta before the slab.

        The loss is that at the energy before the slab in the first half, and at the energy in the
        middle in the second. A muon that stops in the first half has the least energy in the
        middle; behind the slab its energy is less than that, even negative.
        """
        mass, metal = particles.mass("muon"), materials.get(self.material)
        half = 50 * metal.density * self.thickness * secant  # g/cm2
        least = mass + SLOWEST
        energy = (momentum.square() + mass**2).sqrt()
        rate = stopping_power("muon", self.material, energy - mass)
        middle = (energy - rate * half).clamp_min(least)
        rate = stopping_power("muon", self.material, middle - mass)
        return middle, middle - rate * half

    def width(
        self, energy: Float[Tensor, "*#batch"], secant: Float[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch"]:
        """Width of the projected scattering angle [rad], for energies in the middle [GeV]."""
        momentum = (energy.square() - particles.mass("muon") ** 2).sqrt()
        path = self.thickness * secant
        length = float(materials.get(self.material).radiation_length)
        return highland_angle(path, length, momentum, momentum / energy)


def pass_slab(
    muons: Muons, slab: Slab, rng: torch.Generator, *, soft: bool
) -> tuple[Muons, Float[Tensor, "n_volumes n_muons"]]:
    r"""Lines behind the slab, and the weight with which muons came through.

    A kink in the middle, and an offset :math:`x\,\theta_0 z_1/\sqrt{12}` beside it, give offset and
    angle at the exit the covariance of a thick slab.

    Args:
        muons: The lines before it.
        slab: The slab.
        rng: Where the kinks come from.
        soft: Whether a muon that stops fades out, see
            `detopt.usecases.muon_scanner.realism.kinks.survival`.

    Note:
        Differentiable in thickness and place, except whether a muon stops unless `soft`.
    """
    secant = (1 + muons.slope.square().sum(0)).sqrt()
    middle, after = slab.energies(muons.momentum, secant)
    normals = torch.randn(2, 2, *secant.shape, generator=rng, dtype=secant.dtype)
    kinks = slope_changes(slab.width(middle, secant)[None], muons.slope, normals)
    step = slab.middle - muons.height
    kink, shift = kinks[:, 0], kinks[:, 1] * (slab.thickness * 12**-0.5)
    mass = particles.mass("muon")
    slowest = after.clamp_min(mass + SLOWEST)
    moved = muons.position + shift - kink * step  # of the new line, at the old height
    leaving = replace(
        muons,
        position=moved,
        slope=muons.slope + kink,
        momentum=(slowest.square() - mass**2).sqrt(),
    )
    return leaving, survival(after - mass, soft)
