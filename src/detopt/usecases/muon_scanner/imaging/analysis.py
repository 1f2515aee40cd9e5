"""Task `image` with a frozen network."""

__all__ = ["LearnedImageAnalysis"]

import torch

from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.pipeline import Analysis
from detopt.reconstruction.imaging_network import ImagingNetwork, scattering_density
from detopt.reconstruction.poca_imaging import AIR, REFERENCE_MOMENTUM
from detopt.usecases.muon_scanner.calibration import CalibrationRows, calibration_rows
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.image_task import true_log_lengths
from detopt.usecases.muon_scanner.volumes import Volumes


class LearnedImageAnalysis(Analysis[Estimates, Scans, CalibrationRows]):
    """Logarithm of the radiation length of each voxel by a network, beside the true one.

    Args:
        volumes: Grid and materials.
        network: Trained; its weights get no gradient, what it sees does.
    """

    def __init__(self, volumes: Volumes, network: ImagingNetwork) -> None:
        super().__init__()
        self.grid = volumes.grid
        self.network = network
        self.log_lengths = true_log_lengths(volumes)

    def forward(self, estimate: Estimates, events: Scans) -> CalibrationRows:
        """All voxels of a scan as one row."""
        assert estimate.tracks is not None
        logarithm = self.network(estimate.tracks, estimate.angle_weight, self.grid)
        density = scattering_density(logarithm) + AIR
        predicted = 2 * torch.tensor(HIGHLAND_SCALE / REFERENCE_MOMENTUM).log() - density.log()
        true = self.log_lengths[events.voxels].to(predicted.dtype)
        return calibration_rows(predicted.flatten(1), true.flatten(1))
