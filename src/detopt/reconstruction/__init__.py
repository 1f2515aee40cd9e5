"""From readout to physics: track fits, closest approach, images."""

from detopt.reconstruction.angle_statistics import angle_statistics_image
from detopt.reconstruction.binned_clustering import binned_clustering_image
from detopt.reconstruction.image_pictures import slice_figure
from detopt.reconstruction.images import ScatteringImage
from detopt.reconstruction.imaging_network import ImagingNetwork
from detopt.reconstruction.learned_imaging import (
    learned_image,
    load_network,
    network_recipe,
    save_network,
)
from detopt.reconstruction.likelihood_imaging import LikelihoodImaging, likelihood_image
from detopt.reconstruction.poca import ClosestApproach, closest_approach
from detopt.reconstruction.poca_imaging import poca_image
from detopt.reconstruction.recorded_muons import MuonTracks, RecordedMuons, read_muons
from detopt.reconstruction.scan_geometry import ScanGeometry, load_geometry
from detopt.reconstruction.tracks import LineFit, fit_lines
from detopt.reconstruction.volume_crossing import crosses_volume, stays_near
from detopt.reconstruction.voxel_grid import Grid
from detopt.reconstruction.voxel_map import bin_probabilities, separable_sums

__all__ = [
    "ClosestApproach",
    "Grid",
    "ImagingNetwork",
    "LikelihoodImaging",
    "LineFit",
    "MuonTracks",
    "RecordedMuons",
    "ScanGeometry",
    "ScatteringImage",
    "angle_statistics_image",
    "bin_probabilities",
    "binned_clustering_image",
    "closest_approach",
    "crosses_volume",
    "fit_lines",
    "learned_image",
    "likelihood_image",
    "load_geometry",
    "load_network",
    "network_recipe",
    "poca_image",
    "read_muons",
    "save_network",
    "separable_sums",
    "slice_figure",
    "stays_near",
]
