"""What a table of recorded hits means: columns, units, planes, and the volume to be imaged."""

__all__ = ["ImagedVolume", "MomentumColumn", "Plane", "ScanGeometry", "load_geometry"]

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detopt.errors import ConfigError, UnitError
from detopt.reconstruction.voxel_grid import Grid
from detopt.units import Energy, Length, parse

MOST_VOXELS = 50_000_000
UNEVEN = 1e-6  # of a voxel: how far the volume may miss a whole number of voxels


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Plane(_Part):
    """One horizontal plane of the detector."""

    side: Literal["above", "below"] = Field(description="Side of the volume")
    x: str = Field(description="Column of the measured x")
    y: str = Field(description="Column of the measured y")
    z: Length | None = Field(None, description="Height of the plane, a number of m or with unit")
    z_column: str | None = Field(None, description="Column of the height, instead of `z`")
    resolution: Length = Field(gt=0, description="Standard deviation of x and of y")

    @model_validator(mode="after")
    def _one_height(self) -> "Plane":
        if (self.z is None) == (self.z_column is None):
            raise ValueError("a plane needs either `z`, its height, or `z_column`, not both")
        return self


class MomentumColumn(_Part):
    """Where the momentum of a muon is found."""

    column: str
    unit: str = Field("GeV", description="Unit of the column")
    kind: Literal["momentum", "total_energy", "kinetic_energy"] = "momentum"


class ImagedVolume(_Part):
    """The box that is divided into voxels."""

    low: tuple[Length, Length, Length] = Field(description="Lowest corner x, y, z")
    high: tuple[Length, Length, Length] = Field(description="Highest corner x, y, z")
    voxel: tuple[Length, Length, Length] | Length = Field(description="Edges of a voxel, or one")

    @property
    def grid(self) -> Grid:
        """The voxels."""
        size = self.voxel if isinstance(self.voxel, tuple) else (self.voxel,) * 3
        shape = [round((b - a) / d) for a, b, d in zip(self.low, self.high, size, strict=True)]
        return Grid(self.low, size, (shape[0], shape[1], shape[2]))

    @model_validator(mode="after")
    def _whole_voxels(self) -> "ImagedVolume":
        size = self.voxel if isinstance(self.voxel, tuple) else (self.voxel,) * 3
        for axis, a, b, d in zip("xyz", self.low, self.high, size, strict=True):
            if d <= 0 or b <= a:
                raise ValueError(
                    f"along {axis} the volume must have low < high and a voxel > 0, got "
                    f"{a:g} m, {b:g} m and {d:g} m"
                )
            n = (b - a) / d
            if abs(n - round(n)) > max(UNEVEN, UNEVEN * n) or round(n) < 1:
                raise ValueError(
                    f"{b - a:g} m along {axis} are {n:.4g} voxels of {d:g} m: choose a whole number"
                )
        if self.grid.n_voxels > MOST_VOXELS:
            raise ValueError(
                f"{self.grid.n_voxels:,} voxels are more than {MOST_VOXELS:,}: choose larger ones"
            )
        return self


class ScanGeometry(_Part):
    """A detector of planes above and below a volume, and the columns of its hits.

    Lengths in the geometry are numbers of metres or texts with a unit, such as ``20 mm``; the
    numbers in the table are in `length_unit`.
    """

    length_unit: str = Field("m", description="Unit of the coordinates in the table")
    planes: tuple[Plane, ...] = Field(description="At least two on each side of the volume")
    momentum: MomentumColumn | None = Field(None, description="None: the momentum is not known")
    mean_momentum: Energy = Field(
        3.0, gt=0, description="Taken for every muon where the momentum is not known [GeV]"
    )
    volume: ImagedVolume

    @model_validator(mode="after")
    def _two_on_each_side(self) -> "ScanGeometry":
        for side in ("above", "below"):
            found = [plane for plane in self.planes if plane.side == side]
            if len(found) < 2:
                raise ValueError(
                    f"a track needs two planes, {side} the volume there "
                    f"{'is' if len(found) == 1 else 'are'} {len(found)}"
                )
        return self

    @model_validator(mode="after")
    def _known_units(self) -> "ScanGeometry":
        _require_unit("length_unit", self.length_unit, "m")
        if self.momentum is not None:
            _require_unit("momentum.unit", self.momentum.unit, "GeV")
        return self

    @model_validator(mode="after")
    def _own_columns(self) -> "ScanGeometry":
        names = [name for plane in self.planes for name in (plane.x, plane.y)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"`planes` use the column {', '.join(f'`{name}`' for name in twice)} more than once"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that are needed, each once."""
        names = [name for p in self.planes for name in (p.x, p.y, p.z_column) if name is not None]
        if self.momentum is not None:
            names.append(self.momentum.column)
        return tuple(dict.fromkeys(names))


def _require_unit(entry: str, unit: str, expected: str) -> None:
    try:
        parse(f"1 {unit}", expected)
    except UnitError:
        raise ValueError(
            f"`{entry}` must be a unit such as {'mm' if expected == 'm' else 'MeV'}, got {unit!r}"
        ) from None


def load_geometry(path: Path) -> ScanGeometry:
    """The geometry in a YAML file.

    Raises:
        ConfigError: The file is missing, is no YAML, or does not describe a scanner; the message
            names the entry.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read the geometry {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The geometry {path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"The geometry {path} must be a mapping with `planes` and `volume`.")
    try:
        return ScanGeometry(**{str(key): value for key, value in data.items()})
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc']))}: ".removeprefix(": ")
            + item["msg"].removeprefix("Value error, ").removesuffix(".")
            for item in error.errors()
        ]
        raise ConfigError(f"{path}: {'; '.join(lines)}.") from error
