r"""Where to cut the sum of an autocorrelation function.

Beyond some lag the autocorrelation is noise alone: a wide window costs precision, a narrow one
leaves a tail out. A rule chooses the window of each observable.
"""

__all__ = ["AutomaticWindow", "Closure", "ExponentialTail", "FixedWindow", "Window", "rho_error"]

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.errors import DomainError

ABOVE_HALF = torch.finfo(torch.float64).eps
MIN_LAGS = 4  # that an exponential tail looks at


@dataclass(frozen=True)
class Closure:
    """Windows that a rule chose.

    Args:
        window: Largest lag W of the sum.
        closed: Whether the rule is fulfilled; where not, more lags are needed.
        position: Where in (W - 1, W] the sum ends: W, or a number between for a smooth result.
        tail: What is added for the lags beyond, or None.
        tail_error: Standard error of `tail`.
    """

    window: Int[Tensor, "*shape"]
    closed: Bool[Tensor, "*shape"]
    position: Float[Tensor, "*shape"]
    tail: Float[Tensor, "*shape"] | None = None
    tail_error: Float[Tensor, "*shape"] | None = None


class Window(ABC):
    """A rule for the window of the autocorrelation sum.

    Attributes:
        needs_all_lags: Whether the rule looks at lags far beyond the window.
        antithetic: Whether the autocorrelation time may fall below 1/2.
    """

    needs_all_lags: bool = False
    antithetic: bool = False

    @abstractmethod
    def close(self, rho: Float[Tensor, "*shape lags"], n_configurations: int) -> Closure:
        """The windows for normalized autocorrelation functions, lag 0 first."""


