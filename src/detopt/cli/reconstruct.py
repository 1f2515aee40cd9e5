"""`detopt reconstruct`: an image from recorded hits of muons."""

__all__ = ["reconstruct"]

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detopt.cli import output
from detopt.cli.folders import make_folder
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from detopt.reconstruction import Grid, MuonTracks, ScatteringImage

    Progress = Callable[[int, int], None]

METHODS = ("poca", "asr", "bca", "mlem", "learned")
FILES = ("image.npz", "image.h5", "image.vti", "slices.png")


@dataclass(frozen=True)
class _Used:
    """The muons that an image is made of, and how many of all they are."""

    tracks: "MuonTracks"
    n_muons: int  # with two tracks
    n_without_track: int  # in the table, with fewer than two hits on a side
    n_crossing: int  # used, and through the volume
    n_left_out: int  # one track crosses the volume, the other passes far from it


def reconstruct(
    hits: Annotated[Path, typer.Argument(help="Table of hits: CSV with a header line")],
    geometry: Annotated[Path, typer.Option(help="YAML: planes, columns, units and volume")],
    method: Annotated[
        str,
        typer.Option(
            help="poca (closest approach), asr (angle statistics), bca (binned clustering), "
            "mlem (maximum likelihood) or learned (trained network)"
        ),
    ] = "poca",
    out: Annotated[Path, typer.Option(help="Folder to write to")] = Path("image"),
    muons: Annotated[int | None, typer.Option(min=1, help="Use the first of them only")] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="mlem: most evaluations of the likelihood")
    ] = None,
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help="asr, bca: which quantile is the score")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="learned: file of `train-imager`; the shipped network by default"),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Point of the slices in metres, such as '0,0.25,-1.21'")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files in --out")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Image what muons were scattered by: npz, HDF5, VTK and a picture of three slices."""
    from detopt.reconstruction import load_geometry, read_muons, slice_figure
    from detopt.reconstruction.image_files import save_hdf5, save_npz, save_vtk
    from detopt.reconstruction.image_pictures import slice_voxel

    _require_method(method, iterations, share, model)
    point = None if at is None else _point(at)
    _require_free(out, force)
    described = load_geometry(geometry)
    grid = described.volume.grid
    if point is not None:
        slice_voxel(grid, point)
    with output.counter(f"{method} image") as progress:
        recorded = read_muons(hits, described, n_muons=muons)
        begin = time.process_time()
        tracks = recorded.tracks((grid.low[2] + grid.high[2]) / 2)
        used = _used(tracks, recorded.n_left_out, grid, described.length_unit)
        make_folder(out)
        image = _image(method, used.tracks, grid, iterations, share, model, progress)
        seconds = time.process_time() - begin
    for name, save in zip(FILES, (save_npz, save_hdf5, save_vtk), strict=False):
        save(out / name, image)
    slice_figure(image, point).savefig(out / FILES[-1], dpi=120)
    _report(image, method, used, seconds, out, json)


def _used(tracks: "MuonTracks", n_without_track: int, grid: "Grid", length_unit: str) -> _Used:
    """Without the muons with a track far from the volume, which have wrong hits or miss it."""
    from detopt.reconstruction import crosses_volume, stays_near

    crossing, near = crosses_volume(tracks, grid), stays_near(tracks, grid)
    n_crossing, n_left_out = int((crossing & near).sum()), int((crossing & ~near).sum())
    if n_crossing == 0:
        corners = (f"({', '.join(f'{x:g}' for x in corner)})" for corner in (grid.low, grid.high))
        astray = (
            f"; of {n_left_out:,} one track does, and the other passes far from it"
            if n_left_out
            else ""
        )
        raise ConfigError(
            f"No muon of {len(tracks):,} crosses the volume, which reaches from "
            f"{' to '.join(corners)} m{astray}. Check `length_unit`, "
            f"{length_unit!r}, and the volume."
        )
    return _Used(tracks.select(near), len(tracks), n_without_track, n_crossing, n_left_out)


def _image(
    method: str,
    tracks: "MuonTracks",
    grid: "Grid",
    iterations: int | None,
    share: float | None,
    model: Path | None,
    progress: "Progress",
) -> "ScatteringImage":
    from detopt.reconstruction import (
        LikelihoodImaging,
        angle_statistics_image,
        binned_clustering_image,
        learned_image,
        likelihood_image,
        load_network,
        poca_image,
    )

    if method == "poca":
        return poca_image(tracks, grid)
    if method == "mlem":
        options = LikelihoodImaging() if iterations is None else LikelihoodImaging(iterations)
        return likelihood_image(tracks, grid, options, progress)
    if method == "learned":
        return learned_image(tracks, grid, load_network(model))
    quantile = 0.5 if share is None else share
    if method == "asr":
        return angle_statistics_image(tracks, grid, share=quantile)
    return binned_clustering_image(tracks, grid, share=quantile)


def _require_method(
    method: str, iterations: int | None, share: float | None, model: Path | None
) -> None:
    if method not in METHODS:
        raise NotFoundError(f"No method `{method}`. There are: {', '.join(METHODS)}.")
    if iterations is not None and method != "mlem":
        raise ConfigError(f"`{method}` takes no --iterations; only mlem does.")
    if share is not None and method not in {"asr", "bca"}:
        raise ConfigError(f"`{method}` takes no --share; only asr and bca do.")
    if model is not None and method != "learned":
        raise ConfigError(f"`{method}` takes no --model; only learned does.")


def _point(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"Cannot read --at {text!r}. Write it like '0, 0.25, -1.21'.") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise ConfigError(f"--at {text!r} must be three finite numbers, like '0, 0.25, -1.21'.")
    return x, y, z


def _require_free(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a file. Name a folder.")
    there = [name for name in FILES if (out / name).exists()]
    if there and not force:
        raise ConfigError(f"{str(out / there[0])!r} exists. Add --force to replace it.")


def _report(
    image: "ScatteringImage",
    method: str,
    used: _Used,
    seconds: float,
    out: Path,
    json: bool,
) -> None:
    values = image.values
    flat = int(values.argmax())
    nx, ny, nz = image.grid.shape
    cell = (flat // (ny * nz), flat // nz % ny, flat % nz)
    document: dict[str, Any] = {
        "method": method,
        "n_muons": used.n_muons,
        "n_without_track": used.n_without_track,
        "n_crossing": used.n_crossing,
        "n_left_out": used.n_left_out,
        "momentum_known": used.tracks.momentum_known,
        "cpu_s": round(seconds, 3),
        "voxels": [nx, ny, nz],
        "quantity": image.quantity,
        "unit": image.unit,
        "largest": {
            "value": float(values.max()),
            "at_m": [float(image.grid.centers(axis)[i]) for axis, i in enumerate(cell)],
        },
        "median": float(values.median()),
        "filled_voxels": int((image.counts > 0).sum()),
        "files": [str(out / name) for name in FILES],
    }
    if document["filled_voxels"] == 0:
        output.say(
            "No voxel has data: no muon is seen to scatter in the volume. Check `length_unit`, "
            "`resolution` and the unit of the momentum, or take more muons."
        )
    if json:
        output.document(document)
        return
    place = ", ".join(f"{x:.3f}" for x in document["largest"]["at_m"])
    output.facts(
        f"{method} image of {used.n_muons:,} muons",
        [
            ("quantity", image.label),
            ("largest", f"{document['largest']['value']:.4g} at ({place}) m"),
            ("median", f"{document['median']:.4g}"),
            ("voxels with data", f"{document['filled_voxels']:,} of {values.numel():,}"),
            ("through the volume", f"{used.n_crossing:,} muons"),
            ("left out", f"{used.n_left_out:,} muons with one track far from the volume"),
            ("also", f"{used.n_without_track:,} muons with fewer than two hits on a side"),
            ("momentum", "known" if used.tracks.momentum_known else "not known"),
            ("CPU time", f"{seconds:.2f} s"),
            ("files", ", ".join(document["files"])),
        ],
    )
