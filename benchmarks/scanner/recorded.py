"""Images of recorded muons: those of the Geant4 sample that muograph ships, beside its own.

The sample is an iron barrel with three dense blocks inside and a cube of 8 cm each of uranium, lead
and iron beside it: 137,033 muons in 3 + 3 ideal planes, momenta evenly spread in their logarithm.
It is read from the environment of muograph, which runs as a program of its own. Both programs get
the same hits and momenta and make images on the same voxels of 20 mm, from the hits in memory to
the image, in CPU time of one thread: once with all muons, and in alternation with the first 10,000
of them, for an image of all takes the peer up to 5 minutes. Where both have several settings, the
best of ours is set against the best of theirs, for each object and measure.

    python -m scanner.recorded                       everything, about 25 minutes
    python -m scanner.recorded --only asr simulated  some parts; the others stay

in the folder `benchmarks`.

Contrast-to-noise of an object is (mean in it - mean of the background) / deviation of the
background, which is the empty inside of the barrel, 4 cm or more from blocks and walls. Scores are
compared on one footing, that of an angle: of a scattering density the square root is taken. The
centroid is that of the excess over the background within the object and a rim of 1 cm, 4 cm in z.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detopt.reconstruction import (
    Grid,
    LikelihoodImaging,
    MuonTracks,
    RecordedMuons,
    ScanGeometry,
    ScatteringImage,
    angle_statistics_image,
    binned_clustering_image,
    learned_image,
    likelihood_image,
    poca_image,
    read_muons,
)
from detopt.reconstruction.scan_geometry import ImagedVolume, MomentumColumn, Plane
from scanner import recorded_simulated
from scanner.common import BENCHMARKS, one_thread_environment, say
from scanner.recorded_table import KINDS, OUR_SETTINGS, SETTINGS, rows

PEER = Path(os.environ.get("MUOGRAPH_PYTHON", "/tmp/peers/muograph/bin/python"))
RESULT = BENCHMARKS / "results" / "recorded_muons.json"
RESOLUTION = 1e-6  # m: the digits of the table
ALTERNATIONS = 3
QUICK_MUONS = 3_000
TIMED_MUONS = 10_000  # in alternation
COARSE = Grid((-0.5, -0.3, -1.5), (0.2, 0.2, 0.2), (5, 3, 3))  # for the derivative
GRADIENT_MUONS, GRADIENT_WAYS = 2_000, 3
GRADIENT_STEP = 1e-8  # m
PARTS = (*KINDS, "timed", "mlem", "learned", "gradient", "simulated")
N_BOOTSTRAP = 12  # resamplings of the muons: standard errors to 20 %
BLOCK_RIM, CENTROID_RIM, CENTROID_RIM_Z = 0.04, 0.01, 0.04  # m
TOUCHING = 1e-6  # m: a voxel whose middle is on a face is outside


@dataclass(frozen=True)
class Box:
    """A block: its middle and half its edges [m]."""

    middle: tuple[float, float, float]
    half: tuple[float, float, float]

    def contains(self, points: np.ndarray, rim: float = 0.0, rim_z: float | None = None) -> Any:
        """Whether points, of shape (3, ...), are in the block or its rim."""
        rims = (rim, rim, rim if rim_z is None else rim_z)
        inside = [
            np.abs(x - m) < h + r - TOUCHING
            for x, m, h, r in zip(points, self.middle, self.half, rims, strict=True)
        ]
        return inside[0] & inside[1] & inside[2]


OBJECTS = {  # from the outlines that the scattering points draw
    "uranium cube": Box((0.0, 0.25, -1.21), (0.04, 0.04, 0.04)),
    "lead cube": Box((0.15, 0.25, -1.21), (0.04, 0.04, 0.04)),
    "iron cube": Box((-0.15, 0.25, -1.21), (0.04, 0.04, 0.04)),
    "left block": Box((-0.2, 0.0, -1.21), (0.04, 0.06, 0.08)),
    "middle block": Box((0.0, 0.0, -1.21), (0.04, 0.06, 0.08)),
    "right block": Box((0.25, 0.0, -1.21), (0.06, 0.04, 0.08)),
}
BARREL = (0.37, 0.16, -1.2)  # half the length, radius, height of the axis: 3 cm inside the walls

Image = Callable[[MuonTracks, Grid], ScatteringImage]
OURS: dict[str, tuple[Image, bool]] = {  # name: (image, whether it is a density)
    "poca": (poca_image, True),
    "poca, angle": (functools.partial(poca_image, score="angle"), False),
    "asr": (angle_statistics_image, False),
    "asr, quantile 0.75": (functools.partial(angle_statistics_image, share=0.75), False),
    "asr, quantile 0.9": (functools.partial(angle_statistics_image, share=0.9), False),
    "bca": (binned_clustering_image, False),
    "mlem": (lambda tracks, grid: likelihood_image(tracks, grid, LikelihoodImaging()), True),
    "learned": (learned_image, True),
}


def geometry() -> ScanGeometry:
    """What the columns of the sample mean."""
    planes = tuple(
        Plane(
            side="above" if i < 3 else "below",
            x=f"X{i}",
            y=f"Y{i}",
            z_column=f"Z{i}",
            resolution=RESOLUTION,
        )
        for i in range(6)
    )
    volume = ImagedVolume(low=(-0.5, -0.3, -1.5), high=(0.5, 0.3, -0.9), voxel=0.02)
    momentum = MomentumColumn(column="E", unit="MeV", kind="kinetic_energy")
    return ScanGeometry(length_unit="mm", planes=planes, momentum=momentum, volume=volume)


def run(quick: bool, peer: Path = PEER, parts: tuple[str, ...] = PARTS) -> dict[str, Any]:
    """Quality and CPU time of the images of both programs."""
    if not peer.exists():
        sys.exit(f"No Python of muograph at {peer}. Set MUOGRAPH_PYTHON; see benchmarks/peers.")
    described = geometry()
    muons = read_muons(sample(peer), described, n_muons=QUICK_MUONS if quick else None)
    grid = described.volume.grid
    found: dict[str, Any] = {
        "n_muons": len(muons),
        "voxels": list(grid.shape),
        "objects": list(OBJECTS),
        "ours": {},
        "muograph": {},
    }
    for part in parts:
        if part in OUR_SETTINGS:
            found["ours"] |= _ours(part, muons, grid, 2 if quick else N_BOOTSTRAP)
        if part in KINDS:
            found["muograph"] |= _theirs(part, peer, grid, quick)
        if part == "timed":
            found["timed"] = _alternated(peer, muons, grid, quick)
        if part == "gradient":
            found["gradient"] = gradient(muons, likelihood_image)
            found["learned_gradient"] = gradient(muons, learned_image)
        if part == "simulated":
            found["simulated"] = recorded_simulated.run(quick)
    return found


def _ours(part: str, muons: RecordedMuons, grid: Grid, n_bootstrap: int) -> dict[str, Any]:
    """Our images of a part, with standard errors where they can be had in reasonable time."""
    found = {}
    for name in OUR_SETTINGS[part]:
        seconds, values = _timed(name, muons, grid)
        say(f"ours {name}: {seconds:.2f} s")
        found[name] = {"cpu_s": [seconds], **quality(values, grid)}
        if part in KINDS:
            found[name]["std_error"] = standard_errors(name, muons, grid, n_bootstrap)
    return found


def _theirs(part: str, peer: Path, grid: Grid, quick: bool) -> dict[str, Any]:
    """The peer's images with all its settings; the first is its default."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        program = _Peer(peer, Path(folder), QUICK_MUONS if quick else None)
        for name in SETTINGS[part]:
            answer = program.ask(name, again=False)
            values = np.load(answer["path"])["values"].astype(float)
            found[name] = {"cpu_s": [answer["cpu_s"]], **quality(values, grid)}
            say(f"muograph {name}: {answer['cpu_s']:.1f} s")
        program.close()
    return found


