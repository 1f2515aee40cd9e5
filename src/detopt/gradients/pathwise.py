"""Pathwise gradients: automatic differentiation through the whole pipeline."""

__all__ = ["Pathwise"]

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.pipeline.evaluation import Evaluation, Request


@dataclass(frozen=True)
class Pathwise(GradientEstimator):
    r"""Derivative of the sampled objective with its random numbers held fixed.

    .. math::
        \nabla_\theta\, \mathbb{E}_{\varepsilon}[L(\theta, \varepsilon)]
            = \mathbb{E}_{\varepsilon}[\nabla_\theta L(\theta, \varepsilon)]

    Exact and cheap where :math:`L` is continuous in :math:`\theta` for fixed
    :math:`\varepsilon`; biased, without any sign of it, where a cut or a discrete draw depends
    on the design. `check_gradients` tells.

    References:
        S. Mohamed et al., J. Mach. Learn. Res. 21 (2020) 132, section 5.
    """

    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """One evaluation with its gradient."""
        return [Request(theta, stream, gradient=True, n_events=n_events)]

    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """The evaluation's own gradient."""
        (evaluation,) = evaluations
        assert evaluation.gradient is not None
        assert evaluation.gradient_std_error is not None
        return GradientEstimate(
            value=evaluation.value,
            value_std_error=evaluation.std_error,
            gradient=evaluation.gradient,
            gradient_std_error=evaluation.gradient_std_error,
            n_evaluations=1,
        )
