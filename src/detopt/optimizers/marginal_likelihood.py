"""Scales and noise of a Gaussian process, from its marginal likelihood."""

__all__ = ["Scales", "fit_scales", "log_posterior"]

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MAX_STEPS = 100
LENGTH_LOCATION, LENGTH_SPREAD = math.sqrt(2), math.sqrt(3)  # of log length; Hvarfner et al. 2024
NOISE_LOCATION, NOISE_SPREAD = -4.0, 1.0  # of the log of the variance; idem
SHORTEST, LONGEST = 0.025, 1e3  # in units of the cube
LEAST_NOISE, MOST_NOISE = 1e-4, 10.0  # variance, in units of that of the values


@dataclass(frozen=True)
class Scales:
    """Hyperparameters of a Gaussian process with a squared exponential kernel of unit variance."""

    lengths: Float[Tensor, " d"]
    noise: Float[Tensor, ""]  # variance; 0 where it is known for each value
    mean: Float[Tensor, ""]


def log_posterior(
    log_lengths: Float[Tensor, " d"],
    log_noise: Float[Tensor, ""] | None,
    features: Float[Tensor, "n d"],
    values: Float[Tensor, " n"],
    known: Float[Tensor, " n"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " k"], Float[Tensor, ""]]:
    r"""Log density of the hyperparameters up to a constant, its gradient, and the best mean.

    .. math::
        \ln p = -\tfrac12 (y - m)^T K^{-1} (y - m) - \tfrac12 \ln |K| + \ln p(\ln l, \ln s),
        \quad m = \frac{1^T K^{-1} y}{1^T K^{-1} 1}

    where :math:`K_{ij} = \exp(-\tfrac12 \sum_k (x_{ik} - x_{jk})^2 / l_k^2) + s_i \delta_{ij}`
    and the priors of the lengths :math:`l` and of the noise :math:`s` are log-normal.

    Args:
        log_lengths: Logarithms of the lengths.
        log_noise: Logarithm of the noise variance, or None where `known` is given.
        features: Where the values are.
        values: Standardized values.
        known: Noise variance of each value, or None where it is one unknown.

    Returns:
        Log density; its derivative in `log_lengths` and, last, `log_noise`; mean.

    References:
        C. Rasmussen and C. Williams, Gaussian Processes for Machine Learning (2006), eq. 5.9.
        C. Hvarfner et al., arXiv:2402.02229 (priors).
    """
    n, d = features.shape
    scaled = features / log_lengths.exp()
    kernel = torch.exp(-0.5 * torch.cdist(scaled, scaled).square())
    noise = log_noise.exp().expand(n) if log_noise is not None else known
    assert noise is not None
    factor = torch.linalg.cholesky(kernel + noise.diag())
    inverse = torch.cholesky_inverse(factor)
    mean = (inverse @ values).sum() / inverse.sum()
    weights = inverse @ (values - mean)
    density = -0.5 * (values - mean) @ weights - factor.diagonal().log().sum()
    both = torch.outer(weights, weights) - inverse
    pull = both * kernel
    gradient = (pull.sum(dim=1) @ scaled.square()) - (scaled * (pull @ scaled)).sum(dim=0)
    away = log_lengths - LENGTH_LOCATION - 0.5 * math.log(d)
    density = density - 0.5 * (away / LENGTH_SPREAD).square().sum() - log_lengths.sum()
    gradient = gradient - away / LENGTH_SPREAD**2 - 1
    if log_noise is not None:
        away = log_noise - NOISE_LOCATION
        density = density - 0.5 * (away / NOISE_SPREAD).square() - log_noise
        last = 0.5 * both.diagonal().sum() * log_noise.exp() - away / NOISE_SPREAD**2 - 1
        gradient = torch.cat([gradient, last[None]])
    return density, gradient, mean


def fit_scales(
    features: Float[Tensor, "n d"],
    values: Float[Tensor, " n"],
    known: Float[Tensor, " n"] | None = None,
) -> Scales:
    """The most probable hyperparameters, by quasi-Newton steps from the mode of their priors.

    Args:
        features: Where the values are.
        values: Standardized values.
        known: Noise variance of each value, or None to learn one.
    """
    from scipy.optimize import minimize  # heavy: only when the method is used

    d = features.shape[1]

    def split(point: Tensor) -> tuple[Tensor, Tensor | None]:
        return point[:d], None if known is not None else point[d]

    def loss(numbers: Any) -> tuple[float, Any]:
        point = torch.as_tensor(numbers, dtype=torch.float64)
        density, gradient, _ = log_posterior(*split(point), features, values, known)
        return -float(density), -gradient.numpy()

    start = np.full(d, LENGTH_LOCATION + 0.5 * math.log(d) - LENGTH_SPREAD**2)
    bounds = [(math.log(SHORTEST), math.log(LONGEST))] * d
    if known is None:
        start = np.append(start, NOISE_LOCATION - NOISE_SPREAD**2)
        bounds.append((math.log(LEAST_NOISE), math.log(MOST_NOISE)))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_STEPS}
    )
    lengths, noise = split(torch.as_tensor(found.x, dtype=torch.float64))
    _, _, mean = log_posterior(lengths, noise, features, values, known)
    return Scales(lengths.exp(), torch.zeros(()) if noise is None else noise.exp(), mean)
