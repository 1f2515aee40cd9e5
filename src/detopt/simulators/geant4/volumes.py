"""Geometry for Geant4: boxes and cylinders in each other, and what is read out.

Lengths are in metres. A volume is placed by the position of its centre in the one around it.
"""

__all__ = ["Box", "Cylinder", "Shape", "Volume", "walk"]

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from detopt.errors import ConfigError, DomainError
from detopt.physics.materials import Material

Triple = tuple[float, float, float]
NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
SMALLEST = 1e-9  # m; Geant4 refuses thinner solids


@dataclass(frozen=True)
class Box:
    """A box along the axes.

    Args:
        size: Full lengths in x, y and z [m].

    Raises:
        DomainError: A length is below 1 nm or not finite.
    """

    size: Triple

    def __post_init__(self) -> None:
        for length in self.size:
            _check("size", length)

    @property
    def extent(self) -> Triple:
        """Full lengths in x, y and z [m]."""
        return self.size


@dataclass(frozen=True)
class Cylinder:
    """A cylinder or a tube.

    Args:
        radius: Outer radius [m].
        length: Full length [m].
        inner_radius: 0 for a full cylinder [m].
        axis: Direction of its axis: x, y or z.

    Raises:
        DomainError: A length is below 1 nm or not finite, or the inner radius is not below the
            outer one.
        ConfigError: `axis` is another word.
    """

    radius: float
    length: float
    inner_radius: float = 0.0
    axis: str = "z"

    def __post_init__(self) -> None:
        _check("radius", self.radius)
        _check("length", self.length)
        if not 0 <= self.inner_radius < self.radius:
            raise DomainError(
                f"`inner_radius` must be >= 0 and below the radius {self.radius:g} m, got "
                f"{self.inner_radius:g} m."
            )
        if self.axis not in ("x", "y", "z"):
            raise ConfigError(f"`axis` must be x, y or z, got {self.axis!r}.")

    @property
    def extent(self) -> Triple:
        """Full lengths in x, y and z [m]."""
        sides = [2 * self.radius] * 3
        sides["xyz".index(self.axis)] = self.length
        return (sides[0], sides[1], sides[2])


Shape = Box | Cylinder


@dataclass(frozen=True)
class Volume:
    """A solid of one material, with others inside.

    Args:
        name: Letters and digits after a capital; it differs from that of its neighbours.
        shape: Box or cylinder.
        material: A material, its name, or a name of Geant4's own table such as `G4_AIR`.
        position: Its centre in the volume around it [m].
        active: Whether the energy that is deposited here, without daughters, is recorded.
        daughters: Volumes inside.

    Raises:
        ConfigError: The name is not of that form, or two daughters have the same.
        DomainError: A daughter's centre, or the corners of a box in a box, lie outside.

    Note:
        Positions are along the axes of the world, also in a cylinder along x or y. The world itself
        is a box or a cylinder along z, without a position.
    """

    name: str
    shape: Shape
    material: str | Material
    position: Triple = (0.0, 0.0, 0.0)
    active: bool = False
    daughters: tuple["Volume", ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"The name of a volume is letters and digits after a capital, got {self.name!r}."
            )
        if not all(map(math.isfinite, self.position)):
            raise DomainError(f"The position of `{self.name}` must be finite: {self.position}.")
        twice = [name for name, n in Counter(d.name for d in self.daughters).items() if n > 1]
        if twice:
            raise ConfigError(f"`{self.name}` has several daughters called `{twice[0]}`.")
        for daughter in self.daughters:
            self._check_inside(daughter)

    def _check_inside(self, daughter: "Volume") -> None:
        pairs = zip(daughter.position, daughter.shape.extent, self.shape.extent, strict=True)
        for axis, (centre, inner, outer) in zip("xyz", pairs, strict=True):
            if abs(centre) + inner / 2 > outer / 2 + SMALLEST:
                raise DomainError(
                    f"`{daughter.name}` sticks out of `{self.name}` along {axis}: it reaches "
                    f"{abs(centre) + inner / 2:g} m, where that ends at {outer / 2:g} m."
                )


def walk(volume: Volume, path: str = "") -> Iterator[tuple[str, Volume]]:
    """The volume and all in it, with their paths such as `World.Layer3`; mothers come first."""
    own = f"{path}.{volume.name}" if path else volume.name
    yield own, volume
    for daughter in volume.daughters:
        yield from walk(daughter, own)


def _check(name: str, length: float) -> None:
    if not (math.isfinite(length) and length >= SMALLEST):
        raise DomainError(f"`{name}` must be >= 1 nm, got {length:g} m.")
