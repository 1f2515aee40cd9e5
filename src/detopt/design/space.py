"""The design space: all parameters together, and the flat vector theta behind them."""

__all__ = ["Design", "DesignSpace"]

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design.limits import Limit
from detopt.design.parameters import Parameter
from detopt.errors import DesignError, NotFoundError

HALVINGS = 30  # of the way back to an allowed design
PROJECTIONS = 20  # Newton steps towards a limit
MARGIN = 1e-9  # by which a projection stays below the bound, and
ACTIVE = 1e-6  # distance from the bound where a limit acts, both in scales of the limit
WILD = frozenset("*?[")  # what makes a pattern of a name


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
        limits: What a design must keep beside the domains of its parameters.

    Raises:
        DesignError: A name is used twice, a frozen value breaks its domain, or the start breaks a
            limit.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        frozen: Mapping[str, Tensor] | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        names = [parameter.name for parameter in parameters]
        if len(set(names)) != len(names):
            raise DesignError(f"Parameter names must differ, got {', '.join(names)}.")
        self.parameters = tuple(parameters)
        self.frozen = dict(frozen or {})
        self._by_name = {parameter.name: parameter for parameter in parameters}
        for name, value in self.frozen.items():
            self._refuse(self[name], value)
        self.limits = tuple(limits)
        if self.limits:
            self.check(self.start)

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
        """The space in which the parameters or groups `names` keep their present values.

        Names may be patterns such as `layer_*`, here and in `unfreeze` and `free_only`.
        """
        start = self.start
        frozen = dict(self.frozen)
        for name in names:
            for member in self.members(name):
                frozen[member] = start[member]
        if len(frozen) == len(self.parameters):
            raise DesignError("All parameters are frozen: nothing is left to optimize.")
        return DesignSpace(self.parameters, frozen, self.limits)

    def unfreeze(self, *names: str) -> "DesignSpace":
        """The space in which the parameters or groups `names` are free again."""
        members = {member for name in names for member in self.members(name)}
        return DesignSpace(
            self.parameters,
            {n: v for n, v in self.frozen.items() if n not in members},
            self.limits,
        )

    def free_only(self, *names: str) -> "DesignSpace":
        """The space in which the parameters or groups `names` are free, and nothing else is.

        Raises:
            NotFoundError: One of the names fits no parameter and no group.
        """
        members = {member for name in names for member in self.members(name)}
        others = [p.name for p in self.parameters if p.name not in members]
        return self.unfreeze(*names).freeze(*others)

    def starting_at(self, design: Mapping[str, Tensor]) -> "DesignSpace":
        """The space whose search starts at `design`; what is frozen is frozen there.

        Raises:
            DesignError: The design breaks a hard constraint, or a free parameter lies on a bound
                of its domain, which the search could not leave.
        """
        self.check(design)
        values = {name: value.detach().to(torch.float64) for name, value in design.items()}
        parameters = [
            p if p.name in self.frozen else p.starting_at(values[p.name]) for p in self.parameters
        ]
        frozen = {name: values[name] for name in self.frozen}
        return DesignSpace(parameters, frozen, self.limits)

    def members(self, name: str) -> list[str]:
        """The parameters that a name or a pattern such as `layer_*` fits, or whose groups it fits.

        Raises:
            NotFoundError: There is none.
        """
        if WILD & set(name):
            members = [
                p.name
                for p in self.parameters
                if fnmatchcase(p.name, name) or (p.group and fnmatchcase(p.group, name))
            ]
        else:
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
        broken = self._broken_limit(design)
        if broken is not None:
            raise DesignError(f"{broken}.")

    def allows(self, theta: Float[Tensor, " n_free"]) -> bool:
        """Whether the design at `theta` keeps all limits; domains hold by construction."""
        return not self.limits or self._broken_limit(self.design(theta.detach())) is None

    def admit(
        self, theta: Float[Tensor, " n_free"], anchor: Float[Tensor, " n_free"] | None = None
    ) -> Float[Tensor, " n_free"]:
        """`theta` itself where it keeps all limits, else the last such point on the way to it.

        What a person gives may exceed a limit by rounding; what is found here does so only where
        there is nothing else on the way.

        Args:
            theta: A proposal.
            anchor: An allowed point where the way begins; the start of the space by default.
        """
        if self._keeps_limits(theta):
            return theta
        inside = self.theta(self.start) if anchor is None else anchor
        inside, outside = inside.to(theta), theta.detach()
        if not self.allows(inside):
            raise DesignError("The anchor of the way back breaks a limit. Take an allowed design.")
        for _ in range(HALVINGS):
            middle = torch.lerp(inside, outside, 0.5)
            inside, outside = (middle, outside) if self._keeps_limits(middle) else (inside, middle)
        return inside if self._keeps_limits(inside) or not self.allows(theta) else theta

    def project(
        self, theta: Float[Tensor, " n_free"], anchor: Float[Tensor, " n_free"] | None = None
    ) -> Float[Tensor, " n_free"]:
        """The allowed point near `theta`, on the limit that it breaks.

        Newton steps along the gradient of what is exceeded, and back to the limit where they end
        behind a bent one; where they do not arrive, or go farther than to the point that `admit`
        finds, that point.

        Args:
            theta: A proposal.
            anchor: An allowed point for `admit`; the start of the space by default.
        """
        if self._keeps_limits(theta):
            return theta.detach().clone()
        admitted = self.admit(theta.detach(), anchor)
        reach = float((admitted - theta.detach()).norm())
        nearest = theta.detach().clone()
        for _ in range(PROJECTIONS):
            if float((nearest - theta.detach()).norm()) > reach:
                break
            excess, normals, scale = self._limits(nearest)
            if bool((excess <= 0).all()):
                is_on_it = bool((excess > -ACTIVE * scale).any())
                return nearest if is_on_it else self.admit(theta.detach(), nearest)
            excess = excess + MARGIN * scale
            worst = int(excess.argmax())
            normal = normals[worst]
            if not bool(normal.isfinite().all()) or not bool((normal != 0).any()):
                break
            nearest = nearest - excess[worst] * normal / normal.square().sum()
        return admitted

    def along_limits(
        self, theta: Float[Tensor, " n_free"], gradient: Float[Tensor, " n_free"]
    ) -> Float[Tensor, " n_free"]:
        """The gradient without what points across the limits that `theta` lies on.

        A step against it stays on them to first order; it vanishes at a constrained optimum.
        """
        if not self.limits:
            return gradient
        excess, normals, scale = self._limits(theta.detach())
        for i in (excess > -ACTIVE * scale).nonzero().flatten().tolist():
            across = gradient @ normals[i]
            if across < 0:
                gradient = gradient - across * normals[i] / normals[i].square().sum()
        return gradient

    def _keeps_limits(self, theta: Float[Tensor, " n_free"]) -> bool:
        """Whether no limit is exceeded, not even by rounding."""
        with torch.no_grad():
            design = self.design(theta.detach()) if self.limits else {}
            return all(float(limit.excess(design)) <= 0 for limit in self.limits)

    def _limits(self, theta: Float[Tensor, " n_free"]) -> tuple[Tensor, Tensor, Tensor]:
        """Excess over each limit, its gradient in theta, and the scale that it is judged on.

        The scale is the bound, or the change over one unit of theta where that is larger: a bound
        may be 0.
        """
        leaf = theta.clone().requires_grad_()
        with torch.enable_grad():
            design = self.design(leaf)
            found = [limit.excess(design).to(theta) for limit in self.limits]
        normals = [
            torch.autograd.grad(one, leaf, retain_graph=True)[0]
            if one.requires_grad
            else torch.zeros_like(theta)
            for one in found
        ]
        rows = torch.stack(normals)
        bounds = theta.new_tensor([abs(limit.bound) for limit in self.limits])
        return torch.stack(found).detach(), rows, bounds.maximum(rows.norm(dim=1))

    def _broken_limit(self, design: Mapping[str, Tensor]) -> str | None:
        with torch.no_grad():
            found = (limit.violation(design) for limit in self.limits)
            return next((what for what in found if what is not None), None)

    @staticmethod
    def _refuse(parameter: Parameter, value: Tensor) -> None:
        problem = parameter.violation(value.detach().to(torch.float64).cpu())
        if problem is not None:
            unit = f" [{parameter.unit}]" if parameter.unit else ""
            raise DesignError(f"`{parameter.name}`{unit} {problem}.")
