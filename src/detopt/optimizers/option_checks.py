"""Options of a method that are out of range are refused before the first round."""

__all__ = ["refuse_not_positive", "refuse_not_whole", "refuse_unknown"]

import math
from collections.abc import Iterable

from detopt.errors import MethodError


def refuse_not_positive(**options: float) -> None:
    """Options must be finite and > 0.

    Raises:
        MethodError: One is not.
    """
    for name, value in options.items():
        if not (math.isfinite(value) and value > 0):
            raise MethodError(f"`{name}` must be > 0, got {value}.")


def refuse_not_whole(least: int, **options: int | None) -> None:
    """Options must be whole numbers >= `least`, or None for the default.

    Raises:
        MethodError: One is not.
    """
    for name, number in options.items():
        if number is not None and not (isinstance(number, int) and number >= least):
            raise MethodError(f"`{name}` must be a whole number >= {least}, got {number!r}.")


def refuse_unknown(name: str, choice: str, known: Iterable[str]) -> None:
    """An option must be one of those that are known.

    Raises:
        MethodError: It is not.
    """
    if choice not in (names := tuple(known)):
        raise MethodError(f"`{name}` must be one of {', '.join(names)}, got {choice!r}.")
