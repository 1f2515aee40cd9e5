r"""Edges of bins as free parameters that stay ordered, and where to start them.

Unordered numbers, free to take any value, are mapped to edges that increase by construction, so
that any optimizer can move them.
"""

__all__ = [
    "quantile_edges",
    "reference_bandwidth",
    "softmax_edges",
    "softmax_spacings",
    "softplus_edges",
    "softplus_spacings",
]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError
from detopt.relax._checks import (
    TensorLike,
    expanded,
    require_choice,
    require_events,
    require_finite,
    require_increasing,
)
from detopt.relax._kernels import ORDERS

ROUGHNESS = {  # integral of the squared kernel of each order, over the normal one's 1/(2 sqrt pi)
    2: 1.0,
    4: 27 / 16,
    6: 2265 / 1024,
}
MOMENT = {2: 1.0, 4: 3.0, 6: 15.0}  # of the normal kernel


def softmax_edges(
    spacings: Float[Tensor, "*batch bins"],
    low: TensorLike,
    high: TensorLike,
    minimum_share: float = 0.0,
) -> Float[Tensor, "*batch n_edges"]:
    r"""Increasing edges between two fixed ends.

    .. math::
        e_k = a + (b - a) \sum_{j < k} \left[\epsilon
            + (1 - K \epsilon)\, \mathrm{softmax}_j(r)\right]

    Args:
        spacings: Free numbers :math:`r`, one a bin; a number added to all changes nothing.
        low: First edge :math:`a`.
        high: Last edge :math:`b`, above `low`.
        minimum_share: Least width :math:`\epsilon` of a bin as a fraction of the range, below one
            over the number :math:`K` of bins.

    Returns:
        Edges, one more than there are bins; the ends are exactly `low` and `high`.

    Raises:
        DomainError: No bins, NaN or infinity, or ends that do not increase.
        ConfigError: A minimum that the bins cannot keep.

    Note:
        Differentiable in all tensors. With a minimum of zero a bin can become so narrow that its
        edges coincide in floating point: give a minimum where the edges are optimized.
    """
    require_events("spacings", spacings)
    require_finite("spacings", spacings)
    _require_share(minimum_share, spacings.shape[-1])
    first = torch.as_tensor(low, dtype=spacings.dtype, device=spacings.device)
    last = torch.as_tensor(high, dtype=spacings.dtype, device=spacings.device)
    first, last = torch.broadcast_tensors(first, last)
    require_increasing("(low, high)", torch.stack([first, last], -1))
    shares = minimum_share + (1 - spacings.shape[-1] * minimum_share) * spacings.softmax(-1)
    inner = first.unsqueeze(-1) + (last - first).unsqueeze(-1) * shares.cumsum(-1)[..., :-1]
    ends = [end.unsqueeze(-1).expand(*inner.shape[:-1], 1) for end in (first, last)]
    return torch.cat([ends[0], inner, ends[1]], -1)


def softmax_spacings(
    edges: Float[Tensor, "*batch n_edges"], minimum_share: float = 0.0
) -> Float[Tensor, "*batch bins"]:
    """Free numbers for which `softmax_edges` gives these edges; their mean is zero.

    Args:
        edges: Increasing edges, the two ends included.
        minimum_share: The minimum that `softmax_edges` will be given.

    Raises:
        DomainError: Edges that do not increase, or a bin that is not wider than the minimum.
        ConfigError: A minimum that the bins cannot keep.
    """
    require_increasing("edges", edges)
    n_bins = edges.shape[-1] - 1
    _require_share(minimum_share, n_bins)
    shares = edges.diff(dim=-1) / (edges[..., -1:] - edges[..., :1])
    if bool((shares <= minimum_share).any()):
        raise DomainError(
            f"`edges` have a bin with a share of {shares.min().item():g} of the range, which is "
            f"not above `minimum_share` = {minimum_share:g}. Lower the minimum or widen the bin."
        )
    logarithm = (shares - minimum_share).log()
    return logarithm - logarithm.mean(-1, keepdim=True)


def softplus_edges(
    first: Float[Tensor, "*batch"], spacings: Float[Tensor, "*batch bins"]
) -> Float[Tensor, "*batch n_edges"]:
    r"""Increasing edges with free ends: :math:`e_k = e_0 + \sum_{j < k} \ln(1 + e^{r_j})`.

    Args:
        first: First edge :math:`e_0`, in any unit.
        spacings: Free numbers :math:`r`, one a bin; far above zero they are the widths themselves.

    Raises:
        DomainError: No bins, or NaN or infinity.

    Note:
        Differentiable in both.
    """
    require_events("spacings", spacings)
    require_finite("spacings", spacings)
    require_finite("first", first)
    start = first.unsqueeze(-1)
    widths = torch.nn.functional.softplus(spacings)
    return torch.cat([start, start + widths.cumsum(-1)], -1)


def softplus_spacings(edges: Float[Tensor, "*batch n_edges"]) -> Float[Tensor, "*batch bins"]:
    r"""Free numbers for which `softplus_edges` gives these edges: :math:`r = \ln(e^w - 1)`.

    Raises:
        DomainError: Edges that do not increase.
    """
    require_increasing("edges", edges)
    widths = edges.diff(dim=-1)
    return widths + torch.log(-torch.expm1(-widths))


