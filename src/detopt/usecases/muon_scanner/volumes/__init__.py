"""Volumes to be scanned: voxel grids of materials, generated or read from a user's files."""

from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.volumes.buried import buried_walls
from detopt.usecases.muon_scanner.volumes.cargo import container
from detopt.usecases.muon_scanner.volumes.files import load_volumes, save_volumes
from detopt.usecases.muon_scanner.volumes.generators import blocks, ladle
from detopt.usecases.muon_scanner.volumes.lengths import (
    from_radiation_lengths,
    of_radiation_length,
)
from detopt.usecases.muon_scanner.volumes.meshes import MeshPart, voxelize
from detopt.usecases.muon_scanner.volumes.scenes import insert, load_scene
from detopt.usecases.muon_scanner.volumes.volume import Substance, Volumes, loose, substance

__all__ = [
    "Grid",
    "MeshPart",
    "Substance",
    "Volumes",
    "blocks",
    "buried_walls",
    "container",
    "from_radiation_lengths",
    "insert",
    "ladle",
    "load_scene",
    "load_volumes",
    "loose",
    "of_radiation_length",
    "save_volumes",
    "substance",
    "voxelize",
]
