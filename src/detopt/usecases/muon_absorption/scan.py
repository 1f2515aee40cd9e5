r"""The search for a cavity of unknown place: a scan over templates, and how often it finds nothing.

Counts :math:`N` in bins are compared with the expected ones :math:`\lambda`, whose variance is
:math:`\lambda + (\epsilon\lambda)^2`. The logarithm of the mean density is profiled, with a
prior of the width :math:`\tau` and the slope :math:`g = \partial\lambda/\partial\ln\rho`:

.. math::
    \langle a, b\rangle = a^T W b - \frac{(a^T W g)(g^T W b)}{g^T W g + \tau^{-2}}

A template :math:`s_k` has the local significance :math:`Z_k = \langle s_k, N - \lambda\rangle /
\sqrt{\langle s_k, s_k\rangle}`. The search takes the largest of all; it is a discovery above a
threshold that counts without a cavity exceed at a given rate, anywhere.
"""

__all__ = ["Metric", "effective_trials", "global_threshold"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-6  # square of a significance, and variance of counts, that are as good as none


@dataclass(frozen=True)
class Metric:
    """The inner product of deviations from the expected counts.

    Attributes:
        weight: Inverse variance of each bin.
        slope: Change of the counts for a unit of ln(density).
        spread: Width of the prior of ln(density).
    """

    weight: Float[Tensor, " bins"]
    slope: Float[Tensor, " bins"]
    spread: float

    @classmethod
    def of_counts(
        cls,
        mean: Float[Tensor, " bins"],
        slope: Float[Tensor, " bins"],
        systematic: float,
        spread: float,
    ) -> "Metric":
        """From expected counts and their relative uncertainty."""
        variance = mean + (systematic * mean).square() + SMALLEST
        return cls(1 / variance, slope, spread)

    def product(
        self, first: Float[Tensor, "n bins"], second: Float[Tensor, "m bins"]
    ) -> Float[Tensor, "n m"]:
        """Inner products of all pairs."""
        weighted = second * self.weight
        ours, theirs = first @ (self.weight * self.slope), weighted @ self.slope
        norm = (self.weight * self.slope.square()).sum() + self.spread**-2
        return first @ weighted.mT - ours[:, None] * theirs / norm

    def square(self, vector: Float[Tensor, "n bins"]) -> Float[Tensor, " n"]:
        """Inner product of each vector with itself, >= 0."""
        norm = (self.weight * self.slope.square()).sum() + self.spread**-2
        along = vector @ (self.weight * self.slope)
        full = vector.square() @ self.weight
        return (full - along.square() / norm).clamp(min=0.0)


def effective_trials(metric: Metric, templates: Float[Tensor, "k bins"]) -> Float[Tensor, ""]:
    r"""Independent searches that a scan over correlated templates amounts to.

    .. math::
        N = \frac{(\mathrm{tr}\, C)^2}{\mathrm{tr}\, C^2}

    with the correlations :math:`C` of the significances of the templates that are seen.

    Args:
        metric: Inner product.
        templates: Expected excess of each template.

    Note:
        From 1 for equal templates to their number for unrelated ones; 1 if none is seen.
        Differentiable.

    References:
        D. R. Nyholt, Am. J. Hum. Genet. 74 (2004) 765, on eigenvalues of correlations as a
        measure of the number of tests.
    """
    product = metric.product(templates, templates)
    diagonal = product.diagonal().clamp(min=SMALLEST)
    correlation = product / torch.sqrt(diagonal[:, None] * diagonal)
    trace, squares = correlation.diagonal().sum(), correlation.square().sum()
    return (trace.square() + SMALLEST) / (squares + SMALLEST)


def global_threshold(rate: float, trials: Float[Tensor, ""]) -> Float[Tensor, ""]:
    r"""Local significance that the largest of `trials` normal numbers exceeds at a given rate.

    .. math::
        u = \Phi^{-1}\left((1 - \alpha)^{1/N}\right)

    Args:
        rate: False-positive rate :math:`\alpha`.
        trials: Independent searches :math:`N`.

    Note:
        Differentiable in `trials`.
    """
    inside = torch.expm1(torch.log1p(torch.as_tensor(-rate, dtype=torch.float64)) / trials.double())
    found: Tensor = -torch.special.ndtri(-inside)
    return found.to(trials)
