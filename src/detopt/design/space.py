"""The design space: all parameters together, and the flat vector theta behind them."""

__all__ = ["Design", "DesignSpace"]

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design.parameters import Parameter
from detopt.errors import DesignError, NotFoundError


class Design(Mapping[str, Tensor]):
    """One design, or a batch of them: a value for every parameter, in base units."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = MappingProxyType(dict(values))

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise NotFoundError(f"The design has no `{name}`. It has: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Design({', '.join(f'{name}={value.tolist()}' for name, value in self.items())})"

    def __reduce__(self) -> tuple[type["Design"], tuple[dict[str, Tensor]]]:
        return Design, (dict(self._values),)

    def detach(self) -> "Design":
        """The same numbers, cut from any graph."""
        return Design({name: value.detach() for name, value in self.items()})

    def to(self, *args: Any) -> "Design":
        """The same design with another dtype or on another device."""
        return Design({name: value.to(*args) for name, value in self.items()})

    def numbers(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return {name: value.detach().tolist() for name, value in self.items()}


class DesignSpace:
    """All designs that may be built.

    Args:
        parameters: What may be chosen; names must differ.
        frozen: Values of the parameters that are held fixed.

    Raises:
        DesignError: A name is used twice, or a frozen value breaks its domain.
    """

    def __init__(
        self, parameters: Sequence[Parameter], frozen: Mapping[str, Tensor] | None = None
    ) -> None:
        names = [parameter.name for parameter in parameters]
        if len(set(names)) != len(names):
            raise DesignError(f"Parameter names must differ, got {', '.join(names)}.")
        self.parameters = tuple(parameters)
        self.frozen = dict(frozen or {})
        self._by_name = {parameter.name: parameter for parameter in parameters}
        for name, value in self.frozen.items():
            self._refuse(self[name], value)

    def __getitem__(self, name: str) -> Parameter:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join([*self._by_name, *self.groups])
            raise NotFoundError(f"No parameter or group `{name}`. There are: {known}.") from None

    @property
    def free(self) -> tuple[Parameter, ...]:
        """The parameters that are not frozen, in order."""
        return tuple(p for p in self.parameters if p.name not in self.frozen)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order."""
        return tuple(dict.fromkeys(p.group for p in self.parameters if p.group))

    @property
    def n_free(self) -> int:
        """Length of the vector theta."""
        return sum(parameter.n_free for parameter in self.free)

    @property
    def has_discrete(self) -> bool:
        """Whether a free parameter is an integer or a category."""
        return any(parameter.is_discrete for parameter in self.free)

    @property
    def labels(self) -> list[str]:
        """A name for each entry of theta."""
        return [label for parameter in self.free for label in parameter.labels]

    @property
    def start(self) -> Design:
        """The design that the search starts from (float64)."""
        return Design(
            {
                p.name: self.frozen.get(p.name, p.start_value).to(torch.float64)
                for p in self.parameters
            }
        )

    def freeze(self, *names: str) -> "DesignSpace":
        """The space in which the parameters or groups `names` keep their present values."""
        start = self.start
        frozen = dict(self.frozen)
        for name in names:
            for member in self._members(name):
                frozen[member] = start[member]
        if len(frozen) == len(self.parameters):
            raise DesignError("All parameters are frozen: nothing is left to optimize.")
        return DesignSpace(self.parameters, frozen)

    def unfreeze(self, *names: str) -> "DesignSpace":
        """The space in which the parameters or groups `names` are free again."""
        members = {member for name in names for member in self._members(name)}
        return DesignSpace(
            self.parameters, {n: v for n, v in self.frozen.items() if n not in members}
        )

    def _members(self, name: str) -> list[str]:
        """The parameters that are called `name`, or belong to the group of that name."""
        members = [p.name for p in self.parameters if name and name in (p.name, p.group)]
        return members or [self[name].name]

    def design(self, theta: Float[Tensor, "*batch n_free"]) -> Design:
        """The design at `theta`, differentiable; frozen values are broadcast over the batch."""
        if theta.shape[-1] != self.n_free:
            raise DesignError(f"theta must have {self.n_free} entries, got {theta.shape[-1]}.")
        values: dict[str, Tensor] = {}
        position = 0
        for parameter in self.parameters:
            if parameter.name in self.frozen:
                value = self.frozen[parameter.name].to(theta)
                values[parameter.name] = value.expand((*theta.shape[:-1], *value.shape))
                continue
            piece = theta[..., position : position + parameter.n_free]
            values[parameter.name] = parameter.decode(piece)
            position += parameter.n_free
        return Design(values)

    def theta(self, design: Mapping[str, Tensor]) -> Float[Tensor, " n_free"]:
        """The vector behind `design` (float64).

        Raises:
            DesignError: The design breaks a hard constraint, or lies on a bound.
        """
        self.check(design)
        pieces = [
            parameter.encode(design[parameter.name].to(torch.float64)) for parameter in self.free
        ]
        theta = torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float64)
        if not bool(torch.isfinite(theta).all()):
            label = self.labels[int((~torch.isfinite(theta)).nonzero()[0])]
            raise DesignError(f"`{label}` lies on a bound of its domain: theta would be infinite.")
        return theta

    def check(self, design: Mapping[str, Tensor]) -> None:
        """Refuse a design that breaks a hard constraint or misses a parameter.

        Raises:
            DesignError: With the parameter's name, what it must be and what it is.
        """
        unknown = [name for name in design if name not in self._by_name]
        missing = [name for name in self._by_name if name not in design]
        if unknown or missing:
            what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
            raise DesignError(f"The design does not fit its space ({what}).")
        for parameter in self.parameters:
            self._refuse(parameter, design[parameter.name])

    @staticmethod
    def _refuse(parameter: Parameter, value: Tensor) -> None:
        problem = parameter.violation(value.detach().to(torch.float64).cpu())
        if problem is not None:
            unit = f" [{parameter.unit}]" if parameter.unit else ""
            raise DesignError(f"`{parameter.name}`{unit} {problem}.")
