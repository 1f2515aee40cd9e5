r"""Nuisance parameters of the instrument: what it does not know about itself.

A calibration, an alignment or an efficiency is known to a width only, and the design may pay for
that width: the :math:`\nu(\theta)` of arXiv:2203.13818, eq. 6. Stages read a nuisance parameter as
they read the design, ``design["energy_scale"]``. How it enters the result is the treatment:

- ``fixed``: stages see the nominal value.
- ``marginalized``: each of the `n_events` events (or scans) of an evaluation sees a draw of its
  own from the prior, :math:`\nu_i = \nu(\theta) + w(\theta)\, \varepsilon_i`.
- ``profiled``: stages see the nominal value, and the objective is handed a `SummaryWithSlopes`: the
  summary and its derivative with respect to every nuisance parameter, of which it can make the
  information on the parameter of interest. A finite width is a constraint, see `Nuisances.widths`.
"""

__all__ = ["TREATMENTS", "Nuisance", "Nuisances"]

import keyword
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import DesignError, DomainError, NotFoundError

TREATMENTS = ("fixed", "marginalized", "profiled")
Amount = float | Sequence[float] | Callable[[Design], Tensor]

STEP = 0.5  # of the width: the default step of central differences


@dataclass(frozen=True)
class Nuisance:
    """One property of the instrument that is not known exactly, a number or an array.

    Args:
        name: Name under which stages find it in the design, a Python identifier.
        nominal: Best knowledge of its value: a number, a sequence of them, or a function of the
            design.
        width: Standard deviation of the normal prior or of the auxiliary measurement, > 0: a
            number, a sequence, or a function of the design, such as a calibration whose precision
            is paid for. None for a parameter that is free.
        unit: Base unit of the value, for people.
        description: One line for people.
        step: Step of central differences, > 0; half the width by default, and needed for these
            where the parameter is free.

    Raises:
        DesignError: The name is no identifier.
        DomainError: A number is not finite, or a width or step is not positive.
    """

    name: str
    nominal: Amount = 0.0
    width: Amount | None = None
    unit: str = ""
    description: str = ""
    step: float | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise DesignError(
                f"The name of a nuisance parameter must be a Python identifier, got {self.name!r}."
            )
        if not callable(self.nominal):
            _check(self.name, "nominal", torch.as_tensor(self.nominal, dtype=torch.float64))
        if self.width is not None and not callable(self.width):
            _check(self.name, "width", torch.as_tensor(self.width, dtype=torch.float64))
        if self.step is not None and not (math.isfinite(self.step) and self.step > 0):
            raise DomainError(f"The step of `{self.name}` must be > 0, got {self.step:g}.")

    def nominal_at(self, design: Design) -> Tensor:
        """The nominal value at `design`, differentiable.

        Raises:
            DomainError: It is not finite.
        """
        like = next(iter(design.values()))
        value = self.nominal(design) if callable(self.nominal) else self.nominal
        nominal = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        _check(self.name, "nominal", nominal)
        return nominal

    def width_at(self, design: Design) -> Tensor:
        """The width at `design` in the shape of the nominal value, infinite where it is free.

        Raises:
            DomainError: It is not positive.
        """
        nominal = self.nominal_at(design)
        if self.width is None:
            return torch.full_like(nominal, math.inf)
        value = self.width(design) if callable(self.width) else self.width
        width = torch.as_tensor(value, dtype=nominal.dtype, device=nominal.device)
        _check(self.name, "width", width)
        return width.expand(nominal.shape)

    def step_at(self, design: Design) -> Tensor:
        """The step of central differences, in the shape of the nominal value, differentiable.

        Raises:
            DomainError: The parameter is free and has no step.
        """
        nominal = self.nominal_at(design)
        if self.step is not None:
            return torch.full_like(nominal, self.step)
        if self.width is None:
            raise DomainError(
                f"`{self.name}` is free, so central differences need a step in its unit. Give "
                "`Nuisance(..., step=...)`."
            )
        return STEP * self.width_at(design)


