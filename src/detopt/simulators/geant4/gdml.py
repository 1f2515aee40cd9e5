"""Writes geometry as GDML, which Geant4 and the tools around it read.

Lengths in the file are in mm, densities in g/cm3.
"""

__all__ = ["SENSITIVE", "write_gdml"]

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from detopt.physics._composition import load_table
from detopt.simulators.geant4.media import Medium, medium
from detopt.simulators.geant4.turns import check_world, tilt, upright
from detopt.simulators.geant4.volumes import Box, Shape, Volume, walk

SENSITIVE = "SensDet"  # the customary mark of a volume that is read out
SCHEMA = "http://cern.ch/service-spi/app/releases/GDML/schema/gdml.xsd"
MM_PER_M = 1e3


def write_gdml(world: Volume, path: str | Path) -> Path:
    """Write a geometry.

    Args:
        world: The outermost volume.
        path: Name of the file.

    Raises:
        DomainError: The world is a cylinder along x or y, or has a position.
        NotFoundError: There is no material of a given name.
    """
    check_world(world)
    root = ET.Element(
        "gdml",
        {
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": SCHEMA,
        },
    )
    ET.SubElement(root, "define")
    media = [medium(volume.material) for _, volume in walk(world)]
    _write_materials(ET.SubElement(root, "materials"), {one.name: one for one in media})
    solids, structure = ET.SubElement(root, "solids"), ET.SubElement(root, "structure")
    _write_tree(solids, structure, world.name, world)
    setup = ET.SubElement(root, "setup", name="Default", version="1.0")
    ET.SubElement(setup, "world", ref=_identifier(world.name))
    target = Path(path)
    text = io.BytesIO()
    ET.indent(root)
    ET.ElementTree(root).write(text, encoding="utf-8", xml_declaration=True)
    target.write_bytes(text.getvalue() + b"\n")
    return target


def _write_materials(parent: ET.Element, media: Mapping[str, Medium]) -> None:
    elements = load_table().elements
    symbols = sorted({symbol for one in media.values() for symbol in one.composition})
    for symbol in symbols:
        element = elements[symbol]
        number = str(element.atomic_number)
        node = ET.SubElement(parent, "element", name=symbol, formula=symbol, Z=number)
        ET.SubElement(node, "atom", value=repr(element.atomic_mass), unit="g/mole")
    for one in media.values():
        if not one.composition:  # of the table of Geant4
            continue
        node = ET.SubElement(parent, "material", name=one.name)
        ET.SubElement(node, "D", value=repr(one.density), unit="g/cm3")
        for symbol, share in one.composition.items():
            ET.SubElement(node, "fraction", n=repr(share), ref=symbol)


def _write_tree(solids: ET.Element, structure: ET.Element, path: str, volume: Volume) -> None:
    """A volume, behind all that is in it; daughters stand in the coordinates of its solid."""
    _write_solid(solids, _identifier(path), volume.shape)
    daughters = upright(volume).daughters
    for daughter in daughters:
        _write_tree(solids, structure, f"{path}.{daughter.name}", daughter)
    _write_volume(structure, path, volume, daughters)


def _write_solid(parent: ET.Element, name: str, shape: Shape) -> None:
    if isinstance(shape, Box):
        lengths = dict(zip("xyz", map(_mm, shape.size), strict=True))
        ET.SubElement(parent, "box", {"name": f"{name}Solid", "lunit": "mm", **lengths})
        return
    ET.SubElement(
        parent,
        "tube",
        name=f"{name}Solid",
        lunit="mm",
        aunit="deg",
        rmin=_mm(shape.inner_radius),
        rmax=_mm(shape.radius),
        z=_mm(shape.length),
        startphi="0",
        deltaphi="360",
    )


def _write_volume(
    parent: ET.Element, path: str, volume: Volume, daughters: Iterable[Volume]
) -> None:
    name = _identifier(path)
    node = ET.SubElement(parent, "volume", name=name)
    ET.SubElement(node, "materialref", ref=medium(volume.material).name)
    ET.SubElement(node, "solidref", ref=f"{name}Solid")
    for daughter in daughters:
        own = _identifier(f"{path}.{daughter.name}")
        place = ET.SubElement(node, "physvol", name=daughter.name)
        ET.SubElement(place, "volumeref", ref=own)
        at = dict(zip("xyz", map(_mm, daughter.position), strict=True))
        ET.SubElement(place, "position", {"name": f"{own}Position", "unit": "mm", **at})
        angles = tilt(daughter.shape)
        if any(angles):
            back = (repr(0.0 - angle) for angle in angles)  # GDML rotates the axes, not the solid
            turns = dict(zip("xyz", back, strict=True))
            ET.SubElement(place, "rotation", {"name": f"{own}Rotation", "unit": "deg", **turns})
    if volume.active:
        ET.SubElement(node, "auxiliary", auxtype=SENSITIVE, auxvalue=name)


def _identifier(path: str) -> str:
    return path.replace(".", "_")


def _mm(length: float) -> str:
    return repr(length * MM_PER_M)
