"""Rows of past evaluations, kept for methods that model them."""

__all__ = ["Replay", "columns", "summary_of"]

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.pipeline import Evaluation, Summary

MAX_COLUMNS = 64  # numbers in a row


def columns(summary: Summary) -> Float[Tensor, "n d"]:
    """All fields of a summary beside each other, a row for each of its rows.

    Raises:
        MethodError: A field holds no real numbers, or the rows are too long to be modelled.
    """
    for name, tensor in zip(vars(summary), summary.tensors(), strict=True):
        if not tensor.is_floating_point():
            raise MethodError(
                f"`{name}` of the summary holds {str(tensor.dtype).removeprefix('torch.')} "
                "numbers, which a generative surrogate cannot draw. Take local_surrogate, or "
                "summarize with real numbers."
            )
    flat = torch.cat([tensor.reshape(summary.n_rows, -1) for tensor in summary.tensors()], dim=1)
    if not 1 <= flat.shape[1] <= MAX_COLUMNS:
        raise MethodError(
            f"A row of the summary has {flat.shape[1]} numbers; a generative surrogate models from "
            f"1 to {MAX_COLUMNS}. Take local_surrogate, or a shorter summary."
        )
    return flat


def summary_of(rows: Float[Tensor, "n d"], like: Summary) -> Summary:
    """Inverse of `columns`, differentiable."""
    fields: list[Tensor] = []
    position = 0
    for tensor in like.tensors():
        shape = tensor.shape[1:]
        width = shape.numel()
        piece = rows[:, position : position + width]
        fields.append(piece.reshape(len(rows), *shape).to(tensor.dtype))
        position += width
    return like.replace(fields)


class Replay:
    """Designs, values with their errors (NaN: unknown) and rows; the oldest are forgotten first.

    Args:
        n_free: Length of theta.
        capacity: Numbers in the rows that are kept. The last evaluation is always kept.
    """

    def __init__(self, n_free: int, capacity: int) -> None:
        self.capacity = capacity
        self.theta: Float[Tensor, "n n_free"] = torch.empty(0, n_free, dtype=torch.float64)
        self.values: Float[Tensor, "n 2"] = torch.empty(0, 2, dtype=torch.float64)
        self.rows: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.theta)

    def append(self, evaluation: Evaluation) -> None:
        """Keep an evaluation with its rows."""
        if evaluation.rows is None:
            raise MethodError("An evaluation came without its rows. Answer `Request.rows`.")
        rows = columns(evaluation.rows)
        if not bool(rows.isfinite().all()):
            raise MethodError(
                "A row of the summary is not finite, which a generative surrogate cannot draw. "
                "Take local_surrogate, or look at the simulation there."
            )
        if self.rows and rows.shape[1] != self.rows[0].shape[1]:
            raise MethodError(
                f"Rows of the summary had {self.rows[0].shape[1]} numbers, and now have "
                f"{rows.shape[1]}. A generative surrogate needs rows of one length."
            )
        error = evaluation.std_error if math.isfinite(evaluation.std_error) else math.nan
        value = torch.tensor([[evaluation.value, error]], dtype=torch.float64)
        self.theta = torch.cat([self.theta, evaluation.request.theta[None]])
        self.values = torch.cat([self.values, value])
        self.rows.append(rows)
        while len(self) > 1 and sum(one.numel() for one in self.rows) > self.capacity:
            self.theta, self.values, self.rows = self.theta[1:], self.values[1:], self.rows[1:]

    def near(self, theta: Float[Tensor, " n_free"], reach: float, enough: int) -> Bool[Tensor, "n"]:
        """Which evaluations lie within `reach` of `theta`; the nearest `enough` in any case."""
        distance = (self.theta - theta).norm(dim=1)
        last = distance.sort().values[min(enough, len(self)) - 1]
        chosen: Tensor = distance <= max(reach, float(last))
        return chosen

    def examples(self, chosen: Bool[Tensor, "n"]) -> tuple[Tensor, Tensor]:
        """Theta and row of every event of the chosen evaluations."""
        kept: Sequence[int] = chosen.nonzero().flatten().tolist()
        counts = torch.tensor([len(self.rows[i]) for i in kept])
        theta = self.theta[chosen].repeat_interleave(counts, dim=0)
        return theta, torch.cat([self.rows[i] for i in kept])

    def state_dict(self) -> dict[str, Any]:
        """Tensors."""
        return {
            "theta": self.theta.clone(),
            "values": self.values.clone(),
            "rows": [one.clone() for one in self.rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.theta, self.values = state["theta"].clone(), state["values"].clone()
        self.rows = [one.clone() for one in state["rows"]]