class Nuisances:
    """All nuisance parameters of an instrument, in order.

    Args:
        members: The parameters; names must differ.

    Raises:
        DesignError: There is none, or a name is used twice.
    """

    def __init__(self, members: Sequence[Nuisance]) -> None:
        names = [member.name for member in members]
        if not names:
            raise DesignError("There is no nuisance parameter. Leave `nuisances` out instead.")
        if len(set(names)) != len(names):
            raise DesignError(f"Names of nuisance parameters must differ, got {', '.join(names)}.")
        self.members = tuple(members)

    def __iter__(self) -> Iterator[Nuisance]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> Nuisance:
        for member in self.members:
            if member.name == name:
                return member
        raise NotFoundError(f"No nuisance parameter `{name}`. There are: {', '.join(self.names)}.")

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return [member.name for member in self.members]

    def labels(self, design: Design) -> list[str]:
        """A name for each entry of the flat vector of all nuisance parameters."""
        labels: list[str] = []
        for member in self.members:
            n_entries = member.nominal_at(design).numel()
            own = [f"{member.name}[{i}]" for i in range(n_entries)]
            labels += [member.name] if n_entries == 1 else own
        return labels

    def nominal(self, design: Design) -> Float[Tensor, " n_nuisances"]:
        """The nominal values as a flat vector, differentiable."""
        return torch.cat([member.nominal_at(design).reshape(-1) for member in self.members])

    def widths(self, design: Design) -> Float[Tensor, " n_nuisances"]:
        """The widths as a flat vector, differentiable; infinite where a parameter is free."""
        return torch.cat([member.width_at(design).reshape(-1) for member in self.members])

    def steps(self, design: Design) -> Float[Tensor, " n_nuisances"]:
        """The steps of central differences as a flat vector."""
        return torch.cat([member.step_at(design).reshape(-1) for member in self.members])

    def augment(
        self, design: Design, values: Float[Tensor, " n_nuisances"] | None = None
    ) -> Design:
        """The design together with the nuisance parameters.

        Args:
            design: What is chosen.
            values: Flat vector of all nuisance parameters; the nominal one by default.
        """
        flat = self.nominal(design) if values is None else values
        added: dict[str, Tensor] = {}
        position = 0
        for member in self.members:
            shape = member.nominal_at(design).shape
            added[member.name] = flat[position : position + shape.numel()].reshape(shape)
            position += shape.numel()
        return Design({**design, **added})

    def draw(self, design: Design, n_rows: int, rng: torch.Generator) -> Design:
        r"""The design together with `n_rows` independent draws of every nuisance parameter.

        .. math:: \nu_i = \nu(\theta) + w(\theta)\, \varepsilon_i, \quad
            \varepsilon_i \sim \mathcal{N}(0, 1)

        Args:
            design: What is chosen.
            n_rows: Number of draws; the first dimension of what stages see.
            rng: Random generator.

        Raises:
            DomainError: A parameter is free: there is no prior to draw from.

        Note:
            Differentiable in nominal values and widths, with :math:`\varepsilon` held fixed.
        """
        added: dict[str, Tensor] = {}
        for member in self.members:
            if member.width is None:
                raise DomainError(
                    f"`{member.name}` is free: it has no prior to draw from. Give it a width, or "
                    "profile it."
                )
            nominal, width = member.nominal_at(design), member.width_at(design)
            noise = torch.randn(n_rows, *nominal.shape, generator=rng, dtype=nominal.dtype)
            added[member.name] = nominal + width * noise.to(nominal.device)
        return Design({**design, **added})


def _check(name: str, what: str, value: Tensor) -> None:
    bad = ~torch.isfinite(value) if what == "nominal" else ~(torch.isfinite(value) & (value > 0))
    if bool(bad.any()):
        needed = "finite" if what == "nominal" else "finite and > 0 (None for a free parameter)"
        raise DomainError(
            f"The {what} of `{name}` must be {needed}, got {float(value[bad].reshape(-1)[0]):g}."
        )
