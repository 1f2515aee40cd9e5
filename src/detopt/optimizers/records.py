"""All evaluations that a method was told, as tensors."""

__all__ = ["Records"]

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.optimizers.pareto import non_dominated
from detopt.pipeline.evaluation import Evaluation


class Records:
    """What is known: designs, objectives, constraints and their errors, in order.

    An evaluation that failed, or whose objective is not finite, keeps its design and has NaN.

    Args:
        n_free: Length of theta.
    """

    def __init__(self, n_free: int) -> None:
        self.thetas: Float[Tensor, "n n_free"] = torch.empty(0, n_free, dtype=torch.float64)
        self.values: Float[Tensor, " n"] = torch.empty(0, dtype=torch.float64)
        self.errors: Float[Tensor, " n"] = torch.empty(0, dtype=torch.float64)
        self.objectives: Float[Tensor, "n m"] = torch.empty(0, 0, dtype=torch.float64)
        self.objective_errors: Float[Tensor, "n m"] = torch.empty(0, 0, dtype=torch.float64)
        self.constraints: Float[Tensor, "n c"] = torch.empty(0, 0, dtype=torch.float64)
        self.objective_names: list[str] = []
        self.constraint_names: list[str] = []

    def __len__(self) -> int:
        return len(self.values)

    def add(self, evaluations: Sequence[Evaluation]) -> None:
        """Append evaluations.

        Raises:
            MethodError: None has an answer yet, or the names of objectives or constraints differ.
        """
        good = [e for e in evaluations if _answered(e)]
        if not len(self) and not good:
            why = next((e.failure for e in evaluations if e.failure), "it is not finite")
            raise MethodError(
                f"The objective has a finite value for no design of the first round ({why}). Look "
                "at the objective at the start."
            )
        if not len(self):
            self.objective_names = list(good[0].objectives)
            self.constraint_names = list(good[0].constraints)
            self.objectives = torch.empty(0, len(self.objective_names), dtype=torch.float64)
            self.objective_errors = self.objectives.clone()
            self.constraints = torch.empty(0, len(self.constraint_names), dtype=torch.float64)
        for e in good:
            self._check(e)
        rows = [self._row(e) for e in evaluations]
        self.thetas = _append(self.thetas, [e.request.theta.tolist() for e in evaluations])
        self.values = _append(self.values, [e.value if _answered(e) else _NAN for e in evaluations])
        self.errors = _append(
            self.errors, [e.std_error if _answered(e) else _NAN for e in evaluations]
        )
        self.objectives = _append(self.objectives, [row[0] for row in rows])
        self.objective_errors = _append(self.objective_errors, [row[1] for row in rows])
        self.constraints = _append(self.constraints, [row[2] for row in rows])

    def _check(self, evaluation: Evaluation) -> None:
        for kind, got, known in (
            ("objectives", list(evaluation.objectives), self.objective_names),
            ("constraints", list(evaluation.constraints), self.constraint_names),
        ):
            if got != known:
                raise MethodError(
                    f"The {kind} of an outcome must have the same names in every evaluation: they "
                    f"were {', '.join(known) or 'none'}, now {', '.join(got) or 'none'}."
                )

    def _row(self, evaluation: Evaluation) -> tuple[list[float], list[float], list[float]]:
        n_objectives, n_constraints = len(self.objective_names), len(self.constraint_names)
        if not _answered(evaluation):
            missing = [_NAN] * n_objectives
            return missing, missing, [_NAN] * n_constraints
        errors = evaluation.objective_errors
        return (
            list(evaluation.objectives.values()),
            [errors.get(name, _NAN) for name in self.objective_names],
            list(evaluation.constraints.values()),
        )

    @property
    def answered(self) -> Bool[Tensor, " n"]:
        """Which evaluations have an answer."""
        return torch.isfinite(self.values)

    @property
    def violation(self) -> Float[Tensor, " n"]:
        """Sum of what the constraints are above zero; infinite without an answer."""
        total = self.constraints.clamp(min=0).sum(dim=1)
        return torch.where(self.answered, total, torch.inf)

    def best(self) -> int:
        """Index of the lowest objective that keeps the constraints, or of the least violation."""
        feasible = self.violation <= 0
        if bool(feasible.any()):
            return int(torch.where(feasible, self.values, torch.inf).argmin())
        return int(self.violation.argmin())

    def front(self) -> list[int]:
        """Indices of the evaluations that keep the constraints and that none dominates."""
        feasible = (self.violation <= 0).nonzero().flatten()
        return feasible[non_dominated(self.objectives[feasible])].tolist()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and texts."""
        return {
            name: value.clone() if isinstance(value, Tensor) else list(value)
            for name, value in vars(self).items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for name in vars(self):
            value = state[name]
            setattr(self, name, value.clone() if isinstance(value, Tensor) else list(value))


_NAN = math.nan


def _answered(evaluation: Evaluation) -> bool:
    numbers = [
        evaluation.value,
        *evaluation.objectives.values(),
        *evaluation.constraints.values(),
    ]
    return not evaluation.failure and all(math.isfinite(number) for number in numbers)


def _append(known: Tensor, rows: Sequence[Any]) -> Tensor:
    new = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), *known.shape[1:])
    return torch.cat([known, new])
