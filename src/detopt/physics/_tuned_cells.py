"""How cells share the energy of a shower with fitted coefficients: see `tuned_showers`."""

__all__ = ["CENTRE", "back_loss", "cell_response", "cell_weight", "layer_weight", "least_share"]

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._tensors import Values
from detopt.physics.shower_stacks import TRANSITION, Stack, sum_cells

CENTRE = 5.0  # of ln y, from where coefficients count
LARGE_NUMBER = 80.0  # one unit of a difference of atomic numbers
MEV = 1e-3  # GeV
LIGHTEST = 1e-3  # difference of atomic numbers; the fit knows no heavier active layers


def cell_response(
    stack: Stack,
    age: Float[Tensor, "*batch layers"],
    logarithm: Float[Tensor, "*#batch one"],
    coefficients: Sequence[Values],
) -> Float[Tensor, "*batch layers"]:
    """Signal of active layers over that of passive ones, as of a minimum ionizing particle.

    Args:
        stack: The layers.
        age: Depth of each layer over that of the maximum of the shower.
        logarithm: Of the energy over the critical one.
        coefficients: Ten; `expected_layer_energies` has the formula.
    """
    if not stack.is_sampling:
        return torch.ones_like(age)
    r, above = coefficients, logarithm - CENTRE
    difference = _number_difference(stack) / LARGE_NUMBER
    lack = LARGE_NUMBER * difference ** r[4] * torch.exp(r[5] * above)
    behind = 1 / (1 + TRANSITION * r[1] * lack)
    grown = age.square() / (age.square() + r[9] ** 2)
    late = behind * torch.exp(-difference * (r[3] + r[6] * above) * grown)
    thin = late + (r[0] - behind) * torch.exp(-r[2] * age)
    return thin * (1 + _active_loss(stack) / r[8]) ** -r[7]


def layer_weight(
    stack: Stack, response: Float[Tensor, "*batch layers"]
) -> Float[Tensor, "*batch layers"]:
    """Signal of each layer per radiation length: its ionization, times the response if active.

    Args:
        stack: The layers.
        response: See `cell_response`; that of passive layers does not count.
    """
    ionization = stack.column("minimum_ionization") * stack.column("density")
    ionization = ionization * stack.column("radiation_length")
    return torch.where(stack.sampling_mask, response, torch.ones_like(response)) * ionization


def cell_weight(stack: Stack, coefficients: Sequence[Values]) -> Float[Tensor, "*designs layers"]:
    """How much faster a shower loses its energy in a cell than in the average of the stack.

    Args:
        stack: The layers.
        coefficients: Exponent of the ratio of the ionizations per radiation length.
    """
    (power,) = coefficients
    own = sum_cells(stack, stack.ionization) / sum_cells(stack, stack.depth)
    mean = stack.ionization.sum(-1, keepdim=True) / stack.depth.sum(-1, keepdim=True)
    return (own / mean) ** power


def back_loss(stack: Stack, coefficients: Sequence[Values]) -> Float[Tensor, "*designs layers"]:
    """Share of the signal of active layers that matter behind the stack would scatter back.

    Args:
        stack: The layers.
        coefficients: The share at the end of the stack; the length of its fall [radiation lengths].
    """
    total, reach = stack.depth.sum(-1, keepdim=True), stack.depth.cumsum(-1)
    loss = coefficients[0] * torch.exp(-(total - reach) / coefficients[1])
    return torch.where(stack.sampling_mask, loss, torch.zeros_like(loss))


def least_share(share: Tensor) -> float:
    """A share of the energy that counts as none, whose inverse is finite in the same type."""
    tiny: float = torch.finfo(share.dtype).tiny
    return math.sqrt(tiny)


def _number_difference(stack: Stack) -> Float[Tensor, "*designs layers"]:
    """Atomic number of the passive layers of a cell, averaged with masses, less the active one."""
    mass = stack.matter * stack.column("density")
    charge = mass * stack.column("atomic_number")
    active, mask = stack.active_mask, stack.sampling_mask
    means = []
    for where in (~active, active):
        own = sum_cells(stack, torch.where(where, mass, 0.0))
        own = torch.where(mask, own, torch.ones_like(own))
        means.append(sum_cells(stack, torch.where(where, charge, 0.0)) / own)
    difference = torch.where(mask, means[0] - means[1], torch.ones_like(mass))
    return difference.clamp(min=LIGHTEST)


def _active_loss(stack: Stack) -> Float[Tensor, "*designs layers"]:
    """What a minimum ionizing particle loses in the active layers of each cell [MeV]."""
    return sum_cells(stack, torch.where(stack.active_mask, stack.ionization, 0.0)) / MEV
