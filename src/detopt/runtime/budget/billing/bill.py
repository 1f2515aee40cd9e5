"""A bill, and what every provider can be asked."""

__all__ = ["Bill", "Billing", "Period", "the_currency"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Protocol, runtime_checkable

from detopt.errors import ConfigError


@dataclass(frozen=True)
class Period:
    """Whole days in UTC, as bills have them.

    Args:
        begin: First day.
        end: Day after the last one.

    Raises:
        ConfigError: It has no day.
    """

    begin: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ConfigError(
                f"The period from {self.begin} until before {self.end} has no day. Give a later "
                "end: it does not belong to the period."
            )

    @classmethod
    def of(cls, begin_s: float, end_s: float) -> "Period":
        """The days that hold some times [s since 1970]."""
        first, last = (datetime.fromtimestamp(one, UTC).date() for one in (begin_s, end_s))
        return cls(first, last + timedelta(days=1))

    def holds(self, time_s: float) -> bool:
        """Whether a time [s since 1970] lies in it."""
        return self.begin <= datetime.fromtimestamp(time_s, UTC).date() < self.end


@dataclass(frozen=True)
class Bill:
    """What a provider billed.

    Args:
        provider: Its name.
        amount: Money.
        currency: Three letters.
        details: What else it says, such as the state of a budget there.
    """

    provider: str
    amount: float
    currency: str
    details: Mapping[str, float | str] = field(default_factory=dict)


@runtime_checkable
class Billing(Protocol):
    """A provider that can be asked."""

    def bill(self, period: Period) -> Bill:
        """What it billed for a period.

        Raises:
            ConfigError: It refuses, cannot be reached, or answers otherwise than documented.
        """


def the_currency(found: Mapping[str, float], provider: str) -> tuple[str, float]:
    """The only currency of a bill, and its amount.

    Raises:
        ConfigError: There are several, or none.
    """
    if len(found) != 1:
        named = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"The bill of {provider} is in {len(found)} currencies ({named}), not in one. Give a "
            "period and a tag that have costs in one."
        )
    return next(iter(found.items()))
