r"""The Gamma method: errors of means of correlated data, from their autocorrelation functions.

.. math::
    \Gamma(t) = \frac{1}{N - R t} \sum_r \sum_i \delta_{r,i}\, \delta_{r,i+t}, \qquad
    \tau_{int} = \frac12 + \sum_{t=1}^{W} \frac{\Gamma(t)}{\Gamma(0)}, \qquad
    \sigma^2 = \frac{2 \tau_{int}}{N}\, \Gamma(0)

for N configurations in R replica. Each ensemble contributes its own variance.
"""

__all__ = ["EnsembleErrors", "ErrorAnalysis", "gamma_method"]

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors.observables import Observables
from detopt.inference.montecarlo_errors.series import Series, series_of
from detopt.inference.montecarlo_errors.windows import AutomaticWindow, Closure, Window

FIRST_LAGS = 256  # that are computed before the window is known
GROWTH = 4  # of the number of lags while a window is open
MIN_INDEPENDENT = 20.0  # N / (2 tau_int) below which an error cannot be trusted


@dataclass(frozen=True)
class EnsembleErrors:
    r"""What one ensemble contributes to the errors of a tensor of observables.

    Args:
        error: Its contribution to the standard errors.
        error_of_error: Standard error of this contribution.
        tau_int: Integrated autocorrelation time, in units of `spacing`.
        tau_int_error: Its standard error.
        window: Largest lag of the sum, in the same units.
        rho: Normalized autocorrelation function, lag 0 first.
        spacing: Distance of successive measurements, in configuration numbers.
        n_configurations: Number of measurements in all replica.
        consistency: Probability that the means of the replica scatter more than they do, or None
            for a single one; a tiny one hints at replica that have not reached equilibrium.
    """

    error: Float[Tensor, "*shape"]
    error_of_error: Float[Tensor, "*shape"]
    tau_int: Float[Tensor, "*shape"]
    tau_int_error: Float[Tensor, "*shape"]
    window: Int[Tensor, "*shape"]
    rho: Float[Tensor, "*shape lags"]
    spacing: int
    n_configurations: int
    consistency: Float[Tensor, "*shape"] | None = None

    @property
    def tau_int_of_window(self) -> Float[Tensor, "*shape lags"]:
        """The autocorrelation time as a function of the window, before the bias correction."""
        return self.rho.cumsum(-1) - 0.5

    @property
    def tau_int_error_of_window(self) -> Float[Tensor, "*shape lags"]:
        """Standard error of `tau_int_of_window`."""
        tau = self.tau_int_of_window
        window = torch.arange(tau.shape[-1], dtype=tau.dtype, device=tau.device)
        return _tau_error(tau, window, self.n_configurations)


@dataclass(frozen=True)
class ErrorAnalysis:
    """Errors of a tensor of observables.

    Args:
        value: Central values.
        error: Standard errors, of all ensembles and external inputs.
        error_of_error: Standard errors of the errors.
        ensembles: Contributions of the ensembles.
        external: Contributions of inputs that were not simulated, to the standard errors.
    """

    value: Float[Tensor, "*shape"]
    error: Float[Tensor, "*shape"]
    error_of_error: Float[Tensor, "*shape"]
    ensembles: Mapping[str, EnsembleErrors]
    external: Mapping[str, Float[Tensor, "*shape"]]

    def expected_error(
        self, lengths: Mapping[str, float | int | Float[Tensor, ""]]
    ) -> Float[Tensor, "*shape"]:
        r"""The errors that chains of other lengths would give, with the same autocorrelation.

        .. math::
            \sigma^2 = \sum_e \sigma_e^2\, \frac{N_e}{N'_e}

        Args:
            lengths: Number of configurations :math:`N'_e` by ensemble; others keep theirs.

        Raises:
            DomainError: An ensemble is unknown.

        Note:
            Differentiable in the lengths.
        """
        unknown = sorted(lengths.keys() - self.ensembles.keys())
        if unknown:
            raise DomainError(
                f"There is no ensemble `{unknown[0]}`. There are: {', '.join(self.ensembles)}."
            )
        variance = torch.zeros_like(self.value)
        for name, part in self.ensembles.items():
            factor = part.n_configurations / lengths.get(name, float(part.n_configurations))
            variance = variance + part.error.square() * factor
        for contribution in self.external.values():
            variance = variance + contribution.square()
        return _root(variance)


