"""What a row of the table is: a kernel with its arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

Span = tuple[float, ...]  # lowest and highest number, then the shape of what an element holds

RNG = Generator().manual_seed(0)

ENERGY, PATH, MOMENTUM, BETA = (0.1, 1.0), (0.01, 0.1), (1.0, 5.0), (0.9, 0.99)
COSINE, NORMAL, SHARE = (0.3, 0.99), (-3.0, 3.0), (0.05, 0.95)
DIRECTION, POSITION = (0.5, 1.0, 3), (-3.0, -2.0, 3)


@dataclass(frozen=True)
class Kernel:
    """One function with arguments: spans of uniform numbers.

    Args:
        call: The function; without spans it is given the number of elements and a generator.
        spans: Span of each argument.
        draws: Random numbers that the function draws itself for an element.
        barred: Whether the ratio to the limit is held to a bar.
        element: What an element is, where it is more than a number for each argument.
        share: Elements are fewer than those of a plain kernel by this factor.
    """

    call: Callable[..., Any]
    spans: tuple[Span, ...] = ()
    draws: int = 0
    barred: bool = False
    element: str = ""
    share: int = 1


def fixed(function: Callable[..., Any], *first: Any, **named: Any) -> Callable[..., Any]:
    """The function with its first arguments given."""
    return lambda *tensors: function(*first, *tensors, **named)


def vector(*values: float) -> torch.Tensor:
    """A vector in single precision."""
    return torch.tensor(values, dtype=torch.float32)
