"""No search: a design that is given is only judged."""

__all__ = ["Keep"]

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from detopt.optimizers.base import Optimizer
from detopt.pipeline.evaluation import Evaluation, Request


class Keep(Optimizer):
    """Stays at the start of the space, and has finished before it begins.

    Args:
        space: Design space; its start is recommended.
        n_rounds: Not used.
    """

    accepts_discrete: ClassVar[bool] = True
    accepts_constraints: ClassVar[bool] = True

    def ask(self) -> list[Request]:
        """Nothing."""
        return []

    def tell(self, evaluations: Sequence[Evaluation]) -> None:  # noqa: ARG002 (there is none)
        """Nothing changes."""
        self.round += 1

    @property
    def finished(self) -> bool:
        """At once."""
        return True

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The start."""
        return self.theta
