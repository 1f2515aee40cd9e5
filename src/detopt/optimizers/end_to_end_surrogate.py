"""Descend a network that stands in for simulation and reconstruction, materials included."""

__all__ = ["EndToEndSurrogate"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.discrete_features import DiscreteFeatures
from detopt.optimizers.end_to_end_models import (
    ObjectiveModel,
    QuantityModel,
    SurrogateModel,
)
from detopt.optimizers.option_checks import (
    refuse_not_positive,
    refuse_not_whole,
    refuse_unknown,
)
from detopt.optimizers.trust_radius import TrustRadius
from detopt.pipeline import Problem
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed
from detopt.surrogates import KINDS, Training
from detopt.threads import one_thread

TARGETS = ("objective", "quantity")
FEWEST, MOST = 4, 12  # designs in a round beside its center
FIRST = 3  # times as many in the first one
RADIUS = TrustRadius(shortest=0.1, longest=3.0)
DESCENT = 20  # gradient steps to the lowest point within the radius
FIRST_SHARE, LAST_SHARE = 0.5, 0.05  # of the radius, that they are long
MOST_EXCHANGES = 24  # other choices that are tried in a round
EXPLORE, LEAST = 0.6, 0.2  # share of designs with another choice, first and last
SHORT = {"n_steps": 400, "n_warm_steps": 150, "batch": 512}


class EndToEndSurrogate(Optimizer):
    r"""A surrogate of what a study is about, learned again around each design.

    Each round evaluates the proposed design and others around it, some with another material or
    number. A network learns either the objective, or the reconstructed quantity event by event,
    from them and from earlier evaluations nearby; it goes on from the weights of the last round.
    The next proposal is its lowest point within a trust region in the continuous coordinates, over
    the present choice of discrete parameters and all that differ from it in one place:

    .. math::
        \min_{|t - t_0| \le \Delta,\; k \in N(k_0)} \hat L(t, k)

    The radius grows and shrinks with the share of the predicted gain that the next round's network
    confirms. Limits of the space hold for every design that is evaluated; costs are part of the
    objective.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        problem: What judges drawn rows; needed for `quantity`.
        target: `objective` learns the value of each evaluation, `quantity` the rows of its summary.
        generator: Kind of the surrogate of a quantity; a key of `detopt.surrogates.KINDS`.
        given: Fields of the summary that the design does not change, such as the true energy: the
            quantity is learned as a function of them.
        n_events: Events in each evaluation, or None for the problem's own number.
        radius: First radius of the trust region, in units of theta, > 0.
        batch: Designs in a round beside the center; by default the number of coordinates, from 4
            to 12. The first round has three times as many.
        training: Options of `Training`.
        warm: Whether a fit goes on from the last weights.
        seed: Seed of designs, weights and drawn rows.

    Raises:
        MethodError: An option is out of range, or the problem is missing.

    Note:
        It finds a local optimum of the choices, under exchanges of one. Verify the final design
        with the simulator, as a study does.

    References:
        K. Schmidt et al., Particles 8 (2025) 47, arXiv:2502.02152 (AIDO); arXiv:2503.14342
        (RECO-OPT).
    """

    accepts_discrete = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        problem: Problem | None = None,
        target: str = "objective",
        generator: str = "regression",
        given: Sequence[str] = (),
        n_events: int | None = None,
        radius: float = 0.5,
        batch: int | None = None,
        training: Mapping[str, Any] | None = None,
        warm: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        refuse_not_positive(radius=radius)
        refuse_not_whole(1, batch=batch)
        refuse_unknown("target", target, TARGETS)
        refuse_unknown("generator", generator, KINDS)
        if target == "quantity" and problem is None:
            raise MethodError("A surrogate of a quantity needs `problem`, which judges its rows.")
        self.n_events, self.target, self.warm = n_events, target, warm
        self.batch = max(FEWEST, min(space.n_free, MOST)) if batch is None else batch
        self.first_radius = self.radius = radius
        self._seed = Seed(int(seed)).child("end to end")
        self._features = DiscreteFeatures(space)
        effort = Training(**{**SHORT, **dict(training or {})})
        self._model: SurrogateModel
        if target == "quantity":
            assert problem is not None
            self._model = QuantityModel(
                problem, self._features, KINDS[generator], tuple(given), effort
            )
        else:
            self._model = ObjectiveModel(self._features, effort)
        self._proposal = self.theta.clone()
        self._gain = 0.0  # that the proposal is predicted to bring

    def ask(self) -> list[Request]:
        """The proposal, and designs around it of which some have another choice."""
        n = self.batch * (FIRST if self.round == 0 else 1)
        rng = self._seed.child(self.round, "designs").generator()
        done = min(1.0, self.round / self.n_rounds)
        explore = EXPLORE + (LEAST - EXPLORE) * done
        points = [self._proposal]
        smooth = self._features.continuous
        half_width = self.radius * math.sqrt(3 / max(1, int(smooth.sum())))
        for _ in range(n):
            away = 2 * torch.rand(self.space.n_free, generator=rng, dtype=torch.float64) - 1
            other = self._features.exchanged(self._proposal, explore, rng)
            points.append(torch.where(smooth, other + half_width * away, other))
        return [
            Request(
                self.space.admit(point, self.theta),
                ("round", self.round, i),
                n_events=self.n_events,
                rows=self.target == "quantity",
            )
            for i, point in enumerate(points)
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from the answers, move the center and the radius, and propose again."""
        good = self._answered(evaluations)
        self._model.keep(good)
        if not good:
            self._move(is_possible=False)
            self._proposal = self.theta.clone()
        if good and self._model.ready:
            with one_thread():
                rng = self._seed.child(self.round, "fit").generator()
                self._model.fit(self._proposal, self.radius, self.warm, rng)
                self._model.freeze_noise(self._seed.child(self.round, "drawn"))
                self._move(is_possible=not evaluations[0].failure)
                self._propose()
        self.round += 1

    def predict(self, theta: Float[Tensor, "k n_free"]) -> Float[Tensor, " k"]:
        """The surrogate of the objective, with the round's random numbers; differentiable.

        Raises:
            MethodError: There was no round yet.
        """
        return self._model.predict(theta)

    def _values(self, *points: Tensor) -> list[float]:
        with torch.no_grad():
            found: list[float] = self.predict(torch.stack(points)).tolist()
        return found

    def _move(self, is_possible: bool) -> None:
        """Take the proposal if the network says that it is better, and adapt the radius."""
        if bool((self._proposal == self.theta).all()):
            return
        if not is_possible:  # its own evaluation failed
            self.radius = RADIUS.shrunk(self.radius, self.first_radius)
            return
        at, before = self._values(self._proposal, self.theta)
        moved = float(self._features.distance(self._proposal, self.theta))
        self.radius = RADIUS.after(
            self.radius,
            self.first_radius,
            moved=moved,
            reached=at - before,
            promised=self._gain,
        )
        if at < before:
            self.theta = self._proposal.clone()

    def _propose(self) -> None:
        rng = self._seed.child(self.round, "exchanges").generator()
        starts = [self.theta, *self._features.neighbors(self.theta, MOST_EXCHANGES, rng)]
        starts = [self.space.project(start, self.theta) for start in starts]
        found = [self.space.project(one, self.theta) for one in self._descend(torch.stack(starts))]
        values = self._values(self.theta, *found)
        best = min(range(len(values)), key=values.__getitem__)
        self._proposal = (self.theta if best == 0 else found[best - 1]).detach().clone()
        self._gain = values[best] - values[0]

    def _descend(self, starts: Float[Tensor, "k n_free"]) -> Float[Tensor, "k n_free"]:
        """The lowest points on descents within the radius, in ever shorter steps."""
        smooth = self._features.continuous
        if not bool(smooth.any()):
            return starts
        points, best, best_values = starts, starts, torch.full((len(starts),), torch.inf).double()
        for i in range(DESCENT + 1):
            leaf = points.detach().clone().requires_grad_()
            with torch.enable_grad():
                values = self.predict(leaf)
                (slopes,) = torch.autograd.grad(values.sum(), leaf)
            better = values.detach() < best_values
            best = torch.where(better[:, None], points, best)
            best_values = torch.where(better, values.detach(), best_values)
            slopes = torch.where(smooth, slopes, 0.0)
            length = slopes.norm(dim=1, keepdim=True).clamp(min=1e-300)
            share = FIRST_SHARE * (LAST_SHARE / FIRST_SHARE) ** (i / DESCENT)
            away = points - share * self.radius * slopes / length - self.theta
            away = torch.where(smooth, away, 0.0)
            size = away.norm(dim=1, keepdim=True).clamp(min=1e-300)
            inside = self.theta + away * (self.radius / size).clamp(max=1.0)
            points = torch.where(smooth, inside, points)
        return best

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The present design."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """What was evaluated, the network, and where it is searched."""
        return super().state_dict() | {
            "model": self._model.state_dict(),
            "proposal": self._proposal.clone(),
            "radius": self.radius,
            "gain": self._gain,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._model.load_state_dict(state["model"])
        self._proposal = state["proposal"].clone()
        self.radius, self._gain = float(state["radius"]), float(state["gain"])
