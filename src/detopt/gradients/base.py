"""What a gradient estimator is: it says what to evaluate and combines the answers."""

__all__ = ["GradientEstimate", "GradientEstimator"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
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
    accepts_moved_designs = False  # in any direction, not only back towards theta

    @abstractmethod
    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """The evaluations that the estimate at `theta` needs."""

    def allowed_requests(
        self,
        space: DesignSpace,
        theta: Float[Tensor, " n_free"],
        stream: tuple[int | str, ...],
        n_events: int | None,
    ) -> list[Request]:
        """The same, with designs that the limits of the space allow.

        A design that is not allowed is moved straight back towards `theta`, or, where the estimator
        uses designs wherever they lie, to an allowed one near it.
        """
        allowed = space.project if self.accepts_moved_designs else space.admit
        return [
            replace(request, theta=allowed(request.theta, theta))
            for request in self.requests(theta, stream, n_events)
        ]

    @abstractmethod
    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """The estimate from the answers, in the order of the requests."""
