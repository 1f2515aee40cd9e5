"""Searches beside each other, ever fewer: successive halving."""

__all__ = ["LEAST_ROUNDS", "Arm", "rung_sizes", "rungs"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.pipeline.evaluation import Evaluation

LEAST_ROUNDS = 2  # of a search before it is judged


@dataclass
class Arm:
    """A search of some entries of theta, and what it has reached.

    Args:
        begin: Theta of the whole space where it begins; it gives the entries that are held.
        own: Which entries the search moves.
        search: Over these entries.
        values: Mean objective of each round of the rung.
        score: Mean of the later half of them, or that of the rung before.
    """

    begin: Float[Tensor, " n_free"]
    own: Bool[Tensor, " n_free"]
    search: Optimizer
    values: list[float] = field(default_factory=list)
    score: float = math.inf

    def record(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the mean objective of a round; infinity where all evaluations failed."""
        known = [one.value for one in evaluations if math.isfinite(one.value)]
        self.values.append(sum(known) / len(known) if known else math.inf)
        later = [value for value in self.values[len(self.values) // 2 :] if math.isfinite(value)]
        self.score = sum(later) / len(later) if later else math.inf

    def outer(self, theta: Float[Tensor, " n_own"]) -> Float[Tensor, " n_free"]:
        """Theta of the whole space."""
        found = self.begin.clone()
        found[self.own] = theta
        return found

    def inner(self, evaluation: Evaluation) -> Evaluation:
        """The answer in the coordinates of the search."""
        gradient, error = evaluation.gradient, evaluation.gradient_std_error
        return replace(
            evaluation,
            request=replace(evaluation.request, theta=evaluation.request.theta[self.own]),
            gradient=None if gradient is None else gradient[self.own],
            gradient_std_error=None if error is None else error[self.own],
        )

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the search recommends, in the whole space."""
        return self.outer(self.search.recommend())

    def state_dict(self) -> StateDict:
        """Where it began, what it has reached, and the state of its search."""
        return {
            "begin": self.begin.clone(),
            "settles": not bool(self.own.all()),
            "n_rounds": self.search.n_rounds,
            "values": list(self.values),
            "score": self.score,
            "search": self.search.state_dict(),
        }


def rung_sizes(n_arms: int, keep: float, n_last: int = 1) -> list[int]:
    """Searches of each rung; each rung takes at least `LEAST_ROUNDS`.

    Args:
        n_arms: Searches that begin.
        keep: Share of the searches that goes on to the next rung, between 0 and 1.
        n_last: Searches of the last rung, >= 1, if as many begin.

    Raises:
        MethodError: `keep` is not between 0 and 1.
    """
    if not 0 < keep < 1:
        raise MethodError(f"`keep` must lie between 0 and 1, got {keep}.")
    sizes = [n_arms]
    while sizes[-1] > n_last:
        sizes.append(max(n_last, min(round(sizes[-1] * keep), sizes[-1] - 1)))
    return sizes


def rungs(
    n_arms: int, n_rounds: int, keep: float, what: str, n_last: int = 1
) -> list[tuple[int, int]]:
    """Searches and rounds of each rung; the evaluations of all rungs are about the same.

    Args:
        n_arms: Searches that begin.
        n_rounds: Rounds of all rungs.
        keep: Share of the searches that goes on to the next rung, between 0 and 1.
        what: What begins a search, for the message.
        n_last: Searches of the last rung, >= 1, if as many begin.

    Raises:
        MethodError: `keep` is not between 0 and 1, or there are too few rounds.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943.
    """
    sizes = rung_sizes(n_arms, keep, n_last)
    least = LEAST_ROUNDS * len(sizes)
    if n_rounds < least:
        raise MethodError(
            f"{n_arms} {what} need at least {least} rounds, got {n_rounds} for their race. "
            "Plan more, or lower `keep`."
        )
    unit = n_rounds / sum(1 / size for size in sizes)
    shares = [max(LEAST_ROUNDS, int(unit / size)) for size in sizes[:-1]]
    while sum(shares) > n_rounds - LEAST_ROUNDS:  # many rungs of the least rounds
        shares[shares.index(max(shares))] -= 1
    return list(zip(sizes, [*shares, n_rounds - sum(shares)], strict=True))
