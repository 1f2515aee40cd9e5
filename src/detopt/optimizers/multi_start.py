"""Search from several designs, ever fewer, and settle relaxed choices on the way."""

__all__ = ["MultiStart"]

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.comparison import Comparison, comparison_requests
from detopt.optimizers.settled_searches import SettledSearches, with_theta
from detopt.optimizers.successive_halving import LEAST_ROUNDS, Arm, rung_sizes, rungs
from detopt.pipeline import Problem
from detopt.pipeline.evaluation import Evaluation, Request

EXCHANGE_REPEATS = 8  # samples of events in which they are compared
FINAL_REPEATS = 16  # idem, for the designs of the last round
CERTAIN = 2.5  # standard errors by which another choice must be better


class MultiStart(Optimizer):
    """Search from several starts, ever fewer, and settle relaxed choices on the way.

    1. Where parameters are relaxed choices (their domain is `Settling`), a search from the start
       of the space takes the first `relax` of the rounds, and its choices are settled: each
       becomes the nearest pure one; a design that then breaks a limit is given up.
    2. What it found, the start of the space with settled choices, and the problem's baselines
       race: each begins a search of its own that keeps its choices. The rounds are divided into
       rungs that cost about the same number of evaluations, and the searches with the lowest
       objectives go on to the next one, until the `finalists` are left (successive halving). In
       each round all share their random numbers where the method asks for the same streams, as
       `adam` does, so that they are ranked by the design and not by luck.
    3. While the finalists go on, a few rounds compare the better of them with what differs from it
       in one choice and with the best design of the comparison before, in eight samples of events
       that all share. The search goes on from the best of them if that is better by 2.5 standard
       errors of the difference, so that noise does not lead it away, and a search that has lost
       its way returns.
    4. The last round compares what the finalists found, the best design of each comparison, and
       all starts, in sixteen samples. The one with the lowest mean is recommended: the end is not
       worse than a start, but for the noise of these samples.

    So a space that contains others, such as panels of several technologies each of which could be
    used alone, is searched from the good designs of all of them, if these are among the baselines.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        method: Method of each search.
        keep: Share of the searches that goes on to the next rung, between 0 and 1.
        relax: Share of the rounds for the relaxed choice, between 0 and 1.
        exchanges: Rounds in which other choices are tried, >= 0.
        finalists: Searches that go on to the end, >= 1. One alone is chosen before it has
            converged, by fewer rounds.
        problem: The problem, whose baselines are starts; without it there is one start.
        seed: Of the searches, for methods that draw.
        **method_options: Options of `method`, such as `learning_rate`.

    Raises:
        MethodError: There are too few rounds, or a share is not between 0 and 1.

    Note:
        Baselines on a bound of a domain or above a limit, where no search can begin, are left out.
        A comparison costs a sample of events, of the size of one evaluation, times the number of
        designs.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943, for the halving.
    """

    has_leader = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        method: str = "adam",
        keep: float = 0.5,
        relax: float = 0.25,
        exchanges: int = 2,
        finalists: int = 2,
        problem: Problem | None = None,
        seed: int = 0,
        **method_options: Any,
    ) -> None:
        super().__init__(space, n_rounds)
        if not 0 < relax < 1:
            raise MethodError(f"`relax` must lie between 0 and 1, got {relax}.")
        if exchanges < 0:
            raise MethodError(f"`exchanges` must be >= 0, got {exchanges}.")
        if finalists < 1:
            raise MethodError(f"`finalists` must be >= 1, got {finalists}.")
        self.method, self.method_options = method, method_options
        self._searches = SettledSearches(space, method, method_options, problem, seed)
        self._choices = self._searches.choices
        self._starts = self._searches.starts()
        if not self._starts:
            raise MethodError(
                "Neither the start of the space nor a baseline is allowed with settled choices. "
                "Start from a pure choice that keeps the limits."
            )
        n_arms = len(self._starts) + (1 if self._choices else 0)
        n_relaxed, n_raced = self._divided(n_rounds, relax)
        least = LEAST_ROUNDS * len(rung_sizes(n_arms, keep, finalists))
        if n_raced < least:
            plans = itertools.count(n_rounds)
            needed = next(n for n in plans if self._divided(n, relax)[1] >= least)
            raise MethodError(
                f"`multi_start` with {n_arms} starts needs at least {needed} rounds, got "
                f"{n_rounds}. Plan more, or lower `keep`."
            )
        self._rungs = [(1, n_relaxed)] if self._choices else []
        self._rungs += rungs(n_arms, n_raced, keep, "starts", finalists)
        self._n_exchanges = exchanges
        self._rung, self._position = 0, 0
        self._stage = 0  # searches that begin anew have new random numbers
        self._anchors: list[Tensor] = []  # the best designs of the exchanges
        self._is_over = False
        self._counts: list[int] = []
        first = [self.theta] if self._choices else self._starts
        n_first = n_relaxed or n_rounds - 1
        self._arms = [self._searches.begin(theta, n_first, settles=False) for theta in first]

    def _divided(self, n_rounds: int, relax: float) -> tuple[int, int]:
        """Rounds of the relaxed choice and of the race; the last one compares."""
        n_relaxed = max(LEAST_ROUNDS, round(relax * n_rounds)) if self._choices else 0
        return n_relaxed, n_rounds - n_relaxed - 1

    @property
    def _is_relaxed(self) -> bool:
        return bool(self._choices) and self._rung == 0

    @property
    def _is_last_rung(self) -> bool:
        return self._rung + 1 == len(self._rungs)

    @property
    def _exchange_rounds(self) -> set[int]:
        """Rounds of the last rung that try other choices."""
        n_rounds, n_pieces = self._rungs[-1][1], self._n_exchanges + 1
        if not self._choices or n_rounds < 2 * n_pieces:
            return set()
        return {n_rounds * i // n_pieces for i in range(1, n_pieces)}

    @property
    def _leader(self) -> Arm:
        """The search with the lowest objective of the last rounds."""
        return min(self._arms, key=lambda arm: arm.score)

    @property
    def _concludes_now(self) -> bool:
        over = self._position >= self._rungs[-1][1] or all(a.search.finished for a in self._arms)
        return self._is_last_rung and over

    @property
    def _exchanges_now(self) -> bool:
        return self._is_last_rung and self._position in self._exchange_rounds

    def planned_evaluations(self) -> int:
        """Evaluations of all planned rounds, if each search asks for as many as at its start."""
        each = max(len(arm.search.ask()) for arm in self._arms)
        n_exchanges = len(self._exchange_rounds)
        others = len(self._searches.exchanged(self._starts[0])) if self._choices else 0
        searched = sum(rounds * size for size, rounds in self._rungs)
        searched -= n_exchanges * self._rungs[-1][0]
        compared = n_exchanges * (others + 1) + sum(range(n_exchanges))
        return (
            searched * each + EXCHANGE_REPEATS * compared + FINAL_REPEATS * self._most_candidates()
        )

    def _most_candidates(self) -> int:
        """Designs of the last round, if all differ."""
        return self._rungs[-1][0] + len(self._exchange_rounds) + len(self._starts)

    def ask(self) -> list[Request]:
        """The evaluations that the searches want that are left, or a comparison."""
        if self._concludes_now:
            return self._compare(self._final_designs(), ("final",), FINAL_REPEATS)
        if self._exchanges_now:
            stream = ("exchange", self.round)
            return self._compare(self._exchange_designs(), stream, EXCHANGE_REPEATS)
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

    def _compare(
        self, thetas: Sequence[Tensor], stream: tuple[int | str, ...], n_repeats: int
    ) -> list[Request]:
        self._counts = [n_repeats * len(thetas)]
        n_events = self.method_options.get("n_events")
        return comparison_requests(thetas, stream, n_repeats, n_events)

    def _final_designs(self) -> list[Tensor]:
        """What was found, and what it must not be worse than."""
        found: list[Tensor] = []
        for theta in (
            *(arm.recommend() for arm in self._arms),
            *self._anchors,
            *self._starts,
        ):
            found = with_theta(found, theta)
        return found

    def _exchange_designs(self) -> list[Tensor]:
        """Where the best search is, what differs in one choice, and the best of the past."""
        here = self._leader.recommend()
        return [here, *self._searches.exchanged(here), *self._anchors]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Hand out the answers; at the end of a rung the worse searches are given up."""
        if len(evaluations) != sum(self._counts):
            raise MethodError(
                f"Expected {sum(self._counts)} answers, in the order of the requests, got "
                f"{len(evaluations)}."
            )
        self.round += 1
        if self._concludes_now:
            self._conclude(Comparison.of(evaluations, FINAL_REPEATS))
            return
        if self._exchanges_now:
            self._exchange(Comparison.of(evaluations, EXCHANGE_REPEATS))
        else:
            self._hand_out(evaluations)
        self._position += 1
        is_over = self._position >= self._rungs[self._rung][1]
        if not self._is_last_rung and (is_over or all(a.search.finished for a in self._arms)):
            self._next_rung()
        self.theta = self._leader.recommend()

    def _hand_out(self, evaluations: Sequence[Evaluation]) -> None:
        answers = iter(evaluations)
        lost = []
        for arm, count in zip(self._arms, self._counts, strict=True):
            mine = [arm.inner(one) for one in itertools.islice(answers, count)]
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
            relaxed = self.space.design(self._arms[0].recommend()).detach()
            found = self._searches.theta_of(self._searches.settled(relaxed))
            n_rounds = sum(rounds for _, rounds in self._rungs[1:])
            starts = self._starts if found is None else [found, *self._starts]
            self._arms = [self._searches.begin(theta, n_rounds, settles=True) for theta in starts]
            self._stage += 1
            return
        ranked = sorted(self._arms, key=lambda arm: arm.score)
        size = self._rungs[self._rung][0]
        self._arms = ranked[:size]
        for arm in self._arms:
            arm.values = []

    def _exchange(self, found: Comparison) -> None:
        """Go on from the best choice or a design of the past, if it is better for certain."""
        best = found.best
        if not found.gain(best) > CERTAIN:
            best = 0
        theta = found.thetas[best]
        returns = best >= len(found.thetas) - len(self._anchors)
        self._anchors = [*self._anchors, theta.clone()]
        if best == 0:
            return
        old = self._leader
        left = max(1, self._rungs[-1][1] - self._position - 1)
        arm = self._searches.begin(theta, left if returns else old.search.n_rounds, settles=True)
        arm.score = old.score
        if returns:
            self._stage += 1
        else:  # the same numbers beside another choice: the search goes on as it was
            arm.search.load_state_dict(old.search.state_dict())
        self._arms = [arm if one is old else one for one in self._arms]
        for one in self._arms:  # from here on both are judged by the same rounds
            one.values = []

    def _conclude(self, found: Comparison) -> None:
        """Recommend the best of all."""
        self._is_over = True
        if math.isfinite(found.means[found.best]):
            self.theta = found.thetas[found.best].clone()

    @property
    def finished(self) -> bool:
        """Whether the last comparison is done."""
        return self._is_over

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the best search that is left recommends, at last the best of all designs."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The searches that are left, with their states."""
        return super().state_dict() | {
            "rung": self._rung,
            "position": self._position,
            "stage": self._stage,
            "anchors": [theta.clone() for theta in self._anchors],
            "is_over": self._is_over,
            "arms": [arm.state_dict() for arm in self._arms],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._rung, self._position = int(state["rung"]), int(state["position"])
        self._stage, self._is_over = int(state["stage"]), bool(state["is_over"])
        self._anchors = [theta.clone() for theta in state["anchors"]]
        self._arms = [self._searches.resume(stored) for stored in state["arms"]]
