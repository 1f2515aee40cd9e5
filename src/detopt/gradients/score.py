r"""Score functions: the derivative of an expectation from log-probabilities and values.

.. math::
    \nabla_\theta\, \mathbb{E}[f]
        = \mathbb{E}\bigl[\nabla_\theta f + (f - b)\, \nabla_\theta \ln p\bigr]

holds for every baseline b that is independent of the row's own draws. Each baseline here is made
from other rows. A term is attached to a value as :math:`(f - b)(\ln p - [\ln p])`, with
:math:`[\cdot]` for what is held fixed: the value stays as it is, to the bit, and automatic
differentiation finds the right gradient of the mean, through any number of later stages.

References:
    R. J. Williams, Machine Learning 8 (1992) 229; S. Mohamed et al., J. Mach. Learn. Res. 21
    (2020) 132, section 4; J. Schulman et al., arXiv:1506.05254.
"""

__all__ = ["BASELINES", "Baseline", "Draws", "attach_score", "cross_fitted", "leave_one_out"]

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError, MethodError
from detopt.gradients.discrete import DiscreteDistribution

Baseline = Literal["none", "mean", "cross_fitted"]
BASELINES: tuple[str, ...] = get_args(Baseline)
N_FOLDS = 5
RIDGE = 1e-6  # of the square sum of a feature


def leave_one_out(values: Float[Tensor, "n_rows *columns"]) -> Float[Tensor, "n_rows *columns"]:
    r"""The mean of all other rows, :math:`b_i = \sum_{j \neq i} f_j / (n - 1)`; 0 for one row."""
    n_rows = len(values)
    if n_rows < 2:
        return torch.zeros_like(values)
    return (values.sum(0) - values) / (n_rows - 1)


def cross_fitted(
    values: Float[Tensor, "n *columns"],
    features: Float[Tensor, "n n_features"],
    group: Int[Tensor, " n"] | None = None,
    n_folds: int = N_FOLDS,
) -> Float[Tensor, "n *columns"]:
    """A linear prediction of each value, fitted to the values of other rows alone.

    Args:
        values: What is predicted.
        features: What is known before the draws; a constant is added, so that no features at all
            give a mean.
        group: The independent row that each value belongs to, or None where each is one.
        n_folds: Parts into which the rows are dealt in turn, >= 2.

    Returns:
        Predictions, without derivative. Where the other rows are too few for a fit they are a
        mean, and 0 where there are none.

    Raises:
        MethodError: Fewer than two folds.
    """
    if n_folds < 2:
        raise MethodError(f"`n_folds` must be >= 2 for a baseline from other rows, got {n_folds}.")
    with torch.no_grad():
        fold = (torch.arange(len(values)) if group is None else group) % n_folds
        inputs = torch.cat([torch.ones(len(values), 1).to(features), features], dim=1)
        targets = values.reshape(len(values), -1)
        found = torch.zeros_like(targets)
        for k in range(n_folds):
            own, n_others = fold == k, int((fold != k).sum())
            if n_others > 2 * inputs.shape[1]:
                found[own] = inputs[own] @ _ridge(inputs[~own], targets[~own])
            elif n_others:
                found[own] = targets[~own].mean(0)
        return found.reshape(values.shape)


def _ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """Coefficients of least squares, with a trace of a penalty against collinear features."""
    wide = inputs.to(torch.float64)
    gram = wide.T @ wide
    gram = gram + RIDGE * torch.diag(gram.diagonal() + 1e-12)
    found: Tensor = torch.linalg.solve(gram, wide.T @ targets.to(torch.float64))
    return found.to(targets.dtype)


def attach_score(
    values: Float[Tensor, "n_rows *columns"],
    log_probability: Float[Tensor, " n_rows"],
    baseline: Float[Tensor, "n_rows *columns"],
) -> Float[Tensor, "n_rows *columns"]:
    """The values, with a derivative that follows the draws behind them.

    Args:
        values: What each row contributes; their own derivative is kept.
        log_probability: Sum of the log-probabilities of each row's draws, differentiable.
        baseline: Prediction of the values that is independent of the row's own draws.

    Note:
        Right for an objective that is a smooth function of means of the values: exact for a mean,
        and to the order of one over the number of rows for others, as such an objective itself.
    """
    advantage = (values - baseline).detach()
    change = log_probability - log_probability.detach()
    return values + advantage * change.reshape(-1, *[1] * (values.ndim - 1))


class Draws:
    """Random numbers of independent rows whose probabilities depend on the design.

    A stage draws from it, hands it on with its readout, and whoever makes the summary attaches the
    scores of all draws at the end: the stages between may be anything, and their own derivatives
    are kept.

    Args:
        n_rows: Number of independent rows.

    Raises:
        DomainError: No rows.
    """

    def __init__(self, n_rows: int) -> None:
        if n_rows < 1:
            raise DomainError(f"The number of rows must be >= 1, got {n_rows}.")
        self.n_rows = n_rows
        self._terms: list[Tensor] = []

    def draw(self, distribution: DiscreteDistribution, rng: torch.Generator) -> Tensor:
        """An outcome for each row, whose log-probability is kept.

        Raises:
            DomainError: The distribution has another number of rows.
        """
        outcome = distribution.sample(rng)
        self.record(distribution.log_probability(outcome))
        return outcome

    def record(self, log_probability: Float[Tensor, " n_draws"], row: Tensor | None = None) -> None:
        """Keep log-probabilities of draws that were made elsewhere.

        Args:
            log_probability: Of each draw, differentiable.
            row: The row that each belongs to, or None where there is one for every row in order.

        Raises:
            DomainError: The numbers of draws and rows do not fit.
        """
        if row is not None:
            zeros = torch.zeros(self.n_rows, dtype=log_probability.dtype)
            log_probability = zeros.index_add(0, row, log_probability)
        if len(log_probability) != self.n_rows:
            raise DomainError(
                f"There are {self.n_rows} rows, but {len(log_probability)} draws. Name the row of "
                "each draw with `row`."
            )
        self._terms.append(log_probability)

    @property
    def log_probability(self) -> Float[Tensor, " n_rows"]:
        """Of all draws of each row."""
        return torch.stack(self._terms).sum(0) if self._terms else torch.zeros(self.n_rows)

    def attach(
        self,
        values: Float[Tensor, "n_rows *columns"],
        baseline: Baseline = "mean",
        features: Float[Tensor, "n_rows n_features"] | None = None,
    ) -> Float[Tensor, "n_rows *columns"]:
        """The values, with the scores of all draws.

        Args:
            values: What each row contributes to the summary.
            baseline: "none", "mean" (of the other rows) or "cross_fitted" (linear in `features`).
            features: What is known of a row before it draws.

        Raises:
            MethodError: No such baseline, or no features for it.
        """
        if baseline not in BASELINES:
            raise MethodError(
                f"`baseline` must be one of {', '.join(BASELINES)}, got {baseline!r}."
            )
        if baseline == "cross_fitted" and features is None:
            raise MethodError("A cross-fitted baseline needs `features`: what a row knows before.")
        if not self._terms:
            return values
        fixed = values.detach()
        prediction = torch.zeros_like(fixed)
        if baseline == "mean":
            prediction = leave_one_out(fixed)
        elif features is not None and baseline == "cross_fitted":
            prediction = cross_fitted(fixed, features.detach())
        return attach_score(values, self.log_probability, prediction)
