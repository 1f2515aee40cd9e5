"""Angular and spatial deviations of muons: what the panels tell of each."""

__all__ = ["LARGEST_ANGLE", "DeviationReconstruction", "Deviations"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Reconstruction
from detopt.reconstruction import fit_lines
from detopt.usecases.muon_scanner.flow import Readout
from detopt.usecases.muon_scanner.industry.solids import Lines

NO_ERROR = torch.tensor([1.0, 0.0, 1.0])  # rad2, m rad, m2; of a track that is not there
LEAST_SLOPE = 1e-6  # squared slope below which the azimuth of a muon does not matter
LARGEST_ANGLE = 0.15  # rad; a muon that turns by more is not used


@dataclass(frozen=True)
class Deviations:
    r"""What is measured of each muon: where it went, and by how much its track broke.

    The planes are across and along the direction of flight; deviations in them are slope and
    position at the reference height, below minus above.

    Args:
        lines: Mean of the tracks above and below.
        deviation: Deviations, the axes being slope and position, across and along.
        error: Their measurement covariance in either plane: of slope, mixed, of position.
        weight: Probability that both tracks exist; 0 or 1 in the hard-edged simulation.
        momentum: True momentum before [GeV/c], for where it is taken to be known.
    """

    lines: Lines
    deviation: Float[Tensor, "2 2 n_volumes n_muons"]
    error: Float[Tensor, "3 n_volumes n_muons"]
    weight: Float[Tensor, "n_volumes n_muons"]
    momentum: Float[Tensor, "n_volumes n_muons"]


class DeviationReconstruction(Reconstruction[Readout, Deviations]):
    """Line fits above and below, and their differences.

    Args:
        reference: Height at which tracks are compared [m].
    """

    def __init__(self, reference: float) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, readout: Readout, design: Design) -> Deviations:
        """Deviations of each muon, and the probability that it is measured."""
        tracks = [
            fit_lines(hits.weighted, hits.weights, design[heights], self.reference)
            for hits, heights in ((readout.above, "upper_z"), (readout.below, "lower_z"))
        ]
        above, below = tracks
        slope = (above.slope + below.slope) / 2
        kick, shift = below.slope - above.slope, below.position - above.position
        unit = slope / (slope.square().sum(0) + LEAST_SLOPE).sqrt()
        across = torch.stack([-unit[1], unit[0]])
        planes = [
            torch.stack([(vector * axis).sum(0) for axis in (across, unit)])
            for vector in (kick, shift)
        ]
        variance = above.slope_variance + below.slope_variance
        parts = [track.slope_variance * track.arm for track in tracks]
        mixed = parts[0] + parts[1]
        place = above.centroid_variance + below.centroid_variance
        place = place + parts[0] * above.arm + parts[1] * below.arm
        weight = readout.above.usable * readout.below.usable * (~readout.stopped)
        spread = 1 + slope.square().sum(0)
        angle2 = planes[0][0].square() / spread + planes[0][1].square() / spread.square()
        weight = weight * (angle2 < LARGEST_ANGLE**2)
        seen = weight > 0
        error = torch.stack([variance, mixed, place])
        return Deviations(
            lines=Lines(
                torch.where(seen, (above.position + below.position) / 2, 0),
                torch.where(seen, slope, 0),
                self.reference,
            ),
            deviation=torch.where(seen, torch.stack(planes), 0),
            error=torch.where(seen, error, NO_ERROR[:, None, None].to(error)),
            weight=weight,
            momentum=readout.momentum,
        )
