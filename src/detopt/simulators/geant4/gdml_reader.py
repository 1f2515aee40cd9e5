"""Reads geometry from GDML: boxes and tubes in each other, placed by position.

Only plain numbers are read: no expressions, loops, references to other files or XML entities.
"""

__all__ = ["read_gdml"]

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn
from xml.etree import ElementTree as ET
from xml.parsers import expat

from detopt.errors import ConfigError, NotFoundError
from detopt.physics._composition import load_table
from detopt.physics.materials import Material
from detopt.simulators.geant4.gdml import SENSITIVE
from detopt.simulators.geant4.turns import turn_by, turned
from detopt.simulators.geant4.volumes import Box, Cylinder, Shape, Triple, Volume

METRES = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3}
DEGREES = {"deg": 1.0, "degree": 1.0, "rad": 57.29577951308232, "radian": 57.29577951308232}
DENSITIES = {"g/cm3": 1.0, "mg/cm3": 1e-3, "kg/m3": 1e-3}
TOLERANCE = 1e-6  # degrees
UNITS = {  # of quantities, in those that a file means without a unit
    "": 1.0,
    **{name: metres / METRES["mm"] for name, metres in METRES.items()},
    **{name: degrees / DEGREES["rad"] for name, degrees in DEGREES.items()},
    **DENSITIES,
}
GEANT4_NAME = re.compile(r"0x[0-9a-f]+$")  # Geant4 adds addresses to names


def read_gdml(path: str | Path) -> Volume:
    """The geometry in a file.

    Args:
        path: Name of the file.

    Raises:
        NotFoundError: There is no such file.
        ConfigError: It is no XML, declares a document type or entities, or uses what is not
            supported: other solids, oblique rotations, scales, replicas, assemblies or files.
        DomainError: A volume sticks out of the one around it.

    Note:
        A rotation by right angles is taken over into box and tube and all that is in them. Volumes
        that are read out carry the auxiliary `SensDet`. Materials are read by mass fraction, by
        number of atoms or as one element; a name that begins with `G4_` and has no definition is
        one of Geant4's own.
    """
    source = Path(path)
    if not source.is_file():
        raise NotFoundError(f"There is no file {source}.")
    document = _Document.of(_parse(source))
    return document.volume(document.world, "World")


