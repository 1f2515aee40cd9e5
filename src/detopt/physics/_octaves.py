"""Tables that are looked up by the bits of a number, without a logarithm or an exponential.

The upper bits of a floating-point number count octaves, and equal steps within each of them. Cells
cut in this way are as fine, relative to the number, everywhere from 1e-38 to 1e38.
"""

__all__ = ["OctaveTable", "cell_of", "chained", "edges"]

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.autograd import Function

from detopt.physics._fused import BLOCK, Partials, fused

CELL_BITS = 9  # an octave has 2^9 cells
N_CELLS = 256 << CELL_BITS  # for the 256 exponents of single precision
MANTISSA_BITS = {torch.float32: 23, torch.float64: 52}
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
SIGN_AND_CELL = 2 * N_CELLS - 1  # bits that are left of single precision
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

    A chord of one part in 512 of its argument is off by the curvature over 2 million. Its offset
    and steepness are the two parts of a complex number, which is fetched at once.

    Attributes:
        value: The chord in each cell; not a number for negative arguments.
        slope: The same of the derivative.
    """

    value: Complex[Tensor, " cells"]
    slope: Complex[Tensor, " cells"]

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
        return cls(*(table.to(device, torch.complex64) for table in tables))

    def __call__(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Value at `x`, differentiable in it."""
        needs_slope = x.requires_grad and torch.is_grad_enabled()
        value: Tensor = _Lookup.apply(x, self, needs_slope)[0]
        return value

    def derivative(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Derivative at `x`, differentiable in it once more."""
        cell = (cell_of(x, CELL_BITS) & SIGN_AND_CELL).reshape(-1)
        chord = torch.view_as_real(self.slope.index_select(0, cell).reshape(x.shape))
        return torch.addcmul(chord[..., 0], x, chord[..., 1])


def _chords(
    at: Float[Tensor, " edges"], values: Float[Tensor, " edges"], smallest: float
) -> Complex[Tensor, " cells"]:
    """The chord in each cell, and in the cells of negative numbers."""
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
    return torch.complex(*whole)


class _Scratch:
    """Room for the cells of a block, and for the chord of each."""

    def __init__(self, n: int, device: torch.device) -> None:
        self._cell = torch.empty(n, dtype=torch.int32, device=device)
        self._chord = torch.empty(n, dtype=torch.complex64, device=device)
        self._offset, self._steepness = torch.view_as_real(self._chord).unbind(-1)

    def evaluate(
        self, at: Float[Tensor, " n"], *pairs: tuple[Complex[Tensor, " cells"], Tensor]
    ) -> None:
        """Write the value of the chords at each number of a block into tensors."""
        shift = MANTISSA_BITS[torch.float32] - CELL_BITS
        torch.bitwise_right_shift(at.view(torch.int32), shift, out=self._cell)
        self._cell.bitwise_and_(SIGN_AND_CELL)
        for chords, out in pairs:
            torch.index_select(chords, 0, self._cell, out=self._chord)
            torch.addcmul(self._offset, self._steepness, at, out=out)


class _Lookup(Function):
    """Value and slope in one pass; both are elementwise, so that a batch is nothing special."""

    @staticmethod
    def forward(x: Tensor, table: OctaveTable, needs_slope: bool) -> tuple[Tensor, Tensor]:
        at = x.contiguous().reshape(-1)
        value = torch.empty_like(at)
        slope = torch.empty_like(at if needs_slope else at[:0])
        room = functools.cache(lambda n: _Scratch(n, x.device))
        for start in range(0, len(at), BLOCK):
            block = slice(start, start + BLOCK)
            numbers, pairs = at[block], [(table.value, value[block])]
            if needs_slope:
                pairs.append((table.slope, slope[block]))
            room(len(numbers)).evaluate(numbers, *pairs)
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

    def plain(x: Tensor, shift: Tensor) -> Tensor:
        return outer(torch.sub(inner(x), shift, alpha=scale))

    room = functools.cache(lambda n: _Scratch(n, x.device))

    def together(needs_slopes: bool, x: Tensor, shift: Tensor) -> Partials:
        scratch, between, value = room(len(x)), torch.empty_like(x), torch.empty_like(x)
        slopes = [torch.empty_like(x) for _ in range(2 * needs_slopes)]
        scratch.evaluate(x, (inner.value, between), *((inner.slope, s) for s in slopes[:1]))
        between.sub_(shift, alpha=scale)
        scratch.evaluate(between, (outer.value, value), *((outer.slope, s) for s in slopes[1:]))
        if not needs_slopes:
            return value, ()
        first, second = slopes
        return value, (first.mul_(second), second.mul_(-scale))

    return fused(together, plain, x, shift, store=False)
