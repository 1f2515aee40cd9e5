"""How the derivative of the objective is estimated, and how an estimate is checked."""

from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.gradients.check import GradientCheck, Verdict, check_gradients
from detopt.gradients.finite_differences import FiniteDifferences
from detopt.gradients.pathwise import Pathwise

__all__ = [
    "FiniteDifferences",
    "GradientCheck",
    "GradientEstimate",
    "GradientEstimator",
    "Pathwise",
    "Verdict",
    "check_gradients",
]
