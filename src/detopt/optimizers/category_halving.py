"""Choose among all combinations of discrete parameters by successive halving."""

__all__ = ["CategoryHalving"]

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, DesignSpace, Integer, Parameter
from detopt.errors import DesignError, MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.pipeline.evaluation import Evaluation, Request

LEAST_ROUNDS = 2  # of a combination before it is judged


@dataclass
class _Arm:
    """A combination of the discrete parameters, and the search over the others."""

    index: int
    search: Optimizer
    values: list[float] = field(default_factory=list)  # one for each round of this rung


class CategoryHalving(Optimizer):
    """Search the continuous parameters for every combination, and give up the worse ones early.

    All combinations of the discrete parameters begin together, each with a method of its own
    over the continuous parameters. In rungs that cost about the same number of evaluations, the
    combinations with the lower objectives survive, until one is left. Combinations of
    a round share the random numbers where their method asks for the same streams, as `adam` does,
    so that they are ranked by the design, not by luck. A round asks for the evaluations of all
    combinations that are still in the race.

    Args:
        space: Design space; at least one parameter must be continuous.
        n_rounds: Rounds that are planned; more than half of them belong to the last combination.
        method: Method for the continuous parameters.
        method_options: Its options.
        keep: Share of the combinations that survives a rung, between 0 and 1.
        max_combinations: Number of combinations above which the method refuses.
        n_events: Events in each evaluation, or None for the problem's own number.

    Raises:
        MethodError: There are too many combinations, nothing is continuous, or a combination breaks
            a limit at the start.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943.
    """

    accepts_discrete = True
    accepts_failures = False

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        method: str = "adam",
        method_options: Mapping[str, Any] | None = None,
        keep: float = 1 / 3,
        max_combinations: int = 256,
        n_events: int | None = None,
    ) -> None:
        super().__init__(space, n_rounds)
        if not 0 < keep < 1:
            raise MethodError(f"`keep` must lie between 0 and 1, got {keep}.")
        self.method = method
        self.method_options = dict(method_options or {})
        if n_events is not None:
            self.method_options["n_events"] = n_events
        self._discrete = [p for p in space.free if p.is_discrete]
        if len(self._discrete) == len(space.free):
            raise MethodError("Nothing is continuous: take a scan of all combinations instead.")
        counts = [len(_levels(parameter)) for parameter in self._discrete]
        self.n_combinations = int(torch.tensor([1, *counts]).prod())
        if self.n_combinations > max_combinations:
            raise MethodError(
                f"There are {self.n_combinations} combinations of the discrete parameters, more "
                f"than the {max_combinations} allowed. Freeze some, or take `cma`."
            )
        self._rungs = _rungs(self.n_combinations, n_rounds, keep)
        self._rung = 0
        self._arms = [self._arm(index) for index in range(self.n_combinations)]

    def _values(self, index: int) -> tuple[float, ...]:
        """Values of the discrete parameters in a combination."""
        levels = [_levels(parameter) for parameter in self._discrete]
        return next(itertools.islice(itertools.product(*levels), index, None))

    def _arm(self, index: int) -> _Arm:
        from detopt.optimizers import make  # the methods are listed there, this one among them

        pairs = zip(self._discrete, self._values(index), strict=True)
        chosen = {p.name: torch.tensor(value, dtype=torch.float64) for p, value in pairs}
        try:
            space = DesignSpace(
                self.space.parameters, self.space.frozen | chosen, self.space.limits
            )
        except DesignError as error:
            raise MethodError(
                f"A combination cannot begin at the start of the space: {error} Start with a "
                "design that keeps the limits whatever is chosen."
            ) from error
        total = sum(rounds for _, rounds in self._rungs)
        return _Arm(index, make(self.method, space, total, self.method_options))

    def _outer(self, arm: _Arm, theta: Float[Tensor, " n"]) -> Float[Tensor, " n_free"]:
        """Theta of the whole space."""
        values = iter(self._values(arm.index))
        pieces, position = [], 0
        for parameter in self.space.free:
            if parameter.is_discrete:
                value = torch.tensor(next(values), dtype=torch.float64)
                pieces.append(parameter.encode(value))
                continue
            pieces.append(theta[position : position + parameter.n_free])
            position += parameter.n_free
        return torch.cat(pieces)

    def _inner(self, theta: Tensor) -> Tensor:
        """The continuous entries of a vector of the whole space."""
        sizes = [parameter.n_free for parameter in self.space.free]
        pieces = zip(theta.split(sizes), self.space.free, strict=True)
        return torch.cat([piece for piece, parameter in pieces if not parameter.is_discrete])

    def ask(self) -> list[Request]:
        """The evaluations that the methods of all remaining combinations want."""
        return [
            replace(request, theta=self._outer(arm, request.theta))
            for arm in self._arms
            for request in arm.search.ask()
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Hand out the answers, and drop combinations at the end of a rung."""
        if not evaluations or len(evaluations) % len(self._arms):
            raise MethodError("Answers must be told in full, in the order of the requests.")
        each = len(evaluations) // len(self._arms)
        for i, arm in enumerate(self._arms):
            mine = [self._reduced(one) for one in evaluations[i * each : (i + 1) * each]]
            arm.search.tell(mine)
            arm.values.append(sum(one.value for one in mine) / each)
        self.round += 1
        if self._rung + 1 < len(self._rungs) and len(self._arms[0].values) >= self._rounds():
            self._rung += 1
            ranked = sorted(self._arms, key=_score)[: self._rungs[self._rung][0]]
            self._arms = sorted(ranked, key=lambda arm: arm.index)
            for arm in self._arms:
                arm.values = []
        self.theta = self._recommended()

    def _rounds(self) -> int:
        return self._rungs[self._rung][1]

    def _reduced(self, evaluation: Evaluation) -> Evaluation:
        gradient, error = evaluation.gradient, evaluation.gradient_std_error
        return replace(
            evaluation,
            request=replace(evaluation.request, theta=self._inner(evaluation.request.theta)),
            gradient=None if gradient is None else self._inner(gradient),
            gradient_std_error=None if error is None else self._inner(error),
        )

    def _recommended(self) -> Float[Tensor, " n_free"]:
        best = self._arms[0]
        if best.values:
            best = min(self._arms, key=_score)
        return self._outer(best, best.search.recommend())

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the method of the best remaining combination recommends."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The remaining combinations with the states of their methods."""
        arms = [
            {"index": arm.index, "values": list(arm.values), "state": arm.search.state_dict()}
            for arm in self._arms
        ]
        return super().state_dict() | {"rung": self._rung, "arms": arms}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._rung = int(state["rung"])
        self._arms = [self._arm(int(stored["index"])) for stored in state["arms"]]
        for arm, stored in zip(self._arms, state["arms"], strict=True):
            arm.search.load_state_dict(stored["state"])
            arm.values = [float(value) for value in stored["values"]]


def _levels(parameter: Parameter) -> list[float]:
    if isinstance(parameter, Integer):
        return [float(value) for value in range(parameter.low, parameter.high + 1)]
    assert isinstance(parameter, Categorical)
    return [float(value) for value in range(len(parameter.choices))]


def _rungs(n_combinations: int, n_rounds: int, keep: float) -> list[tuple[int, int]]:
    """Combinations and rounds of each rung; the evaluations of all rungs are about the same."""
    sizes = [n_combinations]
    while sizes[-1] > 1:
        sizes.append(max(1, min(int(sizes[-1] * keep), sizes[-1] - 1)))
    unit = n_rounds / sum(1 / size for size in sizes)
    rungs = [(size, max(LEAST_ROUNDS, int(unit / size))) for size in sizes[:-1]]
    rest = n_rounds - sum(rounds for _, rounds in rungs)
    return [*rungs, (1, max(LEAST_ROUNDS, rest))]


def _score(arm: _Arm) -> float:
    """Mean of the later half of the rounds."""
    later = arm.values[len(arm.values) // 2 :]
    return sum(later) / len(later)
