"""Refusal of Python numbers that lie outside the domain of a formula.

Tensors pass unchecked: a test of their values inside a kernel would break `vmap` and `compile`.
"""

__all__ = ["require_charge", "require_not_negative", "require_positive", "require_share"]

from torch import Tensor

from detopt.errors import DomainError


def require_positive(**values: Tensor | float | int) -> None:
    """Refuses every Python number among `values` that is not above zero.

    Args:
        values: Arguments of the caller, by the name that the user knows.

    Raises:
        DomainError: A Python number is zero, negative or not a number.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor) and not value > 0:
            raise DomainError(f"`{name}` must be > 0, got {value}. Give a positive number.")


def require_not_negative(**values: Tensor | float | int) -> None:
    """Refuses every Python number among `values` that is below zero.

    Args:
        values: Arguments of the caller, by the name that the user knows.

    Raises:
        DomainError: A Python number is negative or not a number.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor) and not value >= 0:
            raise DomainError(f"`{name}` must be >= 0, got {value}. Give its size.")


def require_share(**values: Tensor | float | int) -> None:
    """Refuses every Python number among `values` that is not between zero and one.

    Args:
        values: Arguments of the caller, by the name that the user knows.

    Raises:
        DomainError: A Python number is negative, above one or not a number.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor) and not 0 <= value <= 1:
            raise DomainError(f"`{name}` must lie between 0 and 1, got {value}. Say 0.95 for 95 %.")


def require_charge(charge: int) -> None:
    """Refuses a particle that does not scatter.

    Raises:
        DomainError: `charge` is 0.
    """
    if charge == 0:
        raise DomainError(
            "`charge` must not be 0, got 0: neutral particles do not scatter. "
            "Leave them out or give their charge number."
        )
