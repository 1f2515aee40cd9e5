"""Tables that are looked up by the bits of a number, without a logarithm or an exponential.

The upper bits of a floating-point number count octaves, and equal steps within each of them. Cells
cut in this way are as fine, relative to the number, everywhere from 1e-38 to 1e38.
"""

__all__ = ["OctaveTable", "cell_of", "chained", "edges"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

CELL_BITS = 9  # an octave has 2^9 cells
N_CELLS = 256 << CELL_BITS  # for the 256 exponents of single precision
MANTISSA_BITS = {torch.float32: 23, torch.float64: 52}
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
SIGN_AND_CELL = 2 * N_CELLS - 1  # bits that are left of single precision
BLOCK = 1 << 16  # numbers that are treated together, so that what is between stays in the cache
CURVED = 1e-15, 1e15  # chords between these arguments, constants outside
NUDGE = 1e-5  # relative step of the differences that give a slope


def cell_of(x: Float[Tensor, "*batch"], bits: int) -> Int[Tensor, "*batch"]:
    """Number of the cell of each `x` > 0, 2^bits in an octave, from that of the smallest number."""
    return x.detach().view(INTEGERS[x.dtype]) >> (MANTISSA_BITS[x.dtype] - bits)


def edges(first: int, n_cells: int, bits: int) -> Float[Tensor, " edges"]:
    """Where the cells of single precision from `first` on begin, and where the last one ends."""
    cells = torch.arange(first, first + n_cells + 1, dtype=torch.int32)
    return (cells << (MANTISSA_BITS[torch.float32] - bits)).view(torch.float32).double()


@dataclass(frozen=True)
class OctaveTable:
    """A smooth function of one number, and its slope, as chords in single precision.

    A chord of one part in 512 of its argument is off by the curvature over 2 million.

    Attributes:
        value: Offset and steepness of the chord in each cell; not a number for negative arguments.
        slope: The same of the derivative.
    """

    value: Float[Tensor, "2 cells"]
    slope: Float[Tensor, "2 cells"]

    @classmethod
    def of(
        cls,
        function: Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]],
        device: torch.device,
        smallest: float = 0.0,
    ) -> "OctaveTable":
        """The table of a function that is given in double precision.

        Args:
            function: What to tabulate.
            device: Where the table is used.
            smallest: The table is 0 for all cells, negative ones too, that begin below it.
        """
        at = edges(0, N_CELLS - (1 << CELL_BITS), CELL_BITS)
        at[-1] = at[-2] * 2 - at[-3]  # infinity
        nudge = NUDGE * at.clamp(min=at[1])
        slope = (function(at + nudge) - function((at - nudge).clamp(min=0))) / (
            at + nudge - (at - nudge).clamp(min=0)
        )
        tables = (_chords(at, values, smallest) for values in (function(at), slope))
        return cls(*(table.to(device, torch.float32) for table in tables))

    def __call__(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Value at `x`, differentiable in it."""
        needs_slope = x.requires_grad and torch.is_grad_enabled()
        value: Tensor = _Lookup.apply(x, self, needs_slope)[0]
        return value

    def derivative(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Derivative at `x`, differentiable in it once more."""
        cell = (cell_of(x, CELL_BITS) & SIGN_AND_CELL).reshape(-1)
        offset, steepness = self.slope.index_select(1, cell).reshape(2, *x.shape)
        return torch.addcmul(offset, x, steepness)


def _chords(
    at: Float[Tensor, " edges"], values: Float[Tensor, " edges"], smallest: float
) -> Float[Tensor, "2 cells"]:
    """Offset and steepness of the chord in each cell, and in the cells of negative numbers."""
    steepness = values.diff() / at.diff()
    offset = values[:-1] - steepness * at[:-1]
    inside = (at[:-1] > CURVED[0]) & (at[1:] < CURVED[1])
    usable = inside & torch.stack([steepness, offset]).float().isfinite().all(dim=0)
    whole = torch.full((2, SIGN_AND_CELL + 1), torch.nan, dtype=torch.float64)
    n_cells = len(steepness)
    whole[0, :n_cells] = torch.where(usable, offset, values[:-1])
    whole[1, :n_cells] = torch.where(usable, steepness, 0.0)
    if smallest > 0:
        whole[:, :n_cells].masked_fill_(at[:-1] < smallest, 0.0)
        whole[:, N_CELLS : -(1 << CELL_BITS)] = 0.0
    return whole


class _Scratch:
    """Room for the cells of a block, and for one coefficient of each."""

    def __init__(self, like: Float[Tensor, " n"]) -> None:
        n = min(BLOCK, len(like))
        self._cells = torch.empty(n, dtype=torch.int32, device=like.device)
        self._spare = torch.empty(n, dtype=like.dtype, device=like.device)

    def evaluate(
        self, at: Float[Tensor, " n"], *pairs: tuple[Float[Tensor, "2 cells"], Tensor]
    ) -> None:
        """Write the chords at each number of a block into tensors."""
        cell, steepness = self._cells[: len(at)], self._spare[: len(at)]
        shift = MANTISSA_BITS[torch.float32] - CELL_BITS
        torch.bitwise_right_shift(at.view(torch.int32), shift, out=cell)
        cell.bitwise_and_(SIGN_AND_CELL)
        for chords, out in pairs:
            torch.index_select(chords[0], 0, cell, out=out)
            torch.index_select(chords[1], 0, cell, out=steepness)
            out.addcmul_(steepness, at)


class _Lookup(Function):
    """Value and slope in one pass; both are elementwise, so that a batch is nothing special."""

    @staticmethod
    def forward(x: Tensor, table: OctaveTable, needs_slope: bool) -> tuple[Tensor, Tensor]:
        at = x.contiguous().reshape(-1)
        value, scratch = torch.empty_like(at), _Scratch(at)
        slope = torch.empty_like(at if needs_slope else at[:0])
        for start in range(0, len(at), BLOCK):
            block = slice(start, start + BLOCK)
            pairs = [(table.value, value[block]), (table.slope, slope[block])]
            scratch.evaluate(at[block], *pairs[: 1 + needs_slope])
        return value.reshape(x.shape), slope.reshape(x.shape) if needs_slope else slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.table, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, output[1])
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled() or slope.shape != x.shape:  # a second derivative may follow
            slope = ctx.table.derivative(x)
        return gradients[0] * slope, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return tangents[0] * ctx.table.derivative(x), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, table: OctaveTable, needs_slope: bool
    ) -> tuple[tuple[Tensor, Tensor], tuple[Any, Any]]:
        del info
        outputs = _Lookup.apply(x, table, needs_slope)
        return outputs, (in_dims[0], in_dims[0] if needs_slope else None)


