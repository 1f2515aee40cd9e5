r"""Numbers of a known geometry by likelihood: how well a scan of a given exposure tells them.

What the muons of a scan say of the parameters adds up, so the covariance of the maximum-likelihood
estimate is :math:`(N I)^{-1}` with the information :math:`I` of one muon and their number N. It is
reached with some thousands of muons; a scan of an hour has hundreds of times as many.
"""

__all__ = [
    "InformationAnalysis",
    "InformationRows",
    "ParameterError",
    "ParameterFit",
    "expected_errors",
    "fit_parameters",
]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Scatter, Summary
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.flow import Scans
from detopt.usecases.muon_scanner.industry.deviations import Deviations, KnownScattering

MILLIMETRES = 1e3  # in a metre
LEAST_INFORMATION = 1e-9  # 1/m2 for a muon: a scanner that sees nothing has a finite error
LARGEST = 2_000  # points in a plot


@dataclass(frozen=True)
class InformationRows(Summary):
    """What each scan says of the parameters.

    Args:
        information: Mean over the muons, measured or not, of the outer product of the score.
        parameters: True parameters [m].
    """

    information: Float[Tensor, "n_rows n_parameters n_parameters"]
    parameters: Float[Tensor, "n_rows n_parameters"]


class InformationAnalysis(Analysis[Deviations, Scans, InformationRows]):
    r"""Fisher information of the parameters in the deviations of a muon.

    :math:`I = \langle u\, s s^T \rangle` with the score s of `KnownScattering` at the true
    parameters and the probability u that the muon is measured.

    Args:
        likelihood: Density of the deviations.
    """

    def __init__(self, likelihood: KnownScattering) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, estimate: Deviations, events: Scans) -> InformationRows:
        """One row a scan (float64)."""
        assert events.parameters is not None
        score = self.likelihood.score(events.parameters, estimate)
        information = torch.einsum("pvn,qvn,vn->vpq", score, score, estimate.weight)
        return InformationRows((information / score.shape[-1]).double(), events.parameters.double())


class ParameterError(Objective[InformationRows]):
    r"""Expected root mean square error of a parameter [mm].

    .. math:: \epsilon = \sqrt{\tfrac{1}{P}\, \mathrm{tr}\, (N \bar I)^{-1}}

    with the mean information :math:`\bar I` of a muon over all scans and the number N of muons in
    the exposure. Several parameters are fitted together; the error is their mean.

    Args:
        budget: Makes cost and penalty.
        n_muons: Muons N in the exposure.

    Note:
        The limit of many muons, without a prior on the parameters. Differentiable.
    """

    def __init__(self, budget: Budget, n_muons: float) -> None:
        super().__init__()
        self.budget = budget
        self.n_muons = n_muons

    def forward(self, summary: InformationRows, design: Design) -> Outcome:
        """The error and its terms."""
        information = summary.information.mean(0)
        floor = LEAST_INFORMATION * torch.eye(len(information), dtype=information.dtype)
        covariance = torch.linalg.inv((information + floor) * self.n_muons)
        error = MILLIMETRES * covariance.diagonal().mean().sqrt()
        return self.budget.outcome(error, design, {})


def expected_errors(summary: Summary, n_muons: float, name: str) -> Sequence[Scatter]:
    """Expected error of the first parameter in each scan against its true value."""
    assert isinstance(summary, InformationRows)
    variance = 1 / (summary.information[:LARGEST, 0, 0] * n_muons + 1e-30)
    return (
        Scatter(
            x=summary.parameters[:LARGEST, 0].tolist(),
            y=(MILLIMETRES * variance.sqrt()).tolist(),
            x_label="true value [m]",
            y_label="expected error [mm]",
            title=f"Expected error of one of the {name}, the others known"
            if summary.parameters.shape[1] > 1
            else f"Expected error of the {name}",
        ),
    )


@dataclass(frozen=True)
class ParameterFit:
    """Maximum-likelihood parameters of scans.

    Args:
        parameters: Estimates [m].
        covariance: Their covariance, from the scatter of the scores [m2].
    """

    parameters: Float[Tensor, "n_volumes n_parameters"]
    covariance: Float[Tensor, "n_volumes n_parameters n_parameters"]


@torch.no_grad()
def fit_parameters(
    likelihood: KnownScattering,
    data: Sequence[Deviations],
    start: Float[Tensor, "n_volumes n_parameters"],
    n_iterations: int = 8,
) -> ParameterFit:
    r"""Maximum-likelihood estimates by Fisher scoring, muon by muon.

    .. math:: \nu \leftarrow \nu + \Big(\sum_i s_i s_i^T\Big)^{-1} \sum_i s_i

    A step is at most a third of the range of each parameter. An estimate may lie beyond the range
    by its width, as it must where it is not to be biased at the ends.

    Args:
        likelihood: Density of the deviations.
        data: Pieces of the scans: each holds some muons of every volume.
        start: Where to start [m].
        n_iterations: Steps; the first few do nearly all.
    """
    parameters = start.clone()
    low = torch.tensor(likelihood.geometry.low, dtype=start.dtype)
    high = torch.tensor(likelihood.geometry.high, dtype=start.dtype)
    width = high - low
    information = torch.zeros(1)
    for _ in range(n_iterations):
        total = torch.zeros_like(parameters)
        information = parameters.new_zeros(*parameters.shape, parameters.shape[1])
        for piece in data:
            score = likelihood.score(parameters, piece)
            total += (score * piece.weight).sum(-1).T
            information += torch.einsum("pvn,qvn,vn->vpq", score, score, piece.weight)
        step = torch.linalg.solve(information, total[..., None])[..., 0]
        parameters = (parameters + step.clamp(-width / 3, width / 3)).clamp(
            low - width, high + width
        )
    return ParameterFit(parameters, torch.linalg.inv(information))
