r"""Histograms of events: hard, smoothed by a kernel, and with hard values and smooth gradients.

Every function takes events along the last axis, any batch axes before it, and returns the sums of
weights and of squared weights per bin. A weight that is shared between bins enters the squares
with the square of its share.
"""

__all__ = [
    "Histogram",
    "hard_histogram",
    "kernel_histogram",
    "straight_through_histogram",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.relax._checks import (
    TensorLike,
    expanded,
    require_choice,
    require_events,
    require_finite,
    require_increasing,
    require_positive,
)
from detopt.relax._kernels import KERNELS, ORDERS
from detopt.relax._windows import shared_sums
from detopt.relax.straight_through import straight_through


@dataclass(frozen=True)
class Histogram:
    r"""Contents of bins, with what their statistical errors need.

    Attributes:
        counts: Sums of weights :math:`n_k = \sum_i w_{ik}`.
        squares: Sums of squared weights :math:`v_k = \sum_i w_{ik}^2`: the variance of
            :math:`n_k` for a number of events that is Poisson distributed.
    """

    counts: Float[Tensor, "*batch bins"]
    squares: Float[Tensor, "*batch bins"]

    def __add__(self, other: "Histogram") -> "Histogram":
        """The histogram of the events of both."""
        return Histogram(self.counts + other.counts, self.squares + other.squares)

    def scaled(self, factor: TensorLike) -> "Histogram":
        """The histogram with all weights times `factor`."""
        return Histogram(self.counts * factor, self.squares * factor**2)

    def relative_errors(self) -> Float[Tensor, "*batch bins"]:
        r"""Statistical error over content, :math:`\sqrt{v_k} / |n_k|`; infinite for an empty bin.

        Note:
            Differentiable where the bin holds events; the derivative in an empty bin is zero.
        """
        filled = (self.squares > 0) & (self.counts != 0)
        squares = torch.where(filled, self.squares, 1.0)
        counts = torch.where(filled, self.counts, 1.0)
        return torch.where(filled, squares.sqrt() / counts.abs(), torch.inf)


def hard_histogram(
    values: Float[Tensor, "*#batch events"],
    edges: Float[Tensor, "*#batch n_edges"],
    weights: Float[Tensor, "*#batch #events"] | None = None,
    open_ends: bool = False,
) -> Histogram:
    r"""Sums of weights of the events in each bin, :math:`e_k \le x < e_{k+1}`.

    Args:
        values: Values :math:`x` to fill, in any unit.
        edges: Increasing edges :math:`e` in the same unit; a value at the last one is in the last
            bin.
        weights: Weights :math:`w` of the events, 1 if left out.
        open_ends: Whether the first and the last bin reach to infinity. If not, events outside
            the edges are lost.

    Returns:
        Counts and squares, of the shape ``(*batch, n_edges - 1)``.

    Raises:
        DomainError: No events, NaN or infinity, or edges that do not increase.

    Note:
        Differentiable in the weights, and in nothing else.
    """
    values, edges, weights = _checked(values, edges, weights)
    slots = torch.searchsorted(
        edges.detach().contiguous(), values.detach().contiguous(), right=True
    )
    last = edges.shape[-1] - 1
    slots = torch.where(values == edges[..., -1:], last, slots)
    if open_ends:
        slots = slots.clamp(1, last)
    filled = values.new_zeros((*values.shape[:-1], last + 2))
    counts = filled.scatter_add(-1, slots, weights)
    squares = filled.scatter_add(-1, slots, weights.square())
    return Histogram(counts[..., 1:-1], squares[..., 1:-1])


def kernel_histogram(
    values: Float[Tensor, "*#batch events"],
    edges: Float[Tensor, "*#batch n_edges"],
    bandwidth: TensorLike,
    weights: Float[Tensor, "*#batch #events"] | None = None,
    kernel: str = "normal",
    order: int = 2,
    open_ends: bool = False,
) -> Histogram:
    r"""Sums of weights of events that are smeared with a kernel.

    .. math::
        p_{ik} = F_r\!\left(\frac{e_{k+1} - x_i}{h}\right)
            - F_r\!\left(\frac{e_k - x_i}{h}\right), \qquad
        n_k = \sum_i w_i p_{ik}, \qquad v_k = \sum_i w_i^2 p_{ik}^2

    Args:
        values: Values :math:`x` to fill, in any unit.
        edges: Increasing edges :math:`e` in the same unit.
        bandwidth: Width :math:`h` of the kernel in the same unit, > 0; a number, or a tensor that
            broadcasts against `values` (one an event, or one a batch entry with the shape
            ``(*batch, 1)``).
        weights: Weights :math:`w` of the events, 1 if left out.
        kernel: "normal" or "logistic", of standard deviation :math:`h` and :math:`1.81\,h`.
        order: 2 for the kernel itself, 4 or 6 for its extrapolation to zero width, whose shares
            :math:`p_{ik}` may be negative.
        open_ends: Whether the first and the last bin reach to infinity, so that the shares of an
            event add up to one.

    Returns:
        Counts and squares, of the shape ``(*batch, n_edges - 1)``.

    Raises:
        DomainError: No events, NaN or infinity, edges that do not increase, a bandwidth that is
            not positive, or shapes that do not fit.
        ConfigError: Unknown kernel or order.

    Note:
        Differentiable, also twice, in values, edges, weights and bandwidth. The limit for
        :math:`h \to 0` is `hard_histogram`. The bias of a count is
        :math:`\pm N \frac{\mu_r}{r!} h^r [p^{(r-1)}(e_{k+1}) - p^{(r-1)}(e_k)]` to leading
        order, with the density :math:`p` of :math:`x` (sign + for the orders 2 and 6) and the
        moments :math:`\mu_2, \mu_4, \mu_6 = 1, 3, 15` (normal). The variance of the derivative
        grows as :math:`1/h`. Work and memory go with the number of edges within reach of an event
        (9 widths), not with the number of bins; many events are treated in chunks, and a chunk is
        computed again in the backward pass.
    """
    require_choice("kernel", kernel, KERNELS)
    require_choice("order", order, ORDERS)
    require_positive("bandwidth", bandwidth)
    values, edges, weights = _checked(values, edges, weights)
    width = torch.as_tensor(bandwidth, dtype=values.dtype, device=values.device)
    expanded("bandwidth", width, values)
    counts, squares = shared_sums(values, edges, width, weights, kernel, order, open_ends)
    return Histogram(counts, squares)


def straight_through_histogram(
    values: Float[Tensor, "*#batch events"],
    edges: Float[Tensor, "*#batch n_edges"],
    bandwidth: TensorLike,
    weights: Float[Tensor, "*#batch #events"] | None = None,
    kernel: str = "normal",
    order: int = 4,
    open_ends: bool = False,
) -> Histogram:
    """The values of `hard_histogram` with the gradient of `kernel_histogram`.

    Args:
        values: As for `kernel_histogram`.
        edges: As for `kernel_histogram`.
        bandwidth: As for `kernel_histogram`; the gradient with respect to it is zero, since the
            values do not depend on it. `reference_bandwidth` gives a start.
        weights: As for `kernel_histogram`; the gradient with respect to them is the exact one.
        kernel: As for `kernel_histogram`.
        order: Order of the kernel that is differentiated.
        open_ends: As for `kernel_histogram`.

    Note:
        The gradient with respect to values and edges has the bias of the kernel, the values have
        none. The fourth order removes the leading bias at the price of 1.3 times (normal kernel)
        the standard error of the gradient at equal width. The squares of orders above 2 may rise
        and fall with shares that are negative; their derivative is a smooth stand-in as well.
    """
    width = bandwidth.detach() if isinstance(bandwidth, Tensor) else bandwidth
    hard = hard_histogram(values, edges, weights, open_ends)
    soft = kernel_histogram(values, edges, width, weights, kernel, order, open_ends)
    if weights is None or not weights.requires_grad:
        reference = Histogram(soft.counts.detach(), soft.squares.detach())
    else:  # the hard sums have their own derivative in the weights
        reference = kernel_histogram(
            values.detach(), edges.detach(), width, weights, kernel, order, open_ends
        )
    return Histogram(
        straight_through(hard.counts, soft.counts, reference.counts),
        straight_through(hard.squares, soft.squares, reference.squares),
    )


def _checked(
    values: Tensor, edges: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Refuses what cannot be filled, and broadcasts the batch axes."""
    require_events("values", values)
    require_finite("values", values)
    require_increasing("edges", edges)
    edges = edges.to(values.dtype)
    if weights is None:
        weights = values.new_ones(1)
    else:
        require_finite("weights", weights)
    try:
        batch = torch.broadcast_shapes(values.shape[:-1], edges.shape[:-1], weights.shape[:-1])
    except RuntimeError:
        raise DomainError(
            f"The batch axes of `values` {tuple(values.shape)}, `edges` {tuple(edges.shape)} and "
            f"`weights` {tuple(weights.shape)} do not fit: all but the last must be equal or 1."
        ) from None
    values = values.expand(*batch, -1)
    weights = expanded("weights", weights, values)
    if edges.ndim > 1:
        edges = edges.expand(*batch, -1)
    return values, edges, weights
