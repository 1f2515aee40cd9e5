"""Muons that a detector above and below a volume has recorded: hits, tracks, momenta."""

__all__ = ["MuonTracks", "RecordedMuons", "read_muons"]

import csv
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.errors import ConfigError
from detopt.physics import particles
from detopt.reconstruction.poca import ClosestApproach, closest_approach
from detopt.reconstruction.scan_geometry import MomentumColumn, Plane, ScanGeometry
from detopt.reconstruction.tracks import LineFit, fit_lines
from detopt.units import parse

FLAT = 1e-3  # m: by how much the heights in a column may differ; planes are horizontal
SHOWN = 8  # columns named in a message


@dataclass(frozen=True)
class MuonTracks:
    """Straight tracks of muons above and below a volume, or several, given at one height.

    Args:
        above, below: The tracks.
        reference: Height at which they are given [m].
        momentum: Momentum, or what is taken for it [GeV/c].
        momentum_known: Whether the momentum was measured.
    """

    above: LineFit
    below: LineFit
    reference: float
    momentum: Float[Tensor, "*batch n_muons"]
    momentum_known: bool = True

    def __len__(self) -> int:
        return self.momentum.shape[-1]

    @property
    def beta_momentum(self) -> Float[Tensor, "*batch n_muons"]:
        r""":math:`\beta p c` [GeV], which scattering angles are inversely proportional to."""
        squared = self.momentum.square()
        return squared / (squared + particles.mass("muon") ** 2).sqrt()

    @property
    def secant(self) -> Float[Tensor, "*batch n_muons"]:
        """Path length over height difference of the mean direction, >= 1."""
        mean = (self.above.slope + self.below.slope) / 2
        return (1 + mean.square().sum(0)).sqrt()

    def closest_approach(self) -> ClosestApproach:
        """Scattering point and angle of each muon."""
        return closest_approach(self.above, self.below, self.reference)

    def select(self, chosen: Bool[Tensor, " n_muons"]) -> "MuonTracks":
        """Some of the muons."""
        above, below = (
            LineFit(*(getattr(fit, field.name)[..., chosen] for field in fields(fit)))
            for fit in (self.above, self.below)
        )
        momentum = self.momentum[..., chosen]
        return MuonTracks(above, below, self.reference, momentum, self.momentum_known)


@dataclass(frozen=True)
class RecordedMuons:
    """Hits of muons in horizontal planes above and below a volume.

    Args:
        hits: Measured x and y [m]; not a number where there is no hit.
        heights: Heights of the planes [m].
        resolution: Standard deviation of either coordinate in each plane [m], > 0.
        is_above: Whether a plane is above the volume.
        momentum: Momentum [GeV/c], or None where it is not known.
        mean_momentum: What is taken for it then [GeV/c].
        n_left_out: Muons of a table that were left out, with fewer than two hits on a side.

    Raises:
        ConfigError: A side has fewer than two planes, or two of its planes are at one height.
    """

    hits: Float[Tensor, "2 n_planes n_muons"]
    heights: Float[Tensor, " n_planes"]
    resolution: Float[Tensor, " n_planes"]
    is_above: Bool[Tensor, " n_planes"]
    momentum: Float[Tensor, " n_muons"] | None = None
    mean_momentum: float = 3.0
    n_left_out: int = 0

    def __post_init__(self) -> None:
        for side, mask in (("above", self.is_above), ("below", ~self.is_above)):
            heights = self.heights[mask]
            if len(heights.unique()) < max(2, len(heights)):
                raise ConfigError(
                    f"A track {side} the volume needs two or more planes at different heights, "
                    f"got z = {heights.tolist()} m."
                )

    def __len__(self) -> int:
        return self.hits.shape[-1]

    @property
    def usable(self) -> Bool[Tensor, " n_muons"]:
        """Whether a muon has two hits or more on each side."""
        there = self.hits.isfinite().all(0)
        return (there[self.is_above].sum(0) >= 2) & (there[~self.is_above].sum(0) >= 2)

    def select(
        self, chosen: Bool[Tensor, " n_muons"] | Int[Tensor, " n_chosen"] | slice
    ) -> "RecordedMuons":
        """Some of the muons, by a mask, by their numbers or by a slice."""
        momentum = None if self.momentum is None else self.momentum[chosen]
        return replace(self, hits=self.hits[:, :, chosen], momentum=momentum)

    def tracks(self, reference: float) -> MuonTracks:
        """Least-squares tracks of all muons, at the height `reference` [m].

        Note:
            Muons with fewer than two hits on a side get huge errors; `select` those that are
            `usable`. Differentiable in hits, heights and resolution.
        """
        origin = self._origin()
        above, below = (
            self._fit(mask, reference, origin) for mask in (self.is_above, ~self.is_above)
        )
        momentum = self.momentum
        if momentum is None:
            momentum = self.hits.new_full((len(self),), self.mean_momentum)
        return MuonTracks(above, below, reference, momentum, self.momentum is not None)

    def _origin(self) -> Float[Tensor, "2 1"]:
        """Median hit, to whole metres: far from 0, as on a map, fits would lose their precision."""
        x, y = (axis[axis.isfinite()].detach() for axis in self.hits)
        middle = [axis.median() if len(axis) > 0 else axis.new_zeros(()) for axis in (x, y)]
        return torch.stack(middle).round().unsqueeze(-1)

    def _fit(self, mask: Tensor, reference: float, origin: Float[Tensor, "2 1"]) -> LineFit:
        hits = self.hits[:, mask] - origin.unsqueeze(-1)
        there = hits.isfinite().all(0)
        weights = there * self.resolution[mask].square().reciprocal().unsqueeze(-1)
        weighted = torch.where(there, hits, 0.0) * weights
        fit = fit_lines(weighted, weights, self.heights[mask], reference)
        return replace(fit, position=fit.position + origin)


