r"""The exact bound of the benchmark: Fisher information of the unbinned likelihood, by quadrature.

No summary can measure s better, however many bins it has.
"""

__all__ = ["exact_uncertainty"]

import math

import torch
from torch import Tensor

from detopt.inference import unbinned_information, uncertainty
from detopt.usecases.inferno.config import BENCHMARKS
from detopt.usecases.inferno.events import (
    BACKGROUND,
    BACKGROUND_MEAN,
    BACKGROUND_RATE,
    BACKGROUND_VARIANCES,
    NAMES,
    SIGNAL,
    SIGNAL_RATE,
)

STEP, REACH = 0.25, 8.0  # of the trapezoidal rule in x0, x1; in standard deviations of background
N_DECAY = 40  # Gauss-Legendre nodes in exp(-x2)


def exact_uncertainty(benchmark: str, signal_mean: float = 0.0) -> float:
    r"""Cramer-Rao bound on the yield of the signal.

    .. math::
        I_{ab} = \int \frac{1}{\nu} \frac{\partial\nu}{\partial\theta_a}
            \frac{\partial\nu}{\partial\theta_b}\, \mathrm{d}^3x + \frac{\delta_{ab}}{w_a^2},
        \qquad \nu = s\, p_s + b\, p_b

    Args:
        benchmark: One of B0 to B4.
        signal_mean: Mean of the first two features of the signal.

    Note:
        The quadrature is right to 1e-5. A Monte Carlo estimate with four million events agrees to
        its own error of 0.05 %.
    """
    points, volume = _grid()
    x0, x1, x2 = points.unbind(-1)
    signal = SIGNAL * _normal(x0, signal_mean, 1.0) * _normal(x1, signal_mean, 1.0)
    signal = signal * SIGNAL_RATE * torch.exp(-SIGNAL_RATE * x2)
    variances = BACKGROUND_VARIANCES
    background = BACKGROUND * _normal(x0, BACKGROUND_MEAN, variances[0])
    background = background * _normal(x1, 0.0, variances[1])
    background = background * BACKGROUND_RATE * torch.exp(-BACKGROUND_RATE * x2)
    density = signal + background
    slopes = {
        "s": signal / SIGNAL,
        "r": background * (x0 - BACKGROUND_MEAN) / variances[0],
        "lambda": background * (1 / BACKGROUND_RATE - x2),
        "b": background / BACKGROUND,
    }
    names, widths = BENCHMARKS[benchmark].names, BENCHMARKS[benchmark].widths
    assert set(names) <= set(NAMES)
    scores = torch.stack([slopes[name] / density for name in names], dim=-1)
    priors = density.new_tensor([widths.get(name, torch.inf) for name in names])
    information = unbinned_information(scores, density * volume, prior_widths=priors)
    return float(uncertainty(information))


def _grid() -> tuple[Tensor, Tensor]:
    """Points [n, 3] and their volumes [n]."""
    edges = [REACH * variance**0.5 for variance in BACKGROUND_VARIANCES]
    x0 = torch.arange(-edges[0], edges[0], STEP, dtype=torch.float64) + BACKGROUND_MEAN
    x1 = torch.arange(-edges[1], edges[1], STEP, dtype=torch.float64)
    # Gauss-Legendre from the eigenvalues of the Jacobi matrix (Golub and Welsch)
    k = torch.arange(1, N_DECAY, dtype=torch.float64)
    off = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    survival = (nodes + 1) / 2
    decay_volume = vectors[0].square() / survival
    points = torch.cartesian_prod(x0, x1, -survival.log())
    volume = decay_volume.repeat(len(x0) * len(x1)) * STEP**2
    return points, volume


def _normal(x: Tensor, mean: float, variance: float) -> Tensor:
    return torch.exp(-(x - mean).square() / (2 * variance)) / math.sqrt(2 * math.pi * variance)
