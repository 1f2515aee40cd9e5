r"""Least-squares fits to observables, with exact propagation to the fitted parameters."""

__all__ = ["LeastSquaresFit", "least_squares_fit"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.implicit import attach_minimum
from detopt.inference.montecarlo_errors.gamma_method import gamma_method
from detopt.inference.montecarlo_errors.observables import Observables
from detopt.inference.montecarlo_errors.propagation import propagate
from detopt.inference.montecarlo_errors.solvers import minimize


@dataclass(frozen=True)
class LeastSquaresFit:
    """Result of a least-squares fit.

    Args:
        parameters: Fitted parameters.
        chi_square: Weighted sum of the squared residuals.
        degrees_of_freedom: Number of data less number of parameters.
    """

    parameters: Observables
    chi_square: Float[Tensor, ""]
    degrees_of_freedom: int

    @property
    def p_value(self) -> Float[Tensor, ""]:
        """Probability of a larger chi square; has its meaning for a correlated fit alone."""
        half = torch.full_like(self.chi_square, self.degrees_of_freedom / 2)
        probability: Tensor = torch.special.gammaincc(half, self.chi_square / 2)
        return probability


def least_squares_fit(
    model: Callable[[Tensor, Tensor], Tensor],
    abscissa: Tensor,
    data: Observables,
    start: Float[Tensor, " n_parameters"],
    covariance: Float[Tensor, "n n"] | None = None,
) -> LeastSquaresFit:
    r"""Fit a model to observables.

    .. math::
        \chi^2(p; y) = (y - f(p))^T C^{-1} (y - f(p)), \qquad
        \frac{dp}{dy} = -\left(\frac{\partial^2 \chi^2}{\partial p\, \partial p}\right)^{-1}
            \frac{\partial^2 \chi^2}{\partial p\, \partial y}

    The second derivative of the model, which multiplies the residuals, is kept.

    Args:
        model: Maps (parameters, abscissa) to n predictions.
        abscissa: Where the data are, in the form that `model` takes.
        data: The n observables :math:`y`.
        start: Parameters to start from.
        covariance: The weights' matrix C, such as `covariance` gives it for a correlated fit; by
            default the squared errors of the data, without correlations. Errors of the parameters
            are right for any choice.

    Raises:
        DomainError: The data are not a vector, there are fewer data than parameters, the matrix is
            singular, or the fit does not converge.

    Note:
        C counts as a constant in the propagation of fluctuations. Differentiable in whatever the
        data, the abscissa and C depend on.

    References:
        A. Ramos, Comput. Phys. Commun. 238 (2019) 19, arXiv:1809.01289; M. Aehle et al.,
        white paper on differentiable design, equation 29.
    """
    n, n_parameters = len(data), start.numel()
    if data.shape != (n,) or n < n_parameters:
        raise DomainError(
            f"A fit of {n_parameters} parameters needs a vector of at least as many data, got the "
            f"shape {tuple(data.shape)}."
        )
    if covariance is None:
        covariance = torch.diag(gamma_method(data).error.square())
    whitening = _whitening(covariance, n)
    begin = start.detach().to(torch.float64)

    def chi_square(parameters: Tensor, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return (weight @ (y - model(parameters, x))).square().sum()

    def fitted(y: Tensor) -> Tensor:
        fixed = (y.detach(), abscissa.detach(), whitening.detach())
        best = minimize(lambda p: chi_square(p, *fixed), begin)
        return attach_minimum(chi_square, best, y, abscissa, whitening)

    parameters = propagate(fitted, data)
    least = chi_square(parameters.value, data.value, abscissa, whitening)
    return LeastSquaresFit(parameters, least, n - n_parameters)


def _whitening(covariance: Float[Tensor, "n n"], n: int) -> Float[Tensor, "n n"]:
    """The inverse Cholesky factor, from the correlation matrix: data may differ in scale."""
    if covariance.shape != (n, n):
        raise DomainError(
            f"`covariance` must have the shape {(n, n)}, got {tuple(covariance.shape)}."
        )
    variance = covariance.diagonal()
    if not bool((variance > 0).all()):
        worst = int(variance.argmin())
        raise DomainError(
            f"Datum {worst} has the variance {variance[worst].item():.3g}: leave it out."
        )
    width = variance.sqrt()
    factor, info = torch.linalg.cholesky_ex(covariance / width[:, None] / width)
    if int(info) != 0:
        raise DomainError(
            f"The covariance matrix is singular at datum {int(info) - 1}: it is a combination of "
            "those before. Fit fewer data, or without correlations."
        )
    inverse: Tensor = torch.linalg.solve_triangular(factor, torch.diag(1 / width), upper=False)
    return inverse
