r"""Observables: tensors of mean values that know where their fluctuations come from.

An ensemble is a Markov chain, or several independent ones (its replica) of the same simulation. An
observable keeps its value and, for each replica, its projected fluctuations: what each
configuration adds to the value, times the number of configurations. Fluctuations of different
observables on the same configuration are correlated, and stay so through every calculation.
"""

__all__ = ["Observables", "ensemble_of"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors.samples import (
    SEPARATOR,
    check_name,
    checked,
    refuse_infinite,
)


@dataclass(frozen=True, eq=False)
class Observables:
    r"""A tensor of observables with their fluctuations.

    Make one with `from_samples` or `from_covariance`, derive others by arithmetic, `propagate`,
    fits or roots. `gamma_method` gives the errors.

    Args:
        value: Central values.
        fluctuations: Projected fluctuations :math:`\delta_i` by name of the replica, which is
            ``ensemble`` or ``ensemble|replica``; over an ensemble they add up to 0.
        configurations: Numbers of the configurations in each replica, ascending.
        covariances: Covariance matrices of inputs that were not simulated, by name.
        gradients: Derivatives with respect to these inputs.
    """

    value: Float[Tensor, "*shape"]
    fluctuations: Mapping[str, Tensor] = field(default_factory=dict)
    configurations: Mapping[str, Tensor] = field(default_factory=dict)
    covariances: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_samples(
        samples: Float[Tensor, "*shape n"] | Mapping[str, Tensor],
        ensemble: str,
        configurations: Sequence[int] | Tensor | Mapping[str, Any] | None = None,
    ) -> "Observables":
        """Mean values over the configurations of an ensemble.

        Args:
            samples: Measurements, the last dimension counts configurations. An ensemble of several
                replica has a tensor for each, by name.
            ensemble: Name of the ensemble.
            configurations: Their numbers, which may have gaps: integers for each measurement, by
                name of the replica if there are several. By default 1, 2, 3 ...

        Raises:
            DomainError: Fewer than 5 measurements in a replica, a value that is not finite, numbers
                that do not ascend or do not match the measurements.

        Note:
            Values are kept in float64. Differentiable in the samples.
        """
        check_name(ensemble)
        parts = {"": samples} if isinstance(samples, Tensor) else dict(samples)
        numbers = configurations if isinstance(configurations, Mapping) else {"": configurations}
        if configurations is not None and numbers.keys() != parts.keys():
            raise DomainError(
                f"Ensemble `{ensemble}` has the replica {list(parts)}, but configuration numbers "
                f"for {list(numbers)}. Name the same replica in both."
            )
        if not parts:
            raise DomainError(f"Ensemble `{ensemble}` is empty: it needs at least one replica.")
        names = {key: f"{ensemble}{SEPARATOR}{key}" if key else ensemble for key in parts}
        series = {
            names[key]: checked(names[key], tensor, numbers.get(key))
            for key, tensor in parts.items()
        }
        shapes = {tuple(tensor.shape[:-1]) for tensor, _ in series.values()}
        if len(shapes) > 1:
            raise DomainError(
                f"The replica of `{ensemble}` hold observables of the shapes {sorted(shapes)}. "
                "Give the same observables for each."
            )
        total = sum(len(indices) for _, indices in series.values())
        value = torch.stack([tensor.sum(-1) for tensor, _ in series.values()]).sum(0) / total
        if not bool(torch.isfinite(value.detach()).all()):
            refuse_infinite({name: tensor for name, (tensor, _) in series.items()})
        return Observables(
            value,
            {name: tensor - value.unsqueeze(-1) for name, (tensor, _) in series.items()},
            {name: indices for name, (_, indices) in series.items()},
        )

    @staticmethod
    def from_covariance(
        value: Float[Tensor, "*shape"], covariance: Float[Tensor, "k k"], name: str
    ) -> "Observables":
        """Inputs that were not simulated, with the covariance matrix of their errors.

        Args:
            value: Their k central values, in any shape.
            covariance: Covariance matrix of the values in row-major order.
            name: Of the source, such as an experiment; the same name is the same source.

        Raises:
            DomainError: The matrix has the wrong shape, or is not symmetric and positive.
        """
        check_name(name)
        value, covariance = value.to(torch.float64), covariance.to(torch.float64)
        k = value.numel()
        if covariance.shape != (k, k):
            raise DomainError(
                f"The covariance of `{name}` must have the shape {(k, k)}, got "
                f"{tuple(covariance.shape)}."
            )
        fixed = covariance.detach()
        scale = float(fixed.abs().max())
        symmetric = torch.allclose(fixed, fixed.mT, rtol=1e-12, atol=1e-12 * scale)
        if not symmetric or float(torch.linalg.eigvalsh(fixed)[0]) < -1e-12 * scale:
            raise DomainError(
                f"The covariance of `{name}` must be symmetric, finite and without negative "
                "eigenvalues."
            )
        gradient = torch.eye(k, dtype=torch.float64, device=value.device).reshape(*value.shape, k)
        return Observables(value, covariances={name: covariance}, gradients={name: gradient})

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor of observables."""
        return self.value.shape

    @property
    def ensembles(self) -> dict[str, list[str]]:
        """Names of the replica of each ensemble."""
        found: dict[str, list[str]] = {}
        for name in self.fluctuations:
            found.setdefault(ensemble_of(name), []).append(name)
        return found

    def n_configurations(self, ensemble: str) -> int:
        """Number of configurations in all replica of an ensemble."""
        return sum(len(self.configurations[name]) for name in self.ensembles.get(ensemble, []))

    def linear(self, function: Callable[[Tensor], Tensor]) -> "Observables":
        """The observables under a linear map that leaves further trailing dimensions alone.

        Args:
            function: Such as ``lambda x: x[2:5]`` or ``lambda x: x.flatten(0, 1)``; it is applied
                to the value with an additional last dimension, which it must keep.
        """
        return Observables(
            function(self.value.unsqueeze(-1)).squeeze(-1),
            {name: function(tensor) for name, tensor in self.fluctuations.items()},
            self.configurations,
            self.covariances,
            {name: function(tensor) for name, tensor in self.gradients.items()},
        )

    def reshape(self, *shape: int) -> "Observables":
        """The observables in another shape."""
        return self.linear(lambda x: x.reshape(*shape, x.shape[-1]))

    def detach(self) -> "Observables":
        """The observables, cut from any graph."""
        return Observables(
            self.value.detach(),
            {name: tensor.detach() for name, tensor in self.fluctuations.items()},
            self.configurations,
            {name: tensor.detach() for name, tensor in self.covariances.items()},
            {name: tensor.detach() for name, tensor in self.gradients.items()},
        )

    def __getitem__(self, index: Any) -> "Observables":
        full = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in full:
            full = (*full, Ellipsis)
        return self.linear(lambda x: x[(*full, slice(None))])

    def __len__(self) -> int:
        return len(self.value)

    def __add__(self, other: "Observables | Tensor | float | int") -> "Observables":
        return _elementwise(torch.add, self, other)

    def __radd__(self, other: Tensor | float | int) -> "Observables":
        return self + other

    def __sub__(self, other: "Observables | Tensor | float | int") -> "Observables":
        return _elementwise(torch.sub, self, other)

    def __rsub__(self, other: Tensor | float | int) -> "Observables":
        return _elementwise(torch.sub, other, self)

    def __mul__(self, other: "Observables | Tensor | float | int") -> "Observables":
        return _elementwise(torch.mul, self, other)

    def __rmul__(self, other: Tensor | float | int) -> "Observables":
        return self * other

    def __truediv__(self, other: "Observables | Tensor | float | int") -> "Observables":
        return _elementwise(torch.div, self, other)

    def __rtruediv__(self, other: Tensor | float | int) -> "Observables":
        return _elementwise(torch.div, other, self)

    def __pow__(self, power: float | int) -> "Observables":
        return _elementwise(lambda x: x**power, self)

    def __neg__(self) -> "Observables":
        return self.linear(torch.neg)

    # a tensor on the left of an operator leaves the operation to `__radd__` and its like
    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Leaves operators to this class, and refuses other functions of torch."""
        return NotImplemented


def _elementwise(function: Callable[..., Tensor], *inputs: Any) -> Observables:
    from detopt.inference.montecarlo_errors.propagation import elementwise

    return elementwise(function, *inputs)


def ensemble_of(replica: str) -> str:
    """Name of the ensemble that a replica belongs to."""
    return replica.partition(SEPARATOR)[0]
