"""What a gradient estimator is: it says what to evaluate and combines the answers."""

__all__ = ["GradientEstimate", "GradientEstimator"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detopt.pipeline.evaluation import Evaluation, Request


@dataclass(frozen=True)
class GradientEstimate:
    """Value and gradient of the objective at one design.

    Args:
        value: Objective.
        value_std_error: Its standard error.
        gradient: Derivative in the flat coordinates theta.
        gradient_std_error: Its standard error; NaN where one evaluation cannot tell.
        n_evaluations: What the estimate cost, in evaluations of the objective.
    """

    value: float
    value_std_error: float
    gradient: Float[Tensor, " n_free"]
    gradient_std_error: Float[Tensor, " n_free"]
    n_evaluations: int


class GradientEstimator(ABC):
    """How the objective is differentiated; never where the design goes next."""

    accepts_discrete = False

    @abstractmethod
    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """The evaluations that the estimate at `theta` needs."""

    @abstractmethod
    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """The estimate from the answers, in the order of the requests."""
