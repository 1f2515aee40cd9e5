r"""Numbers of a known geometry by likelihood: how well a scan of a given exposure tells them.

What the muons of a scan say of the parameters adds up, so the covariance of the maximum-likelihood
estimate is :math:`(N I)^{-1}` with the information :math:`I` of one muon and their number N. It is
reached where the error is small beside the range of a parameter; `posterior` is for the others.
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
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Scatter, Summary
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.flow import Scans
from detopt.usecases.muon_scanner.industry.deviations import Deviations
from detopt.usecases.muon_scanner.industry.known_scattering import KnownScattering

MILLIMETRES = 1e3  # in a metre
LEAST_INFORMATION = 1e-9  # 1/m2 for a muon: a scanner that sees nothing has a finite error
LARGEST = 2_000  # points in a plot
N_NEWTON = 6
STEEPEST = 1.0  # change of the logarithm of the information for a standard deviation
SMALLEST_SPREAD = 1e-9
CURVATURES = (0.2, 5.0)  # of the curvature seen to the one expected
SMALL_STEP = 0.2  # standard deviations


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
    r"""Expected root mean square error of a parameter over its range [mm].

    .. math:: \epsilon^2 = \frac{1}{P N} \big\langle \mathrm{tr}\, I^{-1}(\nu) \big\rangle_\nu

    with the number N of muons in the exposure and the information of one muon at the parameters
    :math:`\nu`, which a scan tells with much noise. So it is smoothed by the model

    .. math:: I_{kl}(\nu) = M_{kl}\, e^{(b_k x_k + b_l x_l) / 2}

    with :math:`x_k = \nu_k - \bar \nu_k`, slopes b of largest Poisson likelihood for the diagonal,
    and M such that the mean over the scans is that of the model. The inverse of the mean
    information would be the error only if all parameters were told equally well.
    Several parameters are fitted together; the error is their mean.

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
        information = summary.information
        floor = LEAST_INFORMATION * torch.eye(information.shape[-1], dtype=information.dtype)
        width = _log_slopes(information.diagonal(dim1=1, dim2=2), summary.parameters)
        half = (width / 2).exp()
        common = information.mean(0) / (half.T @ half / len(half))
        variances = torch.linalg.inv(common + floor).diagonal() * (-width).exp().mean(0)
        error = MILLIMETRES * (variances.mean() / self.n_muons).sqrt()
        return self.budget.outcome(error, design, {})


def _log_slopes(
    values: Float[Tensor, "n_rows n"], parameters: Float[Tensor, "n_rows n"]
) -> Float[Tensor, "n_rows n"]:
    r"""Terms :math:`b x` of the fit :math:`e^{a + b x}` to each column, by Newton's method."""
    x = parameters - parameters.mean(0)
    x = x / (x.square().mean(0).sqrt() + SMALLEST_SPREAD)
    floor = LEAST_INFORMATION
    mean = (x * (values + floor)).mean(0) / (values + floor).mean(0)
    slope = torch.zeros_like(mean)
    for _ in range(N_NEWTON):
        weight = (slope * x).softmax(0)
        center = (weight * x).sum(0)
        curvature = (weight * (x - center).square()).sum(0) + SMALLEST_SPREAD
        slope = (slope + (mean - center) / curvature).clamp(-STEEPEST, STEEPEST)
    return slope * x


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
        converged: Whether the last step of a scan was small beside its error.
    """

    parameters: Float[Tensor, "n_volumes n_parameters"]
    covariance: Float[Tensor, "n_volumes n_parameters n_parameters"]
    converged: Bool[Tensor, " n_volumes"]


@torch.no_grad()
def fit_parameters(
    likelihood: KnownScattering,
    data: Sequence[Deviations],
    start: Float[Tensor, "n_volumes n_parameters"],
    n_iterations: int = 20,
) -> ParameterFit:
    r"""Maximum-likelihood estimates by Fisher scoring, muon by muon.

    .. math::
        \nu \leftarrow \nu + \frac{1}{\kappa} V^{-1} g, \qquad
        g = \sum_i s_i, \quad V = \sum_i s_i s_i^T

    Far from the maximum V is not the curvature. So the curvature seen along the last step d,
    :math:`\kappa = d^T (g_0 - g) / d^T V d`, scales the next one, as a secant does. A step is at
    most a third of the range of each parameter, and the fit ends with one of
    :math:`d^T V d < 0.2^2`. An estimate may lie beyond the range by its width, as it must where it
    is not to be biased at the ends.

    Args:
        likelihood: Density of the deviations.
        data: Pieces of the scans: each holds some muons of every volume. The first of several is
            fitted alone for a better start.
        start: Where to start [m].
        n_iterations: Most steps.
    """
    if len(data) > 1:
        start = fit_parameters(likelihood, data[:1], start, n_iterations).parameters
    low = torch.tensor(likelihood.geometry.low, dtype=start.dtype)
    high = torch.tensor(likelihood.geometry.high, dtype=start.dtype)
    width = high - low
    parameters = start.contiguous()
    gradient, information = _sums(likelihood, data, parameters)
    step, before = torch.zeros_like(parameters), gradient
    converged = torch.zeros(len(start), dtype=torch.bool)
    for _ in range(n_iterations):
        seen = (step * (before - gradient)).sum(-1)
        expected = torch.einsum("vp,vpq,vq->v", step, information, step)
        scale = torch.where(expected > 0, seen / expected, 1).clamp(*CURVATURES)
        step = torch.linalg.solve(information, gradient) / scale[:, None]
        small = torch.einsum("vp,vpq,vq->v", step, information, step) < SMALL_STEP**2
        target = (parameters + step.clamp(-width / 3, width / 3)).clamp(low - width, high + width)
        step, parameters, before = target - parameters, target, gradient
        converged = small
        if bool(converged.all()):
            break
        gradient, information = _sums(likelihood, data, parameters)
    return ParameterFit(parameters, torch.linalg.inv(information), converged)


def _sums(
    likelihood: KnownScattering, data: Sequence[Deviations], parameters: Tensor
) -> tuple[Float[Tensor, "n_volumes n_parameters"], Tensor]:
    """Sums of the scores over the muons, and of their outer products."""
    gradient = torch.zeros_like(parameters)
    information = parameters.new_zeros(*parameters.shape, parameters.shape[1])
    for piece in data:
        score = likelihood.score(parameters, piece)
        gradient = gradient + (score * piece.weight).sum(-1).T
        information = information + torch.einsum("pvn,qvn,vn->vpq", score, score, piece.weight)
    return gradient, information
