"""Tables of `detopt physics`: what is asked for, how a quantity is described, what comes out."""

__all__ = ["Column", "Quantity", "Request", "Row", "Table"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Row = tuple[str, tuple[Tensor, ...]]  # the label of a curve, and a tensor for each column


@dataclass(frozen=True)
class Request:
    """What the user asked for; None where nothing was said."""

    material: list[str] | None = None
    particle: str | None = None
    energies: list[float] | None = None  # GeV
    momenta: list[float] | None = None  # GeV/c
    path: list[float] | None = None  # m
    zenith: list[float] | None = None  # rad
    model: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    unit: str
    values: list[Any]

    @classmethod
    def of(cls, header: str, values: list[Any]) -> "Column":
        """A column from its name with the unit in brackets."""
        name, _, unit = header.removesuffix("]").partition(" [")
        return cls(name, unit, values)

    @property
    def header(self) -> str:
        """Name and unit in one line."""
        return self.name + (f" [{self.unit}]" if self.unit else "")


@dataclass(frozen=True)
class Quantity:
    """A quantity: how it is computed and how it is shown.

    Attributes:
        title: What the table shows, where `{particle}` and `{materials}` are filled in.
        rows: The curves that a request asks for.
        columns: Names, with units in brackets, that of the curves first.
        x: Place of the column to plot against, 0 for bars.
        y: Place of the column to plot.
        value: Place of the column with the quantity in its base unit.
        formula: The formula, in one line.
        source: Where it is from.
        options: Options that it takes.
        sweep: Option that runs along the abscissa and the place of its column, in base units;
            None for bars.
        particles: Names of the only particles that have it; any charged one where empty.
        logarithmic: Whether a wide axis may be logarithmic.
        more_columns: Columns that depend on the request.
    """

    title: str
    rows: Callable[[Request], Iterator[Row]]
    columns: str
    x: int
    y: int
    value: int
    formula: str
    source: str
    options: tuple[str, ...]
    sweep: tuple[str, int] | None = None
    particles: tuple[str, ...] = ()
    logarithmic: bool = True
    more_columns: Callable[[Request], list[str]] = lambda _: []


@dataclass(frozen=True)
class Table:
    """Values of a quantity in long form: a row for each curve and abscissa."""

    title: str
    columns: list[Column]
    quantity: Quantity
