r"""Electron and photon showers in stacks, with coefficients that are fitted to a full simulation.

Thicknesses are in metres, energies in GeV, depths in radiation lengths. The family is that of
`electromagnetic_showers` and `sampling_showers`, with what single layers show beyond GFLASH: the
incident electron itself, the tail of photons, a visible share of a cell that falls along the
shower. `detopt.physics.tuned_sampling` adds fluctuations; the coefficients come from
`detopt.physics.shower_tuning`.
"""

__all__ = [
    "ShowerTuning",
    "cumulative_share",
    "expected_layer_energies",
    "load_tuning",
    "tuned_shape",
]

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._domain import require_positive
from detopt.physics._incomplete_gamma import smooth_floor
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.electromagnetic_showers import (
    LongitudinalShape,
    shape_fluctuations,
)
from detopt.physics.sampling_showers import visible_weight
from detopt.physics.shower_containment import PhotonTail, contained_fraction
from detopt.physics.shower_media import Medium
from detopt.physics.shower_stacks import TRANSITION, Stack, stack_medium, sum_cells

FILE = "shower_tuning.json"
TAIL_POWER = 0.22  # of the atomic number; see `photon_tail`
MIDDLE, LARGE_NUMBER = 5.0, 80.0  # of ln y; of a difference of atomic numbers: one unit of a fall
THINNEST = 0.01  # radiation lengths, of the passive layer of a cell
EMPTY = 1e-200  # weighted share of a cell that counts as none


@dataclass(frozen=True)
class ShowerTuning:
    """Coefficients of the showers: numbers, or tensors while they are fitted.

    Attributes:
        maximum: Of the depth of the maximum, see `tuned_shape`.
        alpha: Of the shape parameter, see `tuned_shape`.
        spread: Factors on the widths of both, see `tuned_shape`.
        electron: What the incident electron leaves, see `expected_layer_energies`.
        tail: What penetrating photons leave, idem.
        response: What active layers see, idem.
        sampling: Sampling fluctuations, see `tuned_sampling`.
    """

    maximum: tuple[Values, ...]
    alpha: tuple[Values, ...]
    spread: tuple[Values, ...]
    electron: tuple[Values, ...]
    tail: tuple[Values, ...]
    response: tuple[Values, ...]
    sampling: tuple[Values, ...]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "ShowerTuning":
        """Coefficients from plain lists, by name."""
        return cls(**{field.name: tuple(values[field.name]) for field in fields(cls)})

    def numbers(self) -> dict[str, list[float]]:
        """Plain lists, for JSON."""
        return {f.name: [float(one) for one in getattr(self, f.name)] for f in fields(self)}


@functools.cache
def load_tuning() -> ShowerTuning:
    """The coefficients that come with the package; the file says what they were fitted to."""
    text = files("detopt.physics").joinpath("data", FILE).read_text()
    return ShowerTuning.read(json.loads(text)["tuning"])


def tuned_shape(
    energy: Values,
    medium: Medium,
    normals: Float[Tensor, "*draw 2"],
    tuning: ShowerTuning | None = None,
) -> LongitudinalShape:
    r"""Shape of single showers, from given unit normals.

    .. math::
        T &= t_0 + t_1 \ln y + t_2/F_S + t_3 (1 - \hat e) + 10\, t_4/Z + t_5 (\ln y - 5)^2/10 \\
        \alpha &= a_0 + (a_1 + a_2/Z) \ln y + a_3/F_S + 10\, a_4/Z + a_5 (\ln y - 5)^2/10
            + a_6 (1 - \hat e)

    with :math:`y = E/E_c`. Both are multiplied by log-normal factors, whose widths are those of
    `shape_fluctuations` times :math:`s_0` and :math:`s_1`.

    Args:
        energy: Energy :math:`E` of the electron [GeV]; broadcasts against the draws.
        medium: The medium; its `cell_thickness` is :math:`1/F_S`.
        normals: Unit normals; the last axis is a pair.
        tuning: Coefficients; those of the package by default.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        Fitted from 1 to 50 GeV. Differentiable in energy, medium and coefficients.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, for the family.
    """
    require_positive(energy=energy)
    tuning = load_tuning() if tuning is None else tuning
    energy, critical, number, cell, transition = as_tensors(
        energy,
        medium.critical_energy,
        medium.atomic_number,
        medium.cell_thickness,
        medium.transition,
    )
    logarithm = torch.log(energy / critical)
    light, curve = 10 / number, (logarithm - MIDDLE).square() / 10
    t, a = tuning.maximum, tuning.alpha
    maximum = t[0] + t[1] * logarithm + t[2] * cell + t[3] * transition + t[4] * light
    alpha = a[0] + (a[1] + a[2] / number) * logarithm + a[3] * cell + a[4] * light
    maximum = smooth_floor(maximum + t[5] * curve, 1.0, 0.5)
    alpha = smooth_floor(alpha + a[5] * curve + a[6] * transition, 1.2, 0.1)
    spread = shape_fluctuations(energy, medium)
    first, second = normals.unbind(-1)
    shared = torch.sqrt((1 + spread.correlation) / 2) * first
    apart = torch.sqrt((1 - spread.correlation) / 2) * second
    maximum = maximum * torch.exp(tuning.spread[0] * spread.maximum * (shared + apart))
    alpha = alpha * torch.exp(tuning.spread[1] * spread.alpha * (shared - apart))
    return LongitudinalShape(smooth_floor(maximum, 1.0, 0.5), smooth_floor(alpha, 1.2, 0.1))


