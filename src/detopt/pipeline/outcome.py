"""What an evaluation answers: the objective, its named terms, cost and metrics."""

__all__ = ["Outcome", "Summary", "merge"]

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

SummaryT = TypeVar("SummaryT", bound="Summary")


@dataclass(frozen=True)
class Summary:
    """Statistics of a chunk of events: what the objective needs of them, and no more.

    Every field is a tensor whose first dimension counts *independent rows* (events, scans), so
    that chunks are merged by concatenation and intervals follow from resampling rows.
    """

    @property
    def n_rows(self) -> int:
        """Number of independent rows."""
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def tensors(self) -> list[Tensor]:
        """The fields, in order."""
        return [getattr(self, f.name) for f in dataclasses.fields(self)]

    def replace(self: SummaryT, tensors: Sequence[Tensor]) -> SummaryT:
        """The same kind of summary with other tensors."""
        names = [f.name for f in dataclasses.fields(self)]
        return type(self)(**dict(zip(names, tensors, strict=True)))

    def rows(self: SummaryT, index: Tensor) -> SummaryT:
        """The summary of the rows `index`."""
        return self.replace([tensor[index] for tensor in self.tensors()])


def merge(summaries: Sequence[SummaryT]) -> SummaryT:
    """One summary of all chunks, in their order."""
    if len(summaries) == 1:
        return summaries[0]
    columns = zip(*(summary.tensors() for summary in summaries), strict=True)
    return summaries[0].replace([torch.cat(column) for column in columns])


@dataclass(frozen=True)
class Outcome:
    """How good a design is.

    Args:
        objective: The number that is minimized.
        terms: What the objective is made of, by name; they need not add up.
        cost: Cost of the design in the study's currency.
        constraints: External constraints by name; a positive value is a violation.
        metrics: Further numbers to look at.
        objectives: All objectives by name, each to be minimized, where there are several;
            `objective` is then what methods for a single one minimize, such as their sum.
    """

    objective: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    cost: Float[Tensor, ""] | None = None
    constraints: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    metrics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    objectives: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
