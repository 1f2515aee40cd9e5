"""Descend the objective of rows that a generative model of the simulator draws."""

__all__ = ["GenerativeSurrogate"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.option_checks import (
    refuse_not_positive,
    refuse_not_whole,
    refuse_unknown,
)
from detopt.optimizers.replay import Replay, summary_of
from detopt.optimizers.trust_radius import TrustRadius
from detopt.pipeline import Problem, Summary
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.pipeline.problem import Values
from detopt.random import Seed
from detopt.surrogates import (
    ConditionalDiffusion,
    ConditionalFlow,
    ConditionalGenerator,
    CramerGAN,
    LocalQuadratic,
    Training,
)
from detopt.surrogates.agreement import Agreement
from detopt.threads import one_thread

GENERATORS: Mapping[str, type[ConditionalGenerator]] = {
    "flow": ConditionalFlow,
    "gan": CramerGAN,
    "diffusion": ConditionalDiffusion,
}
STEPS = ("trust_region", "adam")
FEWEST, MOST = 4, 10  # designs in a round beside its center
FIRST = 15  # in the first one, at most
REACH = 2.0  # radii within which past evaluations are used again
CAPACITY = 300_000  # numbers in stored rows: about a megabyte
RADIUS = TrustRadius(shortest=0.2, longest=4.0)
DESCENT = 15  # gradient steps to the lowest point within the radius
FIRST_SHARE, LAST_SHARE = 0.5, 0.05  # of the radius, that they are long
BETAS, SMALL = (0.9, 0.999), 1e-8  # of Adam
SAME = 1e-4  # relative difference of two ways to the same number in single precision


class GenerativeSurrogate(Optimizer):
    r"""Local generative surrogate optimization (L-GSO).

    Each round evaluates a Latin hypercube of designs around the present one. A conditional
    generative model learns to draw the rows of the problem's summary, given theta, from these and
    from all stored rows nearby, beginning with the weights of the last round. The problem judges
    rows that the model draws: an objective that is differentiable in theta, whatever the simulator.

    The step is to its lowest point within the radius, which is taken back if the next round's
    model finds no gain (`trust_region`), or one of Adam (`adam`, as published, with a fixed box).
    Where simulations fail, Adam goes back to the nearest design that one could do, and box and
    steps become shorter.

    Args:
        space: Design space, without discrete parameters.
        n_rounds: Rounds that are planned.
        problem: What judges the drawn rows; without it, the mean of a value an event.
        n_events: Events in each evaluation, or None for the problem's own number.
        radius: Root mean square distance of the designs of the first round, in theta, > 0.
        batch: Designs in a round beside the center; by default half the dimensions, from 4 to 10.
        step: `trust_region` or `adam`.
        learning_rate: Of Adam, in units of theta, > 0.
        generator: `flow`, `gan` or `diffusion`.
        training: Options of `Training`.
        n_drawn: Rows that are drawn for a gradient, at least.
        warm: Whether a fit goes on from the last weights.
        seed: Seed of designs, weights and drawn rows.

    Raises:
        MethodError: An option is out of range; later, the rows cannot be modelled.

    Note:
        Objectives that are means of a value an event are learned from fewer calls and in less time
        by `local_surrogate`; `agreement` compares the two in each round.

    References:
        S. Shirobokov et al., Black-Box Optimization with Local Generative Surrogates,
        arXiv:2002.04632.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        problem: Problem | None = None,
        n_events: int | None = None,
        radius: float = 0.5,
        batch: int | None = None,
        step: str = "trust_region",
        learning_rate: float = 0.1,
        generator: str = "flow",
        training: Mapping[str, Any] | None = None,
        n_drawn: int = 10_000,
        warm: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        refuse_not_positive(radius=radius, learning_rate=learning_rate)
        refuse_not_whole(1, batch=batch, n_drawn=n_drawn)
        refuse_unknown("step", step, STEPS)
        refuse_unknown("generator", generator, GENERATORS)
        self.problem, self.n_events = problem, n_events
        self.batch = max(FEWEST, min(space.n_free // 2, MOST)) if batch is None else batch
        self.n_first = max(self.batch, min(space.n_free, FIRST)) if batch is None else batch
        self.step, self.learning_rate = step, learning_rate
        self.kind, self.training = GENERATORS[generator], Training(**dict(training or {}))
        self.n_drawn, self.warm = n_drawn, warm
        self.first_radius = self.radius = radius
        self.generator: ConditionalGenerator | None = None
        self.last_estimate: GradientEstimate | None = None
        self.agreement: Agreement | None = None
        self._seed = Seed(int(seed)).child("generative surrogate")
        self._replay = Replay(space.n_free, CAPACITY)
        self._like: Summary | None = None
        self._n_rows = 0  # of an evaluation
        self._proposal = self.theta.clone()
        self._gain = 0.0  # that the proposal is predicted to bring
        self._moments = torch.zeros(2, space.n_free, dtype=torch.float64)

    def ask(self) -> list[Request]:
        """The proposal and a Latin hypercube around it."""
        n = self.n_first if self.round == 0 else self.batch
        half_width = self.radius * math.sqrt(3 / self.space.n_free)
        cube = _latin_hypercube(n, self.space.n_free, self._rng("designs"))
        points = [self._proposal, *(self._proposal + half_width * (2 * cube - 1))]
        return [
            Request(
                self.space.admit(point, self.theta),
                ("round", self.round, i),
                n_events=self.n_events,
                rows=True,
            )
            for i, point in enumerate(points)
        ]

    def _rng(self, what: str) -> torch.Generator:
        return self._seed.child(self.round, what).generator()

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from the rows, and go to where the model draws better ones."""
        good = self._answered(evaluations)
        if not good:
            self._give_up()
        with one_thread():
            self._learn(good, is_possible=not evaluations[0].failure)
        self.round += 1

    def _give_up(self) -> None:
        """Look around the center again, more closely: nothing near the proposal could be done."""
        if self.step == "adam":
            self._step_back()
        elif bool((self._proposal != self.theta).any()):
            self.radius = RADIUS.shrunk(self.radius, self.first_radius)
            self._proposal, self._gain = self.theta.clone(), 0.0

    def _step_back(self) -> None:
        """Go to the nearest design that could be simulated; look closer and step less far."""
        if not len(self._replay):
            return
        nearest = int((self._replay.theta - self.theta).norm(dim=1).argmin())
        self.theta = self._proposal = self._replay.theta[nearest].clone()
        self.radius = RADIUS.shrunk(self.radius, self.first_radius)

    def _learn(self, good: Sequence[Evaluation], is_possible: bool) -> None:
        for evaluation in good:
            self._like = evaluation.rows
            self._n_rows = 0 if evaluation.rows is None else evaluation.rows.n_rows
        errors = self._unseen_errors(good)
        for evaluation in good:
            self._replay.append(evaluation)
            self._check_judgment(evaluation)
        if not good or len(self._replay) < 2:
            return
        near = self._replay.near(self._proposal, REACH * self.radius, self.space.n_free + 2)
        theta, rows = self._replay.examples(near)
        if self.generator is None:
            self.generator = self.kind(self.space.n_free, rows.shape[1], self.training)
        self.generator.fit(theta, rows, self._rng("fit"), self.warm)
        self._move(is_possible)
        self._compare(near, errors)
        self._propose()

    def objective(self, theta: Float[Tensor, " n_free"]) -> Float[Tensor, ""]:
        """The objective of drawn rows, with the round's random numbers; differentiable.

        Sets of as many rows as an evaluation has are judged one by one, and averaged.

        Raises:
            MethodError: There was no round yet.
        """
        if self.generator is None or self._like is None:
            raise MethodError("There is no surrogate before the first round is told.")
        n_sets = math.ceil(self.n_drawn / self._n_rows)
        rng = self._rng("drawn")
        given = theta.expand(n_sets * self._n_rows, -1)
        drawn = self.generator.sample(given, rng).split(self._n_rows)
        return torch.stack(
            [self._judge(summary_of(one, self._like), theta) for one in drawn]
        ).mean()

    def _judge(self, summary: Summary, theta: Tensor) -> Tensor:
        if self.problem is not None:
            design = self.space.design(theta).to(self.problem.dtype)
            return self.problem.judge(summary, design).objective.to(torch.float64)
        if not isinstance(summary, Values):
            raise MethodError(
                f"Rows of {type(summary).__name__} must be judged by the problem. Give `problem`."
            )
        return summary.value.to(torch.float64).mean()

    def _check_judgment(self, evaluation: Evaluation) -> None:
        """Without the problem, the mean of the values must be its objective."""
        if self.problem is None and evaluation.rows is not None:
            found = float(self._judge(evaluation.rows, evaluation.request.theta))
            if abs(found - evaluation.value) > SAME * (1 + abs(found)):
                raise MethodError(
                    f"The objective is {evaluation.value}, and not the mean {found} of the rows. "
                    "Give `problem`, which judges them."
                )

    def _value(self, theta: Tensor) -> float:
        with torch.no_grad():
            return float(self.objective(theta))

    def _slope(self, theta: Tensor) -> tuple[float, Tensor]:
        leaf = theta.clone().requires_grad_()
        with torch.enable_grad():
            value = self.objective(leaf)
            if not value.requires_grad:
                return float(value), torch.zeros_like(theta)
            (gradient,) = torch.autograd.grad(value, leaf)
        estimate = GradientEstimate(
            float(value.detach()), math.nan, gradient, torch.full_like(gradient, torch.nan), 0
        )
        self._refuse_broken(estimate)
        return estimate.value, gradient

    def _move(self, is_possible: bool) -> None:
        """Take the proposal if it is better than the center, and adapt the radius."""
        moved = float((self._proposal - self.theta).norm())
        if self.step == "adam":
            if not is_possible:  # nor is the design that it is at
                self._step_back()
        elif moved > 0 and not is_possible:  # its own evaluation failed
            self.radius = RADIUS.shrunk(self.radius, self.first_radius)
        elif moved > 0:
            reached = self._value(self._proposal) - self._value(self.theta)
            self.radius = RADIUS.after(
                self.radius, self.first_radius, moved=moved, reached=reached, promised=self._gain
            )
            if reached < 0:
                self.theta = self._proposal.clone()

    def _propose(self) -> None:
        value, gradient = self._slope(self.theta)
        self.last_estimate = GradientEstimate(
            value=value,
            value_std_error=math.nan,
            gradient=gradient,
            gradient_std_error=torch.full_like(gradient, torch.nan),
            n_evaluations=len(self._replay),
        )
        if self.step == "adam":
            self.theta = self._proposal = self.space.project(self._adam(gradient), self.theta)
            return
        self._proposal = self.space.project(self._lowest(value, gradient), self.theta)
        self._gain = self._value(self._proposal) - value

    def _lowest(self, value: float, gradient: Tensor) -> Tensor:
        """The lowest point on a descent within the radius, in ever shorter steps."""
        best, best_value = self.theta, value
        at = self.theta
        for i in range(DESCENT):
            length = float(gradient.norm())
            if length == 0:
                break
            share = FIRST_SHARE * (LAST_SHARE / FIRST_SHARE) ** (i / (DESCENT - 1))
            step = at - share * self.radius * gradient / length - self.theta
            at = self.theta + step * min(1.0, self.radius / max(float(step.norm()), 1e-300))
            found, gradient = self._slope(at)
            if found < best_value:
                best, best_value = at, found
        return best

    def _adam(self, gradient: Tensor) -> Tensor:
        first, second = self._moments
        first = torch.lerp(gradient, first, BETAS[0])
        second = torch.lerp(gradient.square(), second, BETAS[1])
        self._moments = torch.stack([first, second])
        n = self.round + 1
        mean, square = first / (1 - BETAS[0] ** n), second / (1 - BETAS[1] ** n)
        rate = self.learning_rate * (self.radius / self.first_radius)
        moved: Tensor = self.theta - rate * mean / (square.sqrt() + SMALL)
        return moved

    def _quadratic(self, chosen: Tensor) -> LocalQuadratic:
        values, errors = self._replay.values[chosen].unbind(dim=1)
        points = self._replay.theta[chosen]
        return LocalQuadratic.fit(points, values, errors, self.theta, self.radius)

    def _unseen_errors(self, good: Sequence[Evaluation]) -> tuple[float, float, float]:
        """Errors of both surrogates at designs before they learn from them, and the noise."""
        if self.generator is None or not good or len(self._replay) < 2:
            return math.nan, math.nan, math.nan
        near = self._replay.near(self._proposal, REACH * self.radius, self.space.n_free + 2)
        model = self._quadratic(near)
        points = [e.request.theta for e in good]
        truth = torch.tensor([e.value for e in good], dtype=torch.float64)
        drawn = torch.tensor([self._value(p) for p in points], dtype=torch.float64)
        fitted = torch.tensor([model.value + model.change(p) for p in points], dtype=torch.float64)
        noise = torch.tensor([e.std_error for e in good], dtype=torch.float64)
        found = [float(x.square().mean().sqrt()) for x in (drawn - truth, fitted - truth, noise)]
        return found[0], found[1], found[2]

    def _compare(self, near: Tensor, errors: tuple[float, float, float]) -> None:
        _, gradient = self._slope(self.theta)
        model = self._quadratic(near)
        self.agreement = Agreement(gradient, model.gradient, model.gradient_std_error, *errors)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The present design."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """Stored rows, the model, and where it is searched."""
        return super().state_dict() | {
            "replay": self._replay.state_dict(),
            "generator": {} if self.generator is None else self.generator.state_dict(),
            "proposal": self._proposal.clone(),
            "radius": self.radius,
            "gain": self._gain,
            "moments": self._moments.clone(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._replay.load_state_dict(state["replay"])
        self.generator = None
        if state["generator"]:
            n_columns = self._replay.rows[0].shape[1]
            self.generator = self.kind(self.space.n_free, n_columns, self.training)
            self.generator.load_state_dict(state["generator"])
        self._proposal = state["proposal"].clone()
        self.radius, self._gain = float(state["radius"]), float(state["gain"])
        self._moments = state["moments"].clone()


def _latin_hypercube(n: int, d: int, rng: torch.Generator) -> Float[Tensor, "n d"]:
    """Points in the unit cube, one in each of n slices of every axis."""
    slices = torch.stack([torch.randperm(n, generator=rng) for _ in range(d)], dim=1)
    return (slices + torch.rand(n, d, generator=rng, dtype=torch.float64)) / n
