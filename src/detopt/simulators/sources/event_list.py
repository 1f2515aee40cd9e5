"""A list of events as a source: drawn at random, or taken once each in an order of a seed."""

__all__ = ["EventList"]

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError
from detopt.pipeline import Source
from detopt.random import Seed

DRAWS = ("with_replacement", "without_replacement", "by_weight")
ListT = TypeVar("ListT", bound="Listed")


@runtime_checkable
class Listed(Protocol):
    """Events that can be picked by number; frozen dataclasses with a field `weight`."""

    @property
    def n_events(self) -> int:
        """How many there are."""

    @property
    def weight(self) -> Float[Tensor, " n_events"]:
        """Weight of each event."""

    def select(self: ListT, index: Tensor) -> ListT:
        """The events with these numbers, in this order."""

    def to(self: ListT, dtype: torch.dtype) -> ListT:
        """The same with real numbers in `dtype`."""


class EventList(Source[ListT]):
    r"""Draws events from a list, such as what a file holds.

    ======================  ==========================================  ===========================
    draw                    which events                                their weights
    ======================  ==========================================  ===========================
    `with_replacement`      each with the same probability              as listed
    `without_replacement`   a random order; in a draw the whole list    as listed
                            comes before any event comes again
    `by_weight`             in proportion to :math:`|w|`                mean of :math:`|w|`, signed
    ======================  ==========================================  ===========================

    The mean of weight times any quantity over drawn events is in all three, on average, that over
    the list. Draws know nothing of each other: two chunks of an evaluation may have the same
    events, also `without_replacement`, unless its `chunk_size` makes it one draw. `epoch` goes once
    through the list in blocks.

    Args:
        events: Particles, primaries or columns.
        draw: As in the table.

    Raises:
        ConfigError: There is no such way to draw.
        DomainError: `by_weight`, and all weights are 0.
    """

    def __init__(self, events: ListT, draw: str = "with_replacement") -> None:
        super().__init__()
        if draw not in DRAWS:
            raise ConfigError(f"`draw` must be {', '.join(DRAWS)}, got {draw!r}.")
        if draw == "by_weight" and not bool((events.weight != 0).any()):
            raise DomainError("All weights are 0: draw `with_replacement`.")
        self.events, self.draw = events, draw

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> ListT:
        """Draw `n_events` events.

        Raises:
            DomainError: `n_events` is not positive.
        """
        if n_events < 1:
            raise DomainError(f"`n_events` must be > 0, got {n_events}.")
        n = self.events.n_events
        if self.draw == "by_weight":
            return self._by_weight(n_events, rng).to(dtype)
        if self.draw == "with_replacement":
            index = torch.randint(n, (n_events,), generator=rng)
        else:
            rounds = -(-n_events // n)
            orders = [torch.randperm(n, generator=rng) for _ in range(rounds)]
            index = torch.cat(orders)[:n_events]
        return self.events.select(index).to(dtype)

    def epoch(
        self, n_events: int, seed: int, dtype: torch.dtype = torch.float64
    ) -> Iterator[ListT]:
        """All events of the list once, in an order that `seed` fixes, in blocks.

        Args:
            n_events: Events of a block; the last one may have fewer.
            seed: Of the order; another epoch takes another one.
            dtype: Of real numbers.

        Raises:
            DomainError: `n_events` is not positive.
        """
        if n_events < 1:
            raise DomainError(f"`n_events` must be > 0, got {n_events}.")
        order = torch.randperm(
            self.events.n_events, generator=Seed(seed, "epoch of an event list").generator()
        )
        for block in order.split(n_events):
            yield self.events.select(block).to(dtype)

    def _by_weight(self, n_events: int, rng: torch.Generator) -> ListT:
        size = self.events.weight.double().abs()
        edges = size.cumsum(0)
        where = torch.rand(n_events, generator=rng, dtype=torch.float64) * edges[-1]
        index = torch.searchsorted(edges, where, right=True).clamp(max=len(edges) - 1)
        drawn: Any = self.events.select(index)
        picked: ListT = dataclasses.replace(drawn, weight=drawn.weight.sign() * size.mean())
        return picked
