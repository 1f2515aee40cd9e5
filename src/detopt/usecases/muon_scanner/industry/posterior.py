r"""Parameters that a scan tells to a large part of their range: posteriors instead of information.

The inverse of the information is the variance of an estimate only where it is small beside the
distance over which the score keeps its value. Where an exposure is too short for that, the log
likelihood is compared at values over the whole range, and its posterior for a uniform prior gives
estimate and error.
"""

__all__ = ["CurveAnalysis", "CurveRows", "PosteriorError", "fit_posterior", "posterior_errors"]

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Scatter, Summary
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.flow import Scans
from detopt.usecases.muon_scanner.industry.deviations import Deviations
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.known_scattering import KnownScattering
from detopt.usecases.muon_scanner.industry.parameters import MILLIMETRES, SMALL_STEP, ParameterFit

N_STEPS = 64  # between the fine values of a parameter in a posterior
N_FINE = N_STEPS + 1
EVERY = 4  # each of so many of them is a true value
N_DRAWS = 32  # of the noise, and as many of the opposite sign
NARROW = (1.0, 2.0)  # fine steps; a posterior of such a width is taken to be normal by degrees
LEAST_DISTANCE = 1e-6  # squared; a scanner that sees nothing has a finite gradient
ROUNDING = 1e-12  # of the largest product: keeps few muons' products positive definite
MOST_SWEEPS = 5
MOST_LOOKS = 8  # each eight times closer


@dataclass(frozen=True)
class CurveRows(Summary):
    """How far apart each scan holds the values of each parameter.

    Args:
        products: Mean over the muons, measured or not, of the outer product of the log densities
            at the knots, less those at the first knot.
        parameters: True parameters [m].
    """

    products: Float[Tensor, "n_rows n_parameters n_knots n_knots"]
    parameters: Float[Tensor, "n_rows n_parameters"]


class CurveAnalysis(Analysis[Deviations, Scans, CurveRows]):
    r"""Products of log likelihood ratios between the knots of each parameter.

    :math:`K_{ij} = \langle u\, \ell_i \ell_j \rangle` with :math:`\ell_i = \ln f(\nu_i) -
    \ln f(\nu_1)`, the others of the parameters being true, and the probability u that the muon is
    measured.

    Args:
        likelihood: Density of the deviations; its geometry has `knots`.
    """

    def __init__(self, likelihood: KnownScattering) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, estimate: Deviations, events: Scans) -> CurveRows:
        """One row a scan (float64)."""
        assert events.parameters is not None
        knots = self.likelihood.geometry.knot_values.to(events.parameters)
        curves = self.likelihood.curves(events.parameters, estimate, knots).double()
        weight = estimate.weight.double()
        products = torch.einsum("pgvn,phvn,vn->vpgh", curves, curves, weight)
        return CurveRows(products / curves.shape[-1], events.parameters.double())


class PosteriorError(Objective[CurveRows]):
    r"""Expected root mean square error of a parameter's posterior mean over its range [mm].

    A muon tells so little that the log likelihood ratios of a scan are normal. Their means and
    covariances follow from :math:`N K`, with the number N of muons and the mean K of the products
    over the scans: if :math:`\nu_t` is true,

    .. math::
        \ell_i = y \cdot F_i - \tfrac12 |F_i|^2, \qquad y = F_t + z, \qquad N K = F F^T

    with standard normal z. Between the knots F is a cubic spline. The error is the root of the
    variance of the posterior for a uniform prior over the range, which in the mean over the range
    is the mean squared error of its mean. Where it is narrower than two of the values at which it
    is computed, it is normal with the variance :math:`1/|F'_t|^2`. Parameters count alone: each is
    told as if the others were known.

    Args:
        budget: Makes cost and penalty.
        n_muons: Muons N in the exposure.
        geometry: Gives the range of each parameter and the knots.

    Note:
        For long exposures it tends to `ParameterError`. The same draws of z for all designs; they
        err by 0.1 %. Differentiable.
    """

    def __init__(self, budget: Budget, n_muons: float, geometry: KnownGeometry) -> None:
        super().__init__()
        self.budget = budget
        self.n_muons = n_muons
        self.geometry = geometry

    def forward(self, summary: CurveRows, design: Design) -> Outcome:
        """The error and its terms."""
        variances = _expected_variances(summary, self.n_muons, self.geometry)
        weight = _trapezoid(variances.shape[1]).to(variances)
        error = MILLIMETRES * (variances @ weight).mean().sqrt()
        return self.budget.outcome(error, design, {})


