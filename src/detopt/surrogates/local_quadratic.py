r"""A quadratic around a point, learned from few and noisy values in many dimensions.

With :math:`t = (\theta - \theta_c)/\Delta` the objective is taken as

.. math::
    f(\theta) = c + g \cdot t + \tfrac12\, t^{\mathsf T} H t + \varepsilon

where the entries of :math:`g` are independent and normal with standard deviation :math:`a`, those
of :math:`H` with :math:`a h`, and :math:`\varepsilon` has the error of the value and one of order
:math:`a h |t|^3` for what a quadratic lacks. This is ridge regression whose penalties
:math:`a` and :math:`h` follow from the data (maximum evidence), written in its dual form: the cost
is that of a matrix as large as the number of values, whatever the number of dimensions.

References:
    C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning (2006), chapters
    2 and 5; A. R. Conn, K. Scheinberg and L. N. Vicente, Introduction to Derivative-Free
    Optimization (2009), chapters 4 and 10.
"""

__all__ = ["LocalQuadratic", "Prior", "trust_region_step"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import DomainError

SLOPES = (0.1, 0.3, 1.0, 3.0)  # that are tried, in standard deviations of the values
CURVATURES = (0.05, 0.15, 0.5, 1.5)  # that are tried
NOISES = (0.3, 0.001, 0.01, 0.03, 0.1, 1.0)  # idem, of unknown errors; the first comes first
CUBIC = 0.3  # third-order remainder at |t| = 1 over the standard deviation of the curvature
FREE = 100.0  # standard deviation of the constant, in those of the slope
BISECTIONS = 60


@dataclass(frozen=True)
class Prior:
    """How steep and how curved the objective is expected to be within the radius.

    Args:
        slope: Standard deviation :math:`a` of an entry of the gradient.
        curvature: That of an entry of the Hessian over it, :math:`h`.
        noise: Standard error of the values whose own is unknown.
    """

    slope: float
    curvature: float
    noise: float = 0.0


@dataclass(frozen=True)
class LocalQuadratic:
    """What is known of an objective around a center.

    Attributes:
        center: Where the expansion is made.
        radius: Unit of length of the prior.
        value: Objective at the center.
        gradient: Its derivative in theta.
        gradient_std_error: Standard deviation of the derivative, given the data.
        hessian: Second derivative.
        prior: Penalties that the data prefer.
        log_evidence: Logarithm of the probability of the data, up to a constant.
    """

    center: Float[Tensor, " d"]
    radius: float
    value: float
    gradient: Float[Tensor, " d"]
    gradient_std_error: Float[Tensor, " d"]
    hessian: Float[Tensor, "d d"]
    prior: Prior
    log_evidence: float

    @classmethod
    def fit(
        cls,
        theta: Float[Tensor, "n d"],
        values: Float[Tensor, " n"],
        errors: Float[Tensor, " n"],
        center: Float[Tensor, " d"],
        radius: float,
    ) -> "LocalQuadratic":
        """Learn from values at some points.

        Args:
            theta: Where the objective is known.
            values: Its values there.
            errors: Their standard errors, >= 0; NaN where they are unknown and to be found.
            center: Where the expansion is wanted.
            radius: Distance over which a quadratic is expected to hold, > 0.

        Raises:
            DomainError: There are fewer than two points, or a number is not finite.

        Note:
            The penalties are the best of a coarse grid, so that the model does not depend on the
            last bits of the data. Not differentiable.
        """
        if len(values) < 2:
            raise DomainError(f"A local model needs at least 2 values, got {len(values)}.")
        if not bool((values + theta.sum(dim=1)).isfinite().all()):
            raise DomainError("A local model needs finite values. Leave failed evaluations out.")
        if not (math.isfinite(radius) and radius > 0):
            raise DomainError(f"`radius` must be > 0, got {radius}.")
        data = _Data.scaled(theta, values, errors, center, radius)
        best = data.best()
        return data.expand(best, center, radius)

    def change(self, theta: Float[Tensor, " d"]) -> float:
        """Objective at `theta` less that at the center, by the quadratic."""
        step = theta - self.center
        return float(self.gradient @ step + step @ self.hessian @ step / 2)

    def minimizer(self, radius: float) -> Float[Tensor, " d"]:
        """The lowest point of the quadratic within `radius` of the center."""
        return self.center + trust_region_step(self.gradient, self.hessian, radius)


@dataclass(frozen=True)
class _Solution:
    prior: Prior
    evidence: float
    weights: Float[Tensor, " n"]
    factor: Float[Tensor, "n n"]


def _evidence(solution: _Solution) -> float:
    return solution.evidence


@dataclass(frozen=True)
class _Data:
    """Values about their mean, at points in units of the radius from the center."""

    at: Float[Tensor, "n d"]
    gram: Float[Tensor, "n n"]
    distance: Float[Tensor, " n"]
    values: Float[Tensor, " n"]
    mean: float
    variances: Float[Tensor, " n"]
    unknown: Bool[Tensor, " n"]

    @classmethod
    def scaled(
        cls, theta: Tensor, values: Tensor, errors: Tensor, center: Tensor, radius: float
    ) -> "_Data":
        at = (theta - center) / radius
        mean = float(values.mean())
        floor = 1e-12 * (float((values - mean).square().mean()) + 1e-300)
        variances = errors.square() + floor
        return cls(at, at @ at.T, at.norm(dim=1), values - mean, mean, variances, errors.isnan())

    def best(self) -> _Solution:
        """The most probable of a grid of priors; noise and the rest in turn, if it is unknown."""
        scatter = float(self.values.std())
        slopes = [scatter * share for share in SLOPES]
        noise = scatter * NOISES[0] if bool(self.unknown.any()) else 0.0
        best = self._most_probable([Prior(a, h, noise) for a in slopes for h in CURVATURES])
        if noise == 0.0:
            return best
        levels = [replace(best.prior, noise=scatter * share) for share in NOISES]
        noise = self._most_probable(levels).prior.noise
        return self._most_probable([Prior(a, h, noise) for a in slopes for h in CURVATURES])

    def _most_probable(self, priors: list[Prior]) -> _Solution:
        return max((self.solve(prior) for prior in priors), key=_evidence)

    def solve(self, prior: Prior) -> _Solution:
        slope2, curvature2 = prior.slope**2, prior.curvature**2
        kernel = slope2 * (self.gram + curvature2 / 2 * self.gram.square() + FREE**2)
        rest = slope2 * curvature2 * CUBIC**2 * self.distance**6
        known = torch.where(self.unknown, prior.noise**2, self.variances)
        factor, failed = torch.linalg.cholesky_ex(kernel + torch.diag(known + rest))
        if int(failed):
            return _Solution(prior, -math.inf, self.values, factor)
        half = torch.linalg.solve_triangular(factor, self.values[:, None], upper=False)
        weights = torch.linalg.solve_triangular(factor.T, half, upper=True)
        evidence = -float(half.square().sum()) / 2 - float(factor.diagonal().log().sum())
        return _Solution(prior, evidence, weights[:, 0], factor)

    def expand(
        self, solution: _Solution, center: Float[Tensor, " d"], radius: float
    ) -> LocalQuadratic:
        if not math.isfinite(solution.evidence):
            raise DomainError(
                "A local model cannot be fitted: points coincide and their values have no errors."
            )
        prior, weights = solution.prior, solution.weights
        slope2 = prior.slope**2
        seen = torch.linalg.solve_triangular(solution.factor, self.at, upper=False)
        spread = slope2 * (1 - slope2 * seen.square().sum(dim=0)).clamp(min=0)
        curved = (self.at.T * weights) @ self.at
        return LocalQuadratic(
            center=center,
            radius=radius,
            value=self.mean + slope2 * FREE**2 * float(weights.sum()),
            gradient=slope2 * (self.at.T @ weights) / radius,
            gradient_std_error=spread.sqrt() / radius,
            hessian=slope2 * prior.curvature**2 * curved / radius**2,
            prior=prior,
            log_evidence=solution.evidence,
        )


def trust_region_step(
    gradient: Float[Tensor, " d"], hessian: Float[Tensor, "d d"], radius: float
) -> Float[Tensor, " d"]:
    r"""The step that minimizes a quadratic in a ball.

    .. math::
        \min_{|s| \le \Delta}\; g \cdot s + \tfrac12\, s^{\mathsf T} H s
        \quad\Rightarrow\quad s = -(H + \lambda)^{-1} g

    with the smallest :math:`\lambda \ge 0` that makes :math:`H + \lambda` positive and the step
    short enough.

    Args:
        gradient: :math:`g`.
        hessian: :math:`H`, symmetric, of any signature.
        radius: :math:`\Delta`, > 0.

    Returns:
        The step; its length is at most the radius.

    Note:
        Where :math:`g` has no part along the lowest eigenvector of an indefinite :math:`H`, the
        step stays inside and is not the lowest of all (the hard case). Not differentiable.

    References:
        J. J. More and D. C. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553.
    """
    curvatures, axes = torch.linalg.eigh(hessian)
    along = axes.T @ gradient
    if not bool((along != 0).any()):
        return torch.zeros_like(gradient)
    size = float(along.norm())
    lowest = float(curvatures[0])
    scale = max(float(curvatures.abs().max()), size / radius)
    low = max(0.0, -lowest) + 1e-12 * scale

    def step(shift: float) -> Tensor:
        found: Tensor = axes @ (-along / (curvatures + shift))
        return found

    if lowest > 0 and float((along / curvatures).norm()) <= radius:
        return step(0.0)
    high = max(0.0, -lowest) + size / radius + 1e-12 * scale
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(step(middle).norm()) > radius else (low, middle)
    return step(high)
