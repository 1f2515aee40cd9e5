"""From hits to scattering points."""

__all__ = ["TrackReconstruction"]

import torch

from detopt.design import Design
from detopt.pipeline import Reconstruction
from detopt.reconstruction import MuonTracks, closest_approach, fit_lines
from detopt.usecases.muon_scanner.flow import Estimates, Readout


class TrackReconstruction(Reconstruction[Readout, Estimates]):
    """Line fits above and below, and their point of closest approach.

    Args:
        reference: Height at which tracks are compared, in the middle of the volume [m].
        momentum: Momentum that all muons are taken to have [GeV/c]; the true one of each by
            default.
    """

    def __init__(self, reference: float, momentum: float | None = None) -> None:
        super().__init__()
        self.reference = reference
        self.momentum = momentum

    def forward(self, readout: Readout, design: Design) -> Estimates:
        """Scattering point of each muon, and the probability that it is measured."""
        above = fit_lines(
            readout.above.weighted, readout.above.weights, design["upper_z"], self.reference
        )
        below = fit_lines(
            readout.below.weighted, readout.below.weights, design["lower_z"], self.reference
        )
        momentum = readout.momentum
        if self.momentum is not None:
            momentum = torch.full_like(momentum, self.momentum)
        mean = (above.slope + below.slope) / 2
        return Estimates(
            poca=closest_approach(above, below, self.reference),
            secant=(1 + mean.square().sum(0)).sqrt(),
            weight=readout.above.usable * readout.below.usable * (~readout.stopped),
            momentum=momentum,
            tracks=MuonTracks(above, below, self.reference, momentum, self.momentum is None),
        )
