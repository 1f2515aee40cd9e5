"""Search from several designs, ever fewer, and settle relaxed choices on the way."""

__all__ = ["MultiStart"]

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace
from detopt.errors import DesignError, MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.relaxed_choices import Settling, exchanges, settle
from detopt.pipeline import Problem
from detopt.pipeline.evaluation import Evaluation, Request

LEAST_ROUNDS = 2  # of a search before it is judged
N_EXCHANGES = 4  # rounds in which other choices are tried
EXCHANGE_EVENTS = 2  # times the events of an evaluation: differences between choices are small
SAME = 1e-9  # of theta


@dataclass
class _Arm:
    """A search from one start, and what it has reached."""

    begin: Float[Tensor, " n_free"]  # theta of its start
    own: Tensor  # which entries of theta it moves
    search: Optimizer
    values: list[float] = field(default_factory=list)  # mean objective of each round of the rung
    score: float = math.inf

    def record(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the mean objective of a round; the score is the mean of the later half of them."""
        known = [one.value for one in evaluations if math.isfinite(one.value)]
        self.values.append(sum(known) / len(known) if known else math.inf)
        later = [value for value in self.values[len(self.values) // 2 :] if math.isfinite(value)]
        self.score = sum(later) / len(later) if later else math.inf

    def outer(self, theta: Float[Tensor, " n_own"]) -> Float[Tensor, " n_free"]:
        """Theta of the whole space."""
        found = self.begin.clone()
        found[self.own] = theta
        return found


class MultiStart(Optimizer):
    """Search from several starts, ever fewer, and settle relaxed choices on the way.

    1. Where parameters are relaxed choices (their domain is `Settling`), a search from the start
       of the space takes the first `relax` of the rounds, and its choices are settled: each
       becomes the nearest pure one.
    2. What it found, the start of the space with settled choices, and the problem's baselines
       race: each begins a search of its own that keeps its choices. The rounds are divided into
       rungs that cost about the same number of evaluations, and the searches with the lowest
       objectives go on to the next one, until a single one is left (successive halving). In each
       round all share their random numbers where the method asks for the same streams, as `adam`
       does, so that they are ranked by the design and not by luck.
    3. While the last one goes on, four rounds try what differs in one choice, and the best design
       of the round before, on the same events. The search goes on from the best of them, so that
       one that has lost its way returns.

    So a space that contains others, such as panels of several technologies each of which could be
    used alone, is searched from the good designs of all of them, if these are among the baselines.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        method: Method of each search.
        keep: Share of the searches that goes on to the next rung, between 0 and 1.
        relax: Share of the rounds for the relaxed choice, between 0 and 1.
        problem: The problem, whose baselines are starts; without it there is one start.
        seed: Of the searches, for methods that draw.
        **method_options: Options of `method`, such as `learning_rate`.

    Raises:
        MethodError: There are too few rounds, or a share is not between 0 and 1.

    Note:
        Baselines on a bound of a domain, where no search can begin, are left out.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943, for the halving.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        method: str = "adam",
        keep: float = 0.5,
        relax: float = 0.25,
        problem: Problem | None = None,
        seed: int = 0,
        **method_options: Any,
    ) -> None:
        super().__init__(space, n_rounds)
        for name, share in (("keep", keep), ("relax", relax)):
            if not 0 < share < 1:
                raise MethodError(f"`{name}` must lie between 0 and 1, got {share}.")
        self.method, self.method_options = method, method_options
        self._problem, self._seed = problem, seed
        self._choices = [
            p for p in space.free if isinstance(p, Continuous) and isinstance(p.domain, Settling)
        ]
        self._starts = self._other_starts()
        n_relaxed = max(LEAST_ROUNDS, round(relax * n_rounds)) if self._choices else 0
        n_arms = len(self._starts) + (1 if self._choices else 0)
        self._rungs = [(1, n_relaxed)] if self._choices else []
        self._rungs += _rungs(max(1, n_arms), n_rounds - n_relaxed, keep)
        self._rung, self._position = 0, 0
        self._stage = 0  # searches that begin anew have new random numbers
        self._anchor: Tensor | None = None  # the best of the last exchange
        self._counts: list[int] = []
        first = [self.theta] if self._choices else self._starts
        n_first = n_relaxed or n_rounds
        self._arms = [self._begin(theta, n_first, settles=False) for theta in first]

    def _other_starts(self) -> list[Tensor]:
        """Theta of the start and of the baselines with settled choices, without repetition."""
        designs: list[Mapping[str, Tensor]] = [self.space.start]
        if self._problem is not None:
            designs += self._problem.baselines.values()
        found: list[Tensor] = []
        for design in designs:
            try:
                theta = self.space.theta(self._settled(design))
            except DesignError:  # on a bound, or not in this space
                continue
            if all(float((theta - other).abs().max()) > SAME for other in found):
                found.append(theta)
        return found

    def _settled(self, design: Mapping[str, Tensor]) -> Design:
        """The design with pure choices."""
        pure = {p.name: settle(p, design[p.name]) for p in self._choices}
        return Design({**design, **pure})

    def _begin(self, theta: Tensor, n_rounds: int, *, settles: bool) -> _Arm:
        """A search from `theta`, which keeps its choices if they are settled."""
        design = self.space.design(theta).detach()
        choices = self._choices if settles else []
        frozen = {p.name: settle(p, design[p.name]) for p in choices}
        moved = [
            p if p.name in self.space.frozen or p.name in frozen else p.starting_at(design[p.name])
            for p in self.space.parameters
        ]
        inner = DesignSpace(moved, {**self.space.frozen, **frozen}, self.space.limits)
        own = torch.tensor([p.name not in frozen for p in self.space.free for _ in range(p.n_free)])
        return _Arm(theta.clone(), own, self._search(inner, n_rounds))

    def _search(self, space: DesignSpace, n_rounds: int) -> Optimizer:
        from detopt.optimizers import METHODS, make  # the methods are listed there, this one too

        options = dict(self.method_options)
        if self.method in METHODS and "seed" in signature(METHODS[self.method]).parameters:
            options.setdefault("seed", self._seed)
        problem = None if self._problem is None else self._problem.with_space(space)
        return make(self.method, space, n_rounds, options, problem)

    @property
    def _is_relaxed(self) -> bool:
        return bool(self._choices) and self._rung == 0

    @property
    def _exchange_rounds(self) -> set[int]:
        """Rounds of the last rung that try other choices."""
        last = self._rungs[-1][1] - 1
        if not self._choices or last < N_EXCHANGES:
            return set()
        return {round(i * last / (N_EXCHANGES - 1)) for i in range(N_EXCHANGES)}

    @property
    def _exchanges_now(self) -> bool:
        return self._rung + 1 == len(self._rungs) and self._position in self._exchange_rounds

    def planned_evaluations(self) -> int:
        """Evaluations of all planned rounds, if each search asks for as many as at its start."""
        each = max(len(arm.search.ask()) for arm in self._arms)
        n_exchanges, start = len(self._exchange_rounds), self.space.start
        others = sum(len(exchanges(p, start[p.name])) for p in self._choices)
        searched = sum(rounds * size for size, rounds in self._rungs) - n_exchanges
        return searched * each + n_exchanges * (2 + others)

    def ask(self) -> list[Request]:
        """The evaluations that the searches want that are left, or other choices."""
        if self._exchanges_now:
            return self._exchange_requests()
        wanted = [[] if arm.search.finished else arm.search.ask() for arm in self._arms]
        self._counts = [len(requests) for requests in wanted]
        stage = self._stage
        return [
            replace(
                request, theta=arm.outer(request.theta), stream=(*request.stream, "stage", stage)
            )
            for arm, requests in zip(self._arms, wanted, strict=True)
            for request in requests
        ]

    def _exchange_requests(self) -> list[Request]:
        arm = self._arms[0]
        here = arm.outer(arm.search.recommend())
        design = self.space.design(here).detach()
        thetas = [here]
        for parameter in self._choices:
            for other in exchanges(parameter, design[parameter.name]):
                found = self.space.theta(Design({**design, parameter.name: other}))
                if self.space.allows(found):
                    thetas.append(found)
        if self._anchor is not None:
            thetas.append(self._anchor)
        n_events = self.method_options.get("n_events")
        if n_events is None and self._problem is not None:
            n_events = self._problem.n_events
        self._counts = [len(thetas)]
        return [
            Request(
                theta,
                ("exchange", self.round),
                n_events=None if n_events is None else EXCHANGE_EVENTS * n_events,
                std_error=False,
            )
            for theta in thetas
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Hand out the answers; at the end of a rung the worse searches are given up."""
        if len(evaluations) != sum(self._counts):
            raise MethodError(
                f"Expected {sum(self._counts)} answers, in the order of the requests, got "
                f"{len(evaluations)}."
            )
        if self._exchanges_now:
            self._exchange(evaluations)
        else:
            self._hand_out(evaluations)
        self.round += 1
        self._position += 1
        rounds = self._rungs[self._rung][1]
        if self._rung + 1 < len(self._rungs) and (
            self._position >= rounds or all(arm.search.finished for arm in self._arms)
        ):
            self._next_rung()
        best = min(self._arms, key=lambda arm: arm.score)
        self.theta = best.outer(best.search.recommend())

    def _hand_out(self, evaluations: Sequence[Evaluation]) -> None:
        answers = iter(evaluations)
        lost = []
        for arm, count in zip(self._arms, self._counts, strict=True):
            mine = [_inner(arm, one) for one in itertools.islice(answers, count)]
            if not mine:
                continue
            arm.record(mine)
            try:
                arm.search.tell(mine)
            except MethodError:
                if not all(one.failure for one in mine):
                    raise
                lost.append(arm)
        left = [arm for arm in self._arms if not any(arm is one for one in lost)]
        if not left:
            raise MethodError("All searches had only failed evaluations. Look at the simulation.")
        self._arms = left

    def _next_rung(self) -> None:
        """The best go on; after the relaxed search, all that start with settled choices."""
        was_relaxed = self._is_relaxed
        self._rung, self._position = self._rung + 1, 0
        if was_relaxed:
            found = self.space.theta(
                self._settled(self.space.design(self._arms[0].search.recommend()).detach())
            )
            n_rounds = sum(rounds for _, rounds in self._rungs[1:])
            starts = [found, *self._starts]
            self._arms = [self._begin(theta, n_rounds, settles=True) for theta in starts]
            self._stage += 1
            return
        self._arms = sorted(self._arms, key=lambda arm: arm.score)[: self._rungs[self._rung][0]]
        for arm in self._arms:
            arm.values = []

    def _exchange(self, evaluations: Sequence[Evaluation]) -> None:
        """Go on from the best choice, or return to the one before if that was better."""
        known = [one for one in evaluations if math.isfinite(one.value)]
        if not known:
            return
        best = min(known, key=lambda one: one.value)
        old, theta = self._arms[0], best.request.theta
        returns = self._anchor is not None and best is evaluations[-1]
        self._anchor = theta.clone()
        if best is evaluations[0]:
            return
        left = max(1, self._rungs[-1][1] - self._position - 1)
        arm = self._begin(theta, left if returns else old.search.n_rounds, settles=True)
        arm.score = old.score
        if returns:
            self._stage += 1
        else:  # the same numbers beside another choice: the search goes on as it was
            arm.search.load_state_dict(old.search.state_dict())
        self._arms = [arm]

    @property
    def finished(self) -> bool:
        """Whether the last search has converged."""
        return self._rung + 1 == len(self._rungs) and all(a.search.finished for a in self._arms)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the best search that is left recommends."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The searches that are left, with their states."""
        arms = [
            {
                "begin": arm.begin.clone(),
                "settles": not bool(arm.own.all()),
                "n_rounds": arm.search.n_rounds,
                "values": list(arm.values),
                "score": arm.score,
                "search": arm.search.state_dict(),
            }
            for arm in self._arms
        ]
        return super().state_dict() | {
            "rung": self._rung,
            "position": self._position,
            "stage": self._stage,
            "anchor": None if self._anchor is None else self._anchor.clone(),
            "arms": arms,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._rung, self._position = int(state["rung"]), int(state["position"])
        self._stage = int(state["stage"])
        self._anchor = None if state["anchor"] is None else state["anchor"].clone()
        self._arms = []
        for stored in state["arms"]:
            arm = self._begin(
                stored["begin"], int(stored["n_rounds"]), settles=bool(stored["settles"])
            )
            arm.search.load_state_dict(stored["search"])
            arm.values = [float(value) for value in stored["values"]]
            arm.score = float(stored["score"])
            self._arms.append(arm)


def _inner(arm: _Arm, evaluation: Evaluation) -> Evaluation:
    """The answer in the coordinates of one search."""
    gradient, error = evaluation.gradient, evaluation.gradient_std_error
    return replace(
        evaluation,
        request=replace(evaluation.request, theta=evaluation.request.theta[arm.own]),
        gradient=None if gradient is None else gradient[arm.own],
        gradient_std_error=None if error is None else error[arm.own],
    )


def _rungs(n_arms: int, n_rounds: int, keep: float) -> list[tuple[int, int]]:
    """Searches and rounds of each rung; the evaluations of all rungs are about the same."""
    sizes = [n_arms]
    while sizes[-1] > 1:
        sizes.append(max(1, min(round(sizes[-1] * keep), sizes[-1] - 1)))
    if n_rounds < LEAST_ROUNDS * len(sizes):
        raise MethodError(
            f"{n_arms} starts need at least {LEAST_ROUNDS * len(sizes)} rounds beside the relaxed "
            f"ones, got {n_rounds}. Plan more, or lower `keep`."
        )
    unit = n_rounds / sum(1 / size for size in sizes)
    rungs = [(size, max(LEAST_ROUNDS, int(unit / size))) for size in sizes[:-1]]
    rest = n_rounds - sum(rounds for _, rounds in rungs)
    return [*rungs, (1, max(LEAST_ROUNDS, rest))]
