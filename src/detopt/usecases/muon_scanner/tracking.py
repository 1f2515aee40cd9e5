"""From hits to scattering points."""

__all__ = ["TrackReconstruction"]

from detopt.design import Design
from detopt.pipeline import Reconstruction
from detopt.reconstruction import closest_approach, fit_lines
from detopt.usecases.muon_scanner.flow import Estimates, Readout


class TrackReconstruction(Reconstruction[Readout, Estimates]):
    """Line fits above and below, and their point of closest approach.

    Args:
        reference: Height at which tracks are compared, in the middle of the volume [m].
    """

    def __init__(self, reference: float) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, readout: Readout, design: Design) -> Estimates:
        """Scattering point of each muon, and the probability that it is measured."""
        above = fit_lines(
            readout.above.weighted, readout.above.weights, design["upper_z"], self.reference
        )
        below = fit_lines(
            readout.below.weighted, readout.below.weights, design["lower_z"], self.reference
        )
        mean = (above.slope + below.slope) / 2
        return Estimates(
            poca=closest_approach(above, below, self.reference),
            secant=(1 + mean.square().sum(0)).sqrt(),
            weight=readout.above.usable * readout.below.usable * (~readout.stopped),
            momentum=readout.momentum,
        )
