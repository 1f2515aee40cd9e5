"""Fluctuations as time series, with or without gaps, and their autocovariance."""

__all__ = ["Series", "series_of"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from detopt.inference.montecarlo_errors.autocorrelation import lag_sums, pair_counts
from detopt.inference.montecarlo_errors.observables import Observables


@dataclass(frozen=True)
class Series:
    """The fluctuations of one ensemble on regular grids, a tensor for each replica."""

    name: str
    fluctuations: list[Tensor]
    positions: list[Tensor]
    spacing: int

    @property
    def n_configurations(self) -> int:
        """Number of measurements."""
        return sum(len(p) for p in self.positions)

    @property
    def max_lag(self) -> int:
        """Largest lag that is looked at: below half of the longest replica."""
        return max(int(p[-1]) + 1 for p in self.positions) // 2 - 1

    def autocovariance(self, n_lags: int) -> tuple[Tensor, Tensor]:
        """Gamma(t), and the share of the pairs at each lag that gaps leave."""
        sums = torch.stack([lag_sums(_filled(*p), n_lags) for p in self._pairs()]).sum(0)
        pairs = torch.stack([pair_counts(p, n_lags) for p in self.positions]).sum(0)
        if all(len(p) == int(p[-1]) + 1 for p in self.positions):
            return sums / pairs.clamp(min=1), torch.ones_like(pairs)
        lags = torch.arange(n_lags + 1, dtype=pairs.dtype, device=pairs.device)
        lengths = torch.stack([p[-1] + 1 for p in self.positions]).to(pairs)
        complete = (lengths[:, None] - lags).clamp(min=0).sum(0)
        share = pairs * lengths.sum() / (self.n_configurations * complete.clamp(min=1))
        return sums / pairs.clamp(min=1), share

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.fluctuations, self.positions, strict=True))


def _filled(fluctuations: Tensor, positions: Tensor) -> Tensor:
    """On a grid without gaps: 0 where a measurement is missing."""
    length = int(positions[-1]) + 1
    if length == len(positions):
        return fluctuations
    empty = fluctuations.new_zeros((*fluctuations.shape[:-1], length))
    return empty.index_copy(-1, positions, fluctuations)


def series_of(observables: Observables, name: str, replica: list[str]) -> Series:
    """The series of one ensemble, on a grid of the largest spacing that all its numbers fit."""
    numbers = [observables.configurations[r] for r in replica]
    steps = [_steps(n) for n in numbers]
    spacing = math.gcd(*(step for found in steps for step in found))
    positions = [torch.div(n - n[0], spacing, rounding_mode="floor") for n in numbers]
    return Series(name, [observables.fluctuations[r] for r in replica], positions, spacing)


def _steps(numbers: Int[Tensor, " n"]) -> list[int]:
    """The distances that occur between successive configurations."""
    steps = numbers.diff()
    first = int(steps[0])
    found: list[int] = [first] if bool((steps == first).all()) else steps.unique().tolist()
    return found
