"""Elementwise functions whose value and partial derivatives are computed together.

A chain of tensor operations reads and writes the memory at each step, and its backward pass once
more. Where most of the work is shared, one pass over blocks that stay in the cache does both.
"""

__all__ = ["Partials", "fused"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

BLOCK = 1 << 16  # numbers that are treated together

Partials = tuple[Tensor, tuple[Tensor, ...]]


def fused(
    together: Callable[..., Partials], plain: Callable[..., Tensor], *arguments: Tensor
) -> Tensor:
    """Value of an elementwise function, differentiable in all arguments.

    Args:
        together: Gives the value and, if its first argument is true, all partial derivatives,
            from vectors of equal length.
        plain: The same function in operations that autograd knows, for second derivatives.
        arguments: Tensors of one dtype that broadcast against each other.
    """
    spread = torch.broadcast_tensors(*arguments)
    needs = torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
    value: Tensor = _Fused.apply(together, plain, needs, *spread)[0]
    return value


class _Fused(Function):
    """Elementwise, so that a batch is nothing special."""

    @staticmethod
    def forward(
        together: Callable[..., Partials],
        plain: Callable[..., Tensor],
        needs: bool,
        *arguments: Tensor,
    ) -> tuple[Tensor, ...]:
        del plain
        results: tuple[Tensor, ...] = _evaluate(together, needs, *arguments)
        return results

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.together, ctx.plain, ctx.needs, *arguments = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*arguments, *output[1:])
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n = len(ctx.saved_tensors) // (2 if ctx.needs else 1)
        arguments, partials = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        if torch.is_grad_enabled():  # a second derivative may follow
            pull = torch.func.vjp(ctx.plain, *arguments)[1]
            return None, None, None, *pull(gradients[0])
        if not partials:
            partials = _Fused.apply(ctx.together, ctx.plain, True, *arguments)[1:]
        wanted_by = ctx.needs_input_grad[3:]
        parts = zip(partials, wanted_by, strict=True)
        return None, None, None, *(gradients[0] * p if wanted else None for p, wanted in parts)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        arguments = ctx.saved_tensors
        partials = _Fused.apply(ctx.together, ctx.plain, True, *arguments)[1:]
        along = zip(partials, tangents[3:], strict=True)
        total = sum(p * t for p, t in along if t is not None)
        return total, *(None for _ in partials if ctx.needs)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        together: Callable[..., Partials],
        plain: Callable[..., Tensor],
        needs: bool,
        *arguments: Tensor,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        dims = in_dims[3:]
        batched = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(arguments, dims, strict=True)
        ]
        outputs = _Fused.apply(together, plain, needs, *batched)
        return outputs, tuple(0 for _ in outputs)


def _evaluate(together: Callable[..., Partials], needs: bool, *arguments: Tensor) -> Any:
    """The value, followed by the partial derivatives if they are needed."""
    flat = [x.reshape(-1) for x in arguments]
    results = [torch.empty_like(flat[0]) for _ in range(1 + needs * len(flat))]
    for start in range(0, len(flat[0]), BLOCK):
        value, partials = together(needs, *(x[start : start + BLOCK] for x in flat))
        for result, part in zip(results, (value, *partials), strict=True):
            result[start : start + BLOCK] = part
    return tuple(result.reshape(arguments[0].shape) for result in results)
