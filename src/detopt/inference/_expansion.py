r"""Value, slope and Hessian of a binned likelihood in closed form, without a graph.

With the counts of a cell :math:`c = N F` (template with variations, times factors), slopes
:math:`A_p = \partial N/\partial p` and :math:`U_p = \partial \ln F/\partial p`,

.. math::
    \frac{\partial^2 c}{\partial p\, \partial q} = c\, U_p U_q + F (U_p A_q + A_p U_q)
        + \delta_{pq} \Bigl[ c \sum_m (\ddot\phi_m / \phi_m - \dot\phi_m^2 / \phi_m^2)
        + F \sum_k \ddot\delta_k \Bigr]

where the sums are over the modifiers that the parameter drives.
"""

__all__ = ["expand"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.inference._slots import take
from detopt.inference.interpolation import EXPANSIONS

if TYPE_CHECKING:
    from detopt.inference.histfactory import HistFactoryModel

LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
TINY = 1e-100  # stands for a factor of zero, so that it may be divided by


@dataclass(frozen=True)
class _Pieces:
    """Modifiers of a type, slot by slot: value with two derivatives, and their parameters."""

    value: Float[Tensor, "*batch k cells"]
    first: Float[Tensor, "*batch k cells"]
    second: Float[Tensor, "*batch k cells"]
    index: Int[Tensor, "k cells"]


def expand(
    model: "HistFactoryModel", parameters: Tensor, data: Tensor
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch n"], Float[Tensor, "*batch n n"]]:
    """Value, slope and Hessian of the negative log-likelihood at a point."""
    n, n_bins = parameters.shape[-1], model.n_bins
    tensors = model.tensors
    observed, auxiliary = data[..., :n_bins], data[..., n_bins:]
    additive, factors = _modifiers(model, parameters)
    expected, jacobian, contracted = _expand_counts(
        tensors.nominal.flatten(-2), additive, factors, n, n_bins
    )
    terms, first, second = _expand_poisson(observed, expected)
    value = terms.sum(dim=-1)
    slope = (jacobian @ first.unsqueeze(-1)).squeeze(-1)
    hessian = (jacobian * second.unsqueeze(-2)) @ jacobian.mT + contracted(first)

    gaussian, poisson = model.auxiliary_index()
    position = {index: i for i, index in enumerate(sorted([*gaussian, *poisson]))}
    bend = torch.zeros_like(parameters)
    slope = slope.clone()
    if gaussian:
        pull = (parameters[..., gaussian] - auxiliary[..., [position[i] for i in gaussian]]) / (
            tensors.width
        )
        normal = pull.square() / 2 + tensors.width.log() + LOG_ROOT_TWO_PI
        value = value + normal.sum(dim=-1)
        slope[..., gaussian] += pull / tensors.width
        bend[..., gaussian] = tensors.width**-2 * torch.ones_like(pull)
    if poisson:
        measured = auxiliary[..., [position[i] for i in poisson]]
        terms, first, second = _expand_poisson(measured, tensors.rate * parameters[..., poisson])
        value = value + terms.sum(dim=-1)
        slope[..., poisson] += first * tensors.rate
        bend[..., poisson] = second * tensors.rate**2
    return value, slope, hessian + torch.diag_embed(bend)


def _modifiers(model: "HistFactoryModel", parameters: Tensor) -> tuple[_Pieces, _Pieces]:
    """Variations and factors of all cells."""
    slots, tensors = model.slots, model.tensors
    ends = parameters.new_tensor([0.0, 1.0]).expand(*parameters.shape[:-1], 2)
    extended = torch.cat([parameters, ends], dim=-1)
    shape = take(extended, slots.shape)
    changes = EXPANSIONS[model.shape_code](shape, tensors.shape_down, tensors.shape_up)
    norm = take(extended, slots.norm)
    rates = EXPANSIONS[model.norm_code](norm, tensors.norm_down, tensors.norm_up)
    scale, by_bin = take(extended, slots.scale), take(extended, slots.bin)
    one, zero = parameters.new_ones(()), parameters.new_zeros(())
    groups = (*rates, scale, by_bin)
    batch = torch.broadcast_shapes(*{piece.shape[:-3] for piece in groups})
    parts = []
    for rate, constant in zip(rates, (None, one, zero), strict=True):
        whole = scale if constant is None else constant.expand(scale.shape)
        single = by_bin if constant is None else constant.expand(by_bin.shape)
        pieces = (rate[..., slots.channel_of_bin], whole[..., slots.channel_of_bin], single)
        together = [piece.expand(*batch, *piece.shape[-3:]) for piece in pieces]
        parts.append(torch.cat(together, dim=-3))
    return _pieces(changes, slots.shape), _pieces(parts, slots.factors)


def _pieces(parts: Sequence[Tensor], index: Tensor) -> _Pieces:
    value, first, second = (part.flatten(-2) for part in parts)
    return _Pieces(value, first, second, index.flatten(-2))


def _expand_counts(
    nominal: Float[Tensor, "*#batch cells"],
    additive: _Pieces,
    factors: _Pieces,
    n_parameters: int,
    n_bins: int,
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Expected counts, their slopes, and the second derivatives contracted with weights of bins.

    Cells are samples times bins, the bins last. Two parameters after the last are dummies.
    """
    safe = torch.where(factors.value.abs() < TINY, TINY, factors.value)
    product = safe.prod(dim=-2)
    template = nominal + additive.value.sum(dim=-2)
    counts = template * product
    slope = factors.first / safe
    relative = _gather(slope, factors.index, n_parameters)
    bend = _gather(factors.second / safe, factors.index, n_parameters)
    squares = _gather(slope**2, factors.index, n_parameters)
    change = _gather(additive.first, additive.index, n_parameters)
    change_bend = _gather(additive.second, additive.index, n_parameters)

    def in_bins(cells: Tensor) -> Tensor:
        return cells.reshape(*cells.shape[:-1], -1, n_bins).sum(dim=-2)

    by_counts, by_product = counts.unsqueeze(-2), product.unsqueeze(-2)

    def contracted(weights: Tensor) -> Tensor:
        n_samples = counts.shape[-1] // n_bins
        weight = weights.unsqueeze(-2).expand(*weights.shape[:-1], n_samples, n_bins)
        weight = weight.flatten(-2).unsqueeze(-2)
        mixed = (relative * (weight * by_product)) @ change.mT
        matrix: Tensor = (relative * (weight * by_counts)) @ relative.mT + mixed + mixed.mT
        # apart, since with a factor of zero the square of its slope must cancel in each cell
        own = by_counts * (relative**2 - squares + bend) + by_product * (
            2 * relative * change + change_bend
        )
        matrix.diagonal(dim1=-2, dim2=-1).copy_((weight * own).sum(dim=-1))
        return matrix

    return in_bins(counts), in_bins(by_product * change + by_counts * relative), contracted


def _expand_poisson(counts: Tensor, expected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log-probability of counts with its derivatives in the expectation."""
    impossible = (expected < 0) | ((expected == 0) & (counts > 0))
    safe = torch.where(expected > 0, expected, 1.0)
    value = expected - torch.where(counts > 0, counts * safe.log(), 0.0) + torch.lgamma(counts + 1)
    return torch.where(impossible, torch.inf, value), 1 - counts / safe, counts / safe**2


def _gather(values: Tensor, index: Tensor, n_parameters: int) -> Float[Tensor, "*batch p cells"]:
    """Sum of what each parameter drives in each cell."""
    total = values.new_zeros(*values.shape[:-2], n_parameters + 2, values.shape[-1])
    total.scatter_add_(-2, index.expand(values.shape), values)
    return total[..., :n_parameters, :]