def _parse(path: Path) -> ET.Element:
    """The elements of a file, without any document type."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: object) -> NoReturn:
        raise ConfigError(
            f"The file {path} declares a document type or entities, which can read other files "
            "and fill the memory. Write the geometry without them."
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise ConfigError(f"The file {path} is no complete XML: {error}.") from error


@dataclass
class _Document:
    """A GDML file: what its parts define, by name."""

    numbers: Mapping[str, float]
    positions: Mapping[str, ET.Element]
    rotations: Mapping[str, ET.Element]
    elements: Mapping[str, ET.Element]
    materials: Mapping[str, ET.Element]
    solids: Mapping[str, ET.Element]
    volumes: Mapping[str, ET.Element]
    world: str
    made: dict[str, Material] = field(default_factory=dict)

    @classmethod
    def of(cls, root: ET.Element) -> "_Document":
        """The parts of a file."""
        structure = root.find("structure")
        world = root.find("setup/world")
        if root.tag != "gdml" or structure is None or world is None:
            raise ConfigError("The file is no GDML: it lacks `structure` or `setup/world`.")
        for part in structure:
            if part.tag != "volume":
                raise ConfigError(f"GDML with `{part.tag}` is not supported: use plain volumes.")

        def named(pattern: str) -> dict[str, ET.Element]:
            return {node.get("name", ""): node for node in root.iterfind(pattern)}

        return cls(
            _numbers(root),
            named("define/position"),
            named("define/rotation"),
            named("materials/element") | named("materials/isotope"),
            named("materials/material"),
            named("solids/*"),
            named("structure/volume"),
            world.get("ref", ""),
        )

    def volume(self, reference: str, name: str) -> Volume:
        """A volume with all that is in it, neither placed nor turned."""
        node = _look_up(self.volumes, reference, "volume")
        daughters = tuple(self._daughter(child, i) for i, child in enumerate(node) if _is_in(child))
        return Volume(
            name,
            self._shape(_reference(node, "solidref")),
            self._material(_reference(node, "materialref")),
            active=any(one.get("auxtype") == SENSITIVE for one in node.iterfind("auxiliary")),
            daughters=daughters,
        )

    def _daughter(self, place: ET.Element, index: int) -> Volume:
        if place.tag != "physvol" or place.find("file") is not None:
            what = "file" if place.tag == "physvol" else place.tag
            raise ConfigError(f"GDML with `{what}` is not supported: place volumes one by one.")
        if any(part.tag in ("scale", "scaleref") for part in place):
            raise ConfigError(
                f"The placement `{place.get('name')}` has a scale, which is not supported: give "
                "the solid the wanted lengths."
            )
        reference = _reference(place, "volumeref")
        name = GEANT4_NAME.sub("", place.get("name", "") or reference)
        clean = re.sub(r"[^A-Za-z0-9]", "", name)
        if not clean[:1].isalpha():
            clean = f"Volume{index}{clean}"
        position = self._vector(place, "position", self.positions, METRES, "mm")
        angles = self._vector(place, "rotation", self.rotations, DEGREES, "rad")
        volume = self.volume(reference, clean[0].upper() + clean[1:])
        return replace(turned(volume, turn_by(angles).T), position=position)  # axes are rotated

    def _vector(
        self,
        place: ET.Element,
        kind: str,
        known: Mapping[str, ET.Element],
        units: Mapping[str, float],
        default: str,
    ) -> Triple:
        node = place.find(kind)
        if node is None:
            reference = place.find(f"{kind}ref")
            if reference is None:
                return (0.0, 0.0, 0.0)
            node = _look_up(known, reference.get("ref", ""), kind)
        scale = _unit(node, "unit", units, default)
        x, y, z = (scale * _plain(node.get(axis, "0"), self.numbers) for axis in "xyz")
        return (x, y, z)

    def _shape(self, reference: str) -> Shape:
        node = _look_up(self.solids, reference, "solid")
        scale = _unit(node, "lunit", METRES, "mm")

        def length(name: str, default: str = "") -> float:
            return scale * _plain(node.get(name, default), self.numbers)

        if node.tag == "box":
            return Box((length("x"), length("y"), length("z")))
        if node.tag == "tube":
            angle = _plain(node.get("deltaphi", ""), self.numbers)
            if abs(angle * _unit(node, "aunit", DEGREES, "rad") - 360) > TOLERANCE:
                raise ConfigError(f"The tube `{reference}` is no full turn.")
            return Cylinder(length("rmax"), length("z"), length("rmin", "0"))
        raise ConfigError(f"The solid `{node.tag}` is not supported: there are box and tube.")

    def _material(self, reference: str) -> str | Material:
        plain = GEANT4_NAME.sub("", reference)
        if reference not in self.materials and plain.startswith("G4_"):
            return plain
        if reference not in self.made:
            self.made[reference] = self._make(_look_up(self.materials, reference, "material"))
        return self.made[reference]

    def _make(self, node: ET.Element) -> Material:
        name = GEANT4_NAME.sub("", node.get("name", ""))
        given = node.find("D")
        if given is None:
            raise ConfigError(f"The material `{name}` has no density `D`.")
        scale = _unit(given, "unit", DENSITIES, "g/cm3")
        density = scale * _plain(given.get("value", ""), self.numbers)
        shares: dict[str, float] = {}
        by: Literal["atoms", "mass"] = "mass"
        if node.get("Z") is not None:
            shares[_symbol(_plain(node.get("Z", ""), self.numbers))] = 1.0
        for part in node.iterfind("composite"):
            by = "atoms"
            _add(shares, self._element(part), _plain(part.get("n", ""), self.numbers))
        for part in node.iterfind("fraction"):
            share = _plain(part.get("n", ""), self.numbers)
            inner = part.get("ref", "")
            if inner in self.elements:
                _add(shares, self._element(part), share)
                continue
            other = self._material(inner)
            if isinstance(other, str):
                raise ConfigError(f"`{name}` is mixed from `{other}`, which has no definition.")
            for symbol, own in other.composition.items():
                _add(shares, symbol, share * own)
        return Material.from_composition(name, shares, density, by=by)

    def _element(self, part: ET.Element) -> str:
        """Symbol of the element that a part of a material names."""
        node = _look_up(self.elements, part.get("ref", ""), "element")
        inner = node.find("fraction")
        if node.get("Z") is None and inner is not None:  # made of isotopes
            return self._element(inner)
        return _symbol(_plain(node.get("Z", ""), self.numbers))


def _numbers(root: ET.Element) -> dict[str, float]:
    """Constants, variables and quantities; the latter in mm, rad or g/cm3, the units of GDML.

    Quantities of other units are left out.
    """
    numbers = {}
    for kind in ("constant", "quantity", "variable"):
        for node in root.iterfind(f"define/{kind}"):
            unit = UNITS.get(node.get("unit", ""))
            if unit is not None:
                numbers[node.get("name", "")] = unit * _plain(node.get("value", ""), {})
    return numbers


def _is_in(child: ET.Element) -> bool:
    """Whether a part of a volume is something that lies in it."""
    return child.tag not in ("materialref", "solidref", "auxiliary", "colorref")


def _add(shares: dict[str, float], symbol: str, amount: float) -> None:
    shares[symbol] = shares.get(symbol, 0.0) + amount


def _symbol(number: float) -> str:
    for symbol, element in load_table().elements.items():
        if element.atomic_number == round(number):
            return symbol
    raise NotFoundError(f"No element has the atomic number {number:g}.")


def _reference(node: ET.Element, kind: str) -> str:
    found = node.find(kind)
    if found is None:
        raise ConfigError(f"The {node.tag} `{node.get('name')}` lacks its `{kind}`.")
    return found.get("ref", "")


def _look_up(known: Mapping[str, ET.Element], name: str, kind: str) -> ET.Element:
    if name not in known:
        raise ConfigError(f"The file refers to the {kind} `{name}`, which it does not define.")
    return known[name]


def _unit(node: ET.Element, key: str, units: Mapping[str, float], default: str) -> float:
    name = node.get(key, default)
    if name not in units:
        raise ConfigError(f"The unit `{name}` is unknown. There are: {', '.join(units)}.")
    return units[name]


def _plain(text: str, numbers: Mapping[str, float]) -> float:
    if text in numbers:
        return numbers[text]
    convert: Callable[[str], float] = float
    try:
        return convert(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no plain number and no quantity of a known unit: expressions are not "
            f"read. Units are: {', '.join(filter(None, UNITS))}."
        ) from error
