"""L-BFGS-B through SciPy, on a fixed sample of events."""

__all__ = ["LBFGSB"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate, GradientEstimator, Pathwise
from detopt.optimizers.base import Optimizer, StateDict
from detopt.pipeline.evaluation import Evaluation, Request


class _NotYetKnownError(Exception):
    def __init__(self, theta: Tensor) -> None:
        self.theta = theta


class LBFGSB(Optimizer):
    """Quasi-Newton steps with line search on a sample average.

    All rounds share their random numbers, so the objective is a fixed smooth function; the price
    is that its minimum belongs to this sample, which should be large. SciPy's routine calls the
    function; to ask and tell instead, each round replays it on the answers known so far, which is
    exact and costs microseconds, and needs no other state than those answers.

    Args:
        space: Design space.
        n_rounds: Largest number of evaluations.
        estimator: How the objective is differentiated; pathwise by default.
        n_events: Events in the sample, or None for the problem's own number.
        bound: Largest distance of each entry of theta from its start, > 0.
    """

    uses_gradients = True
    accepts_limits = False
    accepts_failures = False

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        estimator: GradientEstimator | None = None,
        n_events: int | None = None,
        bound: float = 8.0,
    ) -> None:
        super().__init__(space, n_rounds)
        if not bound > 0:
            raise MethodError(f"`bound` must be > 0, got {bound}.")
        self.estimator = Pathwise() if estimator is None else estimator
        self.n_events = n_events
        self.bound = bound
        self.last_estimate: GradientEstimate | None = None
        self._known: list[tuple[Tensor, float, Tensor]] = []
        self._start = self.theta.clone()
        self._finished = False

    def ask(self) -> list[Request]:
        """The evaluation that SciPy needs next."""
        return self.estimator.requests(self.theta, ("sample",), self.n_events)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Replay the search with one more answer."""
        estimate = self.estimator.combine(evaluations)
        self._refuse_broken(estimate)
        self.last_estimate = estimate
        self._known.append((self.theta.clone(), estimate.value, estimate.gradient.clone()))
        self.round += 1
        self._replay()

    def _replay(self) -> None:
        from scipy.optimize import minimize  # heavy: only when the method is used

        answers = iter(self._known)

        def function(point: Any) -> tuple[float, Any]:
            theta = torch.as_tensor(np.array(point), dtype=torch.float64)
            known = next(answers, None)
            if known is None:
                raise _NotYetKnownError(theta)
            _, value, gradient = known
            return value, gradient.numpy().astype(np.float64)

        bounds = [(start - self.bound, start + self.bound) for start in self._start.tolist()]
        try:
            minimize(
                function,
                self._start.numpy(),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
            )
        except _NotYetKnownError as wanted:
            self.theta = wanted.theta
        else:
            self._finished = True

    @property
    def finished(self) -> bool:
        """Whether SciPy's own criteria are met."""
        return self._finished

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The point with the lowest objective."""
        if not self._known:
            return self.theta.clone()
        return min(self._known, key=lambda known: known[1])[0].clone()

    def state_dict(self) -> StateDict:
        """All answers so far."""
        return super().state_dict() | {
            "start": self._start.clone(),
            "thetas": [theta for theta, _, _ in self._known],
            "values": [value for _, value, _ in self._known],
            "gradients": [gradient for _, _, gradient in self._known],
            "finished": self._finished,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from stored answers."""
        super().load_state_dict(state)
        self._start = state["start"].clone()
        self._known = list(zip(state["thetas"], state["values"], state["gradients"], strict=True))
        self._finished = bool(state["finished"])
