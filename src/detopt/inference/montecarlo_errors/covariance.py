"""Covariance matrices of observables."""

__all__ = ["covariance"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.inference.montecarlo_errors.gamma_method import ErrorAnalysis
from detopt.inference.montecarlo_errors.observables import Observables


def covariance(observables: Observables, analysis: ErrorAnalysis) -> Float[Tensor, "n n"]:
    r"""Covariance matrix of the errors of n observables, in row-major order.

    .. math::
        C_{ij} = \sum_e \sigma_{e,i}\, \sigma_{e,j}\,
            \frac{\Gamma_{e,ij}(0)}{\sqrt{\Gamma_{e,ii}(0)\, \Gamma_{e,jj}(0)}}

    plus the contribution of inputs that were not simulated.

    Args:
        observables: The observables.
        analysis: Their errors, as `gamma_method` gives them.

    Note:
        The diagonal is the squared errors. Off the diagonal, two observables of one ensemble are
        taken to have the geometric mean of their autocorrelation times, which keeps the matrix
        free of negative eigenvalues. It is singular with more observables than configurations.
        Differentiable.
    """
    n = observables.value.numel()
    total = observables.value.new_zeros((n, n))
    for name, replica in observables.ensembles.items():
        series = torch.cat([observables.fluctuations[r].reshape(n, -1) for r in replica], dim=-1)
        product = series @ series.mT
        variance = product.diagonal()
        width = torch.where(variance > 0, variance, 1.0).sqrt()
        error = analysis.ensembles[name].error.reshape(n) / width
        total = total + error[:, None] * product * error
    for name, gradient in observables.gradients.items():
        slope = gradient.reshape(n, -1)
        total = total + slope @ observables.covariances[name] @ slope.mT
    return total
