"""Relaxed choices: domains some of whose values are pure choices, such as shares of 0 and 1."""

__all__ = ["Settling", "exchanges", "settle"]

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous


@runtime_checkable
class Settling(Protocol):
    """A domain of relaxed choices, such as shares, some of whose values are pure choices."""

    def settled(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The pure choice nearest to `values`."""
        ...

    def exchanges(self, values: Float[Tensor, " n"]) -> list[Float[Tensor, " n"]]:
        """Pure choices that differ from the settled `values` in one place."""
        ...


def settle(parameter: Continuous, value: Tensor) -> Tensor:
    """The pure choice nearest to the value of a relaxed one (float64)."""
    assert isinstance(parameter.domain, Settling)
    flat = value.detach().to(torch.float64).reshape(-1)
    return parameter.domain.settled(flat).reshape(value.shape)


def exchanges(parameter: Continuous, value: Tensor) -> list[Tensor]:
    """Pure choices that differ from the nearest one in one place (float64)."""
    assert isinstance(parameter.domain, Settling)
    flat = value.detach().to(torch.float64).reshape(-1)
    return [other.reshape(value.shape) for other in parameter.domain.exchanges(flat)]
