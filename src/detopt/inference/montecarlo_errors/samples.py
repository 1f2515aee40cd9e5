"""Checks of the measurements that enter."""

__all__ = ["SEPARATOR", "check_name", "checked", "refuse_infinite"]

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError

MIN_CONFIGURATIONS = 5
SEPARATOR = "|"  # between the names of an ensemble and of a replica


def check_name(name: str) -> None:
    """Refuse names that a file could not keep apart."""
    if not name or SEPARATOR in name:
        raise DomainError(
            f"The name of an ensemble must not be empty or hold `{SEPARATOR}`, got {name!r}."
        )


def refuse_infinite(samples: Mapping[str, Tensor]) -> None:
    """Say which measurement is not finite; one is."""
    for name, tensor in samples.items():
        bad = (~torch.isfinite(tensor.detach())).nonzero()
        if len(bad):
            raise DomainError(
                f"`{name}` has {len(bad)} values that are not finite, the first at "
                f"{bad[0].tolist()}. Leave these configurations out and give the numbers of the "
                "others."
            )
    raise DomainError(f"The values of {list(samples)} are too large to be added in float64.")


def checked(
    name: str, samples: Tensor, numbers: Sequence[int] | Tensor | None
) -> tuple[Float[Tensor, "*shape n"], Int[Tensor, " n"]]:
    """Measurements in float64 and configuration numbers that belong together."""
    n = samples.shape[-1] if samples.ndim else 0
    if n < MIN_CONFIGURATIONS:
        raise DomainError(
            f"`{name}` has {n} measurements; an error needs at least {MIN_CONFIGURATIONS}. The "
            "last dimension of the samples counts configurations."
        )
    indices = torch.arange(1, n + 1) if numbers is None else torch.as_tensor(numbers)
    if indices.shape != (n,) or indices.dtype.is_floating_point:
        raise DomainError(
            f"`{name}` has {n} measurements, but configuration numbers of the shape "
            f"{tuple(indices.shape)} and type {indices.dtype}. Give one integer for each."
        )
    steps = indices.diff()
    if bool((steps <= 0).any()):
        first = int((steps <= 0).nonzero()[0])
        raise DomainError(
            f"The configuration numbers of `{name}` must ascend, got {int(indices[first])} before "
            f"{int(indices[first + 1])}."
        )
    return samples.to(torch.float64), indices.to(device=samples.device, dtype=torch.int64)
