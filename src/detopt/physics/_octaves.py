"""Tables that are looked up by the bits of a number, without a logarithm or an exponential.

The upper bits of a floating-point number count octaves, and equal steps within each of them. Cells
cut in this way are as fine, relative to the number, everywhere from 1e-38 to 1e38.
"""

__all__ = ["CELLS", "OctaveTable", "cell_of", "edges"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

CELLS = 64  # in an octave
N_OCTAVES = 256  # exponents of single precision
SHIFTS = {torch.float32: (torch.int32, 23 - 6), torch.float64: (torch.int64, 52 - 6)}  # 2^6 cells
SIGN_AND_CELL = 2 * N_OCTAVES * CELLS - 1  # bits that are left of single precision
BLOCK = 1 << 16  # numbers that are treated together, so that what is between stays in the cache
CURVED = 1e-15, 1e15  # parabolas between these arguments, chords outside


def cell_of(x: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """Number of the cell of each `x` > 0, counted from that of the smallest number."""
    integer, shift = SHIFTS[x.dtype]
    return x.detach().view(integer) >> shift


def edges(first: int, n_cells: int) -> Float[Tensor, " edges"]:
    """Where the cells of single precision from `first` on begin, and where the last one ends."""
    integer, shift = SHIFTS[torch.float32]
    cells = torch.arange(first, first + n_cells + 1, dtype=integer)
    return (cells << shift).view(torch.float32).double()


@dataclass(frozen=True)
class OctaveTable:
    """A smooth function of one number as a parabola in every cell, in single precision.

    Attributes:
        constant: Coefficient of power 0 in each cell; not a number for negative arguments.
        linear: Coefficient of power 1.
        square: Coefficient of power 2.
    """

    constant: Float[Tensor, " cells"]
    linear: Float[Tensor, " cells"]
    square: Float[Tensor, " cells"]

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
        at = edges(0, (N_OCTAVES - 1) * CELLS)
        at[-1] = at[-2] * 2 - at[-3]  # infinity
        left, right = at[:-1], at[1:]
        middle = (left + right) / 2
        low, centre, high = function(left), function(middle), function(right)

        width = right - left
        square = 2 * (high - 2 * centre + low) / width.square()
        square = torch.where((left > CURVED[0]) & (right < CURVED[1]), square, 0.0)
        linear = (high - low) / width - square * (left + right)
        constant = low - left * (linear + square * left)

        whole = torch.full((3, SIGN_AND_CELL + 1), torch.nan, dtype=torch.float64)
        whole[:, : len(left)] = torch.stack([constant, linear, square])
        steep = (whole.float().isinf() | whole.isnan()).any(dim=0)[: len(left)]
        whole[0, : len(left)] = torch.where(steep, centre, constant)
        whole[1:, : len(left)].masked_fill_(steep, 0.0)
        if smallest > 0:
            whole[:, : len(left)].masked_fill_(left < smallest, 0.0)
            whole[:, N_OCTAVES * CELLS : -CELLS] = 0.0
        return cls(*whole.to(device, torch.float32))

    def __call__(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Value at `x`, differentiable in it."""
        needs_slope = x.requires_grad and torch.is_grad_enabled()
        value: Tensor = _Lookup.apply(x, self, needs_slope)[0]
        return value

    def slope(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Derivative at `x`, differentiable in it once more."""
        cell = (cell_of(x) & SIGN_AND_CELL).reshape(-1)
        linear, square = (
            table.index_select(0, cell).reshape(x.shape) for table in (self.linear, self.square)
        )
        return torch.addcmul(linear, x, square, value=2)


class _Lookup(Function):
    """Value and slope in one pass; both are elementwise, so that a batch is nothing special."""

    @staticmethod
    def forward(x: Tensor, table: OctaveTable, needs_slope: bool) -> tuple[Tensor, Tensor]:
        at = x.contiguous().reshape(-1)
        value = torch.empty_like(at)
        slope = torch.empty_like(at if needs_slope else at[:0])
        cells = torch.empty(min(BLOCK, len(at)), dtype=torch.int32, device=at.device)
        spare = torch.empty(len(cells), dtype=at.dtype, device=at.device)
        for start in range(0, len(at), BLOCK):
            part = at[start : start + BLOCK]
            out, cell, other = value[start : start + BLOCK], cells[: len(part)], spare[: len(part)]
            torch.bitwise_right_shift(part.view(torch.int32), SHIFTS[torch.float32][1], out=cell)
            cell.bitwise_and_(SIGN_AND_CELL)
            torch.index_select(table.square, 0, cell, out=out)
            torch.index_select(table.linear, 0, cell, out=other)
            if needs_slope:
                torch.addcmul(other, out, part, value=2, out=slope[start : start + BLOCK])
            other.addcmul_(out, part)
            torch.index_select(table.constant, 0, cell, out=out)
            out.addcmul_(other, part)
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
            slope = ctx.table.slope(x)
        return gradients[0] * slope, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return tangents[0] * ctx.table.slope(x), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, table: OctaveTable, needs_slope: bool
    ) -> tuple[tuple[Tensor, Tensor], tuple[Any, Any]]:
        del info
        outputs = _Lookup.apply(x, table, needs_slope)
        return outputs, (in_dims[0], in_dims[0] if needs_slope else None)