def chained(
    x: Float[Tensor, "*#batch"],
    inner: OctaveTable,
    shift: Float[Tensor, "*#batch"],
    scale: float,
    outer: OctaveTable,
) -> Float[Tensor, "*batch"]:
    """One table of another, `outer(inner(x) - scale * shift)`, block by block."""
    x, shift = torch.broadcast_tensors(x, shift)
    if torch.is_grad_enabled() and (x.requires_grad or shift.requires_grad):
        return outer(torch.sub(inner(x), shift, alpha=scale))  # keeps the slopes
    value: Tensor = _Chained.apply(x, shift, inner, scale, outer)
    return value


class _Chained(Function):
    """The value of two tables; only derivatives in forward mode come this way."""

    @staticmethod
    def forward(
        x: Tensor, shift: Tensor, inner: OctaveTable, scale: float, outer: OctaveTable
    ) -> Tensor:
        at, length = x.contiguous().reshape(-1), shift.contiguous().reshape(-1)
        value, scratch = torch.empty_like(at), _Scratch(at)
        between = torch.empty_like(at[:BLOCK])
        for start in range(0, len(at), BLOCK):
            block = slice(start, start + BLOCK)
            middle = between[: len(at[block])]
            scratch.evaluate(at[block], (inner.value, middle))
            middle.sub_(length[block], alpha=scale)
            scratch.evaluate(middle, (outer.value, value[block]))
        return value.reshape(x.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        x, shift, ctx.inner, ctx.scale, ctx.outer = inputs
        ctx.save_for_forward(x, shift)

    @staticmethod
    def jvp(ctx: Any, along: Tensor | None, across: Tensor | None, *_: None) -> Tensor:
        x, shift = ctx.saved_tensors
        steep = ctx.outer.derivative(torch.sub(ctx.inner(x), shift, alpha=ctx.scale))
        moved = 0.0 if along is None else ctx.inner.derivative(x) * along
        slope: Tensor = steep * (moved if across is None else moved - ctx.scale * across)
        return slope

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, shift: Tensor, *rest: Any
    ) -> tuple[Tensor, int]:
        sizes = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((x, shift), in_dims, strict=False)
        ]
        return _Chained.apply(*sizes, *rest), 0