def read_muons(path: Path, geometry: ScanGeometry, *, n_muons: int | None = None) -> RecordedMuons:
    """Muons from a table of comma-separated values with a header line.

    Args:
        path: The table; an empty cell, or `nan`, is a hit that was lost.
        geometry: What the columns mean.
        n_muons: Read the first of them only.

    Returns:
        The usable muons, in float64; those with fewer than two hits on a side are left out.

    Raises:
        ConfigError: The file cannot be read, lacks a column, holds something that is no number,
            has planes on the wrong side of the volume, or no usable muon.
    """
    columns = _read_columns(path, geometry.columns, n_muons)
    unit = parse(f"1 {geometry.length_unit}", "m")
    heights = [
        plane.z
        if plane.z is not None
        else _height(columns[str(plane.z_column)] * unit, plane, path)
        for plane in geometry.planes
    ]
    _require_sides(geometry, heights)
    hits = [[columns[name] * unit for name in (p.x, p.y)] for p in geometry.planes]
    muons = RecordedMuons(
        hits=torch.from_numpy(np.array(hits)).transpose(0, 1).contiguous(),
        heights=torch.tensor(heights, dtype=torch.float64),
        resolution=torch.tensor([p.resolution for p in geometry.planes], dtype=torch.float64),
        is_above=torch.tensor([p.side == "above" for p in geometry.planes]),
        momentum=_momentum(columns, geometry.momentum, path),
        mean_momentum=geometry.mean_momentum,
    )
    usable = muons.usable
    if not bool(usable.any()):
        raise ConfigError(f"No muon in {path} has two hits on each side of the volume.")
    return replace(muons.select(usable), n_left_out=int((~usable).sum()))


