"""How the derivative of the objective is estimated, and how an estimate is checked."""

from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.gradients.branching import Trials, attach_branching
from detopt.gradients.check import GradientCheck, Verdict, check_gradients
from detopt.gradients.discrete import Bernoulli, Categorical, DiscreteDistribution, Poisson
from detopt.gradients.draws import UNBIASED, WAYS, draw_through
from detopt.gradients.finite_differences import FiniteDifferences
from detopt.gradients.local_regression import LocalRegression
from detopt.gradients.particle_bank import Flights, ParticleBank, fly
from detopt.gradients.pathwise import Pathwise
from detopt.gradients.score import Draws, attach_score, cross_fitted, leave_one_out
from detopt.gradients.smoothing import GaussianSmoothing
from detopt.gradients.stage_differences import differentiate_stage

__all__ = [
    "UNBIASED",
    "WAYS",
    "Bernoulli",
    "Categorical",
    "DiscreteDistribution",
    "Draws",
    "FiniteDifferences",
    "Flights",
    "GaussianSmoothing",
    "GradientCheck",
    "GradientEstimate",
    "GradientEstimator",
    "LocalRegression",
    "ParticleBank",
    "Pathwise",
    "Poisson",
    "Trials",
    "Verdict",
    "attach_branching",
    "attach_score",
    "check_gradients",
    "cross_fitted",
    "differentiate_stage",
    "draw_through",
    "fly",
    "leave_one_out",
]
