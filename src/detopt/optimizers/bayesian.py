"""Bayesian optimization of one or several objectives, through the package `botorch`."""

__all__ = ["Bayesian", "BayesianPareto"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.acquisition import propose
from detopt.optimizers.base import StateDict
from detopt.optimizers.gaussian_process import Outcomes, fit
from detopt.optimizers.model_based import ModelBased
from detopt.optimizers.pareto import non_dominated, reference_point
from detopt.optimizers.sampled_front import propose_front
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed

ACQUISITIONS = ("sample", "improvement")
N_ANCHORS = 3  # best designs around which the search is finer


class Bayesian(ModelBased):
    r"""Learn a Gaussian process of the objective and evaluate where it promises most.

    The first round spreads designs over the space, the start among them. Then each round fits a
    Gaussian process to everything known and proposes the maximum of the noisy expected
    improvement. The noise is the standard error of the evaluations where it is known, so that each
    design has its own random numbers. Constraints of the outcome have a model each, and the
    improvement is weighted with the probability that they hold. Limits of the space are
    constraints of the search for the maximum. Takes whole numbers (rounded) and categories
    (indicators), of which combinations are searched by neighbors. Best below some twenty
    parameters and some hundred evaluations: the time of a fit rises as the cube of their number.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round after the first, >= 1.
        n_initial: Designs in the first round, >= 2, or None for twice the coordinates, from 4
            to 20.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        common: Whether all designs share their random numbers.
        seed: Seed of the search itself.

    References:
        S. Ament et al., arXiv:2310.20708 (acquisition). C. Hvarfner et al., arXiv:2402.02229
        (priors).
    """

    single: ClassVar[bool] = True  # whether several objectives are one, as the problem adds them

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        batch: int = 4,
        n_initial: int | None = None,
        reach: float = 4.0,
        common: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds, n_events, batch, n_initial, reach)
        self.common = bool(common)
        self.reference: dict[str, float] = {}
        self._seed = Seed(int(seed)).child("bayesian")
        self._model: Outcomes | None = None

    def ask(self) -> list[Request]:
        """The designs of this round, with random numbers of their own or common ones."""
        requests = super().ask()
        if self.common:
            requests = [replace(one, stream=("common",), std_error=False) for one in requests]
        return requests

    def _thetas(self) -> Float[Tensor, "n n_free"]:
        if self.round:
            return self.cube.theta(self._promising())
        spread = self.cube.sobol(self.n_initial - 1, self._seed.child("initial"))
        return torch.cat([self.theta[None], self.cube.theta(spread)])

    def _outcomes(self) -> Outcomes:
        if self._model is None:
            seed = self._seed.child("fit", len(self.records))
            rows = torch.ones(len(self.records), dtype=torch.bool)
            single = self.single or len(self.records.objective_names) == 1
            self._model = fit(self.records, self.cube, seed, single=single, rows=rows)
        return self._model

    def _promising(self) -> Float[Tensor, "batch n"]:
        outcomes = self._outcomes()
        mean = outcomes.mean(outcomes.features)
        order = self._badness(mean, outcomes.n_objectives).argsort(stable=True)[:N_ANCHORS]
        anchors = self.cube.unit(self.records.thetas[order])
        reference = self._reference(mean, outcomes) if outcomes.n_objectives > 1 else None
        seed = self._seed.child("propose", self.round)
        return propose(outcomes, self.cube, self.batch, anchors, reference, seed)

    def _badness(self, mean: Float[Tensor, "n k"], n_objectives: int) -> Float[Tensor, " n"]:
        """The modelled objective where the constraints hold, else above all those by violation."""
        violation = mean[:, n_objectives:].clamp(min=0).sum(dim=1)
        level = mean[:, 0]
        if n_objectives > 1:  # the problem's own sum orders the front
            front = non_dominated(mean[:, :n_objectives])
            answered = self.records.answered
            level = torch.where(answered, self.records.values, self.records.values[answered].max())
            level = level + torch.where(front, 0.0, (level.max() - level.min()) + 1)
        level = torch.where(self.records.answered, level, level.max())
        worst = torch.where(violation > 0, level.max() + violation, level)
        return torch.where(self.records.answered, worst, torch.inf)

    def _reference(self, mean: Float[Tensor, "n k"], outcomes: Outcomes) -> Float[Tensor, " m"]:
        n = outcomes.n_objectives
        feasible = (mean[:, n:] <= 0).all(dim=1) & self.records.answered
        values = mean[feasible, :n] if bool(feasible.any()) else mean[self.records.answered, :n]
        found = reference_point(values[non_dominated(values)])
        if len(values) < 3:  # hardly a front yet: everything that was seen counts
            found = torch.maximum(found, mean[:, :n].amax(dim=0))
        for i, name in enumerate(self.records.objective_names):
            found[i] = self.reference.get(name, float(found[i]))
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the answers and learn from them."""
        self.records.add(evaluations)
        self._check_names()
        self._model = None
        self.round += 1
        self.theta = self._best()

    def _check_names(self) -> None:
        unknown = [name for name in self.reference if name not in self.records.objective_names]
        if unknown:
            raise MethodError(
                f"`reference` names {', '.join(unknown)}; the objectives are "
                f"{', '.join(self.records.objective_names)}."
            )

    def _best(self) -> Float[Tensor, " n_free"]:
        outcomes = self._outcomes()
        mean = outcomes.mean(outcomes.features)
        index = int(self._badness(mean, outcomes.n_objectives).argmin())
        return self.records.thetas[index].clone()

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self._model = None


class BayesianPareto(Bayesian):
    """The front of several objectives: evaluate where its hypervolume is expected to grow most.

    As `Bayesian`, with a Gaussian process for each objective. A round draws a function of each
    objective from its process, and takes the designs on the front of these functions that add most
    to the hypervolume; or it takes those with the largest noisy expected improvement of the
    hypervolume, which costs seconds a design. The recommended design is the one on the modelled
    front whose problem's own objective is lowest; `front` has all of them. With one objective it is
    `Bayesian`.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round after the first, >= 1.
        n_initial: Designs in the first round, >= 2, or None for twice the coordinates, from 4
            to 20.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        common: Whether all designs share their random numbers.
        reference: Worst value that counts of each objective, by name; those not named follow
            the front.
        common: Whether all designs share their random numbers. The noise then moves the front as
            a whole, and not one design against another.
        acquisition: "sample", the front of a sample of the posterior; or "improvement", the noisy
            expected improvement of the hypervolume.
        seed: Seed of the search itself.

    Note:
        The time of the acquisition rises steeply with the number of objectives; four at most.

    References:
        E. Bradford, A. Schweidtmann and A. Lapkin, J. Glob. Optim. 71 (2018) 407 (sample).
        S. Daulton, M. Balandat and E. Bakshy, arXiv:2105.08195 (improvement).
    """

    single = False
    n_objectives = 4

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        batch: int = 4,
        n_initial: int | None = None,
        reach: float = 4.0,
        reference: Mapping[str, float] | None = None,
        common: bool = False,
        acquisition: str = "sample",
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds, n_events, batch, n_initial, reach, common, seed)
        if acquisition not in ACQUISITIONS:
            raise MethodError(
                f"`acquisition` must be {' or '.join(ACQUISITIONS)}, got {acquisition!r}."
            )
        self.acquisition = acquisition
        for name, value in (reference or {}).items():
            if not math.isfinite(value):
                raise MethodError(f"`reference` of `{name}` must be finite, got {value}.")
        self.reference = {name: float(value) for name, value in (reference or {}).items()}

    def _promising(self) -> Float[Tensor, "batch n"]:
        outcomes = self._outcomes()
        if self.acquisition != "sample" or outcomes.n_objectives == 1:
            return super()._promising()
        reference = self._reference(outcomes.mean(outcomes.features), outcomes)
        known = self.cube.unit(self.records.thetas[self.records.answered])
        seed = self._seed.child("propose", self.round)
        return propose_front(outcomes, self.cube, self.batch, known, reference, seed)

    def _check_names(self) -> None:
        super()._check_names()
        if len(self.records.objective_names) > self.n_objectives:
            raise MethodError(
                f"BayesianPareto treats at most {self.n_objectives} objectives, got "
                f"{len(self.records.objective_names)}. Take nsga3, or add some of them up."
            )

    def front(self) -> Float[Tensor, "n n_free"]:
        """The evaluated designs that none dominates, as the model sees them."""
        if not len(self.records):
            return self.theta[None].clone()
        outcomes = self._outcomes()
        mean, n = outcomes.mean(outcomes.features), outcomes.n_objectives
        keep = ((mean[:, n:] <= 0).all(dim=1) & self.records.answered).nonzero().flatten()
        return self.records.thetas[keep[non_dominated(mean[keep, :n])]].clone()
