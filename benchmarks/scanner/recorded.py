"""Images of recorded muons: those of the Geant4 sample that muograph ships, beside its own.

The sample is an iron barrel with three dense blocks inside and a cube of 8 cm each of uranium, lead
and iron beside it: 137,033 muons in 3 + 3 ideal planes, momenta evenly spread in their logarithm.
It is read from the environment of muograph, which runs as a program of its own. Both programs get
the same hits and momenta and make images on the same voxels of 20 mm, from the hits in memory to
the image, in alternation, in CPU time of one thread.

Contrast-to-noise of an object is (mean in it - mean of the background) / deviation of the
background, which is the empty inside of the barrel, 4 cm or more from blocks and walls. Scores are
compared on one footing, that of an angle: of a scattering density the square root is taken. The
centroid is that of the excess over the background within the object and a rim of 1 cm, 4 cm in z.
"""

import dataclasses
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
    likelihood_image,
    poca_image,
    read_muons,
)
from detopt.reconstruction.scan_geometry import ImagedVolume, MomentumColumn, Plane
from scanner.common import BENCHMARKS, one_thread_environment, say

PEER = Path(os.environ.get("MUOGRAPH_PYTHON", "/tmp/peers/muograph/bin/python"))
RESULT = BENCHMARKS / "results" / "recorded_muons.json"
RESOLUTION = 1e-6  # m: the digits of the table
ALTERNATIONS = 3
QUICK_MUONS = 3_000
FASTER = 5.0
COARSE = Grid((-0.5, -0.3, -1.5), (0.2, 0.2, 0.2), (5, 3, 3))  # for the derivative
GRADIENT_MUONS, GRADIENT_WAYS = 2_000, 3
GRADIENT_STEP = 1e-8  # m
GRADIENT_ERROR = 0.05
KINDS = ("poca", "asr", "bca")
N_BOOTSTRAP = 12  # resamplings of the muons: standard errors to 20 %
SIGNIFICANT = 2.0  # standard errors
SETTINGS = {  # of the peer: its defaults first, then its tutorials' and others that suit the sample
    "poca": ("poca", "poca_p", "poca_p70", "poca_p50", "poca_count"),
    "asr": ("asr", "asr_p", "asr_p75", "asr_p90", "asr_p_slow"),
    "bca": ("bca", "bca_p", "bca_p70", "bca_p20"),
}
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
    "poca, angle": (lambda tracks, grid: poca_image(tracks, grid, "angle"), False),
    "asr": (angle_statistics_image, False),
    "bca": (binned_clustering_image, False),
    "mlem": (lambda tracks, grid: likelihood_image(tracks, grid, LikelihoodImaging()), True),
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


def run(quick: bool, peer: Path = PEER) -> dict[str, Any]:
    """Quality and CPU time of all images of both programs."""
    if not peer.exists():
        sys.exit(f"No Python of muograph at {peer}. Set MUOGRAPH_PYTHON; see benchmarks/peers.")
    described = geometry()
    muons = read_muons(sample(peer), described, n_muons=QUICK_MUONS if quick else None)
    grid = described.volume.grid
    theirs: dict[str, dict[str, Any]] = {}
    ours: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = _Peer(peer, Path(folder), QUICK_MUONS if quick else None)
        repeats = 1 if quick else ALTERNATIONS
        for i in range(repeats):
            for kind in KINDS:
                settings = SETTINGS[kind] if i == 0 and not quick else SETTINGS[kind][:1]
                for name in settings:
                    again = name == SETTINGS[kind][0]
                    answer = program.ask(name, again)
                    values = np.load(answer["path"])["values"].astype(float)
                    entry = theirs.setdefault(name, {"cpu_s": [], **quality(values, grid)})
                    entry["cpu_s"].append(answer["cpu_s"])
                    say(f"muograph {name}: {answer['cpu_s']:.1f} s")
            for name in OURS:
                seconds, values = _timed(name, muons, grid)
                entry = ours.setdefault(name, {"cpu_s": [], **quality(values, grid)})
                entry["cpu_s"].append(seconds)
                say(f"ours {name}: {seconds:.2f} s")
        program.close()
    for name in KINDS:
        ours[name]["std_error"] = standard_errors(name, muons, grid, 2 if quick else N_BOOTSTRAP)
    return {
        "n_muons": len(muons),
        "voxels": list(grid.shape),
        "ours": ours,
        "muograph": theirs,
        "alternations": repeats,
        "gradient": gradient(muons),
    }


def gradient(muons: RecordedMuons) -> list[dict[str, float]]:
    """Derivative of the likelihood's image in the hits, implicit and by central differences."""
    some = muons.select(slice(0, GRADIENT_MUONS))
    weights = torch.linspace(-1, 1, COARSE.n_voxels, dtype=torch.float64).reshape(COARSE.shape)
    rng = torch.Generator().manual_seed(0)

    def summary(hits: Tensor) -> Tensor:
        tracks = dataclasses.replace(some, hits=hits).tracks(-1.2)
        return (likelihood_image(tracks, COARSE).values * weights).sum()

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
                "implicit": (slope * way).sum().item(),
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


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds; against the best of the peer's settings for each object.

    At least equal means: not worse by more than two standard errors over resampled muons.
    """
    table = []
    for kind in KINDS:
        ours = result["ours"][kind]
        theirs = [result["muograph"][name] for name in SETTINGS[kind] if name in result["muograph"]]
        if not theirs:
            table.append((f"{kind}, against muograph's", "measured", "not measured", False))
            continue
        for measure, best, sign in (("contrast_to_noise", max, 1), ("centroid_error_mm", min, -1)):
            for name in OBJECTS:
                mine, error = ours[measure][name], ours["std_error"][measure][name]
                bar = best(entry[measure][name] for entry in theirs)
                what = f"{kind}, {name}, {measure.replace('_', ' ')}"
                table.append(
                    (
                        what,
                        f"{'>=' if sign > 0 else '<='} {bar:.2f}, muograph's best",
                        f"{mine:.2f} +- {error:.2f}",
                        sign * (mine - bar) >= -SIGNIFICANT * error,
                    )
                )
        spent = statistics.median(ours["cpu_s"])
        ratio = statistics.median(theirs[0]["cpu_s"]) / spent
        table.append(
            (
                f"{kind}, CPU time of muograph's default over ours",
                f">= {FASTER:g}",
                f"{ratio:.0f} ({spent:.2f} s)",
                ratio >= FASTER,
            )
        )
    poca = [result["ours"][name] for name in ("poca", "poca, angle")]
    poca += [result["muograph"][n] for n in SETTINGS["poca"] if n in result["muograph"]]
    for name in OBJECTS:
        mine = result["ours"]["mlem"]["contrast_to_noise"][name]
        bar = max(entry["contrast_to_noise"][name] for entry in poca)
        what = f"mlem, {name}, contrast to noise"
        table.append((what, f"> {bar:.2f}, the best PoCA", f"{mine:.2f}", mine > bar))
    errors = [abs(e["implicit"] / e["differences"] - 1) for e in result["gradient"]]
    table.append(
        (
            "mlem, derivative in the hits against differences, largest relative error",
            f"<= {GRADIENT_ERROR:g}",
            f"{max(errors):.1e}",
            max(errors) <= GRADIENT_ERROR,
        )
    )
    return table


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = run("--quick" in sys.argv)
    for row in rows(outcome):
        print(" | ".join(map(str, row)))
    if "--quick" not in sys.argv:
        RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
