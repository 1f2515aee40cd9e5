"""Sums of the shares of smeared events, in chunks and only where an edge is within reach."""

__all__ = ["shared_sums"]

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from detopt.relax._kernels import REACH, cumulative

CHUNK = 2**20  # shares held at a time with a graph: 8 MB a tensor in float64
CACHED_CHUNK = 2**17  # and without one: small enough to stay in the cache of a core
STEPS = 1  # position of the steps among the inputs

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
Sums = tuple[Tensor, Tensor]
Part = Callable[..., Sums]


def shared_sums(
    values: Tensor,
    edges: Tensor,
    width: Tensor,
    weights: Tensor,
    kernel: str,
    order: int,
    open_ends: bool,
) -> Sums:
    """Sums of weighted shares and of their squares in each bin."""
    n_bins = edges.shape[-1] - 1
    steps = edges[..., 1:-1] if open_ends else edges
    if steps.shape[-1] == 0:  # one bin that holds everything
        return weights.sum(-1, keepdim=True), weights.square().sum(-1, keepdim=True)
    n_near = _edges_within_reach(steps, width, kernel)
    part = functools.partial(_sums_of_chunk, kernel=kernel, order=order, n_near=n_near)
    width = width.expand_as(values) if width.ndim else width
    n_rows = max(1, values[..., 0].numel())
    chunk = CHUNK if torch.is_grad_enabled() else CACHED_CHUNK
    sums = _in_chunks(part, (values, steps, width, weights), max(1, chunk // (n_rows * n_near)))
    inside = slice(None) if open_ends else slice(1, n_bins + 1)
    return sums[0][..., inside], sums[1][..., inside]


def _in_chunks(part: Part, inputs: Inputs, n: int) -> Sums:
    """Adds the sums of chunks of `n` events."""
    if inputs[0].shape[-1] <= n:
        return part(*inputs)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        sums: Sums = _Chunks.apply(part, n, *inputs)
        return sums
    counts, squares = zip(*(part(*chunk) for chunk in _split(inputs, n)), strict=True)
    return torch.stack(counts).sum(0), torch.stack(squares).sum(0)


def _split(inputs: Inputs, n: int) -> Iterator[Inputs]:
    """Chunks of values, width and weights; the steps are shared."""
    values, steps, width, weights = inputs
    for first in range(0, values.shape[-1], n):
        events = slice(first, first + n)
        near = width[..., events] if width.ndim else width
        yield values[..., events], steps, near, weights[..., events]


class _Chunks(torch.autograd.Function):
    """Sums over chunks, each of which is computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, part: Part, n: int, *inputs: Tensor) -> Sums:
        ctx.part, ctx.n = part, n
        ctx.save_for_backward(*inputs)
        return _in_chunks(part, (inputs[0], inputs[1], inputs[2], inputs[3]), n)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        keep = torch.is_grad_enabled()
        inputs = ctx.saved_tensors
        wanted = [i for i, tensor in enumerate(inputs) if tensor.requires_grad]
        found: list[list[Tensor]] = [[] for _ in inputs]
        for chunk in _split(inputs, ctx.n):
            with torch.enable_grad():
                # aliases, so that the steps of one chunk are apart from those of the others
                aliases = [t.view_as(t) if keep else t.detach() for t in chunk]
                if not keep:
                    for i in wanted:
                        aliases[i].requires_grad_()
                sums = ctx.part(*aliases)
                gradients = torch.autograd.grad(
                    sums, [aliases[i] for i in wanted], cotangents, create_graph=keep
                )
            for i, gradient in zip(wanted, gradients, strict=True):
                found[i].append(gradient)
        whole: list[Tensor | None] = [None] * len(inputs)
        for i in wanted:
            per_event = i != STEPS and inputs[i].ndim > 0
            whole[i] = torch.cat(found[i], -1) if per_event else torch.stack(found[i]).sum(0)
        return (None, None, *whole)


def _sums_of_chunk(
    values: Tensor,
    steps: Tensor,
    width: Tensor,
    weights: Tensor,
    kernel: str,
    order: int,
    n_near: int,
) -> Sums:
    """Sums over one chunk in the slots between steps, the outer two slots included."""
    n_steps = steps.shape[-1]
    wide = width.unsqueeze(-1)
    if n_near == n_steps:
        reduced = (steps.unsqueeze(-2) - values.unsqueeze(-1)) / wide
        shares = _differences(cumulative(reduced, kernel, order))
        counts = (weights.unsqueeze(-2) @ shares).squeeze(-2)
        squares = (weights.square().unsqueeze(-2) @ shares.square()).squeeze(-2)
        return counts, squares

    low = (values - REACH[kernel] * width).detach().contiguous()
    first = torch.searchsorted(steps.detach().contiguous(), low).clamp(max=n_steps - n_near)
    index = first.unsqueeze(-1) + torch.arange(n_near, device=values.device)
    if steps.ndim == 1:
        near = steps.index_select(0, index.flatten()).reshape(index.shape)
    else:
        near = steps.gather(-1, index.flatten(-2)).reshape(index.shape)
    shares = _differences(cumulative((near - values.unsqueeze(-1)) / wide, kernel, order))
    slots = first.unsqueeze(-1) + torch.arange(n_near + 1, device=values.device)
    weighted = (weights.unsqueeze(-1) * shares).flatten(-2)
    empty = weighted.new_zeros((*weighted.shape[:-1], n_steps + 1))
    counts = empty.scatter_add(-1, slots.flatten(-2), weighted)
    return counts, empty.scatter_add(-1, slots.flatten(-2), weighted.square())


def _differences(below: Tensor) -> Tensor:
    """Shares of the slots from the shares below each step: differences from 0 to 1."""
    return torch.cat([below[..., :1], below.diff(dim=-1), 1 - below[..., -1:]], -1)


def _edges_within_reach(steps: Tensor, width: Tensor, kernel: str) -> int:
    """The largest number of steps that one event can reach, or all where windows do not pay."""
    n_steps = steps.shape[-1]
    try:
        reach = 2 * REACH[kernel] * width.detach().amax()
        grid = steps.detach().contiguous()
        ahead = torch.searchsorted(grid, grid + reach, right=True)
        n_near = int((ahead - torch.arange(n_steps, device=steps.device)).amax()) + 1
    except RuntimeError:  # inside vmap the number cannot be read
        return n_steps
    return n_near if 2 * n_near < n_steps else n_steps
