"""Quantiles of weighted samples: exact ones, and smooth ones whose gradient is not noise."""

__all__ = ["smooth_quantiles", "weighted_quantiles"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_quantiles(
    values: Float[Tensor, "*batch n"], weights: Float[Tensor, "*batch n"], levels: Sequence[float]
) -> list[Float[Tensor, "*batch 1"]]:
    r"""Quantiles of `values` along the last axis, each sample counting by its weight.

    Between the sorted samples, placed at the middle of their share of the total weight
    :math:`W`, :math:`(c_i - w_i/2)/W`, the quantile is interpolated linearly. Samples of weight
    0 do not count.

    Args:
        values: Samples.
        weights: Their weights, >= 0, not all 0.
        levels: Levels between 0 and 1.

    Returns:
        One tensor a level.

    Note:
        Differentiable, but the derivative is that of two samples: use `smooth_quantiles` for it.
    """
    ordered, share, place = _ordered(values, weights)
    return _interpolate(ordered, share, place, levels)


def _interpolate(
    ordered: Tensor, share: Tensor, place: Tensor, levels: Sequence[float]
) -> list[Tensor]:
    last = (share > 0).sum(-1, keepdim=True).clamp_min(1) - 1
    result = []
    for level in levels:
        after = (place < level).sum(-1, keepdim=True).minimum(last)
        before = (after - 1).clamp_min(0)
        left, right = place.gather(-1, before), place.gather(-1, after)
        lower, upper = ordered.gather(-1, before), ordered.gather(-1, after)
        gap = torch.where(right > left, right - left, 1)
        fraction = ((level - left) / gap).clamp(0, 1)
        result.append(lower + fraction * (upper - lower))
    return result


def smooth_quantiles(
    values: Float[Tensor, "*batch n"],
    weights: Float[Tensor, "*batch n"],
    levels: Sequence[float],
    width: float,
) -> list[Float[Tensor, "*batch 1"]]:
    r"""Means of the samples around the quantiles, by a parabolic window over the levels.

    .. math::
        \tilde q(\lambda) = \frac{\sum_i k_i x_i}{\sum_i k_i}, \qquad
        k_i = w_i \max\left[0,\ 1 - \left(\frac{c_i - w_i/2 - \lambda W}{\Delta W}\right)^2\right].

    The derivative of an exact quantile is that of the one or two samples that happen to lie
    there, and its noise does not fall with their number; this one averages over all samples in
    the window.

    Args:
        values: Samples.
        weights: Their weights, >= 0, not all 0.
        levels: Levels between 0 and 1.
        width: Half width :math:`\Delta` of the window; towards 0 the results tend to
            `weighted_quantiles`, which also serve where no sample lies in the window.

    Note:
        Differentiable in values and weights.
    """
    ordered, share, place = _ordered(values, weights)
    exact = _interpolate(ordered, share, place, levels)
    result = []
    for level, fallback in zip(levels, exact, strict=True):
        window = (1 - ((place - level) / width).square()).clamp_min(0) * share
        total = window.sum(-1, keepdim=True)
        empty = total <= 0
        mean = (window * ordered).sum(-1, keepdim=True) / torch.where(empty, 1, total)
        result.append(torch.where(empty, fallback, mean))
    return result


def _ordered(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values and weights in rising order of the values, and the level of each."""
    # samples of no weight go to the end, so that the others are neighbours
    key = torch.where(weights > 0, values, torch.inf)
    order = key.detach().argsort(dim=-1)
    ordered, share = values.gather(-1, order), weights.gather(-1, order)
    total = share.sum(-1, keepdim=True)
    place = (share.cumsum(-1) - share / 2) / torch.where(total > 0, total, 1)
    return ordered, share, place
