"""Elementwise functions whose value and partial derivatives are computed together.

A chain of tensor operations reads and writes the memory at each step, and its backward pass once
more. Where most of the work is shared, one pass over blocks that stay in the cache does both.
"""

__all__ = ["Partials", "fused"]

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

BLOCK = 1 << 16  # numbers that are treated together

Partials = tuple[Tensor, tuple[Tensor, ...]]


def fused(
    together: Callable[..., Partials],
    plain: Callable[..., Tensor],
    *arguments: Tensor,
    store: bool = True,
) -> Tensor:
    """Value of an elementwise function, differentiable in all arguments.

    Args:
        together: Gives the value and, if its first argument is true, all partial derivatives,
            from vectors of equal length.
        plain: The same function in operations that autograd knows, for second derivatives.
        arguments: Tensors of one dtype that broadcast against each other.
        store: Keep the partial derivatives for the backward pass. If false, they are computed
            there, which is faster where they are many and cheap.
    """
    spread = torch.broadcast_tensors(*arguments)
    needs = store and torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
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
        wanted_by = ctx.needs_input_grad[3:]
        if not partials:
            pulled = _Pull.apply(ctx.together, wanted_by, gradients[0], *arguments)
            given = iter(pulled)
            return None, None, None, *(next(given) if wanted else None for wanted in wanted_by)
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
        batched = _batched(info, in_dims[3:], arguments)
        outputs = _Fused.apply(together, plain, needs, *batched)
        return outputs, tuple(0 for _ in outputs)


class _Pull(Function):
    """Gradients of the arguments from that of the value, without stored partial derivatives."""

    @staticmethod
    def forward(
        together: Callable[..., Partials],
        wanted_by: tuple[bool, ...],
        gradient: Tensor,
        *arguments: Tensor,
    ) -> tuple[Tensor, ...]:
        flat = [x.reshape(-1) for x in (gradient, *arguments)]
        results = [torch.empty_like(flat[0]) for wanted in wanted_by if wanted]
        for start in range(0, len(flat[0]), BLOCK):
            block = slice(start, start + BLOCK)
            along, *values = (x[block] for x in flat)
            partials = itertools.compress(together(True, *values)[1], wanted_by)
            for result, partial in zip(results, partials, strict=True):
                torch.mul(partial, along, out=result[block])
        return tuple(result.reshape(gradient.shape) for result in results)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing is kept: second derivatives go another way."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        together: Callable[..., Partials],
        wanted_by: tuple[bool, ...],
        *tensors: Tensor,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        outputs = _Pull.apply(together, wanted_by, *_batched(info, in_dims[2:], tensors))
        return outputs, tuple(0 for _ in outputs)


def _batched(info: Any, dims: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """All tensors with the dimension of the batch in front."""
    return [
        x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(tensors, dims, strict=True)
    ]


def _evaluate(together: Callable[..., Partials], needs: bool, *arguments: Tensor) -> Any:
    """The value, followed by the partial derivatives if they are needed."""
    flat = [x.reshape(-1) for x in arguments]
    results = [torch.empty_like(flat[0]) for _ in range(1 + needs * len(flat))]
    for start in range(0, len(flat[0]), BLOCK):
        value, partials = together(needs, *(x[start : start + BLOCK] for x in flat))
        for result, part in zip(results, (value, *partials), strict=True):
            result[start : start + BLOCK] = part
    return tuple(result.reshape(arguments[0].shape) for result in results)
