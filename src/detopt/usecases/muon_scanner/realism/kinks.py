r"""Scattering and loss of energy in the panels themselves.

The volume's transport is independent of the design, and panels above it must not change that. So
kinks are treated from the volume outwards: below along the flight, above against it, from the line
on which the muon enters the volume. See `docs/decisions/scanner_realism.md`.
"""

__all__ = ["Passage", "displacements", "pass_panels", "slope_changes", "survival"]

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.physics import particles
from detopt.physics.energy_loss import stopping_power
from detopt.physics.scattering import highland_angle
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.planes import Crossing, Planes
from detopt.usecases.muon_scanner.transport import SLOWEST

PANEL_MATERIAL = "polystyrene"  # whose mass stopping power all panels have
SOFT_STOP = 0.04  # GeV; kinetic energies over which a muon fades out where edges are soft


@dataclass(frozen=True)
class Passage:
    """How muons come through the panels of one side.

    Args:
        width: Width of the projected angle in each panel [rad], or None without scattering.
        alive: Weight of the muons that reach each panel, or None without loss of energy.
        leaving: Momentum behind all panels [GeV/c].
    """

    width: Float[Tensor, "n *batch"] | None
    alive: Float[Tensor, "n *batch"] | None
    leaving: Float[Tensor, "*batch"]


def pass_panels(
    planes: Planes,
    crossing: Crossing,
    gate: Float[Tensor, "n *batch"],
    muons: Muons,
    *,
    backwards: bool,
    soft: bool,
) -> Passage:
    r"""Width of the kink in each panel, with the momentum that the muon has there.

    The energy in the middle of a panel is that at the volume plus (above) or less (below) the loss
    in the panels between and half its own, at the stopping power at the volume.

    Args:
        planes: The panels of one side.
        crossing: Where the muons cross them.
        gate: Whether they do, 0 to 1.
        muons: The line next to the volume, with the momentum there.
        backwards: Panels above, against the flight.
        soft: Whether a muon that stops fades out, see `survival`.

    Note:
        Differentiable in thickness and areal density.
    """
    momentum = muons.momentum
    mass = particles.mass("muon")
    energy = (momentum.square() + mass**2).sqrt()
    alive, leaving = None, momentum
    if planes.areal_density is not None:
        rate = stopping_power("muon", PANEL_MATERIAL, energy.detach() - mass)
        loss = _column(planes.areal_density, momentum) * crossing.slant * rate * gate
        nearer = _nearer(crossing.height, backwards).to(loss.dtype)
        if nearer.ndim == 2:
            before = torch.einsum("ij,j...->i...", nearer, loss)
        else:
            before = (nearer * loss[None]).sum(1)
        sign = 1.0 if backwards else -1.0
        middle = energy + sign * (before + loss / 2)
        alive = survival(middle - mass, soft)
        last = (energy + sign * loss.sum(0)).clamp_min(mass + SLOWEST)
        leaving = (last.square() - mass**2).sqrt()
        energy = middle.clamp_min(mass + SLOWEST)
        momentum = (energy.square() - mass**2).sqrt()
    if planes.thickness is None:
        return Passage(None, alive, leaving)
    thickness = _column(planes.thickness, muons.momentum) * crossing.slant
    return Passage(highland_angle(thickness, 1.0, momentum, momentum / energy), alive, leaving)


def survival(kinetic: Float[Tensor, "*batch"], soft: bool) -> Float[Tensor, "*batch"]:
    """Root of the probability that a muon has not stopped: 1 above `SLOWEST`, 0 below.

    Args:
        kinetic: Kinetic energy that is left, below zero where more was lost than there was [GeV].
        soft: A smooth step, `SOFT_STOP` wide, in place of the sharp one. It has its middle there.
    """
    if not soft:
        return (kinetic > SLOWEST).to(kinetic.dtype)
    t = ((kinetic - SLOWEST) / SOFT_STOP + 0.5).clamp(0, 1)
    return t * t * torch.rsub(t, 3, alpha=2)


def _nearer(height: Float[Tensor, "n *#batch"], backwards: bool) -> Bool[Tensor, "n n *#batch"]:
    """Whether panel j (second) comes before panel i on the way from the volume."""
    if height[0].numel() == 1:
        height = height.reshape(-1)
    mine, other = height[:, None], height[None]
    return other < mine if backwards else other > mine


def slope_changes(
    width: Float[Tensor, "#n *#batch"],
    slope: Float[Tensor, "2 *batch"],
    normals: Float[Tensor, "2 n *batch"],
) -> Float[Tensor, "2 n *batch"]:
    r"""Changes of the slopes in each panel, from unit normals.

    As in the transport through the volume, with :math:`n^2 = 1 + t_x^2 + t_y^2`,
    :math:`a^2 = 1 + t_x^2`: :math:`\delta t_x = n a\, \theta_1`,
    :math:`\delta t_y = n \theta_1 t_x t_y / a + n^2 \theta_2 / a`.
    """
    tx, ty = slope
    a = (1 + tx.square()).sqrt()
    n = (a.square() + ty.square()).sqrt()
    first, second = normals * (width * n)
    return torch.stack([first * a, (first * (tx * ty) + second * n) / a])


def displacements(
    height: Float[Tensor, "n *#batch"], kinks: Float[Tensor, "2 n *batch"], backwards: bool
) -> Float[Tensor, "2 n *batch"]:
    r"""Horizontal shift of the line at each panel by the kinks between it and the volume.

    .. math:: \delta x_i = \sum_j \kappa_j\, (z_i - z_j)

    over the panels j that lie between panel i and the volume.

    Note:
        Continuous where two heights become equal; differentiable in the heights.
    """
    arm = arms(height, backwards)
    if arm.ndim == 2:
        return torch.einsum("ij,aj...->ai...", arm, kinks)
    return (arm * kinks[:, None]).sum(2)


def arms(height: Float[Tensor, "n *#batch"], backwards: bool) -> Float[Tensor, "n n *#batch"]:
    """Height of panel i over panel j (second) where j comes before it, else 0 [m]."""
    if height[0].numel() == 1:
        height = height.reshape(-1)
    difference = height[:, None] - height[None]
    return difference.clamp_min(0) if backwards else difference.clamp_max(0)


def _column(values: Float[Tensor, " n"], like: Tensor) -> Float[Tensor, "n *extra"]:
    return values.reshape(-1, *(1,) * like.ndim)