def posterior_errors(summary: Summary, n_muons: float, geometry: KnownGeometry) -> list[Scatter]:
    """Expected error of each parameter against its true value."""
    assert isinstance(summary, CurveRows)
    variances = _expected_variances(summary, n_muons, geometry)
    truth = geometry.spread(N_FINE)[:, ::EVERY]
    return [
        Scatter(
            x=truth.flatten().tolist(),
            y=(MILLIMETRES * variances.sqrt()).flatten().tolist(),
            x_label="true value [m]",
            y_label="expected error [mm]",
            title=f"Width of the posterior of each of the {geometry.name}",
        )
    ]


def _expected_variances(
    summary: CurveRows, n_muons: float, geometry: KnownGeometry
) -> Float[Tensor, "n_parameters n_true"]:
    """Mean variance of the posterior of each parameter at its true values [m2]."""
    products = n_muons * summary.products.mean(0)[:, 1:, 1:]
    least = LEAST_DISTANCE + ROUNDING * products.detach().amax()
    floor = least * torch.eye(products.shape[-1], dtype=products.dtype)
    root = torch.nn.functional.pad(torch.linalg.cholesky(products + floor), (0, 0, 1, 0))
    places = _spline(root.shape[1]).to(root) @ root
    seen = places[:, ::EVERY, None] + _noise(places.shape[-1]).to(places)
    logs = seen @ places[:, None].mT - places.square().sum(-1)[:, None, None] / 2
    values = geometry.spread(N_FINE).to(places)
    _, variances = _moments(logs, values[:, None, None])
    slopes = (_spline(root.shape[1], 1).to(root) @ root)[:, ::EVERY] / N_STEPS  # per fine step
    return _by_width(variances.mean(-1), slopes.square().sum(-1), values[:, 1:2] - values[:, :1])


def _by_width(
    variance: Float[Tensor, "n_parameters n_true"],
    information: Float[Tensor, "n_parameters n_true"],
    step: Float[Tensor, "n_parameters 1"],
) -> Float[Tensor, "n_parameters n_true"]:
    """Variances of wide posteriors, and normal ones where fine values do not resolve them [m2].

    Args:
        variance: From the fine values [m2].
        information: Inverse square of the width of a normal posterior, in fine steps.
        step: Distance of the fine values [m].
    """
    information = information + LEAST_DISTANCE
    low, high = NARROW
    t = ((information.rsqrt() - low) / (high - low)).clamp(0, 1)
    wide = t * t * (3 - 2 * t)
    return wide * variance + (1 - wide) * step.square() / information


