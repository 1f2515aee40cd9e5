r"""Electron and photon showers in stacks, with coefficients that are fitted to a full simulation.

Thicknesses are in metres, energies in GeV, depths in radiation lengths. The family is that of
`electromagnetic_showers` and `sampling_showers`, with what single layers show beyond GFLASH: the
incident electron and the first generations, the tail of photons, a visible share of a cell that
falls along the shower, what is missing behind the last layer. `detopt.physics.tuned_sampling` adds
fluctuations; the coefficients come from `detopt.physics.shower_tuning`.
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
from detopt.physics._tuned_cells import (
    CENTRE,
    back_loss,
    cell_response,
    cell_weight,
    layer_weight,
    least_share,
)
from detopt.physics.electromagnetic_showers import (
    LongitudinalShape,
    shape_fluctuations,
)
from detopt.physics.shower_containment import PhotonTail, contained_fraction
from detopt.physics.shower_media import Medium
from detopt.physics.shower_stacks import Stack, stack_medium, sum_cells

FILE = "shower_tuning.json"
TAIL_POWER = 0.22  # of the atomic number; see `photon_tail`


@dataclass(frozen=True)
class ShowerTuning:
    """Coefficients of the showers: numbers, or tensors while they are fitted.

    Attributes:
        maximum: Of the depth of the maximum, see `tuned_shape`.
        alpha: Of the shape parameter, see `tuned_shape`.
        spread: Factors on the widths of both and what follows them, see `tuned_shape`.
        electron: What the incident electron leaves, see `cumulative_share`.
        early: What the first generations leave beyond the gamma distribution, idem.
        tail: What penetrating photons leave, idem.
        cell: How the energy of a cell follows its ionization, see `expected_layer_energies`.
        response: What active layers see, idem.
        edge: What they lack at the end of the stack, idem.
        sampling: Sampling fluctuations, see `tuned_sampling`.
    """

    maximum: tuple[Values, ...]
    alpha: tuple[Values, ...]
    spread: tuple[Values, ...]
    electron: tuple[Values, ...]
    early: tuple[Values, ...]
    tail: tuple[Values, ...]
    cell: tuple[Values, ...]
    response: tuple[Values, ...]
    edge: tuple[Values, ...]
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
        T &= t_0 + t_1 \ln y + t_2/F_S + t_3 (1 - \hat e) + 10\, t_4/Z + t_5 (\ln y - 5)^2/10
            + 10\, t_6 (\ln y - 5)/Z \\
        \alpha &= a_0 + (a_1 + a_2/Z) \ln y + a_3/F_S + 10\, a_4/Z + a_5 (\ln y - 5)^2/10
            + a_6 (1 - \hat e)

    with :math:`y = E/E_c`. Both are multiplied by log-normal factors, whose widths are those of
    `shape_fluctuations` times :math:`s_0 e^{s_2 (\ln y - 5)}` and :math:`s_1 e^{s_3 (\ln y - 5)}`,
    and whose correlation is less by :math:`s_4`.

    Args:
        energy: Energy :math:`E` of the electron [GeV]; broadcasts against the draws.
        medium: The medium; its `cell_thickness` is :math:`1/F_S`.
        normals: Unit normals; the last axis is a pair.
        tuning: Coefficients; those of the package by default.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        Fitted from 1 to 50 GeV, to passive layers from iron to lead; lighter ones are an
        extrapolation. Differentiable in energy, medium and coefficients.

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
    above, light = logarithm - CENTRE, 10 / number
    curve = above.square() / 10
    t, a, s = tuning.maximum, tuning.alpha, tuning.spread
    maximum = t[0] + t[1] * logarithm + t[2] * cell + t[3] * transition
    maximum = maximum + (t[4] + t[6] * above) * light
    alpha = a[0] + (a[1] + a[2] / number) * logarithm + a[3] * cell + a[4] * light
    maximum = smooth_floor(maximum + t[5] * curve, 1.0, 0.5)
    alpha = smooth_floor(alpha + a[5] * curve + a[6] * transition, 1.2, 0.1)
    spread = shape_fluctuations(energy, medium)
    first, second = normals.unbind(-1)
    shared = torch.sqrt((1 + spread.correlation - s[4]) / 2) * first
    apart = torch.sqrt((1 - spread.correlation + s[4]) / 2) * second
    of_maximum = s[0] * torch.exp(s[2] * above) * spread.maximum
    of_alpha = s[1] * torch.exp(s[3] * above) * spread.alpha
    maximum = maximum * torch.exp(of_maximum * (shared + apart))
    alpha = alpha * torch.exp(of_alpha * (shared - apart))
    return LongitudinalShape(smooth_floor(maximum, 1.0, 0.5), smooth_floor(alpha, 1.2, 0.1))


def expected_layer_energies(
    stack: Stack,
    energy: Values,
    shape: LongitudinalShape,
    tuning: ShowerTuning | None = None,
    start: Values = 0.0,
) -> Float[Tensor, "*batch layers"]:
    r"""Energy that showers of given shape leave in each layer, without sampling fluctuations.

    What is left behind a depth, :math:`1 - C` by `cumulative_share`, falls faster in cells that
    ionize more per radiation length than the stack does on average,

    .. math::
        d \ln(1 - C') = (l/\bar l)^{c_0}\; d \ln(1 - C)

    (`cell`), where :math:`l` and :math:`\bar l` are what a minimum ionizing particle loses per
    radiation length in the cell and in the stack. In front this is the same number of particles
    that loses more; behind, less is left. In a cell, layers share the energy as they share the loss
    of a minimum ionizing particle, but active ones count

    .. math::
        \hat e(\tau) &= \left[\hat e_\infty e^{-\zeta g (r_3 + r_6 (\ln y - 5))}
            + (r_0 - \hat e_\infty)\, e^{-r_2 \tau}\right] (1 + \delta/r_8)^{-r_7} \\
        1/\hat e_\infty &= 1 + 0.007 \cdot 80\, r_1\, \zeta^{r_4} e^{r_5 (\ln y - 5)}, \qquad
            g = \frac{\tau^2}{\tau^2 + r_9^2}

    times, where :math:`\tau = t/T`, :math:`80 \zeta` is the difference of atomic numbers between
    passive and active layers and :math:`\delta` is what a minimum ionizing particle loses in the
    active layers of the cell [MeV]: soft electrons from the passive layers stop in a thick active
    one, which makes few of its own. Active layers see less by the share :math:`d_0 e^{-z/d_1}`
    (`edge`), because nothing scatters back from behind the stack, which ends :math:`z` radiation
    lengths behind them.

    Args:
        stack: The layers; their designs broadcast against the showers.
        energy: Energy of the showers [GeV].
        shape: Their shapes.
        tuning: Coefficients; those of the package by default.
        start: Depth where they start, in radiation lengths; for converting photons.

    Returns:
        Energy in each layer, active or not [GeV]; the sum is below the energy.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        For active layers that are lighter than the passive ones. Differentiable.

    References:
        R. Wigmans, Calorimetry (2017), chapter 3, for what makes e/mip fall with the age of the
        shower.
    """
    require_positive(energy=energy)
    tuning = load_tuning() if tuning is None else tuning
    energy, start, critical = as_tensors(energy, start, stack_medium(stack).critical_energy)
    edges = torch.nn.functional.pad(stack.depth.cumsum(-1), (1, 0)) - start[..., None]
    inside = cumulative_share(stack, energy, shape, edges, tuning)
    left = torch.log((1 - inside).clamp(min=least_share(inside)))
    fall = -left.diff(dim=-1).clamp(max=0.0) * cell_weight(stack, tuning.cell)
    behind = torch.exp(-torch.nn.functional.pad(fall.cumsum(-1), (1, 0)))
    share = -behind.diff(dim=-1)
    middle = (edges[..., 1:] + edges[..., :-1]) / 2
    age = middle.clamp(min=0.0) / shape.maximum[..., None]
    logarithm = torch.log(energy / critical)[..., None]
    response = cell_response(stack, age, logarithm, tuning.response)
    weighted = share * layer_weight(stack, response)
    total = sum_cells(stack, weighted).clamp(min=least_share(share))
    cell = sum_cells(stack, share)
    return energy[..., None] * cell * weighted / total * (1 - back_loss(stack, tuning.edge))


def cumulative_share(
    stack: Stack,
    energy: Tensor,
    shape: LongitudinalShape,
    depth: Float[Tensor, "*#batch depths"],
    tuning: ShowerTuning,
) -> Float[Tensor, "*batch depths"]:
    r"""Share of the energy in front of depths behind the start.

    .. math::
        C(t) &= (1 - w_e - w_b)\, C_\gamma(t) + w_e\, (1 - e^{-t/e_1})
            + w_b\, (1 - (1 + s + b_3 s^2/2)\, e^{-s}) \\
        w_e &= \frac{e_0}{y}, \quad w_b = b_0\, y^{b_2 - 1}, \quad
            s = \frac{t}{b_1}\, e^{-b_4 (\ln y - 5)}

    where :math:`y = E/E_c` and :math:`C_\gamma` is that of `contained_fraction` with a tail of
    weight :math:`w_0` and length :math:`w_1 Z^{0.22}`. The second term is the incident electron
    (`electron`), the third the first generations (`early`), which leave more than the gamma
    distribution has there. No weight is negative: :math:`w_b \le 1` and :math:`w_e \le 1 - w_b`.

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
    relative, inside = (energy / critical)[..., None], depth.clamp(min=0.0)
    direct = -torch.expm1(-inside / tuning.electron[1])
    weight, length, power, late, growth = as_tensors(*tuning.early)
    scaled = inside / length * torch.exp(-growth * (torch.log(relative) - CENTRE))
    early = -torch.expm1(-scaled) - (scaled + late * scaled.square() / 2) * torch.exp(-scaled)
    first = (weight * relative ** (power - 1)).clamp(max=1.0)
    own = torch.minimum(tuning.electron[0] / relative, 1 - first)
    return cumulative + own * (direct - cumulative) + first * (early - cumulative)
