r"""Histograms of events that a network assigns to bins by scores.

A hard assignment takes the bin with the highest score. The soft one shares an event between bins
by the softmax of its scores over a temperature, as the summary statistic of INFERNO does.
"""

__all__ = [
    "argmax_histogram",
    "shares_histogram",
    "softmax_histogram",
    "softmax_shares",
    "straight_through_softmax_histogram",
]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.relax._checks import (
    TensorLike,
    require_choice,
    require_events,
    require_finite,
    require_positive,
)
from detopt.relax._kernels import ORDERS
from detopt.relax.histograms import Histogram
from detopt.relax.straight_through import straight_through


def softmax_shares(
    scores: Float[Tensor, "*batch events bins"], temperature: TensorLike, order: int = 2
) -> Float[Tensor, "*batch events bins"]:
    r"""Shares of each event in the bins.

    .. math::
        p_{ik} = \mathrm{softmax}_k(u_i), \qquad u_{ik} = f_{ik} / T

    The orders 4 and 6 are its extrapolation to zero temperature,
    :math:`p - \frac{T}{2} \partial_T p = p\,(1 + d/2)` and
    :math:`p\,[1 + \frac{7}{8} d + \frac{1}{8}(d^2 - v)]` with :math:`d = u - \sum_k p_k u_k` and
    :math:`v = \sum_k p_k d_k^2`. They add up to one for each event too.

    Args:
        scores: Score :math:`f` of each bin.
        temperature: Temperature :math:`T` in units of the scores, > 0; a number, or a tensor that
            broadcasts against `scores`.
        order: 2, 4 or 6; the shares of the higher ones may be negative.

    Raises:
        DomainError: No events, NaN or infinity, or a temperature that is not positive.
        ConfigError: Unknown order.

    Note:
        Differentiable in scores and temperature. The bias of a mean share goes with
        :math:`T^r` where the density of the differences of scores is smooth; for two bins it is
        that of `soft_step` with the logistic kernel of width :math:`T`.

    References:
        P. de Castro and T. Dorigo, Comput. Phys. Commun. 244 (2019) 170, arXiv:1806.04743, for
        the order 2.
    """
    require_choice("order", order, ORDERS)
    require_events("scores", scores, axis=-2)
    require_finite("scores", scores)
    require_positive("temperature", temperature)
    reduced = scores / temperature
    shares = torch.softmax(reduced, -1)
    if order == 2:
        return shares
    highest = reduced.detach().amax(-1, keepdim=True)
    reduced = reduced - highest  # differences alone matter; small ones keep their digits
    apart = reduced - (shares * reduced).sum(-1, keepdim=True)
    if order == 4:
        return shares * (1 + apart / 2)
    spread = (shares * apart.square()).sum(-1, keepdim=True)
    return shares * (1 + 0.875 * apart + (apart.square() - spread) / 8)


def shares_histogram(
    shares: Float[Tensor, "*batch events bins"],
    weights: Float[Tensor, "*#batch #events"] | None = None,
) -> Histogram:
    r"""Histogram of events that are shared between bins: :math:`n_k = \sum_i w_i p_{ik}`.

    Args:
        shares: Share :math:`p_{ik}` of each event in each bin.
        weights: Weights :math:`w` of the events, 1 if left out.
    """
    if weights is None:
        return Histogram(shares.sum(-2), shares.square().sum(-2))
    require_events("weights", weights)
    require_finite("weights", weights)
    rows = weights.expand(*weights.shape[:-1], shares.shape[-2]).unsqueeze(-2)
    return Histogram((rows @ shares).squeeze(-2), (rows.square() @ shares.square()).squeeze(-2))


def argmax_histogram(
    scores: Float[Tensor, "*batch events bins"],
    weights: Float[Tensor, "*#batch #events"] | None = None,
) -> Histogram:
    """Histogram with each event in the bin of its highest score, the first one of equals.

    Args:
        scores: Score of each bin.
        weights: Weights of the events, 1 if left out.

    Raises:
        DomainError: No events, or NaN or infinity.

    Note:
        Differentiable in the weights, and in nothing else.
    """
    require_events("scores", scores, axis=-2)
    require_finite("scores", scores)
    return shares_histogram(_argmax_shares(scores), weights)


def softmax_histogram(
    scores: Float[Tensor, "*batch events bins"],
    temperature: TensorLike,
    weights: Float[Tensor, "*#batch #events"] | None = None,
    order: int = 2,
) -> Histogram:
    """Histogram of events that are shared by `softmax_shares`.

    Args:
        scores: Score of each bin.
        temperature: Temperature in units of the scores, > 0.
        weights: Weights of the events, 1 if left out.
        order: Order of the shares: 2, 4 or 6.

    Raises:
        DomainError: As for `softmax_shares`.
        ConfigError: Unknown order.

    Note:
        Differentiable, also twice, in scores, temperature and weights. The limit for a
        temperature that goes to zero is `argmax_histogram`.
    """
    return shares_histogram(softmax_shares(scores, temperature, order), weights)


def straight_through_softmax_histogram(
    scores: Float[Tensor, "*batch events bins"],
    temperature: TensorLike,
    weights: Float[Tensor, "*#batch #events"] | None = None,
    order: int = 4,
) -> Histogram:
    """The values of `argmax_histogram` with the gradient of `softmax_histogram`.

    Args:
        scores: Score of each bin.
        temperature: Temperature in units of the scores, > 0; its own gradient is zero.
        weights: Weights of the events, 1 if left out; their gradient is the exact one.
        order: Order of the shares that are differentiated.

    Note:
        The gradient with respect to the scores has the bias of the shares, the values have none.
    """
    fixed = temperature.detach() if isinstance(temperature, Tensor) else temperature
    soft = softmax_shares(scores, fixed, order)
    hard = _argmax_shares(scores)
    squares = straight_through(hard, soft.square())
    shares = straight_through(hard, soft)
    counts = shares_histogram(shares, weights).counts
    heavy = None if weights is None else weights.square()
    return Histogram(counts, shares_histogram(squares, heavy).counts)


def _argmax_shares(scores: Tensor) -> Tensor:
    """One in the bin of the highest score, zero elsewhere."""
    best = scores.detach().argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter(-1, best, 1.0)
