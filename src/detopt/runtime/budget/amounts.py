"""What computing costs: hours of processors, accelerators, workers and the clock, and money."""

__all__ = ["Amounts", "Limits"]

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from detopt.errors import ConfigError
from detopt.runtime.storage.schema import AMOUNTS, UNITS

LABELS = {"cpu_h": "CPU hours", "gpu_h": "GPU hours", "wall_h": "wall hours", "money": "money"}
TINY = 1e-300
ROUNDING = 1e-9  # of sums of many lines, relative


@dataclass(frozen=True)
class Amounts:
    """What a piece of work uses.

    Args:
        cpu_h: CPU time [h].
        gpu_h: Time of accelerators [h].
        wall_h: Time by the clock of the study [h].
        money: In the currency of the budget.
        worker_h: Time of all workers, busy or idle: what is paid for [h].
    """

    cpu_h: float = 0.0
    gpu_h: float = 0.0
    wall_h: float = 0.0
    money: float = 0.0
    worker_h: float = 0.0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def __sub__(self, other: "Amounts") -> "Amounts":
        return self + -1.0 * other

    def __rmul__(self, factor: float) -> "Amounts":
        return Amounts(*(factor * value for value in self.values()))

    def values(self) -> tuple[float, ...]:
        """The numbers, in order."""
        return (self.cpu_h, self.gpu_h, self.wall_h, self.money, self.worker_h)

    def lowest(self, other: "Amounts") -> "Amounts":
        """The smaller of two, unit by unit."""
        return Amounts(*map(min, self.values(), other.values()))

    def highest(self, other: "Amounts") -> "Amounts":
        """The larger of two, unit by unit."""
        return Amounts(*map(max, self.values(), other.values()))

    def as_dict(self, prefix: str = "") -> dict[str, float]:
        """Plain numbers by name."""
        return {prefix + name: x for name, x in zip(AMOUNTS, self.values(), strict=True)}

    @classmethod
    def of(cls, row: Mapping[Any, Any], prefix: str = "") -> "Amounts":
        """From the columns of a row; what it leaves open is none."""
        return cls(*(row[prefix + name] or 0.0 for name in AMOUNTS))


@dataclass(frozen=True)
class Limits:
    """How much may be used; None: as much as one likes.

    Args:
        cpu_h, gpu_h, wall_h, money: See `Amounts`.

    Raises:
        ConfigError: A limit is below 0.
    """

    cpu_h: float | None = None
    gpu_h: float | None = None
    wall_h: float | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if not 0 <= value < float("inf"):
                raise ConfigError(f"The limit of {LABELS[name]} must be >= 0, got {value:g}.")

    def given(self) -> dict[str, float]:
        """The limits that there are, by unit."""
        found = {name: getattr(self, name) for name in UNITS}
        return {name: value for name, value in found.items() if value is not None}

    def merged(self, newer: "Limits") -> "Limits":
        """These, with what `newer` gives instead."""
        return Limits(**{**self.given(), **newer.given()})

    def part(self, fraction: float) -> Amounts:
        """A part of the limits; without bounds where there is none."""
        given = self.given()
        return Amounts(*(fraction * given.get(name, float("inf")) for name in AMOUNTS))

    def left(self, taken: Amounts) -> dict[str, float]:
        """What is left beside what is taken, by unit; below 0 where that is too much."""
        return {name: limit - getattr(taken, name) for name, limit in self.given().items()}

    def broken_by(self, taken: Amounts) -> list[str]:
        """The units of which more is taken than there is."""
        return [
            name
            for name, limit in self.given().items()
            if getattr(taken, name) > limit * (1 + ROUNDING)
        ]

    def fraction(self, used: Amounts, reserved: Amounts) -> float:
        """Largest share of a reservation that is used, among the units with a limit."""
        shares = [
            getattr(used, name) / max(getattr(reserved, name), TINY)
            for name in self.given()
            if getattr(used, name) > 0
        ]
        return max(shares, default=0.0)


assert tuple(field.name for field in fields(Amounts)) == AMOUNTS
assert tuple(field.name for field in fields(Limits)) == UNITS
