"""Design parameters: what may be chosen, where it may lie and where the search starts."""

__all__ = ["Categorical", "Continuous", "Integer", "Parameter"]

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design.domains import Domain, Interval
from detopt.errors import DesignError

Start = float | Sequence[float] | Sequence[Sequence[float]]


class Parameter(ABC):
    """One named choice, a number or an array, with its coordinates in the vector theta."""

    name: str
    unit: str
    group: str
    description: str
    is_discrete: bool

    @property
    @abstractmethod
    def start_value(self) -> Tensor:
        """Where the search starts, in the shape of the value (float64)."""

    @property
    @abstractmethod
    def n_free(self) -> int:
        """Number of entries in the vector theta."""

    @abstractmethod
    def decode(self, theta: Float[Tensor, "*batch n_free"]) -> Tensor:
        """The value, in its shape, that belongs to a piece of theta."""

    @abstractmethod
    def encode(self, value: Tensor) -> Float[Tensor, " n_free"]:
        """The piece of theta that belongs to `value`."""

    @abstractmethod
    def violation(self, value: Tensor) -> str | None:
        """What is wrong with `value`, or None."""

    @abstractmethod
    def starting_at(self, value: Tensor) -> "Parameter":
        """The same parameter, whose search starts at `value`."""

    @property
    def labels(self) -> list[str]:
        """A name for each entry of theta."""
        return (
            [self.name] if self.n_free == 1 else [f"{self.name}[{i}]" for i in range(self.n_free)]
        )


@dataclass(frozen=True)
class Continuous(Parameter):
    """A real number, or an array of them, in a domain.

    Args:
        name: Name in the design, a Python identifier.
        start: Where the search starts; its shape is the shape of the value.
        domain: Set that the value never leaves.
        unit: Base unit of the value, for people.
        group: Parts that are frozen together.
        description: One line for people.
    """

    name: str
    start: Start
    domain: Domain
    unit: str = ""
    group: str = ""
    description: str = ""
    is_discrete = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        try:
            torch.as_tensor(self.start, dtype=torch.float64)
        except (TypeError, ValueError):
            raise DesignError(
                f"The start of `{self.name}` must be a number, or an array of numbers whose rows "
                f"have the same length, got {self.start!r}."
            ) from None
        if self.start_value.numel() == 0:
            raise DesignError(f"The start of `{self.name}` must not be empty.")
        problem = self.violation(self.start_value)
        if problem is not None:
            raise DesignError(f"The start of `{self.name}` {problem}.")
        if not bool(torch.isfinite(self.encode(self.start_value)).all()):
            raise DesignError(
                f"The start of `{self.name}` lies on a bound of its domain, where the search could "
                "not leave it. Move it inside."
            )

    @property
    def start_value(self) -> Tensor:
        """Where the search starts (float64)."""
        return torch.as_tensor(self.start, dtype=torch.float64)

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.start_value.shape)

    @functools.cached_property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return self.domain.n_free(math.prod(self._shape))

    def decode(self, theta: Float[Tensor, "*batch n_free"]) -> Tensor:
        """Value in the shape of `start`."""
        values = self.domain.values(theta)
        return values.reshape((*theta.shape[:-1], *self._shape))

    def encode(self, value: Tensor) -> Float[Tensor, " n_free"]:
        """Coordinates of `value`."""
        return self.domain.theta(value.reshape(-1))

    def violation(self, value: Tensor) -> str | None:
        """What is wrong with the shape or the numbers."""
        if value.shape != self._shape:
            return f"must have the shape {self._shape}, got {tuple(value.shape)}"
        if not bool(torch.isfinite(value).all()):
            return "must be finite"
        return self.domain.violation(value.reshape(-1))

    def starting_at(self, value: Tensor) -> "Continuous":
        """The same numbers, whose search starts at `value`."""
        return replace(self, start=value.tolist())


@dataclass(frozen=True)
class Integer(Parameter):
    """A whole number between two bounds, both included."""

    name: str
    start: int
    low: int
    high: int
    unit: str = ""
    group: str = ""
    description: str = ""
    is_discrete = True
    n_free = 1

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.low <= self.start <= self.high:
            raise DesignError(
                f"The start of `{self.name}` must lie between {self.low} and {self.high}, got "
                f"{self.start}."
            )

    @property
    def _interval(self) -> Interval:
        return Interval(self.low - 0.5, self.high + 0.5)

    @property
    def start_value(self) -> Tensor:
        """Where the search starts (float64, integral)."""
        return torch.tensor(float(self.start), dtype=torch.float64)

    def decode(self, theta: Float[Tensor, "*batch 1"]) -> Tensor:
        """The nearest integer; it has no gradient."""
        value = self._interval.values(theta.detach()).round()
        return value.clamp(self.low, self.high).squeeze(-1)

    def encode(self, value: Tensor) -> Float[Tensor, " 1"]:
        """Coordinates of `value`."""
        return self._interval.theta(value.reshape(1))

    def violation(self, value: Tensor) -> str | None:
        """What is wrong with the number."""
        if value.ndim != 0 or not _is_whole(value):
            return f"must be one whole number, got {value.tolist()}"
        if not self.low <= float(value) <= self.high:
            return f"must lie between {self.low} and {self.high}, got {float(value):g}"
        return None

    def starting_at(self, value: Tensor) -> "Integer":
        """The same choice, whose search starts at `value`."""
        return replace(self, start=int(value))


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several named choices; its value is the index of the choice."""

    name: str
    choices: tuple[str, ...]
    start: str
    group: str = ""
    description: str = ""
    unit = ""
    is_discrete = True

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(set(self.choices)) != len(self.choices):
            raise DesignError(f"The choices of `{self.name}` must differ.")
        if self.start not in self.choices:
            raise DesignError(
                f"The start of `{self.name}` must be one of {', '.join(self.choices)}; got "
                f"{self.start!r}."
            )

    @property
    def start_value(self) -> Tensor:
        """Index of the start (float64)."""
        return torch.tensor(float(self.choices.index(self.start)), dtype=torch.float64)

    @property
    def n_free(self) -> int:
        """One logit for each choice."""
        return len(self.choices)

    def decode(self, theta: Float[Tensor, "*batch n_free"]) -> Tensor:
        """Index of the largest logit; it has no gradient."""
        return theta.detach().argmax(dim=-1).to(theta.dtype)

    def encode(self, value: Tensor) -> Float[Tensor, " n_free"]:
        """Logits that prefer `value`."""
        index = torch.nn.functional.one_hot(value.reshape(()).long(), self.n_free)
        return index.to(torch.float64)

    def violation(self, value: Tensor) -> str | None:
        """What is wrong with the index."""
        if value.ndim != 0 or not _is_whole(value) or not 0 <= float(value) < len(self.choices):
            return f"must be an index from 0 to {len(self.choices) - 1}, got {value.tolist()}"
        return None

    def starting_at(self, value: Tensor) -> "Categorical":
        """The same choices, whose search starts at `value`."""
        return replace(self, start=self.choices[int(value)])


def _is_whole(value: Tensor) -> bool:
    return bool(torch.isfinite(value)) and float(value) == round(float(value))


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise DesignError(f"A parameter's name must be a Python identifier, got {name!r}.")
