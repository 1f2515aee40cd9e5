"""Stochastic gradient descent by any rule of `torch.optim`, with any gradient estimator."""

__all__ = ["Adam", "GradientDescent", "StochasticGradientDescent"]

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate, GradientEstimator, Pathwise
from detopt.optimizers.base import Optimizer, StateDict
from detopt.pipeline.evaluation import Evaluation, Request

AVERAGED = 0.25  # last share of the rounds whose designs are averaged
FLOOR = 0.02  # learning rate at the end, as a share of that at the start


class GradientDescent(Optimizer):
    """Walk down fresh estimates of the gradient, ever more slowly; recommend an average.

    The learning rate falls as a half cosine over the planned rounds. A gradient longer than
    `max_norm` times the median of those so far is shortened to it, so that one heavy tail does
    not throw the design away. The recommendation averages theta over the last quarter of the
    rounds, which takes out most of the noise (Polyak and Juditsky 1992).

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        estimator: How the objective is differentiated; pathwise by default.
        n_events: Events in each evaluation, or None for the problem's own number.
        learning_rate: At the start, in units of theta, > 0.
        max_norm: Longest gradient, in medians of the past norms, > 0.
    """

    uses_gradients = True
    rule: ClassVar[type[torch.optim.Optimizer]]
    default_rate: ClassVar[float]
    rule_settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        estimator: GradientEstimator | None = None,
        n_events: int | None = None,
        learning_rate: float | None = None,
        max_norm: float = 5.0,
    ) -> None:
        super().__init__(space, n_rounds)
        rate = self.default_rate if learning_rate is None else learning_rate
        if not (math.isfinite(rate) and rate > 0):
            raise MethodError(f"`learning_rate` must be > 0, got {rate}.")
        if not max_norm > 0:
            raise MethodError(f"`max_norm` must be > 0, got {max_norm}.")
        self.estimator = Pathwise() if estimator is None else estimator
        self.n_events = n_events
        self.learning_rate = rate
        self.max_norm = max_norm
        self.last_estimate: GradientEstimate | None = None
        self._norms: list[float] = []
        self._average = torch.zeros_like(self.theta)
        self._n_averaged = 0
        self._rule = self._make_rule()

    def _make_rule(self) -> torch.optim.Optimizer:
        self._walker = torch.nn.Parameter(self.theta.clone())
        settings = {"lr": self.learning_rate, **self.rule_settings}
        return self.rule([self._walker], **settings)

    def ask(self) -> list[Request]:
        """What the gradient estimator needs at theta, with fresh random numbers."""
        return self.estimator.allowed_requests(
            self.space, self.theta, ("round", self.round), self.n_events
        )

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take a step; a round with a failed evaluation takes none."""
        if self._count_failures(evaluations, all_needed=True):
            self.round += 1
            return
        estimate = self.estimator.combine(evaluations)
        self._refuse_broken(estimate)
        self.last_estimate = estimate
        progress = min(1.0, self.round / self.n_rounds)
        factor = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self._rule.param_groups:
            group["lr"] = self.learning_rate * factor
        slope = self.space.along_limits(self.theta, estimate.gradient.to(torch.float64))
        self._walker.grad = self._clip(slope)
        self._rule.step()
        self.theta = self.space.project(self._walker.detach().clone(), self.theta)
        with torch.no_grad():
            self._walker.copy_(self.theta)
        self.round += 1
        if self.round > (1 - AVERAGED) * self.n_rounds:
            self._n_averaged += 1
            self._average += (self.theta - self._average) / self._n_averaged

    def _clip(self, gradient: Float[Tensor, " n_free"]) -> Float[Tensor, " n_free"]:
        norm = float(gradient.norm())
        self._norms.append(norm)
        limit = self.max_norm * float(torch.tensor(self._norms, dtype=torch.float64).median())
        return gradient * (limit / norm) if norm > limit > 0 else gradient

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The average over the last quarter, or the present theta before it."""
        if not self._n_averaged:
            return self.theta.clone()
        return self.space.project(self._average.clone(), self.theta)

    def state_dict(self) -> StateDict:
        """Walk, average and the rule's own state."""
        return super().state_dict() | {
            "rule": copy.deepcopy(self._rule.state_dict()),  # torch would hand out its own tensors
            "norms": list(self._norms),
            "average": self._average.clone(),
            "n_averaged": self._n_averaged,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._rule = self._make_rule()
        self._rule.load_state_dict(state["rule"])
        self._norms = [float(norm) for norm in state["norms"]]
        self._average = state["average"].clone()
        self._n_averaged = int(state["n_averaged"])


class Adam(GradientDescent):
    """Gradient descent with steps scaled by the gradient's own size (Kingma and Ba 2015).

    The size is that of the last ten gradients or so (beta_2 = 0.9). A bad start has gradients
    that are tens of times longer than those near the optimum; with the usual memory of a
    thousand steps they would keep all later steps short.
    """

    rule = torch.optim.Adam
    default_rate = 0.1
    rule_settings: ClassVar[Mapping[str, Any]] = {"betas": (0.9, 0.9)}


class StochasticGradientDescent(GradientDescent):
    """Plain gradient descent: the step is the learning rate times the gradient."""

    rule = torch.optim.SGD
    default_rate = 1.0
