"""Central differences with common random numbers."""

__all__ = ["FiniteDifferences"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.pipeline.evaluation import Evaluation, Request


@dataclass(frozen=True)
class FiniteDifferences(GradientEstimator):
    r"""Central differences, all evaluations with the same random numbers.

    .. math::
        g_i = \frac{L(\theta + h e_i, \varepsilon) - L(\theta - h e_i, \varepsilon)}{2h}

    Needs no gradient of the simulation, costs :math:`2 n + 1` evaluations, and is biased by
    :math:`h^2 L'''/6`. The noise of a cut that events cross grows as :math:`1/\sqrt{h}`.

    Args:
        step: Step :math:`h` in the flat coordinates of the design space, > 0.
    """

    step: float = 0.05

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step) and self.step > 0):
            raise MethodError(f"`step` must be > 0, got {self.step}.")

    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """The center, then each coordinate up and down."""
        steps = self.step * torch.eye(len(theta), dtype=theta.dtype)
        center = Request(theta, stream, n_events=n_events)
        points = [theta + sign * row for row in steps for sign in (1, -1)]
        return [
            center,
            *(Request(point, stream, n_events=n_events, std_error=False) for point in points),
        ]

    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """Differences; their standard error needs repetitions and is NaN here.

        A side that was moved inwards, because the design there is not allowed, counts where it is.
        """
        center, *sides = evaluations
        values = torch.tensor([side.value for side in sides], dtype=torch.float64).reshape(-1, 2)
        at = torch.stack([side.request.theta for side in sides]).reshape(len(values), 2, -1)
        width = (at[:, 0] - at[:, 1]).diagonal()
        gradient = (values[:, 0] - values[:, 1]) / width
        return GradientEstimate(
            value=center.value,
            value_std_error=center.std_error,
            gradient=gradient,
            gradient_std_error=torch.full_like(gradient, torch.nan),
            n_evaluations=len(evaluations),
        )
