r"""One-to-one maps between the rows of a simulator and what a generator models.

A map builds a law into a generator: whatever is drawn, the rows obey it.
"""

__all__ = ["EnergyShares", "RowMap"]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from detopt.errors import DomainError, MethodError

TYPICAL, SPREAD = -2.5, 0.5  # of what stands in below the threshold: logarithm, over its own
ROUNDING = 1e-12  # share of the limit that stays free


class RowMap(ABC):
    """A map of rows to as many columns, which may depend on the conditions."""

    @abstractmethod
    def columns(
        self,
        conditions: Float[Tensor, "n c"],
        rows: Float[Tensor, "n d"],
        rng: torch.Generator,
    ) -> Float[Tensor, "n d"]:
        """What is modelled."""

    @abstractmethod
    def rows(
        self, conditions: Float[Tensor, "n c"], columns: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """Inverse of `columns`, differentiable."""

    @abstractmethod
    def log_volume(
        self, conditions: Float[Tensor, "n c"], rows: Float[Tensor, "n d"]
    ) -> Float[Tensor, " n"]:
        """Logarithm of the determinant of the derivative of the columns in the rows."""


@dataclass(frozen=True)
class EnergyShares(RowMap):
    r"""Energies of layers as their sum and how it is shared; no more energy than there was.

    .. math::
        c_0 = \operatorname{logit} \frac{\sum_j e_j}{f E}, \qquad
        c_i = \operatorname{logit} \frac{e_i}{\sum_{j \ge i} e_j}, \quad i = 1 \dots d - 1

    A stick is broken: each layer takes a share of what the ones before it left, and the last layer
    the rest. The sum is a column of its own, learned as well as any, and the layers add up to it;
    it is always below :math:`f E`. Energies below the threshold are 0; for the model, random
    numbers stand in their place: log-normal and far below the threshold, so that a model which
    blurs them mixes up little.

    Args:
        incident: Column of the conditions with the energy E that enters.
        logarithmic: Whether it holds the natural logarithm of E.
        limit: Largest share f of E, > 0.
        threshold: Smallest energy that is read out, in the unit of the rows, >= 0.

    Raises:
        DomainError: A number is out of range.

    Note:
        Differentiable in the columns, and in the energy that enters. A layer that falls below the
        threshold jumps by at most the threshold, which no derivative sees.

    References:
        C. Krause and D. Shih, CaloFlow, arXiv:2106.05285 (noise below the threshold).
    """

    incident: int
    logarithmic: bool = True
    limit: float = 1.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise DomainError(f"`limit` must be > 0, got {self.limit}.")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise DomainError(f"`threshold` must be >= 0, got {self.threshold}.")

    def columns(
        self,
        conditions: Float[Tensor, "n c"],
        rows: Float[Tensor, "n d"],
        rng: torch.Generator,
    ) -> Float[Tensor, "n d"]:
        """The sum's logit and the shares' logits.

        Raises:
            MethodError: There is one layer only, an energy is not positive without a threshold, or
                the sum is beyond the limit.
        """
        noise = torch.randn(rows.shape, generator=rng, dtype=rows.dtype)
        below = self.threshold * (TYPICAL + SPREAD * noise).clamp(max=0).exp()
        energies = torch.where(rows < self.threshold, below, rows)
        self._check(conditions, energies)
        rest = energies.flip(1).cumsum(1).flip(1)
        share = rest[:, :1] / self._most(conditions)
        first = share.log() - torch.log1p(-share)
        return torch.cat([first, energies[:, :-1].log() - rest[:, 1:].log()], dim=1)

    def rows(
        self, conditions: Float[Tensor, "n c"], columns: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """Energies of the layers."""
        total = self._most(conditions) * torch.sigmoid(columns[:, :1])
        taken, left = logsigmoid(columns[:, 1:]), logsigmoid(-columns[:, 1:]).cumsum(1)
        start = torch.zeros_like(total)
        before = torch.cat([start, left], dim=1)
        energies = total * torch.exp(torch.cat([taken, start], dim=1) + before)
        return torch.where(energies < self.threshold, 0.0, energies)

    def log_volume(
        self, conditions: Float[Tensor, "n c"], rows: Float[Tensor, "n d"]
    ) -> Float[Tensor, " n"]:
        r"""Of the rows :math:`-\sum_i \ln e_i + \ln \frac{f E}{f E - \sum_j e_j}`.

        Raises:
            MethodError: An energy is below the threshold, where there is no density.
        """
        self._check(conditions, rows)
        if bool((rows < self.threshold).any()):
            raise MethodError(
                f"Rows with energies below the threshold {self.threshold:g} have no density."
            )
        share = rows.sum(1, keepdim=True) / self._most(conditions)
        found: Tensor = -rows.log().sum(1) - torch.log1p(-share[:, 0])
        return found

    def _most(self, conditions: Tensor) -> Tensor:
        energy = conditions[:, self.incident, None]
        return self.limit * (energy.exp() if self.logarithmic else energy)

    def _check(self, conditions: Tensor, energies: Tensor) -> None:
        if energies.shape[1] < 2:
            raise MethodError("Energies can be shared among two or more layers, got one.")
        if not bool((energies > 0).all()):
            raise MethodError(
                f"Energies must be > 0, got {energies.min():g}. Give a `threshold`, below which "
                "they are 0."
            )
        share = energies.sum(1) / self._most(conditions)[:, 0]
        if not bool((share < 1 - ROUNDING).all()):
            raise MethodError(
                f"A row holds {share.max():.4g} of the largest energy that it may. Raise `limit`."
            )
