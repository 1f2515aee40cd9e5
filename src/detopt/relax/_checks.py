"""Refusal of arguments that have no histogram and no cut.

Values are read where they can be: inside `torch.vmap` or a compiled function they cannot, and the
tests of values are left out there. Tests of shapes are always made.
"""

__all__ = [
    "TensorLike",
    "expanded",
    "require_choice",
    "require_events",
    "require_finite",
    "require_increasing",
    "require_positive",
]

from collections.abc import Iterable

import torch
from torch import Tensor

from detopt.errors import ConfigError, DomainError

TensorLike = Tensor | float | int


def _holds(condition: Tensor) -> bool:
    """Whether `condition` is true everywhere, and true where its value cannot be read."""
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(condition.all())
    except RuntimeError:  # the data of a tensor inside vmap cannot steer Python
        return True


def _first(wrong: Tensor) -> tuple[int, ...]:
    """Index of the first true entry."""
    return tuple(int(i) for i in torch.nonzero(wrong)[0])


def expanded(name: str, value: Tensor, values: Tensor) -> Tensor:
    """`value` with one entry for each of the events `values`; refuses one that does not fit."""
    try:
        return value.expand_as(values)
    except RuntimeError:
        raise DomainError(
            f"`{name}` of the shape {tuple(value.shape)} does not fit `values` of the shape "
            f"{tuple(values.shape)}. Give one number for each event, or one for all."
        ) from None


def require_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuses a `value` that is not one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ConfigError(f"`{name}` must be one of {known}, got {value!r}.")


def require_events(name: str, value: Tensor, axis: int = -1) -> None:
    """Refuses a tensor without events along `axis`."""
    if value.ndim < -axis or value.shape[axis] == 0:
        raise DomainError(
            f"`{name}` holds no events: its shape is {tuple(value.shape)}. Give at least one event."
        )


def require_finite(name: str, value: Tensor) -> None:
    """Refuses NaN and infinity."""
    value = value.detach()
    if _holds(value.isfinite()):
        return
    wrong = ~value.isfinite()
    where = _first(wrong)
    raise DomainError(
        f"`{name}` has {int(wrong.sum())} entries that are not finite, the first at index {where}: "
        f"{value[where].item()}. Drop or repair them first."
    )


def require_increasing(name: str, value: Tensor) -> None:
    """Refuses edges that are fewer than two, not finite or not strictly increasing."""
    if value.ndim == 0 or value.shape[-1] < 2:
        raise DomainError(
            f"`{name}` must hold at least 2 edges, got the shape {tuple(value.shape)}."
        )
    require_finite(name, value)
    value = value.detach()
    steps = value.diff(dim=-1)
    if _holds(steps > 0):
        return
    where = _first(steps <= 0)
    after = (*where[:-1], where[-1] + 1)
    raise DomainError(
        f"`{name}` must increase, but {value[where].item():g} at index {where} is followed by "
        f"{value[after].item():g}. Sort the edges and drop equal ones."
    )


def require_positive(name: str, value: TensorLike) -> None:
    """Refuses zero, negative values, NaN and infinity."""
    tensor = torch.as_tensor(value).detach()
    good = (tensor > 0) & tensor.isfinite()
    if not _holds(good):
        worst = tensor[_first(~good)].item()
        raise DomainError(f"`{name}` must be positive and finite, got {worst:g}.")
