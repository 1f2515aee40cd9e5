r"""Where lines cross a box, with derivatives by hand.

Of the six faces two decide, so that the derivative has far fewer terms than the function:

.. math::
    s = |\vec d|\, F, \qquad F_{in} = \max_k \left(\frac{o_k}{d_k} - \frac{h_k}{|d_k|}\right),
    \qquad F_{out} = \min_k \left(\frac{o_k}{d_k} + \frac{h_k}{|d_k|}\right)

with the offset :math:`\vec o` of the centre from the origin and the half edges :math:`h_k`.
"""

__all__ = ["cross_box"]

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from detopt.physics._rays import nonzero

BLOCK = 1 << 15  # rays that are treated together, so that what is between stays in the cache
Rows = Float[Tensor, "3 n"]


def cross_box(
    offset: Float[Tensor, "*#batch 3"],
    direction: Float[Tensor, "*#batch 3"],
    half: Float[Tensor, "*#batch 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Distances of entry and exit, differentiable in all arguments.

    Args:
        offset: The centre less the origin of the line.
        direction: Direction of the line, of any length.
        half: Half the edges, > 0.
    """
    first, last = _Crossing.apply(*torch.broadcast_tensors(offset, direction, half))
    return first, last


def _plain(offset: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The same in operations that autograd knows."""
    size = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    inverse = 1 / nonzero(direction / size)
    middle, reach = offset * inverse, (half * inverse).abs()
    return (middle - reach).amax(-1), (middle + reach).amin(-1)


class _Crossing(Function):
    """Each line on its own, so that a batch is nothing special."""

    @staticmethod
    def forward(offset: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        flat = [x.reshape(-1, 3) for x in (offset, direction, half)]
        first, last = (direction.new_empty(len(flat[0])) for _ in range(2))
        for start in range(0, len(first), BLOCK):
            block = slice(start, start + BLOCK)
            size, _, low, high = _faces(*(x[block] for x in flat))
            torch.mul(low.amax(0), size, out=first[block])
            torch.mul(high.amin(0), size, out=last[block])
        return first.reshape(direction.shape[:-1]), last.reshape(direction.shape[:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        del output
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # a second derivative may follow
            pull = torch.func.vjp(_plain, *ctx.saved_tensors)[1]
            return tuple(pull(gradients))
        found = iter(_pull(ctx.needs_input_grad, gradients, *ctx.saved_tensors))
        return tuple(next(found) if wanted else None for wanted in ctx.needs_input_grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        # the derivative is linear in the gradients given: its transpose, one output at a time
        outputs = []
        one, zero = (x(ctx.saved_tensors[0][..., 0]) for x in (torch.ones_like, torch.zeros_like))
        for gradients in ((one, zero), (zero, one)):
            found = _pull((True, True, True), gradients, *ctx.saved_tensors)
            pairs = zip(found, tangents, strict=True)
            outputs.append(sum((g * t).sum(-1) for g, t in pairs if t is not None))
        return outputs[0], outputs[1]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Tensor) -> tuple[Any, Any]:
        leading = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(arguments, in_dims, strict=True)
        ]
        return _Crossing.apply(*leading), (0, 0)


def _pull(
    wanted: tuple[bool, ...],
    gradients: tuple[Tensor, ...],
    offset: Tensor,
    direction: Tensor,
    half: Tensor,
) -> tuple[Tensor, ...]:
    """Those wanted of the gradients of offset, direction and half from those of entry and exit."""
    flat = [x.reshape(-1, 3) for x in (offset, direction, half)]
    given = [x.reshape(-1) for x in gradients]
    blocks = []
    for start in range(0, max(len(flat[0]), 1), BLOCK):
        block = slice(start, start + BLOCK)
        size, inverse, low, high = _faces(*(x[block] for x in flat))
        (first, at), (last, to) = low.max(0), high.min(0)
        pull_in, pull_out = (g[block] * size for g in given)
        axes = torch.arange(3, device=at.device)[:, None]
        inward = torch.where(axes == at, pull_in, 0.0)  # to the face that decides
        outward = torch.where(axes == to, pull_out, 0.0)
        rows = []
        if wanted[0]:
            rows.append((inward + outward) * inverse)
        if wanted[1]:
            along = (pull_in * first + pull_out * last) / size.square()
            stretched = torch.addcmul(inward * first, outward, last)
            rows.append(flat[1][block].T * along - stretched * inverse)
        if wanted[2]:
            rows.append((outward - inward) * inverse.abs())
        blocks.append([row.T for row in rows])
    return tuple(torch.cat(parts).reshape(offset.shape) for parts in zip(*blocks, strict=True))


def _faces(offset: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Rows, Rows, Rows]:
    """Length of the direction, its inverse by axis, and where the faces are in units of it."""
    rows = direction.T.contiguous()
    size = rows.square().sum(0).sqrt()
    inverse = (nonzero(rows / size) * size).reciprocal()
    middle = offset.T * inverse
    reach = (half.T * inverse).abs_()
    return size, inverse, middle - reach, middle + reach