def gamma_method(
    observables: Observables, window: Window | Mapping[str, Window] | None = None
) -> ErrorAnalysis:
    r"""Standard errors of observables, from the autocorrelation of their fluctuations.

    .. math::
        \sigma^2 = \sum_e \frac{2 \tau_{int,e}}{N_e}\, \Gamma_e(0), \qquad
        \frac{\delta\sigma_e}{\sigma_e} = \sqrt{\frac{W + 1/2}{N_e}}, \qquad
        \delta\tau_{int}^2 = \frac{4}{N} \left(W + \tfrac12 - \tau_{int}\right) \tau_{int}^2

    The sums are corrected for the bias of order :math:`(2 W + 1)/N` that comes from estimating the
    mean of the same data.

    Args:
        observables: Tensor of observables; all of its members are analyzed together.
        window: Rule for the window, for all ensembles or by name; `AutomaticWindow()` by default.

    Raises:
        DomainError: A rule is given for an ensemble that does not exist, or a variance comes out
            negative.

    Warns:
        UserWarning: The window of an ensemble does not close, or it holds fewer than 20
            independent measurements: the chain is too short.

    Note:
        Differentiable: the derivative of the errors with respect to whatever the samples depend
        on, at a fixed window unless the rule is continuous. In chains with gaps the lag t counts
        by its number of pairs, so that missing configurations do not inflate the error.

    References:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, hep-lat/0306017, equations 31 to 49.
    """
    names = observables.ensembles
    rules = _rules(window, list(names))
    parts = {
        name: _analyze(observables, name, replica, rules[name]) for name, replica in names.items()
    }
    variance = torch.zeros_like(observables.value)
    fourth = torch.zeros_like(observables.value)
    for part in parts.values():
        variance = variance + part.error.square()
        fourth = fourth + (part.error * part.error_of_error).square()
    external = {}
    for name, gradient in observables.gradients.items():
        contribution = torch.einsum(
            "...i,ij,...j->...", gradient, observables.covariances[name], gradient
        )
        variance = variance + contribution
        external[name] = _root(contribution)
    error = _root(variance)
    positive = torch.where(error > 0, error, 1.0)
    return ErrorAnalysis(observables.value, error, _root(fourth) / positive, parts, external)


def _rules(window: Window | Mapping[str, Window] | None, names: list[str]) -> dict[str, Window]:
    if isinstance(window, Mapping):
        unknown = sorted(window.keys() - set(names))
        if unknown:
            raise DomainError(
                f"There is no ensemble `{unknown[0]}`. There are: {', '.join(names)}."
            )
        return {name: window.get(name, AutomaticWindow()) for name in names}
    return dict.fromkeys(names, window or AutomaticWindow())


def _analyze(
    observables: Observables, name: str, replica: list[str], rule: Window
) -> EnsembleErrors:
    series = series_of(observables, name, replica)
    n = series.n_configurations
    gamma, share, closure = _search(series, rule)
    differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in series.fluctuations)
    if differentiable:  # again, for the lags that count, with a graph
        gamma, share = series.autocovariance(gamma.shape[-1] - 1)
    varies = gamma[..., 0] > torch.finfo(gamma.dtype).tiny
    variance = torch.where(varies, gamma[..., 0], 1.0)
    rho = torch.where(varies.unsqueeze(-1), gamma / variance.unsqueeze(-1), 0.0)
    if differentiable:
        closure = rule.close(rho, n)
    plain = _sum_up(rho, closure, rule)
    bias = (1 + (2 * closure.position + 1) / n) / (1 + 1 / n)
    tail = 0.0 if closure.tail is None else closure.tail
    tau = torch.where(varies, plain * bias + tail, 0.5)
    effective = torch.where(varies, _sum_up(rho * share, closure, rule) * bias + tail, 0.5)
    squared = 2 * effective * gamma[..., 0] * (1 + 1 / n) / n
    if bool((squared < 0).any()):
        raise DomainError(
            f"The variance from ensemble `{name}` comes out negative: its chain is too short for "
            "`antithetic=True`."
        )
    error = _root(squared)
    tau_error = torch.where(varies, _tau_error(plain, closure.position, n), 0.0)
    if closure.tail_error is not None:
        tau_error = _root(tau_error.square() + closure.tail_error.square())
    _warn(series, closure, tau, varies)
    consistency = _consistency(series, squared) if len(replica) > 1 else None
    precision = ((closure.position + 0.5) / n).sqrt()
    return EnsembleErrors(
        error,
        error * precision,
        tau,
        tau_error,
        closure.window,
        rho,
        series.spacing,
        n,
        consistency,
    )


