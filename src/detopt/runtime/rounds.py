"""What a round of a study found."""

__all__ = ["Round"]

import json
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Round:
    """What a round found.

    Args:
        number: From 0.
        theta: Where it was evaluated.
        value: Objective; the best one of a population.
        std_error: Its standard error.
        gradient: In theta, where the method uses one.
        gradient_std_error: Its standard error.
        terms: Named terms and cost.
        n_evaluations: Evaluations of the objective.
        cpu_s: CPU time of the evaluations [s].
        wall_s: Time that the round took [s].
    """

    number: int
    theta: Float[Tensor, " n_free"]
    value: float
    std_error: float
    gradient: Float[Tensor, " n_free"] | None
    gradient_std_error: Float[Tensor, " n_free"] | None
    terms: dict[str, float]
    n_evaluations: int
    cpu_s: float
    wall_s: float

    def dumps(self) -> str:
        """As JSON, every bit of the numbers kept."""
        data = dict(self.__dict__)
        for key in ("theta", "gradient", "gradient_std_error"):
            data[key] = None if data[key] is None else [float(v).hex() for v in data[key]]
        return json.dumps(data)

    @staticmethod
    def loads(text: str) -> "Round":
        """From JSON."""
        data = json.loads(text)
        for key in ("theta", "gradient", "gradient_std_error"):
            if data[key] is not None:
                values = [float.fromhex(v) for v in data[key]]
                data[key] = torch.tensor(values, dtype=torch.float64)
        return Round(**data)
