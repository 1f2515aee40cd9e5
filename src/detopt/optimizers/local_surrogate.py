"""Descend a quadratic that is learned around the present design."""

__all__ = ["LocalSurrogate"]

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.gradients import GradientEstimate
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.option_checks import refuse_not_positive, refuse_not_whole
from detopt.optimizers.trust_radius import TrustRadius
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed
from detopt.surrogates import LocalQuadratic

FIRST = 8  # evaluations in the first round, at most
BATCH = 6  # in the later ones, at most
SPREAD = 0.5  # distance of the evaluations from the proposed center, in radii
REACH = 2.5  # radii within which past evaluations are used
RADIUS = TrustRadius(shortest=0.04, longest=4.0)
WIDEST = 2.0  # of the scatter, in units of that in the first round, where noise asks for more
IDLE, MAX_IDLE = 0.5, 4  # promised gain in standard errors, and rounds, before looking wider


class LocalSurrogate(Optimizer):
    r"""A trust region around the best design, in which a quadratic is learned from noisy values.

    Each round proposes the lowest point of the quadratic within the radius, and evaluates designs
    scattered around it in new directions, so that every evaluation tests the proposal and teaches
    the gradient there. All past evaluations nearby are used again. The proposal becomes the center
    if the quadratic that is learned with the new values says that it is lower; the radius grows
    where most of the predicted gain was reached and shrinks where little was, or where half of the
    round's evaluations failed: such a proposal is given up. Needs no gradients,
    and treats tens of dimensions with some ten evaluations: what they do not tell is taken as flat.

    Args:
        space: Design space, without discrete parameters.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        radius: First radius of the trust region, in units of theta, > 0.
        batch: Evaluations in a round, or None for half the dimensions, from 2 to 6.
        seed: Seed of the directions.

    References:
        A. R. Conn, K. Scheinberg and L. N. Vicente, Introduction to Derivative-Free Optimization
        (2009), chapter 10.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        radius: float = 0.5,
        batch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        refuse_not_positive(radius=radius)
        refuse_not_whole(1, batch=batch)
        n_free = space.n_free
        self.n_events = n_events
        self.batch = max(2, min(n_free // 2, BATCH)) if batch is None else batch
        self.first_radius = self.radius = radius
        self.last_estimate: GradientEstimate | None = None
        self._seed = Seed(int(seed)).child("local surrogate")
        self._known = torch.empty(0, n_free, dtype=torch.float64)
        self._values = torch.empty(0, 2, dtype=torch.float64)  # with their standard errors
        self._directions = torch.empty(0, n_free, dtype=torch.float64)
        self._proposal = self.theta.clone()
        self._spread = SPREAD * radius
        self._gain = 0.0  # that the proposal is predicted to bring
        self._value = math.inf  # at the center
        self._best, self._best_value = self.theta.clone(), math.inf  # of those looked away from
        self._n_idle = 0
        self._patience = MAX_IDLE

    def ask(self) -> list[Request]:
        """Designs around the proposal; the first round begins with the start itself."""
        points = [self._proposal] if self.round == 0 else []
        n_new = min(self.space.n_free, FIRST - 1) if self.round == 0 else self.batch
        signs = [(-1) ** i for i in range(n_new)]
        points += [
            self._proposal + sign * self._spread * direction
            for sign, direction in zip(signs, self._fresh(n_new), strict=True)
        ]
        return [
            Request(
                self.space.admit(point, self.theta),
                ("round", self.round, i),
                n_events=self.n_events,
            )
            for i, point in enumerate(points)
        ]

    def _fresh(self, n: int) -> Float[Tensor, "n d"]:
        """Random directions, orthogonal to each other and to the last ones as far as they fit."""
        n_free = self.space.n_free
        rng = self._seed.child(self.round).generator()
        used = self._directions[-(n_free - n) :] if n < n_free else self._directions[:0]
        drawn = torch.randn(n, n_free, generator=rng, dtype=torch.float64)
        found: list[Tensor] = []
        basis = list(used)
        for vector in drawn:
            if len(basis) >= n_free:
                basis = []
            rest = vector
            if basis:
                rows = torch.linalg.qr(torch.stack(basis).T)[0]
                rest = vector - rows @ (rows.T @ vector)
            direction = rest / rest.norm()
            found.append(direction)
            basis.append(direction)
        return torch.stack(found)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from the answers, move the center and the radius, and propose again."""
        good = self._answered(evaluations)
        n_new = min(self.space.n_free, FIRST - 1) if self.round == 0 else self.batch
        self._directions = torch.cat([self._directions, self._fresh(n_new)])[-self.space.n_free :]
        if good:
            self._keep(good)
        self.round += 1
        if not good and len(self._known):  # around a design that simulations can do
            nearest = int((self._known - self.theta).norm(dim=1).argmin())
            self.theta = self._known[nearest].clone()
        if len(self._known) >= 2:
            self._move(is_possible=2 * len(good) > len(evaluations))

    def _keep(self, evaluations: Sequence[Evaluation]) -> None:
        errors = [e.std_error if math.isfinite(e.std_error) else math.nan for e in evaluations]
        rows = [[e.value, error] for e, error in zip(evaluations, errors, strict=True)]
        points = torch.stack([e.request.theta for e in evaluations])
        self._known = torch.cat([self._known, points])
        self._values = torch.cat([self._values, torch.tensor(rows, dtype=torch.float64)])

    def _move(self, is_possible: bool) -> None:
        model = self._fit(self._proposal)
        moved = float((self._proposal - self.theta).norm())
        if not is_possible:
            self.radius = RADIUS.shrunk(self.radius, self.first_radius)
            model = self._fit(self.theta)
        elif moved > 0:
            reached = -model.change(self.theta)  # objective at the proposal less that at the center
            self.radius = RADIUS.after(
                self.radius, self.first_radius, moved=moved, reached=reached, promised=self._gain
            )
            if reached < 0:
                self.theta = self._proposal.clone()
            model = self._fit(self.theta)
        self.last_estimate = GradientEstimate(
            value=model.value,
            value_std_error=math.nan,
            gradient=model.gradient,
            gradient_std_error=model.gradient_std_error,
            n_evaluations=len(self._known),
        )
        self._value = model.value
        noise = float(self._values[:, 1].nan_to_num(model.prior.noise).median())
        slope = model.prior.slope / model.radius
        visible = noise / slope if slope > 0 else math.inf
        self._spread = max(SPREAD * self.radius, min(visible, SPREAD * WIDEST * self.first_radius))
        self._look_wider(model, noise)
        self._proposal = self.space.project(model.minimizer(self.radius), self.theta)
        self._gain = model.change(self._proposal)

    def _look_wider(self, model: LocalQuadratic, noise: float) -> None:
        """After some rounds that promised less than the noise, open the trust region again.

        The center still moves only to where the objective is lower; each time it takes twice as
        many idle rounds, which refine the center.
        """
        promised = -model.change(model.minimizer(self.radius))
        self._n_idle = self._n_idle + 1 if promised < IDLE * noise else 0
        if self._n_idle >= self._patience:
            self._patience *= 2
            if model.value < self._best_value:
                self._best, self._best_value = self.theta.clone(), model.value
            self._n_idle = 0
            self.radius = RADIUS.longest * self.first_radius
            self._spread = SPREAD * self.radius

    def _fit(self, center: Float[Tensor, " d"]) -> LocalQuadratic:
        """A quadratic around `center` from the evaluations nearby."""
        distance = (self._known - center).norm(dim=1)
        enough = min(len(distance), self.space.n_free + 2)
        length = max(self.radius, float(distance.sort().values[enough - 1]) / REACH)
        near = distance <= REACH * length
        values, errors = self._values[near].unbind(dim=1)
        return LocalQuadratic.fit(self._known[near], values, errors, center, length)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The center of the trust region, or an earlier one that was lower."""
        return self._best.clone() if self._best_value < self._value else self.theta.clone()

    def state_dict(self) -> StateDict:
        """All evaluations so far, the trust region and the proposal."""
        return super().state_dict() | {
            "known": self._known.clone(),
            "values": self._values.clone(),
            "directions": self._directions.clone(),
            "proposal": self._proposal.clone(),
            "gain": self._gain,
            "radius": self.radius,
            "spread": self._spread,
            "value": self._value,
            "best": self._best.clone(),
            "best_value": self._best_value,
            "n_idle": self._n_idle,
            "patience": self._patience,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._known, self._values = state["known"].clone(), state["values"].clone()
        self._directions = state["directions"].clone()
        self._proposal = state["proposal"].clone()
        self._gain, self.radius = float(state["gain"]), float(state["radius"])
        self._spread = float(state["spread"])
        self._value = float(state["value"])
        self._best, self._best_value = state["best"].clone(), float(state["best_value"])
        self._n_idle = int(state["n_idle"])
        self._patience = int(state["patience"])
