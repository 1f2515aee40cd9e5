r"""Objective: the information that readouts hold about the truth, whatever it will be used for.

A posterior is fitted to one half of the events and judged on the other one. Events carry a mark of
their half, so that resampled events never stand in both.

References:
    D. Barber and F. Agakov, Advances in Neural Information Processing Systems 16 (2003);
    arXiv:2503.14342 (mutual information as the objective of a detector's design).
"""

__all__ = ["MutualInformation", "TruthAndReadout", "information_bound"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import ConfigError, DomainError
from detopt.inference import barber_agakov_bound
from detopt.pipeline import Objective, Outcome, Summary

RIDGE = 1e-6  # of the fit, relative to the number of events
DEGREES = (1, 2)


@dataclass(frozen=True)
class TruthAndReadout(Summary):
    """What is to be measured, and what was seen of it."""

    truth: Float[Tensor, "n a"]
    readout: Float[Tensor, "n b"]
    first: Bool[Tensor, " n"]  # of two halves that judge each other


def information_bound(
    summary: TruthAndReadout, entropy: float = 0.0, degree: int = 2
) -> Float[Tensor, ""]:
    r"""A lower bound of the mutual information of truth and readout [nat].

    .. math::
        I(t; z) \ge H(t) + \mathrm{E} \ln q(t \mid z), \qquad
        q = \mathcal{N}(W^{\mathsf T} \phi(z), \Sigma)

    with :math:`\phi` the readout, its squares and products, W from a linear fit, and
    :math:`\Sigma` the covariance of what the fit leaves; both from the half that is not judged.

    Args:
        summary: Events.
        entropy: Entropy :math:`H(t)` of the truth [nat], which does not depend on the design;
            without it the bound is right up to a constant.
        degree: 1 for the readout alone, 2 with squares and products.

    Raises:
        ConfigError: `degree` is neither 1 nor 2.
        DomainError: A half has too few events for the fit, a number is not finite, or a column of
            the truth is constant or follows from the others.

    Note:
        Tight for normal truth and noise; what a better posterior would find is left out.
        Differentiable in the readout, the fit included. A half of n events makes it low by about
        the number of features times that of truths over 2n.
    """
    if degree not in DEGREES:
        raise ConfigError(f"`degree` must be 1 or 2, got {degree}.")
    halves = [(summary.truth[one], summary.readout[one]) for one in (summary.first, ~summary.first)]
    columns = summary.readout.shape[1]
    n_features = 1 + columns + (columns * (columns + 1) // 2 if degree == 2 else 0)
    needed = n_features + summary.truth.shape[1] + 1
    if min(len(truth) for truth, _ in halves) <= needed:
        raise DomainError(
            f"A half of {min(len(truth) for truth, _ in halves)} events is too few for a fit of "
            f"{n_features} features. Take more events, or `degree` 1."
        )
    if not bool(summary.truth.isfinite().all() and summary.readout.isfinite().all()):
        raise DomainError("Truth and readout must be finite. Look for events without a readout.")
    _check_independent(summary.truth)
    one, two = halves
    found = [_log_posterior(one, two, degree), _log_posterior(two, one, degree)]
    return barber_agakov_bound(torch.cat(found), entropy)


def _log_posterior(
    learned: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor], degree: int
) -> Float[Tensor, " n"]:
    """Logarithm of the posterior's density at the truth of the events that are judged."""
    truth, readout = learned
    center, width = readout.mean(0), readout.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width))

    def features(values: Tensor) -> Tensor:
        scaled = (values - center) / width
        parts = [torch.ones_like(scaled[:, :1]), scaled]
        if degree == 2:
            i, j = torch.triu_indices(scaled.shape[1], scaled.shape[1])
            parts.append(scaled[:, i] * scaled[:, j])
        return torch.cat(parts, dim=1)

    inputs = features(readout)
    n, d = inputs.shape
    normal = inputs.T @ inputs + RIDGE * n * torch.eye(d).to(inputs)
    weights = torch.linalg.solve(normal, inputs.T @ truth)
    rest = truth - inputs @ weights
    factor = torch.linalg.cholesky(rest.T @ rest / (n - d))
    miss = judged[0] - features(judged[1]) @ weights
    pulls = torch.linalg.solve_triangular(factor, miss.T, upper=False)
    volume = factor.diagonal().log().sum() + truth.shape[1] * math.log(2 * math.pi) / 2
    density: Tensor = -pulls.square().sum(0) / 2 - volume
    return density


def _check_independent(truth: Tensor) -> None:
    """Refuses truths whose density has no bound: constant columns, or linearly dependent ones."""
    rounding = 10 * torch.finfo(truth.dtype).eps
    values = truth.detach().double()
    center, width = values.mean(0), values.std(0)
    if bool((width > rounding * center.abs()).all()):
        scaled = (values - center) / width
        if float(torch.linalg.eigvalsh(scaled.T @ scaled / len(scaled))[0]) > rounding:
            return
    raise DomainError(
        "A column of `truth` is constant or follows from the others, so that its information has "
        "no bound. Drop it."
    )


class MutualInformation(Objective[TruthAndReadout]):
    """Less `information_bound`, as the last stage of a pipeline.

    Args:
        entropy: Entropy of the truth [nat].
        degree: Of the readout in the fit, 1 or 2.
        price: Maps a design to its cost, if it has one.

    Raises:
        ConfigError: `degree` is neither 1 nor 2.
    """

    def __init__(
        self,
        entropy: float = 0.0,
        degree: int = 2,
        price: Callable[[Design], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if degree not in DEGREES:
            raise ConfigError(f"`degree` must be 1 or 2, got {degree}.")
        self.entropy, self.degree, self.price = entropy, degree, price

    def forward(self, summary: TruthAndReadout, design: Design) -> Outcome:
        """Minus the bound [nat], to be minimized."""
        found = information_bound(summary, self.entropy, self.degree)
        cost = None if self.price is None else self.price(design)
        return Outcome(-found, cost=cost, metrics={"information": found})