def expected_layer_energies(
    stack: Stack,
    energy: Values,
    shape: LongitudinalShape,
    tuning: ShowerTuning | None = None,
    start: Values = 0.0,
) -> Float[Tensor, "*batch layers"]:
    r"""Energy that showers of given shape leave in each layer, without sampling fluctuations.

    The share of the energy in front of a depth is

    .. math::
        C(t) = (1 - w_e)\, C_\gamma(t) + w_e\, (1 - e^{-t/e_1}), \qquad w_e = e_0\, E_c/E

    where :math:`C_\gamma` is that of `contained_fraction` with a tail of weight :math:`w_0` and
    length :math:`w_1 Z^{0.22}`. A cell is shared as in `deposit_in_layers`, with e/mip

    .. math::
        \hat e(\tau) = \hat e_\infty e^{-r_5 \tau \Delta Z/80}
            + (r_0 x^{r_4} - \hat e_\infty)\, e^{-r_2 \tau}, \qquad
        \hat e_\infty = \frac{1}{1 + 0.007\, r_1\, \Delta Z\, x^{r_3}}

    where :math:`\tau = t/T`, :math:`x` are the radiation lengths of the cell's passive layers and
    :math:`\Delta Z` is the difference of atomic numbers between them and the active ones.

    Args:
        stack: The layers; their designs broadcast against the showers.
        energy: Energy of the showers [GeV].
        shape: Their shapes.
        tuning: Coefficients; those of the package by default.
        start: Depth where they start, in radiation lengths; for converting photons.

    Returns:
        Energy in each layer, active or not [GeV].

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        For active layers that are lighter than the passive ones. Differentiable.

    References:
        See `deposit_in_layers`; R. Wigmans, Calorimetry (2017), chapter 3, for what makes e/mip
        fall with the age of the shower.
    """
    require_positive(energy=energy)
    tuning = load_tuning() if tuning is None else tuning
    energy, start = as_tensors(energy, start)
    edges = torch.nn.functional.pad(stack.depth.cumsum(-1), (1, 0)) - start[..., None]
    share = cumulative_share(stack, energy, shape, edges, tuning).diff(dim=-1)
    middle = (edges[..., 1:] + edges[..., :-1]) / 2
    age = middle.clamp(min=0.0) / shape.maximum[..., None]
    weighted = share * visible_weight(stack, _response(stack, age, tuning))
    total = sum_cells(stack, weighted).clamp(min=EMPTY)
    return energy[..., None] * sum_cells(stack, share) * weighted / total


def cumulative_share(
    stack: Stack,
    energy: Tensor,
    shape: LongitudinalShape,
    depth: Float[Tensor, "*#batch depths"],
    tuning: ShowerTuning,
) -> Float[Tensor, "*batch depths"]:
    """Share of the energy in front of depths behind the start; see `expected_layer_energies`.

    Args:
        stack: The layers.
        energy: Energy of the showers [GeV].
        shape: Their shapes.
        depth: Depths in radiation lengths; nothing is in front of negative ones.
        tuning: Coefficients.

    Note:
        Differentiable.
    """
    medium = stack_medium(stack)
    _, critical, number = as_tensors(energy, medium.critical_energy, medium.atomic_number)
    inner = LongitudinalShape(shape.maximum[..., None], shape.alpha[..., None])
    length = tuning.tail[1] * number**TAIL_POWER
    cumulative = contained_fraction(depth, inner, PhotonTail(tuning.tail[0], length[..., None]))
    own = (tuning.electron[0] * critical / energy)[..., None]
    direct = 1 - torch.exp(-depth.clamp(min=0.0) / tuning.electron[1])
    return torch.lerp(cumulative, direct, own.expand_as(cumulative))


def _response(
    stack: Stack, age: Float[Tensor, "*batch layers"], tuning: ShowerTuning
) -> Float[Tensor, "*batch layers"]:
    """Response of active layers over that to a minimum ionizing particle; see above."""
    if not stack.is_sampling:
        return torch.ones_like(age)
    r, depth = tuning.response, _passive_depth(stack)
    mass = stack.thickness * stack.column("density")
    charge = mass * stack.column("atomic_number")
    active, mask = stack.active_mask, stack.sampling_mask
    means = []
    for where in (~active, active):
        own = sum_cells(stack, torch.where(where, mass, 0.0))
        own = torch.where(mask, own, torch.ones_like(own))
        means.append(sum_cells(stack, torch.where(where, charge, 0.0)) / own)
    difference = torch.where(mask, means[0] - means[1], torch.zeros_like(mass))
    behind = 1 / (1 + TRANSITION * r[1] * difference * depth ** r[3])
    late = behind * torch.exp(-r[5] * age * difference / LARGE_NUMBER)
    return late + (r[0] * depth ** r[4] - behind) * torch.exp(-r[2] * age)


def _passive_depth(stack: Stack) -> Float[Tensor, "*designs layers"]:
    """Radiation lengths of the passive layers of the cell of each layer; 1 outside of cells."""
    depth = sum_cells(stack, torch.where(stack.active_mask, 0.0, stack.depth))
    return torch.where(stack.sampling_mask, depth.clamp(min=THINNEST), torch.ones_like(depth))