@dataclass(frozen=True)
class AutomaticWindow(Window):
    r"""Balances the truncated tail against the noise.

    The window is the first W with

    .. math::
        e^{-W/\tau(W)} - \frac{\tau(W)}{\sqrt{W N}} < 0, \qquad
        \tau(W) = S \Big/ \ln\frac{2 \tau_{int}(W) + 1}{2 \tau_{int}(W) - 1}

    Args:
        S: How much slower than :math:`\tau_{int}` the slowest mode decays: 1 to 2, more for
            observables that couple weakly to slow modes.
        continuous: End the sum between two lags, where the left side interpolates to 0. The error
            is then a continuous function of the data, and its derivative counts the motion of the
            window. Otherwise the derivative is that at a fixed window.
        antithetic: Let the autocorrelation time fall below 1/2, for chains whose successive
            values anticorrelate; the window then follows the sum of :math:`|\rho|`. Otherwise 1/2
            is the lower limit, which is the safe side.

    References:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, hep-lat/0306017, section 3.3.
    """

    S: float = 2.0
    continuous: bool = False
    antithetic: bool = False

    def __post_init__(self) -> None:
        if not self.S > 0:
            raise DomainError(f"`S` must be > 0, got {self.S}. `FixedWindow(0)` sums no lag.")

    def close(self, rho: Float[Tensor, "*shape lags"], n_configurations: int) -> Closure:
        """The first lag at which the noise outweighs the tail."""
        criterion = self._criterion(rho, n_configurations)
        hit = criterion.detach() < 0
        closed = hit.any(-1)
        index = torch.where(closed, hit.to(torch.int8).argmax(-1), criterion.shape[-1] - 1)
        window = index + 1
        position = window.to(rho.dtype)
        if self.continuous:
            after = criterion.gather(-1, index.unsqueeze(-1)).squeeze(-1)
            before = criterion.gather(-1, (index - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
            inside = closed & (index > 0)
            span = torch.where(inside, before - after, 1.0)
            fraction = torch.where(inside, before / span, 1.0)
            position = (window - 1) + fraction
        return Closure(window, closed, position)

    def _criterion(self, rho: Tensor, n_configurations: int) -> Float[Tensor, "*shape lags_1"]:
        lag = torch.arange(1, rho.shape[-1], dtype=rho.dtype, device=rho.device)
        terms = rho[..., 1:].abs() if self.antithetic else rho[..., 1:]
        tau_int = (0.5 + terms.cumsum(-1)).clamp(min=0.5 + ABOVE_HALF)
        tau = self.S / torch.log((2 * tau_int + 1) / (2 * tau_int - 1))
        return torch.exp(-lag / tau) - tau / torch.sqrt(lag * n_configurations)


@dataclass(frozen=True)
class FixedWindow(Window):
    """The same window for all observables; 0 neglects all autocorrelation.

    Args:
        window: Largest lag of the sum.
    """

    window: int

    def __post_init__(self) -> None:
        if self.window < 0:
            raise DomainError(f"`window` must be >= 0, got {self.window}.")

    def close(self, rho: Float[Tensor, "*shape lags"], n_configurations: int) -> Closure:  # noqa: ARG002
        """The given window."""
        reached = min(self.window, rho.shape[-1] - 1)
        window = torch.full(rho.shape[:-1], reached, device=rho.device)
        return Closure(window, window == self.window, window.to(rho.dtype))


@dataclass(frozen=True)
class ExponentialTail(Window):
    r"""Adds the tail of the slowest mode by hand: safe where it hides below the noise.

    The sum ends at the first W where :math:`\rho(W)` is compatible with 0, and
    :math:`\tau_{exp}\, |\rho(W + 1)|` is added.

    Args:
        tau_exp: Exponential autocorrelation time of the simulation, in units of the spacing of
            the configurations.
        n_sigma: How many standard errors above 0 still count as compatible.

    Note:
        The error of :math:`\rho` sums over all lags, whose noise makes it too large by up to
        :math:`\sqrt 2`: the window closes a little early, and the tail covers the rest.

    References:
        S. Schaefer, R. Sommer and F. Virotta, Nucl. Phys. B 845 (2011) 93, arXiv:1009.5228.
        M. Luescher, Comput. Phys. Commun. 165 (2005) 199, hep-lat/0409106, appendix E.
    """

    tau_exp: float
    n_sigma: float = 1.0
    needs_all_lags = True

    def __post_init__(self) -> None:
        if not (self.tau_exp > 0 and self.n_sigma >= 0):
            raise DomainError(
                f"`tau_exp` must be > 0 and `n_sigma` >= 0, got {self.tau_exp} and {self.n_sigma}."
            )

    def close(self, rho: Float[Tensor, "*shape lags"], n_configurations: int) -> Closure:
        """The first lag at which the autocorrelation is compatible with 0, and the tail there."""
        fixed = rho.detach()
        if fixed.shape[-1] < MIN_LAGS:
            raise DomainError(
                f"A chain of {n_configurations} configurations is too short for a tail: it needs "
                f"at least {2 * MIN_LAGS}."
            )
        last = max(fixed.shape[-1] // 2 - 2, 1)
        window = torch.full(fixed.shape[:-1], last, device=rho.device)
        closed = torch.zeros_like(window, dtype=torch.bool)
        for lag in range(1, last + 1):
            error = rho_error(fixed, lag, n_configurations)
            hit = ~closed & (fixed[..., lag] < self.n_sigma * error)
            window = torch.where(hit, lag, window)
            closed = closed | hit
            if bool(closed.all()):
                break
        following = rho.gather(-1, (window + 1).unsqueeze(-1)).squeeze(-1).abs()
        errors = torch.zeros_like(following)
        for lag in window.unique().tolist():
            errors = torch.where(window == lag, rho_error(fixed, lag + 1, n_configurations), errors)
        return Closure(
            window,
            closed,
            window.to(rho.dtype),
            self.tau_exp * following,
            self.tau_exp * errors,
        )


def rho_error(
    rho: Float[Tensor, "*shape lags"], lag: int, n_configurations: int
) -> Float[Tensor, "*shape"]:
    r"""Standard error of the normalized autocorrelation at one lag t > 0.

    .. math::
        \delta\rho(t)^2 = \frac{1}{N} \sum_{k > 0}
            \left[\rho(k + t) + \rho(|k - t|) - 2 \rho(t) \rho(k)\right]^2

    Args:
        rho: Normalized autocorrelation functions; the sum ends where k + t is the last lag.
        lag: The lag t.
        n_configurations: Number N of configurations.

    References:
        M. Luescher, Comput. Phys. Commun. 165 (2005) 199, hep-lat/0409106, equation E.11.
    """
    n_lags = rho.shape[-1]
    k = torch.arange(1, n_lags - lag, device=rho.device)
    terms = rho[..., k + lag] + rho[..., (k - lag).abs()] - 2 * rho[..., lag, None] * rho[..., k]
    return (terms.square().sum(-1) / n_configurations).sqrt()
