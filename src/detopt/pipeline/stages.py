"""The five stages that map a design to an outcome (arXiv:2203.13818, eqs. 6 to 11).

A stage has one public method, `forward`. The design is an argument, randomness is an argument,
and `train()` or `eval()` never switch the physics: a hard and a soft version are two stages.
"""

__all__ = ["Analysis", "Objective", "Reconstruction", "Simulator", "Source"]

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import nn

from detopt.design import Design
from detopt.pipeline.outcome import Outcome, Summary

EventsT = TypeVar("EventsT")
ReadoutT = TypeVar("ReadoutT")
EstimateT = TypeVar("EstimateT")
SummaryT = TypeVar("SummaryT", bound=Summary)


class Source(nn.Module, ABC, Generic[EventsT]):
    """What enters the instrument: draws events x ~ f(x), independent of the design."""

    @abstractmethod
    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> EventsT:
        """Draw `n_events` events."""

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Origin of its data that results must name; none by default."""
        return ()

    if TYPE_CHECKING:
        __call__ = forward


class Simulator(nn.Module, ABC, Generic[EventsT, ReadoutT]):
    """Response of the instrument: draws z ~ p(z | x, theta)."""

    @abstractmethod
    def forward(self, events: EventsT, design: Design, rng: torch.Generator) -> ReadoutT:
        """Readout of the events."""

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Origin of its data that results must name; none by default."""
        return ()

    if TYPE_CHECKING:
        __call__ = forward


class Reconstruction(nn.Module, ABC, Generic[ReadoutT, EstimateT]):
    """From readout to physics: zeta = R[z, theta]."""

    @abstractmethod
    def forward(self, readout: ReadoutT, design: Design) -> EstimateT:
        """Estimates of what happened, from the readout alone."""

    if TYPE_CHECKING:
        __call__ = forward


class Analysis(nn.Module, ABC, Generic[EstimateT, EventsT, SummaryT]):
    """From estimates to the few statistics that the objective needs: s = A[zeta]."""

    @abstractmethod
    def forward(self, estimate: EstimateT, events: EventsT) -> SummaryT:
        """Statistics of a chunk; the events serve as truth to compare with."""

    if TYPE_CHECKING:
        __call__ = forward


class Objective(nn.Module, ABC, Generic[SummaryT]):
    """The real goal: L[s, c(theta)], to be minimized."""

    @abstractmethod
    def forward(self, summary: SummaryT, design: Design) -> Outcome:
        """Objective with its terms, cost and metrics."""

    if TYPE_CHECKING:
        __call__ = forward
