"""Bayesian optimization in a trust region, for many dimensions."""

__all__ = ["TrustRegionBayesian"]

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.optimizers.base import StateDict
from detopt.optimizers.gaussian_process import Outcomes, fit
from detopt.optimizers.isolation import isolated
from detopt.optimizers.model_based import ModelBased
from detopt.optimizers.unit_cube import EDGE, no_room
from detopt.pipeline.evaluation import Evaluation
from detopt.random import Seed

LENGTH, LONGEST, SHORTEST = 0.8, 1.6, 0.5**7  # of the region's side, in units of the cube
MAX_SUCCESSES = 3  # better rounds in a row before the region doubles
GAIN = 1e-3  # of the spread of the values, by which a round must be better
N_CANDIDATES = 1_000  # among which a sample of the posterior is minimized
N_DRAWN_BACK = 64  # candidates that are drawn back onto the limits they break
N_MOVED = 20  # coordinates in which a candidate leaves the center, on average at most
MAX_FITTED = 200  # evaluations in a model: the nearest to the center

_Modelled = tuple[float, float, int]  # violation and objective of a record, and its index


class TrustRegionBayesian(ModelBased):
    r"""A Gaussian process in a region around the best design, which grows and shrinks.

    Each round draws functions from the posterior of a Gaussian process and evaluates the lowest
    point of each within a box around the best design (Thompson sampling). The box is longer where
    the model is flat. It doubles after three better rounds and halves after as many worse ones as
    there are coordinates for a batch; when it has collapsed, the search begins again elsewhere.
    Where the outcome has constraints, a draw's lowest point is sought among those that keep them,
    or its least violation. Levels of discrete parameters are drawn anew in some candidates; limits
    of the space are kept by every candidate.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round after the first, >= 1.
        n_initial: Designs in the first round of each region, >= 2, or None for twice the
            coordinates, from 4 to 20.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        seed: Seed of the search itself.

    References:
        D. Eriksson et al., arXiv:1910.01739. D. Eriksson and M. Poloczek, arXiv:2002.08526.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        batch: int = 8,
        n_initial: int | None = None,
        reach: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds, n_events, batch, n_initial, reach)
        self.length = LENGTH
        self.n_restarts = 0
        self._seed = Seed(int(seed)).child("trust region")
        self._first = 0  # record where the present region begins
        self._successes = 0
        self._failures = 0
        self._model: tuple[Outcomes, Tensor] | None = None
        self._here: _Modelled | None = None  # best of the present region
        self._past: _Modelled | None = None  # best of the regions before

    def _thetas(self) -> Float[Tensor, "n n_free"]:
        """Designs over the whole space where a region begins, else within the region."""
        if self._first < len(self.records):
            return self.cube.theta(self._draw())
        n_new = self.n_initial - (self.n_restarts == 0)
        rows = self.cube.sobol(n_new, self._seed.child("initial", self.n_restarts))
        thetas = self.cube.theta(rows)
        return thetas if self.n_restarts else torch.cat([self.theta[None], thetas])

    def _own(self) -> Bool[Tensor, " n"]:
        """Which records belong to the present region."""
        return torch.arange(len(self.records)) >= self._first

    def _fitted(self) -> tuple[Outcomes, Tensor]:
        """A model of the region's records near its best, and their indices."""
        if self._model is None:
            own = self._own()
            index = own.nonzero().flatten()
            if len(index) > MAX_FITTED:
                unit = self.cube.unit(self.records.thetas[index])
                lowest = torch.where(
                    self.records.answered[index], self._raw(index), torch.inf
                ).argmin()
                distance = (unit - unit[lowest]).norm(dim=1)
                index = index[distance.argsort(stable=True)[:MAX_FITTED].sort().values]
            rows = torch.zeros(len(self.records), dtype=torch.bool)
            rows[index] = True
            seed = self._seed.child("fit", len(self.records))
            self._model = fit(self.records, self.cube, seed, single=True, rows=rows), index
        return self._model

    def _raw(self, index: Tensor) -> Tensor:
        """The objective, above all others where a constraint is broken."""
        values, violation = self.records.values[index], self.records.violation[index]
        return _ranked(values, violation)

    def _modelled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Modelled objective and violation of each of the model's records, and their indices."""
        outcomes, index = self._fitted()
        mean = outcomes.mean(outcomes.features)
        violation = mean[:, 1:].clamp(min=0).sum(dim=1)
        violation = torch.where(self.records.answered[index], violation, torch.inf)
        return mean[:, 0], violation, index

    def _levels(self) -> tuple[Tensor, Tensor]:
        """What the model thinks of each of its records, and their indices."""
        values, violation, index = self._modelled()
        return _ranked(values, violation), index

    def _draw(self) -> Float[Tensor, "batch n"]:
        outcomes, index = self._fitted()
        levels, _ = self._levels()
        center = self.cube.unit(self.records.thetas[index[levels.argmin()]])
        seed = self._seed.child("draw", self.round)
        candidates = self._candidates(center, outcomes, seed)
        with isolated(seed), torch.no_grad():
            posterior = outcomes.model.posterior(self.cube.features(candidates))
            samples = posterior.rsample(torch.Size([self.batch])).detach()
        samples = outcomes.center + outcomes.scale * samples
        chosen: list[int] = []
        for sample in samples:
            rank = _ranked(sample[:, 0], sample[:, 1:].clamp(min=0).sum(dim=1))
            rank[chosen] = torch.inf
            chosen.append(int(rank.argmin()))
        return candidates[chosen]

    def _candidates(self, center: Tensor, outcomes: Outcomes, seed: Seed) -> Float[Tensor, "k n"]:
        """Allowed points of the box, each of which leaves the center in some coordinates."""
        half = self.length / 2 * self._widths(outcomes)
        low, high = (center - half).clamp(min=EDGE), (center + half).clamp(max=1 - EDGE)
        number = seed.number % 2**31
        engine = torch.quasirandom.SobolEngine(self.cube.n, scramble=True, seed=number)
        rng = seed.generator()
        share = min(1.0, N_MOVED / self.cube.n)
        found = center.new_empty(0, self.cube.n)
        for _ in range(10):
            drawn = engine.draw(N_CANDIDATES, dtype=torch.float64)
            moved = torch.rand(drawn.shape, generator=rng, dtype=torch.float64) < share
            forced = torch.randint(self.cube.n, (len(drawn),), generator=rng)
            moved[torch.arange(len(drawn)), forced] = True
            target = torch.where(self.cube.is_discrete, drawn, low + (high - low) * drawn)
            fewer = torch.rand(drawn.shape, generator=rng, dtype=torch.float64) < self.length
            moved = moved & (fewer | ~self.cube.is_discrete)  # a small region changes few levels
            points = self.cube.snap(torch.where(moved, target, center))
            found = torch.cat([found, self._inside(points, center)])
            if len(found) >= max(self.batch, N_CANDIDATES // 2):
                break
        if len(found) < self.batch:
            raise no_room(len(found), self.batch)
        return found[:N_CANDIDATES]

    def _inside(self, points: Tensor, center: Tensor) -> Tensor:
        """The allowed points; some of those outside are drawn back towards the center."""
        if not self.space.limits:
            return points
        anchor = self.cube.theta(center)
        some = self.cube.theta(points[:N_DRAWN_BACK])
        moved = torch.stack([self.space.admit(theta, anchor) for theta in some])
        return self.cube.allowed(torch.cat([self.cube.unit(moved), points[N_DRAWN_BACK:]]))

    def _widths(self, outcomes: Outcomes) -> Float[Tensor, " n"]:
        """The sides of the box relative to each other: the scales of the model."""
        kernel = outcomes.model.models[0].covar_module
        scales = getattr(kernel, "base_kernel", kernel).lengthscale.detach().flatten()
        found, position = [], 0
        for levels, category in zip(self.cube.n_levels, self.cube.is_category, strict=True):
            width = levels if category else 1
            found.append(scales[position : position + width].mean())
            position += width
        widths = torch.stack(found).to(torch.float64)
        return widths / widths.log().mean().exp()

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the answers, learn from them and change the region."""
        begins = self._first == len(self.records)
        n_before = len(self.records)
        self.records.add(evaluations)
        self._model = None
        self.round += 1
        if not bool(self.records.answered[self._own()].any()):
            self._restart()
            return
        levels, index = self._levels()
        if not begins:
            self._resize(levels, index >= n_before)
        self.theta = self._best()
        if self.length < SHORTEST:
            self._restart()

    def _resize(self, levels: Tensor, new: Tensor) -> None:
        old = levels[~new & torch.isfinite(levels)]
        spread = float(old.std()) if len(old) > 1 else 0.0
        before = float(old.min()) if len(old) else math.inf
        after = float(levels[new].min()) if bool(new.any()) else math.inf
        better = after < before - GAIN * spread
        self._successes = self._successes + 1 if better else 0
        self._failures = 0 if better else self._failures + 1
        if self._successes >= MAX_SUCCESSES:
            self.length, self._successes = min(2 * self.length, LONGEST), 0
        elif self._failures >= math.ceil(max(4, self.cube.n) / self.batch):
            self.length, self._failures = self.length / 2, 0

    def _best(self) -> Float[Tensor, " n_free"]:
        """The region's best, or that of an earlier region where it was lower, both as modelled."""
        values, violation, index = self._modelled()
        i = int(_ranked(values, violation).argmin())
        self._here = float(violation[i]), float(values[i]), int(index[i])
        best = self._here if self._past is None else min(self._here, self._past)
        return self.records.thetas[best[2]].clone()

    def _restart(self) -> None:
        ended = [one for one in (self._past, self._here) if one is not None]
        self._past, self._here = min(ended, default=None), None
        self._first = len(self.records)
        self.n_restarts += 1
        self.length, self._successes, self._failures = LENGTH, 0, 0
        self._model = None

    def state_dict(self) -> StateDict:
        """All evaluations so far and the region."""
        return super().state_dict() | {
            "length": self.length,
            "n_restarts": self.n_restarts,
            "first": self._first,
            "successes": self._successes,
            "failures": self._failures,
            "here": [] if self._here is None else list(self._here),
            "past": [] if self._past is None else list(self._past),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self.length = float(state["length"])
        self.n_restarts, self._first = int(state["n_restarts"]), int(state["first"])
        self._successes, self._failures = int(state["successes"]), int(state["failures"])
        self._model = None
        self._here, self._past = (_unpacked(state[name]) for name in ("here", "past"))


def _unpacked(numbers: Sequence[Any]) -> _Modelled | None:
    """What `state_dict` stores of a design: violation, value and index, or nothing."""
    if not numbers:
        return None
    violation, value, index = numbers
    return float(violation), float(value), int(index)


def _ranked(values: Tensor, violation: Tensor) -> Tensor:
    """The values, above all of them where there is a violation."""
    worst = values.nan_to_num(nan=-torch.inf).max()
    return torch.where(violation > 0, worst + violation, values).nan_to_num(nan=torch.inf)
