"""Damped Newton steps, with curvatures from differences of gradients."""

__all__ = ["Newton"]

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate, GradientEstimator, Pathwise
from detopt.optimizers.base import Optimizer, StateDict
from detopt.pipeline.evaluation import Evaluation, Request

GROW, SHRINK = 4.0, 0.25  # of the damping after a poor and after a good step
GOOD, POOR = 0.75, 0.1  # share of the predicted gain that is reached
NARROW = 1e-3  # share of the step below which a difference of gradients tells nothing
MIN_DAMPING = 1e-8  # relative to the largest curvature


class Newton(Optimizer):
    r"""Steps to the minimum of the local quadratic, shortened until they keep their promise.

    .. math::
        \theta' = \theta - (|H| + \mu\, \bar h)^{-1} g, \qquad
        H_{ij} = \frac{g_j(\theta + h e_i) - g_j(\theta)}{h}

    with :math:`H` made symmetric, the absolute values of its eigenvalues, so that saddles repel,
    and their largest :math:`\bar h`. A round evaluates the gradient at the proposal and beside it,
    and the objective at the present design, all with the same fresh random numbers: the proposal
    is taken if the objective falls, and :math:`\mu` follows how much of the predicted gain was
    reached (Levenberg, Marquardt). Costs n + 1 gradients a round: for few parameters, whose scales
    differ much.

    Args:
        space: Design space, without discrete parameters.
        n_rounds: Rounds that are planned.
        estimator: How the objective is differentiated; pathwise by default.
        n_events: Events in each evaluation, or None for the problem's own number.
        step: Distance of the gradients whose difference is the curvature, > 0.
        damping: First :math:`\mu`, > 0.
        max_step: Longest step in units of theta, > 0.

    References:
        J. Nocedal and S. Wright, Numerical Optimization (2006), chapter 4.
    """

    uses_gradients = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        estimator: GradientEstimator | None = None,
        n_events: int | None = None,
        step: float = 0.05,
        damping: float = 0.01,
        max_step: float = 2.0,
    ) -> None:
        super().__init__(space, n_rounds)
        for name, value in (("step", step), ("damping", damping), ("max_step", max_step)):
            if not (math.isfinite(value) and value > 0):
                raise MethodError(f"`{name}` must be > 0, got {value}.")
        self.estimator = Pathwise() if estimator is None else estimator
        self.n_events = n_events
        self.step = step
        self.damping = damping
        self.max_step = max_step
        self.last_estimate: GradientEstimate | None = None
        self._proposal = self.theta.clone()
        self._slope = torch.zeros_like(self.theta)
        self._curvature = torch.eye(len(self.theta), dtype=torch.float64)

    def _points(self) -> list[Tensor]:
        """The proposal, and the points beside it; a side that is not allowed is the other one.

        Where neither is, the side is nearer.
        """
        points = [self._proposal]
        for row in self.step * torch.eye(len(self.theta), dtype=torch.float64):
            up, down = self._proposal + row, self._proposal - row
            side = up if self.space.allows(up) or not self.space.allows(down) else down
            points.append(self.space.admit(side, self._proposal))
        return points

    def ask(self) -> list[Request]:
        """The gradients of the proposal and beside it, then the objective of the present design."""
        stream = ("round", self.round)
        wanted = [
            request
            for point in self._points()
            for request in self.estimator.allowed_requests(self.space, point, stream, self.n_events)
        ]
        return [*wanted, Request(self.theta, stream, n_events=self.n_events, std_error=False)]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the proposal or not, and propose again."""
        *sides, anchor = evaluations
        if self._count_failures(evaluations, all_needed=True):
            self._proposal = self._closer()
            self.round += 1
            return
        points = self._points()
        n_each = len(sides) // len(points)
        estimates = [
            self.estimator.combine(sides[i * n_each : (i + 1) * n_each]) for i in range(len(points))
        ]
        for estimate in estimates:
            self._refuse_broken(estimate)
        if not math.isfinite(anchor.value):
            raise MethodError(f"The objective is not finite in round {self.round}. Look at it.")
        self.last_estimate = estimates[0]
        if self._judge(estimates[0].value - anchor.value):
            self.theta = self._proposal.clone()
            self._slope = estimates[0].gradient.to(torch.float64)
            self._curvature = self._hessian(points, estimates)
        self._proposal = self._next()
        self.round += 1

    def _closer(self) -> Tensor:
        return self.space.admit((self._proposal + self.theta) / 2, self.theta)

    def _judge(self, change: float) -> bool:
        """Whether the proposal is taken; adapts the damping."""
        step = self._proposal - self.theta
        if not bool((step != 0).any()):
            return True
        predicted = float(self._slope @ step + 0.5 * step @ self._curvature @ step)
        share = change / min(predicted, -1e-300)
        if share > GOOD:
            self.damping = max(SHRINK * self.damping, MIN_DAMPING)
        elif share < POOR:
            self.damping = GROW * self.damping
        return change < 0

    def _hessian(self, points: Sequence[Tensor], estimates: Sequence[GradientEstimate]) -> Tensor:
        center, *sides = estimates
        widths = (torch.stack(list(points[1:])) - points[0]).diagonal()
        rows = torch.stack([side.gradient - center.gradient for side in sides]).to(torch.float64)
        wide = widths.abs() > NARROW * self.step  # else the limits leave no room to tell
        matrix = (
            torch.where(wide, 1.0, 0.0)[:, None] * rows / torch.where(wide, widths, 1.0)[:, None]
        )
        return (matrix + matrix.T) / 2

    def _next(self) -> Float[Tensor, " n_free"]:
        values, vectors = torch.linalg.eigh(self._curvature)
        sizes = values.abs()
        scale = sizes + self.damping * sizes.max().clamp(min=1e-12)
        slope = self.space.along_limits(self.theta, self._slope)
        step = -(vectors @ ((vectors.T @ slope) / scale))
        step = step * min(1.0, self.max_step / max(float(step.norm()), 1e-300))
        return self.space.project(self.theta + step, self.theta)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The present design."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The present design, the proposal and the quadratic that it comes from."""
        return super().state_dict() | {
            "proposal": self._proposal.clone(),
            "slope": self._slope.clone(),
            "curvature": self._curvature.clone(),
            "damping": self.damping,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._proposal, self._slope = state["proposal"].clone(), state["slope"].clone()
        self._curvature = state["curvature"].clone()
        self.damping = float(state["damping"])
