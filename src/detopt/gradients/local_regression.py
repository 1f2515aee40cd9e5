"""The gradient of a quadratic that is fitted to evaluations around the design."""

__all__ = ["LocalRegression"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed
from detopt.surrogates import LocalQuadratic


@dataclass(frozen=True)
class LocalRegression(GradientEstimator):
    r"""Ridge regression on designs in random directions around the present one.

    Evaluations lie at the design and, in pairs, at :math:`\theta \pm r u_i` with orthogonal random
    directions :math:`u_i`. Needs no gradient of the simulation. With fewer pairs than dimensions it
    tells the gradient along the directions that were tried and takes it as zero across them; that
    is biased for one estimate, and follows the whole gradient over many.

    Args:
        radius: Distance :math:`r` of the designs in theta, > 0; the bias is of order r squared.
        n_pairs: Number of directions, or None for all dimensions.
        common_random_numbers: Whether all designs see the same events, which takes most of the
            noise out of their differences; else each has its own, and the error of the gradient
            is known.

    References:
        A. R. Conn, K. Scheinberg and L. N. Vicente, Introduction to Derivative-Free Optimization
        (2009), chapter 2.
    """

    radius: float = 0.2
    n_pairs: int | None = None
    common_random_numbers: bool = True

    accepts_moved_designs = True  # pairs that both lie on one side would not tell slope from bend

    def __post_init__(self) -> None:
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise MethodError(f"`radius` must be > 0, got {self.radius}.")
        if self.n_pairs is not None and self.n_pairs < 1:
            raise MethodError(f"`n_pairs` must be >= 1, got {self.n_pairs}.")

    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """The design itself, then the pairs."""
        n_free = len(theta)
        n_pairs = n_free if self.n_pairs is None else min(self.n_pairs, n_free)
        rng = Seed("local regression").child(*stream).generator()
        normal = torch.randn(n_free, n_pairs, generator=rng, dtype=torch.float64)
        directions = torch.linalg.qr(normal)[0].T.to(theta)
        points = [theta + sign * self.radius * row for row in directions for sign in (1, -1)]
        own: list[tuple[int, ...]] = [
            () if self.common_random_numbers else (i,) for i in range(len(points) + 1)
        ]
        return [
            Request(point, (*stream, *mine), n_events=n_events)
            for point, mine in zip([theta, *points], own, strict=True)
        ]

    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """The fitted gradient.

        Its standard error is NaN where events are common, or errors of the values are unknown.
        """
        values = torch.tensor([e.value for e in evaluations], dtype=torch.float64)
        errors = torch.tensor([e.std_error for e in evaluations], dtype=torch.float64)
        if self.common_random_numbers:
            errors = torch.zeros_like(errors)
        points = torch.stack([e.request.theta for e in evaluations]).to(torch.float64)
        model = LocalQuadratic.fit(points, values, errors.nan_to_num(0.0), points[0], self.radius)
        return GradientEstimate(
            value=evaluations[0].value,
            value_std_error=evaluations[0].std_error,
            gradient=model.gradient,
            gradient_std_error=(
                torch.full_like(model.gradient, torch.nan)
                if self.common_random_numbers or bool(errors.isnan().any())
                else model.gradient_std_error
            ),
            n_evaluations=len(evaluations),
        )