def _alternated(peer: Path, muons: RecordedMuons, grid: Grid, quick: bool) -> dict[str, Any]:
    """CPU times of both programs' defaults with the same few muons, in turns."""
    n_muons = QUICK_MUONS if quick else TIMED_MUONS
    some = muons.select(slice(0, n_muons))
    found: dict[str, Any] = {kind: {"ours": [], "muograph": []} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        program = _Peer(peer, Path(folder), n_muons)
        for _ in range(1 if quick else ALTERNATIONS):
            for kind in KINDS:
                answer = program.ask(SETTINGS[kind][0], again=True)
                seconds, _ = _timed(OUR_SETTINGS[kind][0], some, grid)
                found[kind]["muograph"].append(answer["cpu_s"])
                found[kind]["ours"].append(seconds)
                say(f"{kind}, {n_muons:,} muons: {answer['cpu_s']:.1f} and {seconds:.2f} s")
        program.close()
    return {"n_muons": n_muons, "kinds": found}


def gradient(muons: RecordedMuons, make: Image) -> list[dict[str, float]]:
    """Derivative of an image in the hits, exact and by central differences."""
    some = muons.select(slice(0, GRADIENT_MUONS))
    weights = torch.linspace(-1, 1, COARSE.n_voxels, dtype=torch.float64).reshape(COARSE.shape)
    rng = torch.Generator().manual_seed(0)

    def summary(hits: Tensor) -> Tensor:
        tracks = dataclasses.replace(some, hits=hits).tracks(-1.2)
        return (make(tracks, COARSE).values * weights).sum()

    hits = some.hits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(summary(hits), hits)
    found = []
    for _ in range(GRADIENT_WAYS):
        way = torch.randn(hits.shape, generator=rng, dtype=torch.float64)
        ends = [
            summary((some.hits + sign * GRADIENT_STEP * way).requires_grad_()).item()
            for sign in (1, -1)
        ]
        found.append(
            {
                "exact": (slope * way).sum().item(),
                "differences": (ends[0] - ends[1]) / (2 * GRADIENT_STEP),
            }
        )
    return found


def sample(peer: Path) -> Path:
    """Where the peer keeps its sample."""
    script = str(BENCHMARKS / "peers" / "muograph_images.py")
    found = subprocess.run(
        [str(peer), script, "--where"], capture_output=True, text=True, check=True
    )
    return Path(found.stdout.strip().splitlines()[-1])


def standard_errors(
    name: str, muons: RecordedMuons, grid: Grid, n_samples: int
) -> dict[str, dict[str, float]]:
    """Scatter of the measures of an image over resampled muons."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(n_samples):
        chosen = torch.randint(len(muons), (len(muons),), generator=rng)
        found.append(quality(_timed(name, muons.select(chosen), grid)[1], grid))
    return {
        measure: {item: statistics.stdev(one[measure][item] for one in found) for item in OBJECTS}
        for measure in found[0]
    }


def _timed(name: str, muons: RecordedMuons, grid: Grid) -> tuple[float, np.ndarray]:
    """CPU seconds from hits to image, and its values on the footing of an angle."""
    make, is_density = OURS[name]
    begin = time.process_time()
    image = make(muons.tracks((grid.low[2] + grid.high[2]) / 2), grid)
    seconds = time.process_time() - begin
    values = image.values.double().numpy()
    return seconds, np.sqrt(values.clip(min=0)) if is_density else values


class _Peer:
    """The peer's process, which answers the name of a setting with an image."""

    def __init__(self, python: Path, folder: Path, n_muons: int | None) -> None:
        script = str(BENCHMARKS / "peers" / "muograph_images.py")
        command = [str(python), script, "--serve", "--out", str(folder)]
        if n_muons is not None:
            command += ["--muons", str(n_muons)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=one_thread_environment(),
        )
        assert self._line() == "ready"

    def ask(self, name: str, again: bool) -> dict[str, Any]:
        """CPU seconds and path of an image."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"again {name}\n" if again else f"{name}\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        """Stop it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def quality(values: np.ndarray, grid: Grid) -> dict[str, Any]:
    """Contrast-to-noise and error of the centroid [mm] of each object."""
    points = np.stack(
        np.meshgrid(*(grid.centers(axis).numpy() for axis in range(3)), indexing="ij")
    )
    length, radius, axis = BARREL
    empty = (np.abs(points[0]) < length) & (np.hypot(points[1], points[2] - axis) < radius)
    for box in OBJECTS.values():
        empty &= ~box.contains(points, BLOCK_RIM)
    mean, deviation = values[empty].mean(), values[empty].std()
    found: dict[str, Any] = {"contrast_to_noise": {}, "centroid_error_mm": {}}
    for name, box in OBJECTS.items():
        inside = box.contains(points)
        found["contrast_to_noise"][name] = float((values[inside].mean() - mean) / deviation)
        rim = box.contains(points, CENTROID_RIM, CENTROID_RIM_Z)
        excess = (values - mean).clip(min=0) * rim
        centroid = (excess * points).sum((1, 2, 3)) / max(excess.sum(), 1e-300)
        found["centroid_error_mm"][name] = float(1e3 * np.linalg.norm(centroid - box.middle))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Images of recorded muons, beside muograph's.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few muons, written nowhere")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    outcome = run(arguments.quick, parts=tuple(arguments.only))
    if not arguments.quick:
        known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        for key in ("ours", "muograph"):
            outcome[key] = {**known.get(key, {}), **outcome[key]}
        outcome = {**known, **outcome}
        RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    if set(PARTS) <= {*outcome, *outcome["ours"]}:
        for row in rows(outcome):
            print(" | ".join(map(str, row)))


if __name__ == "__main__":
    main()
