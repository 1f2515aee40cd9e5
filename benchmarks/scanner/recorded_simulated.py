"""Reconstructions side by side on simulated volumes that the imaging network has not seen.

Random volumes and detectors are those of the network's training, from another random stream. Where
a method gives a scattering density, its error is that of ln(1 + density / water); all methods are
judged by the rank correlation of their score with the true density over the voxels of a volume, and
by the probability that a voxel of dense matter (lead and more) scores above another one.
"""

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detopt.random import Seed
from detopt.reconstruction import (
    ImagingNetwork,
    LineFit,
    MuonTracks,
    ScatteringImage,
    angle_statistics_image,
    learned_image,
    likelihood_image,
    load_network,
    poca_image,
)
from detopt.reconstruction.imaging_network import log_scattering
from detopt.reconstruction.poca_imaging import DENSITY_UNIT
from detopt.usecases.muon_scanner.imaging.scans import ImagingScans, random_scans
from scanner.common import say

N_GROUPS = 24  # of two volumes with one detector
VOLUMES = 2
DENSE = 3.4e-3  # rad2/m at 3 GeV/c: from lead upwards
METHODS = ("poca", "asr", "mlem", "learned")


def run(quick: bool) -> dict[str, Any]:
    """Measures of all methods on held-out volumes."""
    network = load_network()
    rng = Seed("benchmark", "held-out images").generator()
    found: dict[str, dict[str, list[float]]] = {
        name: {"error": [], "rank": [], "dense": [], "cpu_s": []} for name in METHODS
    }
    for group in range(2 if quick else N_GROUPS):
        scans = random_scans(VOLUMES, rng)
        for volume in range(VOLUMES):
            _measure(found, scans, volume, network)
        say(f"simulated volumes: {VOLUMES * (group + 1)}")
    return {
        "n_volumes": len(found["poca"]["rank"]),
        "methods": {
            name: {
                "error": statistics.fmean(x * x for x in entry["error"]) ** 0.5
                if entry["error"]
                else None,
                "rank": statistics.fmean(entry["rank"]),
                "dense": statistics.fmean(entry["dense"]) if entry["dense"] else None,
                "cpu_s": statistics.fmean(entry["cpu_s"]),
                "ranks": entry["rank"],
            }
            for name, entry in found.items()
        },
    }


def _measure(
    found: dict[str, dict[str, list[float]]],
    scans: ImagingScans,
    volume: int,
    network: ImagingNetwork,
) -> None:
    tracks = one_volume(scans, volume)
    true = scans.density[volume].double()
    for name in METHODS:
        begin = time.process_time()
        image = _image(name, tracks, scans, network)
        entry = found[name]
        entry["cpu_s"].append(time.process_time() - begin)
        values = image.values.double()
        if name != "asr":
            logarithm = log_scattering((values / DENSITY_UNIT).clamp_min(0))
            error = (logarithm - log_scattering(true)).square().mean().sqrt()
            entry["error"].append(float(error))
        entry["rank"].append(_rank_correlation(values, true))
        dense = true > DENSE
        if bool(dense.any()) and not bool(dense.all()):
            entry["dense"].append(_separation(values[dense], values[~dense]))


def _image(
    name: str, tracks: MuonTracks, scans: ImagingScans, network: ImagingNetwork
) -> ScatteringImage:
    if name == "poca":
        return poca_image(tracks, scans.grid)
    if name == "asr":
        return angle_statistics_image(tracks, scans.grid)
    if name == "mlem":
        return likelihood_image(tracks, scans.grid)
    return learned_image(tracks, scans.grid, network)


def one_volume(scans: ImagingScans, volume: int) -> MuonTracks:
    """Tracks of the measured muons of one of the volumes."""
    chosen = scans.weight[volume] > 0

    def part(fit: LineFit) -> LineFit:
        pieces = (fit.position, fit.slope, fit.arm, fit.centroid_variance, fit.slope_variance)
        position, slope, *rest = (piece[..., volume, chosen].double() for piece in pieces)
        return LineFit(position, slope, *rest)

    tracks = scans.tracks
    return MuonTracks(
        part(tracks.above),
        part(tracks.below),
        tracks.reference,
        tracks.momentum[volume, chosen].double(),
        tracks.momentum_known,
    )


def _rank_correlation(values: Tensor, true: Tensor) -> float:
    """Spearman's rank correlation, 0 where one of them is the same everywhere."""
    from scipy.stats import rankdata

    first, second = (rankdata(x.reshape(-1).numpy()) for x in (values, true))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _separation(dense: Tensor, rest: Tensor) -> float:
    """Probability that a voxel of the first kind has the larger value."""
    from scipy.stats import rankdata

    ranks = rankdata(torch.cat([dense, rest]).numpy())[: len(dense)]
    return float((ranks.mean() - (len(dense) + 1) / 2) / len(rest))


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds: the network against all others."""
    methods = result["methods"]
    mine = methods["learned"]
    volumes = f"{result['n_volumes']} simulated volumes"
    table = []
    for name in ("poca", "asr", "mlem"):
        other = methods[name]
        if name != "asr":
            table.append(
                (
                    f"learned, {volumes}, error of ln(1 + scattering)",
                    f"< {other['error']:.3f}, {name}",
                    f"{mine['error']:.3f}",
                    mine["error"] < other["error"],
                )
            )
        differences = [a - b for a, b in zip(mine["ranks"], other["ranks"], strict=True)]
        mean = statistics.fmean(differences)
        error = statistics.stdev(differences) / len(differences) ** 0.5
        table.append(
            (
                f"learned, {volumes}, rank correlation with the truth",
                f"> {other['rank']:.3f}, {name}",
                f"{mine['rank']:.3f}, difference {mean:+.3f} +- {error:.3f}",
                mean > 0,
            )
        )
        table.append(
            (
                f"learned, {volumes}, dense voxels above others",
                f"> {other['dense']:.3f}, {name}",
                f"{mine['dense']:.3f}",
                mine["dense"] > other["dense"],
            )
        )
    return table
