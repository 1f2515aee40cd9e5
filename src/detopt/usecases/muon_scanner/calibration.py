"""Predictions against truth, after one linear correction: the scanner's figure of merit."""

__all__ = ["Budget", "CalibratedError", "CalibrationRows", "PredictedError", "calibration_rows"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design, budget_term
from detopt.errors import DomainError
from detopt.pipeline import Objective, Outcome, Summary

SMALLEST = 1e-18  # keeps perfect correlations and constant predictions differentiable
EQUAL = 1e-12  # of the mean square: a smaller variance of true values is rounding


@dataclass(frozen=True)
class CalibrationRows(Summary):
    """Means over what each scan predicts: of prediction p, truth t and their products.

    The last field is the variance of p as the scan itself estimates it, or 0 where it does not.
    """

    p: Float[Tensor, " n_rows"]
    t: Float[Tensor, " n_rows"]
    pp: Float[Tensor, " n_rows"]
    tt: Float[Tensor, " n_rows"]
    pt: Float[Tensor, " n_rows"]
    variance: Float[Tensor, " n_rows"]


def calibration_rows(
    predicted: Float[Tensor, "n_rows n"],
    true: Float[Tensor, "n_rows n"],
    variance: Float[Tensor, " n_rows"] | None = None,
) -> CalibrationRows:
    """Moments of each scan, in float64 since variances are small differences of them."""
    p, t = predicted.to(torch.float64), true.to(torch.float64)
    estimated = torch.zeros(len(p), dtype=torch.float64) if variance is None else variance
    return CalibrationRows(
        p.mean(1),
        t.mean(1),
        p.square().mean(1),
        t.square().mean(1),
        (p * t).mean(1),
        estimated.to(torch.float64),
    )


@dataclass(frozen=True)
class Moments:
    """Second moments of prediction and truth over all values of all scans."""

    var_p: Float[Tensor, ""]
    var_t: Float[Tensor, ""]
    covariance: Float[Tensor, ""]

    @staticmethod
    def of(rows: CalibrationRows) -> "Moments":
        """The moments of a summary."""
        p, t, tt = rows.p.mean(), rows.t.mean(), rows.tt.mean()
        var_t = tt - t * t
        return Moments(
            (rows.pp.mean() - p * p).clamp_min(0),
            torch.where(var_t > EQUAL * tt, var_t, 0.0),
            rows.pt.mean() - p * t,
        )

    def metrics(self) -> dict[str, Tensor]:
        """Correlation, and slope of prediction against truth."""
        var_t = self.var_t.clamp_min(SMALLEST)
        return {
            "correlation": self.covariance / ((self.var_p + SMALLEST) * var_t).sqrt(),
            "slope": self.covariance / var_t,
        }


class CalibratedError(Objective[CalibrationRows]):
    r"""Root mean square error after the best linear correction.

    For the regression of truth on prediction the residual variance is
    :math:`\mathrm{var}\,t\,(1 - \rho^2)`, with the correlation :math:`\rho` over all scans; the
    factor :math:`N/(N - 2)` pays for the two fitted numbers.

    Args:
        budget: Makes cost and penalty.
        values_per_row: Predictions that a row stands for.

    Note:
        Where rows of many values are all equally true, as the voxels of an empty volume, there is
        nothing to find out, and the error is infinite.
    """

    def __init__(self, budget: "Budget", values_per_row: int = 1) -> None:
        super().__init__()
        self.budget = budget
        self.values_per_row = values_per_row

    def forward(self, summary: CalibrationRows, design: Design) -> Outcome:
        """The error, its terms and the correlation.

        Raises:
            DomainError: There are fewer than three values.
        """
        moments = Moments.of(summary)
        n_values = summary.n_rows * self.values_per_row
        if n_values < 3:
            raise DomainError(
                f"A calibrated error needs at least 3 values, two for the calibration, got "
                f"{n_values}. Evaluate more scans."
            )
        explained = moments.covariance.square() / (moments.var_p + SMALLEST)
        residual = moments.var_t - explained
        error = (residual.clamp_min(SMALLEST) * (n_values / (n_values - 2))).sqrt()
        if self.values_per_row > 1:
            error = torch.where(moments.var_t > 0, error, torch.inf)
        return self.budget.outcome(error, design, moments.metrics())


class PredictedError(Objective[CalibrationRows]):
    r"""The same error, predicted from the variance that each scan estimates of itself.

    With the mean estimated variance :math:`\bar v` and the slope b of prediction against truth,

    .. math::
        \epsilon^2 = \frac{\bar v\, \mathrm{var}\,t}{b^2\, \mathrm{var}\,t + \bar v}.

    It averages over muons where `CalibratedError` averages over scans, so that it is known ten
    times better from the same events: what a gradient needs. A response that is not linear is not
    part of it; the final verdict is `CalibratedError`.

    Args:
        budget: Makes cost and penalty.
    """

    def __init__(self, budget: "Budget") -> None:
        super().__init__()
        self.budget = budget

    def forward(self, summary: CalibrationRows, design: Design) -> Outcome:
        """The error, its terms and the correlation."""
        moments = Moments.of(summary)
        variance = summary.variance.mean()
        signal = moments.covariance.square() / moments.var_t.clamp_min(SMALLEST)
        squared = variance * moments.var_t / (signal + variance)
        error = squared.clamp_min(SMALLEST).sqrt()
        return self.budget.outcome(error, design, moments.metrics())


class Budget:
    """Turns an error into an outcome: by the cost, and by a penalty where the budget is soft.

    The error is multiplied by :math:`1 + P(c)`, see `detopt.design.budget_term`.

    Args:
        cost: Maps a design to its cost.
        soft_budget: Budget that the penalty holds, or None where the cost is fixed.
        n_panels: Counts the panels that are built, or None where all are.
    """

    def __init__(
        self,
        cost: Callable[[Design], Tensor],
        soft_budget: float | None,
        n_panels: Callable[[Design], Tensor] | None = None,
    ) -> None:
        self.cost = cost
        self.soft_budget = soft_budget
        self.n_panels = n_panels

    def outcome(
        self, error: Float[Tensor, ""], design: Design, metrics: Mapping[str, Tensor]
    ) -> Outcome:
        """Objective, terms, cost and metrics."""
        cost = self.cost(design)
        penalty = torch.zeros_like(error)
        if self.soft_budget is not None:
            penalty = budget_term(cost.to(error), self.soft_budget)
        counted = {} if self.n_panels is None else {"panels": self.n_panels(design)}
        return Outcome(
            objective=error * (1 + penalty),
            terms={"error": error, "budget": penalty},
            cost=cost,
            metrics={**metrics, **counted},
        )
