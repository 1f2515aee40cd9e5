"""What an optimizer is: it asks for evaluations and is told their answers."""

__all__ = ["Optimizer", "StateDict"]

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate
from detopt.pipeline.evaluation import Evaluation, Request

StateDict = dict[str, Any]
MAX_FAILED = 10  # rounds in a row without an answer


class Optimizer(ABC):
    """Where theta goes next.

    One round is `ask`, evaluate, `tell`. The state after a round, `state_dict`, is made of
    tensors, numbers, texts, lists and dicts only; with it another object goes on to the same bits.

    Args:
        space: Design space; theta starts at its start.
        n_rounds: Rounds that are planned, for schedules.
    """

    uses_gradients: ClassVar[bool] = False
    accepts_discrete: ClassVar[bool] = False
    accepts_constraints: ClassVar[bool] = False  # of the outcome, which only simulations tell
    accepts_limits: ClassVar[bool] = True  # of the space; every proposal is then an allowed design
    accepts_failures: ClassVar[bool] = True  # evaluations without an answer
    has_leader: ClassVar[bool] = False  # several searches go on; `theta` is that of the one ahead
    n_objectives: ClassVar[int] = 1  # the largest number that is treated

    def __init__(self, space: DesignSpace, n_rounds: int) -> None:
        if n_rounds < 1:
            raise MethodError(f"The number of rounds must be >= 1, got {n_rounds}.")
        if space.has_discrete and not self.accepts_discrete:
            names = ", ".join(p.name for p in space.free if p.is_discrete)
            raise MethodError(
                f"{type(self).__name__} cannot choose the discrete parameters {names}. Freeze "
                "them, or take a method that can."
            )
        if space.limits and not self.accepts_limits:
            names = ", ".join(limit.name for limit in space.limits)
            raise MethodError(
                f"{type(self).__name__} cannot keep the limits of {names}. Take another method, "
                "such as adam or cma."
            )
        self.space = space
        self.n_rounds = n_rounds
        self.round = 0
        self._n_failed = 0  # rounds in a row
        self.theta: Float[Tensor, " n_free"] = space.theta(space.start)

    def _refuse_broken(self, estimate: GradientEstimate) -> None:
        """Stop at a value or gradient that is not finite, before it spoils the state."""
        what = "The objective"
        broken = (~torch.isfinite(estimate.gradient)).nonzero()
        if len(broken):
            what = f"The gradient of `{self.space.labels[int(broken[0])]}`"
        elif math.isfinite(estimate.value):
            return
        raise MethodError(
            f"{what} is not finite in round {self.round}. Run the gradient check, and look at the "
            "objective there."
        )

    def _count_failures(self, evaluations: Sequence[Evaluation], *, all_needed: bool) -> bool:
        """Whether the round cannot be used; gives up after many such rounds in a row.

        Args:
            evaluations: Of the round.
            all_needed: Whether one failed evaluation spoils the round, or only all of them do.
        """
        failures = [evaluation.failure for evaluation in evaluations if evaluation.failure]
        lost = bool(failures) if all_needed else len(failures) == len(evaluations)
        self._n_failed = self._n_failed + 1 if lost else 0
        if self._n_failed > MAX_FAILED:
            raise MethodError(
                f"{MAX_FAILED} rounds in a row had failed evaluations, the last one: {failures[0]}"
            )
        return lost

    def _answered(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """The evaluations that did not fail; a value that is not finite is refused."""
        self._count_failures(evaluations, all_needed=False)
        good = [evaluation for evaluation in evaluations if not evaluation.failure]
        if not all(math.isfinite(evaluation.value) for evaluation in good):
            raise MethodError(
                f"The objective is not finite in round {self.round}. Look at it there, or let "
                "failed evaluations be skipped."
            )
        return good

    @abstractmethod
    def ask(self) -> list[Request]:
        """The evaluations of this round."""

    def planned_evaluations(self) -> int:
        """Evaluations of all planned rounds, if each is like the next one."""
        return self.n_rounds * len(self.ask())

    @abstractmethod
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the answers, in the order of the requests, and go to the next round."""

    @property
    def finished(self) -> bool:
        """Whether the method has converged before its rounds are used up."""
        return False

    @abstractmethod
    def recommend(self) -> Float[Tensor, " n_free"]:
        """The best design as known so far, in theta."""

    def state_dict(self) -> StateDict:
        """Everything that `load_state_dict` needs."""
        return {
            "round": self.round,
            "theta": self.theta.detach().clone(),
            "n_failed": self._n_failed,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a state of the same method on the same space."""
        if state["theta"].shape != self.theta.shape:
            raise MethodError("The stored state belongs to another design space.")
        self.round = int(state["round"])
        self._n_failed = int(state["n_failed"])
        self.theta = state["theta"].to(torch.float64).clone()
