"""What `EndToEndSurrogate` learns: the objective itself, or the quantity that it is judged by."""

__all__ = ["ObjectiveModel", "QuantityModel", "SurrogateModel"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.optimizers.discrete_features import DiscreteFeatures
from detopt.optimizers.replay import Replay, columns, summary_of
from detopt.pipeline import Problem, Summary
from detopt.pipeline.evaluation import Evaluation
from detopt.random import Seed
from detopt.surrogates import ConditionalGenerator, ConditionalRegression, Training

REACH = 3.0  # radii within which past evaluations are used again
N_MEMBERS = 3  # networks whose mean is the surrogate of an objective
HIDDEN = (32, 32)
CAPACITY = 600_000  # numbers in stored rows
N_DRAWN = 2_000  # rows that are judged, at least


class SurrogateModel(ABC):
    """A surrogate of the objective as a function of theta."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether there is enough to learn from."""

    @abstractmethod
    def keep(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember answers."""

    @abstractmethod
    def fit(
        self, center: Float[Tensor, " n_free"], radius: float, warm: bool, rng: torch.Generator
    ) -> None:
        """Learn from what lies around the center."""

    @abstractmethod
    def predict(self, theta: Float[Tensor, "k n_free"]) -> Float[Tensor, " k"]:
        """Objective of designs, differentiable."""

    @abstractmethod
    def freeze_noise(self, seed: Seed) -> None:
        """Take the random numbers of this round."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, lists and dicts."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""


class ObjectiveModel(SurrogateModel):
    """The mean of some networks that learn the objective's values.

    Args:
        features: Of designs.
        training: Effort of a fit.
    """

    def __init__(self, features: DiscreteFeatures, training: Training) -> None:
        self.features = features
        self.members = [
            ConditionalRegression(features.n, 1, training, torch.float64, HIDDEN)
            for _ in range(N_MEMBERS)
        ]
        self.theta = torch.empty(0, features.n, dtype=torch.float64)
        self.values = torch.empty(0, dtype=torch.float64)

    @property
    def ready(self) -> bool:
        """Whether there are values enough for a straight line at least."""
        return len(self.values) >= 3

    def keep(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember values."""
        if not evaluations:
            return
        self.theta = torch.cat([self.theta, torch.stack([e.request.theta for e in evaluations])])
        values = torch.tensor([e.value for e in evaluations], dtype=torch.float64)
        self.values = torch.cat([self.values, values])

    def fit(
        self, center: Float[Tensor, " n_free"], radius: float, warm: bool, rng: torch.Generator
    ) -> None:
        """Learn the values nearby; at least as many as coordinates allow."""
        distance = self.features.distance(self.theta, center)
        enough = min(len(distance), 2 * self.features.n + 2)
        near = distance <= max(REACH * radius, float(distance.sort().values[enough - 1]))
        inputs, values = self.features.of(self.theta[near]), self.values[near, None]
        for member in self.members:
            member.fit(inputs, values, rng, warm)

    def freeze_noise(self, seed: Seed) -> None:
        """There is none."""

    def predict(self, theta: Float[Tensor, "k n_free"]) -> Float[Tensor, " k"]:
        """Mean of the members."""
        if not self.members[0].fitted:
            raise MethodError("There is no surrogate before the first round is told.")
        inputs = self.features.of(theta)
        return torch.stack([one.mean(inputs)[:, 0] for one in self.members]).mean(0)

    def state_dict(self) -> dict[str, Any]:
        """Values and weights."""
        return {
            "theta": self.theta.clone(),
            "values": self.values.clone(),
            "members": [member.state_dict() for member in self.members],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.theta, self.values = state["theta"].clone(), state["values"].clone()
        for member, one in zip(self.members, state["members"], strict=True):
            member.load_state_dict(one)


class QuantityModel(SurrogateModel):
    """A generator of the rows of the summary, which the problem judges.

    Args:
        problem: The problem.
        features: Of designs.
        kind: Kind of the generator.
        given: Fields of the summary that the design does not change; they are conditions.
        training: Effort of a fit.
    """

    def __init__(
        self,
        problem: Problem,
        features: DiscreteFeatures,
        kind: type[ConditionalGenerator],
        given: tuple[str, ...],
        training: Training,
    ) -> None:
        self.problem, self.features, self.kind, self.given = problem, features, kind, given
        self.training = training
        self.generator: ConditionalGenerator | None = None
        self.replay = Replay(features.n, CAPACITY)
        self._like: Summary | None = None
        self._seed = Seed(0)

    @property
    def ready(self) -> bool:
        """Whether there are two designs."""
        return len(self.replay) >= 2

    def keep(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember rows."""
        for evaluation in evaluations:
            self.replay.append(evaluation)
            self._like = evaluation.rows

    def _is_given(self, like: Summary) -> Tensor:
        """Which columns of a row are conditions."""
        names = list(vars(like))
        unknown = [name for name in self.given if name not in names]
        if unknown:
            raise MethodError(
                f"The summary has no field {', '.join(unknown)} to be given. There are: "
                f"{', '.join(names)}."
            )
        marks = []
        for name, tensor in zip(names, like.tensors(), strict=True):
            marks += [name in self.given] * tensor.shape[1:].numel()
        if all(marks):
            raise MethodError("All fields of the summary are given; nothing is left to be learned.")
        return torch.tensor(marks)

    def fit(
        self, center: Float[Tensor, " n_free"], radius: float, warm: bool, rng: torch.Generator
    ) -> None:
        """Learn the rows nearby."""
        assert self._like is not None
        distance = self.features.distance(self.replay.theta, center)
        enough = min(len(distance), self.features.n + 2)
        near = distance <= max(REACH * radius, float(distance.sort().values[enough - 1]))
        theta, rows = self.replay.examples(near)
        marks = self._is_given(self._like)
        inputs = torch.cat([self.features.of(theta), rows[:, marks].to(theta)], dim=1)
        if self.generator is None:
            self.generator = self.kind(inputs.shape[1], int((~marks).sum()), self.training)
        self.generator.fit(inputs, rows[:, ~marks], rng, warm)

    def freeze_noise(self, seed: Seed) -> None:
        """Take the random numbers of this round."""
        self._seed = seed

    def predict(self, theta: Float[Tensor, "k n_free"]) -> Float[Tensor, " k"]:
        """What the problem says of drawn rows; sets as large as an evaluation are averaged."""
        if self.generator is None or self._like is None:
            raise MethodError("There is no surrogate before the first round is told.")
        like = self._like
        marks, known = self._is_given(like), columns(like).to(theta)
        n_sets = -(-N_DRAWN // len(known))
        found = []
        for one in theta:
            rng = self._seed.generator()
            inputs = torch.cat([self.features.of(one[None]).expand(len(known), -1),
                                known[:, marks]], dim=1)  # fmt: skip
            design = self.features.space.design(one).to(self.problem.dtype)
            values = []
            for _ in range(n_sets):
                drawn = self.generator.sample(inputs, rng)
                rows = known.new_empty(known.shape).masked_scatter(marks, known[:, marks])
                rows = rows.masked_scatter(~marks, drawn)
                values.append(self.problem.judge(summary_of(rows, like), design).objective)
            found.append(torch.stack(values).mean().to(theta))
        return torch.stack(found)

    def state_dict(self) -> dict[str, Any]:
        """Rows and weights."""
        return {
            "replay": self.replay.state_dict(),
            "generator": {} if self.generator is None else self.generator.state_dict(),
            "n": [] if self.generator is None else [self.generator.n_conditions,
                                                   self.generator.n_columns],
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.replay.load_state_dict(state["replay"])
        self.generator = None
        if state["generator"]:
            n_conditions, n_columns = state["n"]
            self.generator = self.kind(n_conditions, n_columns, replace(self.training))
            self.generator.load_state_dict(state["generator"])
