"""The scanner's two simulations: soft edges for gradients, hard edges for the verdict."""

__all__ = ["HardSimulator", "SoftSimulator"]

import torch

from detopt.design import Design
from detopt.pipeline import Simulator
from detopt.usecases.muon_scanner.flow import Readout, Scans
from detopt.usecases.muon_scanner.panels import SIMPLE, hard_hits, layout, soft_hits
from detopt.usecases.muon_scanner.realism.pruning import Sizing


class SoftSimulator(Simulator[Scans, Readout]):
    """Panels with soft edges, differentiable in the design.

    Args:
        n_above: Panels above the volume.
        smoothness: Width of the panels' edges [m].
        sizing: What a share of the budget buys.
    """

    def __init__(self, n_above: int, smoothness: float, sizing: Sizing = SIMPLE) -> None:
        super().__init__()
        self.n_above = n_above
        self.smoothness = smoothness
        self.sizing = sizing

    def forward(self, events: Scans, design: Design, rng: torch.Generator) -> Readout:
        """Hits above and below the volume."""
        panels = layout(design, self.n_above, self.sizing)
        return Readout(
            above=soft_hits(events.before, panels.above, self.smoothness, rng),
            below=soft_hits(events.after, panels.below, self.smoothness, rng),
            momentum=events.before.momentum,
            stopped=events.stopped,
        )


class HardSimulator(Simulator[Scans, Readout]):
    """Panels with sharp edges and lost hits; it has no useful gradient.

    Args:
        n_above: Panels above the volume.
        sizing: What a share of the budget buys.
    """

    def __init__(self, n_above: int, sizing: Sizing = SIMPLE) -> None:
        super().__init__()
        self.n_above = n_above
        self.sizing = sizing

    def forward(self, events: Scans, design: Design, rng: torch.Generator) -> Readout:
        """Hits above and below the volume."""
        panels = layout(design, self.n_above, self.sizing)
        return Readout(
            above=hard_hits(events.before, panels.above, rng),
            below=hard_hits(events.after, panels.below, rng),
            momentum=events.before.momentum,
            stopped=events.stopped,
        )
