"""From readout to physics: track fits, closest approach, images."""

from detopt.reconstruction.poca import ClosestApproach, closest_approach
from detopt.reconstruction.tracks import LineFit, fit_lines
from detopt.reconstruction.voxel_map import bin_probabilities, separable_sums

__all__ = [
    "ClosestApproach",
    "LineFit",
    "bin_probabilities",
    "closest_approach",
    "fit_lines",
    "separable_sums",
]