def quantile_edges(
    values: Float[Tensor, "*batch events"],
    n_bins: int,
    weights: Float[Tensor, "*#batch #events"] | None = None,
) -> Float[Tensor, "*batch n_edges"]:
    """Edges that share the weight of a sample equally between the bins: a place to start.

    Args:
        values: Sample, in any unit.
        n_bins: Number of bins, > 0.
        weights: Weights of the events, >= 0, 1 if left out.

    Returns:
        Edges from the least to the greatest value, linear between the events.

    Raises:
        DomainError: No events, NaN or infinity, weights of another shape, a negative one or none
            above 0, or so many equal values that edges coincide.
        ConfigError: `n_bins` is no whole number or below 1.

    Note:
        Differentiable in the values, with the noise of single events: use it for a start.
    """
    if not isinstance(n_bins, int) or n_bins < 1:
        raise ConfigError(f"`n_bins` must be a whole number of at least 1, got {n_bins}.")
    require_events("values", values)
    require_finite("values", values)
    mass = torch.ones_like(values)
    if weights is not None:
        mass = expanded("weights", weights, values).detach()
    require_finite("weights", mass)
    if bool((mass < 0).any()) or bool((mass.sum(-1) <= 0).any()):
        raise DomainError(
            f"`weights` must be >= 0 with a positive sum, got a least one of {mass.min():g}. "
            "Choose the edges with the events of positive weight."
        )
    ordered, order = values.sort(-1)
    mass = mass.gather(-1, order)
    middle = mass.cumsum(-1) - mass / 2
    levels = torch.linspace(0, 1, n_bins + 1, dtype=values.dtype, device=values.device)[1:-1]
    wanted = (levels * mass.sum(-1, keepdim=True)).contiguous()
    top = torch.searchsorted(middle.contiguous(), wanted).clamp(1, max(1, values.shape[-1] - 1))
    top = top.clamp(max=values.shape[-1] - 1)
    low, high = middle.gather(-1, (top - 1).clamp(min=0)), middle.gather(-1, top)
    part = ((wanted - low) / torch.where(high > low, high - low, 1.0)).clamp(0, 1)
    inner = torch.lerp(ordered.gather(-1, (top - 1).clamp(min=0)), ordered.gather(-1, top), part)
    edges = torch.cat([ordered[..., :1], inner, ordered[..., -1:]], -1)
    if bool((edges.detach().diff(dim=-1) <= 0).any()):
        raise DomainError(
            f"`values` has too many equal values for {n_bins} bins of equal weight: edges "
            "coincide. Take fewer bins, or spread the values first."
        )
    return edges


def reference_bandwidth(
    values: Float[Tensor, "*batch events"],
    weights: Float[Tensor, "*#batch #events"] | None = None,
    order: int = 2,
) -> Float[Tensor, "*batch"]:
    r"""Bandwidth with the least mean squared error of the slope of a count, for normal values.

    .. math::
        h = 2 \sigma \left[\frac{\sqrt\pi\,(r!)^3 R_r}{2 r\,(2r)!\,\mu_r^2\, n}
            \right]^{1/(2r + 1)}

    with :math:`R_r` the integral of the squared kernel and :math:`n = (\sum w)^2 / \sum w^2`. The
    derivative of a count with respect to an edge is a density, hence the rule is that of density
    estimation: 1.06, 1.08 and 1.08 times :math:`\sigma n^{-1/(2r+1)}` for the orders 2, 4 and 6.

    Args:
        values: Sample, in any unit.
        weights: Weights of the events, 1 if left out.
        order: Order of the kernel: 2, 4 or 6.

    Returns:
        Bandwidth of the normal kernel, in the unit of the values.

    Raises:
        DomainError: No events, NaN or infinity, weights of another shape, values that are all
            equal, or weights that add up to zero.
        ConfigError: Unknown order.

    Note:
        Held fixed: the result carries no gradient. A density with structure finer than a normal
        one needs less.

    References:
        B. W. Silverman, Density Estimation (1986), section 3.4; B. E. Hansen, Econometric Theory
        21 (2005) 1031 (higher orders).
    """
    require_choice("order", order, ORDERS)
    require_events("values", values)
    require_finite("values", values)
    values = values.detach()
    mass = torch.ones_like(values)
    if weights is not None:
        mass = expanded("weights", weights, values).detach()
    require_finite("weights", mass)
    total = mass.sum(-1)
    mean = (mass * values).sum(-1) / total
    variance = (mass * (values - mean.unsqueeze(-1)).square()).sum(-1) / total
    if not bool((variance > 0).all()):
        raise DomainError(
            "`values` must have a positive weighted variance, got "
            f"{variance.min().item():g}. Give different values, and weights with a positive sum."
        )
    n_effective = total.square() / mass.square().sum(-1)
    factorial = math.factorial(order)
    roughness = ROUGHNESS[order] / (2 * math.sqrt(math.pi))
    constant = (math.sqrt(math.pi) * factorial**3 * roughness) / (
        2 * order * math.factorial(2 * order) * MOMENT[order] ** 2
    )
    return 2 * variance.sqrt() * (constant / n_effective) ** (1 / (2 * order + 1))


def _require_share(minimum_share: float, n_bins: int) -> None:
    """Refuses a least width that so many bins cannot have."""
    if not 0 <= minimum_share < 1 / n_bins:
        raise ConfigError(
            f"`minimum_share` must be at least 0 and below 1/{n_bins} for {n_bins} bins, "
            f"got {minimum_share:g}."
        )
