"""The stages between events and objective: perfect instrument, summary network, counts."""

__all__ = ["BinCounts", "BinShares", "Ideal", "SummaryNetwork"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.objectives import BinnedEvents, moved_shares
from detopt.pipeline import Analysis, Reconstruction, Simulator
from detopt.relax import softmax_shares
from detopt.usecases.inferno.config import Slopes
from detopt.usecases.inferno.events import NAMES, VARIATIONS, Events
from detopt.usecases.inferno.network import scores_of_bins


@dataclass(frozen=True)
class BinShares:
    """What the network says.

    Args:
        shares: Share of each event in each bin.
        slopes: Derivatives of the shares in all parameters, or of size 0 in the last dimension.
    """

    shares: Float[Tensor, "n_events bins"]
    slopes: Float[Tensor, "n_events bins moved"]


class Ideal(Simulator[Events, Events]):
    """An instrument that measures every feature exactly."""

    def forward(self, events: Events, design: Design, rng: torch.Generator) -> Events:  # noqa: ARG002
        """The events as they are."""
        return events


class SummaryNetwork(Reconstruction[Events, BinShares]):
    """Assigns events to bins by a network whose weights are the design.

    Args:
        activation: Of the hidden units.
        temperature: Of the softmax, > 0; None for hard bins.
        slopes: How the counts answer to nuisance parameters. `transformation` differentiates the
            shares in samples that move, and needs soft bins; `variations` takes differences
            between samples one standard deviation up and down; `weights` leaves the shares alone.
    """

    def __init__(
        self, activation: str, temperature: float | None, *, slopes: Slopes = "weights"
    ) -> None:
        super().__init__()
        self.activation = activation
        self.temperature = temperature
        self.slopes = slopes

    def forward(self, readout: Events, design: Design) -> BinShares:
        """Shares of each event, and how they move."""
        if self.slopes == "transformation":
            return BinShares(
                *moved_shares(lambda x: self._bin(x, design), readout.features, readout.directions)
            )
        if self.slopes == "variations":
            return self._vary(readout, design)
        shares = self._bin(readout.features, design)
        return BinShares(shares, shares.new_zeros((*shares.shape, 0)))

    def _vary(self, events: Events, design: Design) -> BinShares:
        """Central differences; only background varies, so an event does by its share of it."""
        samples = [events.features]
        samples += [events.varied(name, sign) for name in VARIATIONS for sign in (1.0, -1.0)]
        nominal, *varied = self._bin(torch.cat(samples), design).chunk(len(samples))
        slopes = nominal.new_zeros((*nominal.shape, len(NAMES)))
        share = events.background_share.unsqueeze(-1)
        for number, (name, width) in enumerate(VARIATIONS.items()):
            up, down = varied[2 * number : 2 * number + 2]
            slopes[..., NAMES.index(name)] = share * (up - down) / (2 * width)
        return BinShares(nominal, slopes)

    def _bin(self, features: Tensor, design: Design) -> Tensor:
        scores = scores_of_bins(design, features, self.activation)
        if self.temperature is None:
            best = scores.argmax(dim=-1, keepdim=True)
            return torch.zeros_like(scores).scatter(-1, best, 1.0)
        return softmax_shares(scores, self.temperature)


class BinCounts(Analysis[BinShares, Events, BinnedEvents]):
    """Counts of the bins, with slopes in the parameters `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.columns = [NAMES.index(name) for name in names]

    def forward(self, estimate: BinShares, events: Events) -> BinnedEvents:
        """Rows of shares with the weights of the events."""
        moved = estimate.slopes.shape[-1] > 0
        slopes = estimate.slopes[..., self.columns] if moved else estimate.slopes
        weight_slopes = events.yield_slopes if moved else events.weight_slopes
        return BinnedEvents(estimate.shares, events.weights, weight_slopes[:, self.columns], slopes)