def _search(series: Series, rule: Window) -> tuple[Tensor, Tensor, Closure]:
    """Gamma(t) for as many lags as the rule needs, the share of the pairs, and the windows."""
    with torch.no_grad():
        n_lags = series.max_lag if rule.needs_all_lags else min(FIRST_LAGS, series.max_lag)
        while True:
            gamma, share = series.autocovariance(n_lags)
            variance = gamma[..., :1]
            rho = torch.where(variance > 0, gamma / variance, 0.0)
            try:
                closure = rule.close(rho, series.n_configurations)
            except DomainError as error:
                raise DomainError(f"Ensemble `{series.name}`: {error}") from error
            if n_lags == series.max_lag or bool(closure.closed.all()):
                return gamma, share, closure
            n_lags = min(GROWTH * n_lags, series.max_lag)


def _sum_up(rho: Tensor, closure: Closure, rule: Window) -> Float[Tensor, "*shape"]:
    """The autocorrelation time up to the position where the window closes."""
    total = rho[..., 1:].cumsum(-1) + 0.5
    total = torch.cat([torch.full_like(rho[..., :1], 0.5), total], dim=-1)
    window = closure.window.unsqueeze(-1)
    last = rho.gather(-1, window).squeeze(-1)
    tau = total.gather(-1, window).squeeze(-1)
    tau = tau - (closure.window - closure.position) * torch.where(closure.window > 0, last, 0.0)
    return tau if rule.antithetic else tau.clamp(min=0.5)


def _tau_error(tau: Tensor, window: Tensor, n: int) -> Tensor:
    error: Tensor = 2 * tau * _root((window + 0.5 - tau).abs() / n)
    return error


def _consistency(series: Series, variance: Tensor) -> Tensor:
    """Probability of a larger chi square of the replica means, R - 1 degrees of freedom."""
    with torch.no_grad():
        means = torch.stack([x.mean(-1) for x in series.fluctuations])
        counts = torch.tensor([x.shape[-1] for x in series.fluctuations]).to(means)
        counts = counts.reshape(-1, *(1,) * (means.ndim - 1))
        single = torch.where(variance > 0, variance * series.n_configurations, 1.0)
        square = (counts * means.square()).sum(0) / single
        freedom = torch.full_like(square, (len(means) - 1) / 2)
        probability: Tensor = torch.special.gammaincc(freedom, square / 2)
    return probability


def _warn(series: Series, closure: Closure, tau: Tensor, varies: Tensor) -> None:
    """Says which ensemble is too short, and how long it should be."""
    n = series.n_configurations
    longest = float(tau.detach()[varies].max()) if bool(varies.any()) else 0.5
    is_open = not bool((closure.closed | ~varies).all())
    if is_open or n < 2 * longest * MIN_INDEPENDENT:
        problem = "its window does not close" if is_open else "its errors cannot be trusted"
        warnings.warn(
            f"Ensemble `{series.name}` has {n} configurations and an autocorrelation time of at "
            f"least {longest:.3g} of them: {problem}. Simulate at least "
            f"{math.ceil(100 * longest)} configurations, or give `ExponentialTail(tau_exp)`.",
            stacklevel=4,
        )


def _root(square: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0, not infinite."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
