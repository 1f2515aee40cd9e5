"""Observables that were measured on different configurations, put together."""

__all__ = ["concatenate", "on_common_configurations"]

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors.observables import Observables, ensemble_of


def concatenate(parts: Sequence[Observables]) -> Observables:
    """Observables one after the other, along the first dimension.

    Raises:
        DomainError: There are none, or the other dimensions differ.
    """
    if not parts:
        raise DomainError("There is nothing to concatenate: give at least one `Observables`.")
    if len({part.shape[1:] for part in parts}) > 1 or not parts[0].shape:
        raise DomainError(
            f"Cannot concatenate observables of the shapes {[tuple(p.shape) for p in parts]}: "
            "they must have a first dimension, and agree in all others."
        )
    common = on_common_configurations(parts)
    return Observables(
        torch.cat([part.value for part in common]),
        {
            name: torch.cat([part.fluctuations[name] for part in common])
            for name in common[0].fluctuations
        },
        common[0].configurations,
        common[0].covariances,
        {
            name: torch.cat([part.gradients[name] for part in common])
            for name in common[0].gradients
        },
    )


def on_common_configurations(parts: Sequence[Observables]) -> list[Observables]:
    """The same observables, each with a fluctuation for every configuration that any of them has.

    A configuration that an observable lacks adds nothing to it: its fluctuation there is 0, and
    those of the others are scaled to the new number of configurations of the ensemble.

    Raises:
        DomainError: Two covariance matrices of the same name differ.
    """
    configurations = _union(parts)
    covariances = _common_covariances(parts)
    totals: dict[str, int] = {}
    for name, indices in configurations.items():
        totals[ensemble_of(name)] = totals.get(ensemble_of(name), 0) + len(indices)
    return [_extended(part, configurations, covariances, totals) for part in parts]


def _union(parts: Sequence[Observables]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in parts:
        for name, indices in part.configurations.items():
            if name not in found:
                found[name] = indices
            elif found[name] is not indices and not torch.equal(found[name], indices):
                found[name] = torch.cat([found[name], indices]).unique(sorted=True)
    return dict(sorted(found.items()))


def _common_covariances(parts: Sequence[Observables]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in parts:
        for name, covariance in part.covariances.items():
            known = found.setdefault(name, covariance)
            same = known is covariance or (
                known.shape == covariance.shape and torch.allclose(known, covariance)
            )
            if not same:
                raise DomainError(
                    f"Two different covariance matrices are called `{name}`. Give each source of "
                    "errors a name of its own."
                )
    return found


def _extended(
    part: Observables,
    configurations: Mapping[str, Tensor],
    covariances: Mapping[str, Tensor],
    totals: Mapping[str, int],
) -> Observables:
    fluctuations = {}
    for name, indices in configurations.items():
        own = part.configurations.get(name)
        total = part.n_configurations(ensemble_of(name))
        if own is None:
            fluctuations[name] = part.value.new_zeros((*part.shape, len(indices)))
        elif len(own) == len(indices) and total == totals[ensemble_of(name)]:
            fluctuations[name] = part.fluctuations[name]
        else:
            scaled = part.fluctuations[name] * (totals[ensemble_of(name)] / total)
            empty = part.value.new_zeros((*part.shape, len(indices)))
            fluctuations[name] = empty.index_copy(-1, torch.searchsorted(indices, own), scaled)
    gradients = {
        name: part.gradients.get(name, part.value.new_zeros((*part.shape, len(covariance))))
        for name, covariance in covariances.items()
    }
    return Observables(part.value, fluctuations, configurations, covariances, gradients)