def _read_columns(path: Path, names: tuple[str, ...], n_rows: int | None) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = [name.strip(" #") for name in next(csv.reader([file.readline()]), [])]
            _require_columns(header, names, path)
            chosen = [header.index(name) for name in names]
            start = file.tell()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # an empty table is an error below
                    table = np.loadtxt(
                        _even_lines(file, len(header)),
                        delimiter=",",
                        usecols=chosen,
                        max_rows=n_rows,
                        ndmin=2,
                    )
            except ValueError:  # lost hits, or a mistake that the slow way can name
                file.seek(start)
                table = _read_slowly(file, header, chosen, n_rows, path)
    except OSError as error:
        raise ConfigError(f"Cannot read the table {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"The table {path} is no text in UTF-8: {error}.") from error
    if len(table) == 0:
        raise ConfigError(f"{path} holds no muon.")
    return dict(zip(names, table.T, strict=True))


def _require_columns(header: list[str], names: tuple[str, ...], path: Path) -> None:
    """Refuse a header that lacks a column, or has one twice."""
    if not any(header):
        raise ConfigError(f"{path} is empty, or its first line is: it must name the columns.")
    missing = [name for name in names if name not in header]
    if missing:
        known = ", ".join(header[:SHOWN]) + (", ..." if len(header) > SHOWN else "")
        hint = ""
        if len(header) == 1 < len(names):
            hint = " Separate cells by commas."
        elif all(name.strip("+-").replace(".", "", 1).isdigit() for name in header):
            hint = " The first line must name the columns."
        raise ConfigError(
            f"{path} has no column {', '.join(f'`{name}`' for name in missing)}. "
            f"It has: {known}.{hint}"
        )
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        raise ConfigError(
            f"{path} has several columns {', '.join(f'`{name}`' for name in twice)}. Rename them."
        )


def _even_lines(file: TextIO, n_cells: int) -> Iterator[str]:
    """Lines of as many cells as the header; numbers alone have no comma.

    Raises:
        ValueError: A line has others, or text in quotes.
    """
    for line in file:
        if line.count(",") != n_cells - 1 and not _is_blank(line):
            raise ValueError(f"{line!r} does not have {n_cells} cells.")
        yield line


def _is_blank(line: str) -> bool:
    """Whether a line is empty or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def _read_slowly(
    file: TextIO, header: list[str], chosen: list[int], n_rows: int | None, path: Path
) -> np.ndarray:
    """The same with empty cells, and with messages that name the line."""
    rows: list[list[float]] = []
    for number, line in enumerate(file, start=2):
        if len(rows) == n_rows:
            break
        if _is_blank(line):
            continue
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise ConfigError(
                f"Line {number} of {path} has {len(cells)} cells, the header has {len(header)}. "
                "Write decimal points, not commas, and a name for each column."
            )
        rows.append([_number(cells[i], header[i], number, path) for i in chosen])
    return np.array(rows).reshape(-1, len(chosen))


def _number(cell: str, column: str, line: int, path: Path) -> float:
    text = cell.strip()
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ConfigError(
            f"Line {line} of {path}: {text!r} in the column `{column}` is no number. Leave the "
            "cell empty where there is no hit."
        ) from None


def _height(values: np.ndarray, plane: Plane, path: Path) -> float:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise ConfigError(f"The column `{plane.z_column}` of {path} is empty.")
    if np.ptp(values) > FLAT:
        raise ConfigError(
            f"The heights in the column `{plane.z_column}` of {path} reach from {values.min():g} "
            f"to {values.max():g} m. Planes must be horizontal: turn the coordinates, or give `z`."
        )
    return float(values.mean())


def _require_sides(geometry: ScanGeometry, heights: list[float]) -> None:
    grid = geometry.volume.grid
    low, high = grid.low[2], grid.high[2]
    for plane, height in zip(geometry.planes, heights, strict=True):
        is_right = height >= high if plane.side == "above" else height <= low
        if not is_right:
            raise ConfigError(
                f"The plane at z = {height:g} m is said to be {plane.side} the volume, which "
                f"reaches from {low:g} to {high:g} m. z points up; check signs and units."
            )


def _momentum(
    columns: dict[str, np.ndarray], source: MomentumColumn | None, path: Path
) -> Float[Tensor, " n_muons"] | None:
    if source is None:
        return None
    values = columns[source.column] * parse(f"1 {source.unit}", "GeV")
    mass = particles.mass("muon")
    rest = mass if source.kind == "kinetic_energy" else 0.0
    with np.errstate(over="ignore"):  # what is too large to be squared is refused as infinite
        squared = (values + rest) ** 2 - (0.0 if source.kind == "momentum" else mass**2)
    bad = ~((values > 0) & (squared > 0) & np.isfinite(squared))
    if bad.any():
        raise ConfigError(
            f"{bad.sum()} values of the column `{source.column}` of {path} are no {source.kind}, "
            f"such as {values[bad][0]:g} GeV. Check `kind` and `unit`, or leave the muons out."
        )
    return torch.from_numpy(np.sqrt(squared))
