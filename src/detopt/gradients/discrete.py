"""Discrete distributions of one draw for each of many independent rows.

An outcome is a tensor that a simulation can compute with: 0 or 1 for `Bernoulli`, a row of zeros
with a single one for `Categorical`, a count for `Poisson`.
"""

__all__ = ["Bernoulli", "Categorical", "DiscreteDistribution", "Poisson"]

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.relax import straight_through

SUM_TOLERANCE = 1e-4  # of probabilities, which must add up to one


class DiscreteDistribution(ABC):
    """What one row draws, with probabilities that may depend on the design."""

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of independent rows."""

    @abstractmethod
    def sample(self, rng: torch.Generator) -> Tensor:
        """One outcome for each row, without derivative."""

    @abstractmethod
    def log_probability(self, outcome: Tensor) -> Float[Tensor, " n_rows"]:
        """Logarithm of the probability of `outcome`, differentiable."""

    @abstractmethod
    def outcomes(self) -> list[tuple[Tensor, Float[Tensor, " n_rows"]]]:
        """All outcomes with their probabilities.

        Raises:
            DomainError: There are infinitely many.
        """

    @abstractmethod
    def partner(
        self, outcome: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Float[Tensor, " n_rows"]]:
        r"""The other outcome of a pair, and the weight :math:`w` of the pair's difference.

        .. math::
            \nabla_\theta\, \mathbb{E}[f(k)]
                = \mathbb{E}\bigl[\nabla_\theta w\, (f(k') - f(k))\bigr]
        """

    @abstractmethod
    def relax(self, outcome: Tensor) -> Tensor:
        """The outcome with the derivative of its mean: biased for all but linear functions."""


@dataclass(frozen=True)
class Bernoulli(DiscreteDistribution):
    """Zero or one.

    Args:
        probability: Probability of one, in [0, 1].
    """

    probability: Float[Tensor, " n_rows"]

    @property
    def n_rows(self) -> int:
        """Number of independent rows."""
        return len(self.probability)

    def sample(self, rng: torch.Generator) -> Float[Tensor, " n_rows"]:
        """Zeros and ones."""
        with torch.no_grad():
            return (_uniform(self.probability, rng) < self.probability).to(self.probability)

    def log_probability(self, outcome: Float[Tensor, " n_rows"]) -> Float[Tensor, " n_rows"]:
        """Logarithm of p or of 1 - p."""
        return torch.where(outcome > 0.5, self.probability, 1 - self.probability).log()

    def outcomes(self) -> list[tuple[Tensor, Float[Tensor, " n_rows"]]]:
        """Zero and one."""
        zero = torch.zeros_like(self.probability)
        return [(zero, 1 - self.probability), (zero + 1, self.probability)]

    def partner(
        self,
        outcome: Float[Tensor, " n_rows"],
        rng: torch.Generator,  # noqa: ARG002 (there is one other outcome)
    ) -> tuple[Tensor, Float[Tensor, " n_rows"]]:
        """The other outcome; the weight is its probability."""
        other = 1 - outcome
        return other, torch.where(other > 0.5, self.probability, 1 - self.probability)

    def relax(self, outcome: Float[Tensor, " n_rows"]) -> Float[Tensor, " n_rows"]:
        """The outcome with the derivative of the probability."""
        return straight_through(outcome, self.probability)


@dataclass(frozen=True)
class Categorical(DiscreteDistribution):
    """One of several choices.

    Args:
        probabilities: Probability of each choice, >= 0, of sum 1.

    Raises:
        DomainError: Fewer than two choices, or the probabilities do not add up to one.
    """

    probabilities: Float[Tensor, "n_rows n_choices"]

    def __post_init__(self) -> None:
        if self.probabilities.shape[1] < 2:
            raise DomainError(
                f"A categorical draw needs >= 2 choices, got {self.probabilities.shape[1]}."
            )
        error = float((self.probabilities.detach().sum(1) - 1).abs().max())
        if not error < SUM_TOLERANCE:
            raise DomainError(
                f"The probabilities of a categorical draw must add up to 1, got 1 +- {error:.2g}. "
                "Divide them by their sum."
            )

    @property
    def n_rows(self) -> int:
        """Number of independent rows."""
        return len(self.probabilities)

    def sample(self, rng: torch.Generator) -> Float[Tensor, "n_rows n_choices"]:
        """Rows of zeros with a single one."""
        with torch.no_grad():
            edges = self.probabilities.cumsum(1)
            uniform = _uniform(edges[:, 0], rng)[:, None] * edges[:, -1:]
            index = (uniform >= edges).sum(1).clamp(max=edges.shape[1] - 1)
            return _one_hot(index, self.probabilities)

    def log_probability(
        self, outcome: Float[Tensor, "n_rows n_choices"]
    ) -> Float[Tensor, " n_rows"]:
        """Logarithm of the probability of the choice."""
        return self._of(outcome).log()

    def outcomes(self) -> list[tuple[Tensor, Float[Tensor, " n_rows"]]]:
        """Each choice for all rows."""
        rows = torch.eye(self.probabilities.shape[1]).to(self.probabilities)
        return [
            (row.expand_as(self.probabilities), self.probabilities[:, k])
            for k, row in enumerate(rows)
        ]

    def partner(
        self, outcome: Float[Tensor, "n_rows n_choices"], rng: torch.Generator
    ) -> tuple[Tensor, Float[Tensor, " n_rows"]]:
        """Another choice, all with equal chances; the weight makes up for those not taken."""
        n_choices = outcome.shape[1]
        shift = 1 + (_uniform(outcome[:, 0], rng) * (n_choices - 1)).long().clamp(max=n_choices - 2)
        other = _one_hot((outcome.argmax(1) + shift) % n_choices, self.probabilities)
        return other, (n_choices - 1) * self._of(other)

    def relax(
        self, outcome: Float[Tensor, "n_rows n_choices"]
    ) -> Float[Tensor, "n_rows n_choices"]:
        """The choice with the derivative of the probabilities."""
        return straight_through(outcome, self.probabilities)

    def _of(self, outcome: Tensor) -> Tensor:
        return self.probabilities.gather(1, outcome.argmax(1, keepdim=True)).squeeze(1)


@dataclass(frozen=True)
class Poisson(DiscreteDistribution):
    """A count.

    Args:
        rate: Mean of the count, >= 0.
    """

    rate: Float[Tensor, " n_rows"]

    @property
    def n_rows(self) -> int:
        """Number of independent rows."""
        return len(self.rate)

    def sample(self, rng: torch.Generator) -> Float[Tensor, " n_rows"]:
        """Counts."""
        return torch.poisson(self.rate.detach(), generator=rng)

    def log_probability(self, outcome: Float[Tensor, " n_rows"]) -> Float[Tensor, " n_rows"]:
        """N ln(rate) - rate - ln N!, finite in value and derivative for a rate of 0."""
        some = outcome > 0
        logarithm = torch.where(some, self.rate, 1.0).log()
        return outcome * logarithm - self.rate - torch.lgamma(outcome + 1)

    def outcomes(self) -> list[tuple[Tensor, Float[Tensor, " n_rows"]]]:
        """Refused."""
        raise DomainError(
            "A Poisson draw has infinitely many outcomes and cannot be summed exactly. Take "
            "`measure_valued`, whose pair of N and N + 1 is exact, or `score`."
        )

    def partner(
        self,
        outcome: Float[Tensor, " n_rows"],
        rng: torch.Generator,  # noqa: ARG002 (the pair is fixed)
    ) -> tuple[Tensor, Float[Tensor, " n_rows"]]:
        """One more; the weight is the rate."""
        return outcome + 1, self.rate

    def relax(self, outcome: Float[Tensor, " n_rows"]) -> Float[Tensor, " n_rows"]:
        """The count with the derivative of the rate."""
        return straight_through(outcome, self.rate)


def _uniform(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=rng, dtype=like.dtype)


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter(1, index[:, None], 1.0)
