"""Every combination of the discrete parameters, each with a search of its own."""

__all__ = ["Enumeration"]

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, DesignSpace, Integer, Parameter
from detopt.errors import DesignError, MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.successive_halving import Arm, rungs
from detopt.pipeline import Problem
from detopt.pipeline.evaluation import Evaluation, Request


class Enumeration(Optimizer):
    """Search the continuous parameters for every combination of the discrete ones, ever fewer.

    All combinations of whole numbers and categories begin together, each with a method of its own
    for the continuous parameters. The rounds are divided into rungs that cost about the same
    number of evaluations; the combinations with the lowest objectives go on to the next one, until
    a single one is left (successive halving). A round asks for the evaluations of all that are
    left. They share their random numbers where the method asks for the same streams, as `adam`
    does, so that they are ranked by the design and not by luck.

    A combination whose start breaks a limit begins at the nearest allowed design; one that has no
    allowed design near the start is left out, see `left_out`.

    Args:
        space: Design space with at least one continuous and one discrete parameter.
        n_rounds: Rounds that are planned; with few combinations left they are cheaper, and most of
            them belong to the last.
        method: Method for the continuous parameters.
        keep: Share of the combinations that goes on to the next rung, between 0 and 1.
        max_combinations: Number of combinations above which the method refuses.
        problem: The problem, for methods that need it.
        seed: Of the search, for methods that draw.
        **method_options: Options of `method`, such as `learning_rate`.

    Raises:
        MethodError: There are too many combinations or too few rounds, or nothing is discrete, or
            nothing continuous, or no combination can begin.

    Note:
        Exact where the best combination leads its rung after a few rounds of each.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943.
    """

    accepts_discrete = True
    has_leader = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        method: str = "adam",
        keep: float = 0.5,
        max_combinations: int = 256,
        problem: Problem | None = None,
        seed: int = 0,
        **method_options: Any,
    ) -> None:
        super().__init__(space, n_rounds)
        self.method, self.method_options = method, method_options
        self._problem, self._seed = problem, seed
        self._own = torch.tensor([not _is_discrete(p) for p in space.free for _ in range(p.n_free)])
        combinations = _combinations(space, max_combinations)
        self._rungs = rungs(len(combinations), n_rounds, keep, "combinations")
        self.left_out: list[dict[str, float]] = []
        begun = [(values, self._begin(values)) for values in combinations]
        self.left_out = [values for values, arm in begun if arm is None]
        self._all = [arm for _, arm in begun if arm is not None]
        if not self._all:
            raise MethodError(
                "No combination has an allowed design near the start. Move the start."
            )
        self._rung, self._left = 0, list(range(len(self._all)))
        self._counts: list[int] = []

    def _begin(self, values: Mapping[str, float]) -> Arm | None:
        """The arm of one combination, if it has an allowed start."""
        chosen = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        free = DesignSpace(self.space.parameters, self.space.frozen)
        fixed = free.theta({**self.space.start, **chosen})
        found = self.space.design(self.space.project(fixed, self.theta))
        if any(bool(found[name] != value) for name, value in chosen.items()):
            return None
        moved = [
            p if _is_discrete(p) or p.name in self.space.frozen else p.starting_at(found[p.name])
            for p in self.space.parameters
        ]
        try:
            inner = DesignSpace(moved, {**self.space.frozen, **chosen}, self.space.limits)
        except DesignError:  # rounding on the limit
            return None
        return Arm(fixed, self._own, self._search(inner))

    def _search(self, space: DesignSpace) -> Optimizer:
        from detopt.optimizers import METHODS, make  # the methods are listed there, this one too

        options = dict(self.method_options)
        if self.method in METHODS and "seed" in signature(METHODS[self.method]).parameters:
            options.setdefault("seed", self._seed)
        problem = None if self._problem is None else self._problem.with_space(space)
        total = sum(rounds for _, rounds in self._rungs)
        return make(self.method, space, total, options, problem)

    @property
    def _arms(self) -> list[Arm]:
        return [self._all[index] for index in self._left]

    def planned_evaluations(self) -> int:
        """Evaluations of all planned rounds, where every search asks for as many as at its start.

        The rounds become cheaper: a budget of evaluations pays for more rounds than the first one
        suggests.
        """
        if self.round:
            raise MethodError("The planned evaluations are counted before the first round.")
        each = [len(arm.search.ask()) for arm in self._all]
        return sum(rounds * sum(sorted(each)[-size:]) for size, rounds in self._rungs)

    def ask(self) -> list[Request]:
        """The evaluations that the searches of all combinations want that are left."""
        wanted = [[] if arm.search.finished else arm.search.ask() for arm in self._arms]
        self._counts = [len(requests) for requests in wanted]
        return [
            replace(request, theta=arm.outer(request.theta))
            for arm, requests in zip(self._arms, wanted, strict=True)
            for request in requests
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Hand out the answers; at the end of a rung the worse combinations are given up."""
        if len(evaluations) != sum(self._counts):
            raise MethodError(
                f"Expected {sum(self._counts)} answers, in the order of the requests, got "
                f"{len(evaluations)}."
            )
        answers = iter(evaluations)
        for index, count in zip(list(self._left), self._counts, strict=True):
            mine = [self._all[index].inner(one) for one in itertools.islice(answers, count)]
            if mine:
                self._tell(index, mine)
        self.round += 1
        while self._rung + 1 < len(self._rungs) and all(map(self._is_done, self._arms)):
            self._rung += 1
            ranked = sorted(self._left, key=lambda index: self._all[index].score)
            self._left = sorted(ranked[: self._rungs[self._rung][0]])
            for arm in self._arms:
                arm.values = []
        best = min(self._arms, key=lambda arm: arm.score)
        self.theta = best.recommend()

    def _tell(self, index: int, evaluations: Sequence[Evaluation]) -> None:
        """Tell one search; a combination that only fails is given up while there are others."""
        arm = self._all[index]
        arm.record(evaluations)
        try:
            arm.search.tell(evaluations)
        except MethodError:
            if len(self._left) == 1 or not all(one.failure for one in evaluations):
                raise
            self._left.remove(index)

    def _is_done(self, arm: Arm) -> bool:
        return arm.search.finished or len(arm.values) >= self._rungs[self._rung][1]

    @property
    def finished(self) -> bool:
        """Whether the search of the last combination has converged."""
        return all(arm.search.finished for arm in self._arms)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the search of the best combination left recommends."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The combinations that are left, with the states of their searches."""
        arms = [
            {"values": list(arm.values), "score": arm.score, "search": arm.search.state_dict()}
            for arm in self._arms
        ]
        return super().state_dict() | {"rung": self._rung, "left": list(self._left), "arms": arms}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._rung = int(state["rung"])
        self._left = [int(index) for index in state["left"]]
        for arm, stored in zip(self._arms, state["arms"], strict=True):
            arm.search.load_state_dict(stored["search"])
            arm.values = [float(value) for value in stored["values"]]
            arm.score = float(stored["score"])


def _is_discrete(parameter: Parameter) -> TypeGuard[Integer | Categorical]:
    return isinstance(parameter, (Integer, Categorical))


def _combinations(space: DesignSpace, most: int) -> list[dict[str, float]]:
    """Values of the discrete parameters, combination by combination."""
    discrete = [p for p in space.free if _is_discrete(p)]
    if not discrete or len(discrete) == len(space.free):
        kind = "discrete" if not discrete else "continuous"
        raise MethodError(
            f"Enumeration needs a free {kind} parameter, and there is none. Take "
            f"{'adam' if not discrete else 'grid'}."
        )
    levels = {
        p.name: range(p.low, p.high + 1) if isinstance(p, Integer) else range(len(p.choices))
        for p in discrete
    }
    n = math.prod(len(one) for one in levels.values())
    if n > most:
        raise MethodError(
            f"There are {n} combinations of {', '.join(levels)}, more than the {most} of "
            "`max_combinations`. Freeze some, or take bayesian or cma."
        )
    return [
        dict(zip(levels, map(float, values), strict=True))
        for values in itertools.product(*levels.values())
    ]