def _moments(
    logs: Float[Tensor, "*batch n_fine"], values: Float[Tensor, "*#batch n_fine"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Mean and variance of a posterior for a uniform prior."""
    posterior = (logs + _trapezoid(logs.shape[-1]).to(logs).log()).softmax(-1)
    mean = (posterior * values).sum(-1)
    return mean, (posterior * (values - mean[..., None]).square()).sum(-1)


def _trapezoid(n: int) -> Float[Tensor, " n"]:
    """Weights of values at equal distances, both ends included; they add up to 1."""
    weights = torch.ones(n, dtype=torch.float64)
    weights[0] = weights[-1] = 0.5
    return weights / (n - 1)


@functools.cache
def _noise(n: int) -> Float[Tensor, "n_draws n"]:
    """Standard normal draws that fill their space evenly, and their opposites."""
    even = torch.quasirandom.SobolEngine(n, scramble=True, seed=0).draw(N_DRAWS).double()
    normal = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6))
    return torch.cat([normal, -normal])


@functools.cache
def _spline(n_knots: int, derivative: int = 0) -> Float[Tensor, "n_fine n_knots"]:
    """Takes what is known at the knots to the fine values, or to a derivative over the range."""
    fine = torch.linspace(0, 1, N_FINE, dtype=torch.float64)
    return _between(fine, n_knots, derivative)


def _between(
    part: Float[Tensor, "*batch"], n_knots: int, derivative: int = 0
) -> Float[Tensor, "*batch n_knots"]:
    """Weights of the knots in a cubic spline at parts of the range, or in its derivative."""
    from scipy.interpolate import CubicSpline

    knots = torch.linspace(0, 1, n_knots, dtype=torch.float64).numpy()
    spline = CubicSpline(knots, torch.eye(n_knots, dtype=torch.float64).numpy())
    return torch.from_numpy(spline(part.numpy(), derivative))


@torch.no_grad()
def fit_posterior(likelihood: KnownScattering, data: Sequence[Deviations]) -> ParameterFit:
    """Posterior means of the parameters of scans, muon by muon, for a uniform prior.

    Each parameter has a posterior of its own, the others being where those of the first piece have
    their means. These are found by turns from the middle of the range on, until none moves by a
    fifth of its error. The whole range is looked at, so a likelihood may have several maxima.

    Args:
        likelihood: Density of the deviations; its geometry has `n_knots`.
        data: Pieces of the scans: each holds some muons of every volume.

    Returns:
        The means, the variances of the posteriors on the diagonal of the covariance, and whether
        the means of the first piece came to rest.

    Note:
        The mean has the smallest expected squared error over the range. At a given value near an
        end of it, it is biased towards the middle.
    """
    geometry, weight = likelihood.geometry, data[0].weight
    estimate = geometry.nominal.to(weight).repeat(len(weight), 1)
    for _ in range(MOST_SWEEPS):
        mean, variance = _posteriors(likelihood, data[:1], estimate)
        converged = ((mean - estimate).square() < SMALL_STEP**2 * variance).all(-1)
        estimate = mean.to(weight)
        if bool(converged.all()):
            break
    mean, variance = _posteriors(likelihood, data, estimate)
    return ParameterFit(mean.to(weight), variance.diag_embed().to(weight), converged)


def _posteriors(
    likelihood: KnownScattering,
    data: Sequence[Deviations],
    others: Float[Tensor, "n_volumes n_parameters"],
) -> tuple[Float[Tensor, "n_volumes n_parameters"], Float[Tensor, "n_volumes n_parameters"]]:
    """Mean and variance of each parameter, the others being given (float64)."""
    geometry = likelihood.geometry
    knots = geometry.knot_values.to(others)
    curves = torch.zeros(*knots.shape, len(others), dtype=torch.float64)
    for piece in data:
        found = likelihood.curves(others, piece, knots)
        curves += torch.einsum("pgvn,vn->pgv", found.double(), piece.weight.double())
    logs = torch.einsum("fg,pgv->vpf", _spline(knots.shape[1]), curves)
    mean, variance = _moments(logs, geometry.spread(N_FINE))
    return _resolved(curves, mean, variance, geometry)


def _resolved(
    curves: Float[Tensor, "n_parameters n_knots n_volumes"],
    mean: Float[Tensor, "n_volumes n_parameters"],
    variance: Float[Tensor, "n_volumes n_parameters"],
    geometry: KnownGeometry,
) -> tuple[Float[Tensor, "n_volumes n_parameters"], Float[Tensor, "n_volumes n_parameters"]]:
    """The same, looked at again where a posterior is narrower than two steps of the values."""
    low, high = geometry.spread(2).unbind(1)
    width = high - low
    step = (width / N_STEPS).expand_as(mean)
    for _ in range(MOST_LOOKS):
        narrow = variance.sqrt() < NARROW[1] * step
        if not bool(narrow.any()):
            break
        half = torch.maximum(6 * variance.sqrt(), 4 * step)
        first = torch.maximum(mean - half, low)
        step = torch.where(narrow, (torch.minimum(mean + half, high) - first) / N_STEPS, step)
        values = first[..., None] + step[..., None] * torch.arange(N_FINE, dtype=step.dtype)
        part = (values - low[:, None]) / width[:, None]
        weights = _between(part, curves.shape[1])
        again = _moments(torch.einsum("vpfg,pgv->vpf", weights, curves), values)
        mean, variance = (
            torch.where(narrow, new, old) for new, old in zip(again, (mean, variance), strict=True)
        )
    return mean, variance
