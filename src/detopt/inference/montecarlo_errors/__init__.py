r"""Errors of Monte Carlo data that are correlated in time and with each other.

`Observables` holds means of simulated data together with their fluctuations. Arithmetic,
`propagate`, fits, roots and integrals carry these along exactly, to first order in the errors;
`gamma_method` turns them into errors, with the autocorrelation of each Markov chain counted. All
of it is made of torch operations: an error has a derivative with respect to whatever the data
depend on, and can be an objective.
"""

from detopt.inference.montecarlo_errors.covariance import covariance
from detopt.inference.montecarlo_errors.fits import LeastSquaresFit, least_squares_fit
from detopt.inference.montecarlo_errors.gamma_method import (
    EnsembleErrors,
    ErrorAnalysis,
    gamma_method,
)
from detopt.inference.montecarlo_errors.merging import concatenate
from detopt.inference.montecarlo_errors.observables import Observables
from detopt.inference.montecarlo_errors.propagation import elementwise, propagate
from detopt.inference.montecarlo_errors.roots import integrate, solve_root
from detopt.inference.montecarlo_errors.windows import (
    AutomaticWindow,
    ExponentialTail,
    FixedWindow,
    Window,
    rho_error,
)

__all__ = [
    "AutomaticWindow",
    "EnsembleErrors",
    "ErrorAnalysis",
    "ExponentialTail",
    "FixedWindow",
    "LeastSquaresFit",
    "Observables",
    "Window",
    "concatenate",
    "covariance",
    "elementwise",
    "gamma_method",
    "integrate",
    "least_squares_fit",
    "propagate",
    "rho_error",
    "solve_root",
]
