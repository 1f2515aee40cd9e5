"""What stands in a turned volume: the engines, GDML and Geant4's own reader agree on where."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import pytest
import torch

from detopt.simulators.geant4 import Box, Cylinder, Primaries, Volume, read_gdml, write_gdml
from detopt.simulators.geant4.folders import VARIABLE
from detopt.simulators.geant4.volumes import walk

ENOUGH = 5e-3  # GeV; half of what a muon leaves in the thinnest sensor


def tube(axis):
    """A tube with a sensor in it, and a rod with another; nothing is symmetric."""
    plastic = "G4_PLASTIC_SC_VINYLTOLUENE"
    inner = Volume("Inner", Box((0.05, 0.08, 0.1)), plastic, (0.02, -0.04, 0.03), active=True)
    rods = [
        Volume(
            f"Rod{other.upper()}",
            Cylinder(0.15, 0.3, axis=other),
            "G4_Galactic",
            position,
            daughters=(inner,),
        )
        for other, position in (("x", (0.1, -0.2, 0.2)), ("y", (-0.2, 0.1, -0.2)))
    ]
    sensor = Volume("Sensor", Box((0.06, 0.1, 0.14)), plastic, (0.3, 0.1, -0.15), active=True)
    outside = Cylinder(0.5, 0.9, axis=axis)
    mother = Volume("Tube", outside, "G4_Galactic", (0.1, -0.2, 0.15), daughters=(sensor, *rods))
    return Volume("World", Box((2.0, 2.0, 2.0)), "G4_Galactic", daughters=(mother,))


def places(volume, around=(0.0, 0.0, 0.0)):
    """Centre in the world and full lengths of each volume [m], mothers first."""
    centre = tuple(a + b for a, b in zip(around, volume.position, strict=True))
    yield (*centre, *volume.shape.extent)
    for daughter in volume.daughters:
        yield from places(daughter, centre)


def beams(boxes):
    """Muons along x, y and z, within and beyond the edges of each box."""
    for box, way in itertools.product(boxes, range(3)):
        first, second = (axis for axis in range(3) if axis != way)
        for a, b in itertools.product((-0.55, -0.45, 0.45, 0.55), repeat=2):
            start = box[:3].clone()
            start[way] = -0.95
            start[first] += a * box[3 + first]
            start[second] += b * box[3 + second]
            yield start, torch.eye(3, dtype=torch.float64)[way]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_sensors_in_a_cylinder_see_the_muons_that_cross_them(geant4, axis):
    world = tube(axis)
    active = [volume.active for _, volume in walk(world)]
    boxes = torch.tensor(list(places(world)), dtype=torch.float64)[active]
    starts, ways = (torch.stack(part) for part in zip(*beams(boxes), strict=True))
    muons = Primaries.gun("mu-", 100.0, len(starts), starts, ways)
    energy = geant4.run(world, muons, 1).energy
    distance = (starts[:, None] - boxes[:, :3]).abs()
    inside = (distance < boxes[:, 3:] / 2) | (ways[:, None] > 0)
    torch.testing.assert_close(energy > ENOUGH, inside.all(2))


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_what_stands_in_a_cylinder_is_read_where_it_was_written(tmp_path, axis):
    world = tube(axis)
    read = read_gdml(write_gdml(world, tmp_path / "tube.gdml"))
    for wrote, found in zip(places(world), places(read), strict=True):
        assert found == pytest.approx(wrote)


BLOCK = """<?xml version="1.0"?><gdml>
<define><quantity name="side" type="length" value="1" unit="cm"/>
<quantity name="quarter" type="angle" value="90" unit="deg"/></define>
<materials><material name="Metal" Z="82"><D value="11.35"/><atom value="207.2"/></material>
</materials><solids><box name="w" lunit="m" x="2" y="2" z="2"/>
<box name="m" lunit="mm" x="200" y="300" z="400"/>
<box name="b" lunit="mm" x="side" y="20" z="30"/>
<tube name="t" lunit="mm" aunit="deg" rmax="5" z="80" deltaphi="360"/></solids>
<structure>
<volume name="inner"><materialref ref="Metal"/><solidref ref="b"/></volume>
<volume name="rod"><materialref ref="Metal"/><solidref ref="t"/></volume>
<volume name="mother"><materialref ref="Metal"/><solidref ref="m"/>
<physvol><volumeref ref="inner"/><position name="i" unit="mm" x="50" y="60" z="70"/></physvol>
<physvol><volumeref ref="rod"/><position name="r" unit="mm" x="-30" y="20" z="10"/>
<rotation name="lie" unit="deg" x="90" z="90"/></physvol></volume>
<volume name="top"><materialref ref="Metal"/><solidref ref="w"/>
<physvol><volumeref ref="mother"/><position name="p" unit="mm" x="100" y="-200" z="300"/>
<rotation name="turn" {turn}/></physvol></volume>
</structure><setup name="Default" version="1.0"><world ref="top"/></setup></gdml>"""
TURNS = {  # and where they put the inner box: its centre in the mother and its lengths [mm]
    'unit="deg" x="0"': ((50, 60, 70), (10, 20, 30)),
    'unit="deg" y="180"': ((-50, 60, -70), (10, 20, 30)),
    'unit="deg" z="90"': ((60, -50, 70), (20, 10, 30)),
    'unit="deg" x="90" y="90"': ((-70, 50, -60), (30, 10, 20)),
    'x="quarter" y="quarter"': ((-70, 50, -60), (30, 10, 20)),
    'unit="deg" x="90" y="180" z="-90"': ((60, -70, -50), (20, 30, 10)),
}


def block(tmp_path, turn):
    path = tmp_path / "block.gdml"
    path.write_text(BLOCK.format(turn=turn))
    return path


@pytest.mark.parametrize("turn", TURNS)
def test_a_rotation_of_gdml_turns_the_axes_about_x_then_y_then_z(tmp_path, turn):
    """By hand: the solid is turned the other way, about z first."""
    (mother,) = read_gdml(block(tmp_path, turn)).daughters
    inner = mother.daughters[0]
    centre, lengths = TURNS[turn]
    assert mother.position == pytest.approx((0.1, -0.2, 0.3))
    assert inner.position == pytest.approx([1e-3 * x for x in centre])
    assert inner.shape.extent == pytest.approx([1e-3 * x for x in lengths])


PARSER = """
import json, sys
import numpy as np
import geant4_pybind as g4

def places(placed, turn, around):
    matrix, at = placed.GetObjectRotationValue(), placed.GetObjectTranslation()
    centre = around + turn @ (at.x, at.y, at.z)
    turn = turn @ [[getattr(matrix, row + column) for column in "xyz"] for row in "xyz"]
    volume = placed.GetLogicalVolume()
    solid = volume.GetSolid()
    if isinstance(solid, g4.G4Box):
        half = solid.GetXHalfLength(), solid.GetYHalfLength(), solid.GetZHalfLength()
    else:
        half = solid.GetOuterRadius(), solid.GetOuterRadius(), solid.GetZHalfLength()
    yield [*centre.tolist(), *(2 * abs(turn) @ half).tolist()]
    for i in range(volume.GetNoDaughters()):
        yield from places(volume.GetDaughter(i), turn, centre)

parser = g4.G4GDMLParser()
parser.Read(sys.argv[1], False)
found = list(places(parser.GetWorldVolume(), np.eye(3), np.zeros(3)))
open(sys.argv[2], "w").write(json.dumps(found))
"""


def geant4_places(path, data):
    """The same as `places`, by Geant4's own reader of GDML, in a process of its own."""
    if importlib.util.find_spec("geant4_pybind") is None:
        pytest.skip("geant4-pybind, which brings Geant4's reader of GDML, is not installed")
    target = path.with_suffix(".json")
    subprocess.run(
        [sys.executable, "-c", PARSER, str(path), str(target)],
        env={**os.environ, VARIABLE: str(data.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return [[1e-3 * length for length in one] for one in json.loads(target.read_text())]


@pytest.mark.parametrize("turn", TURNS)
def test_gdml_is_read_as_geant4_reads_it(tmp_path, substitute, turn):
    path = block(tmp_path, turn)
    world = read_gdml(path)
    for own, other in zip(places(world), geant4_places(path, substitute), strict=True):
        assert own == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_geant4_reads_cylinders_where_they_were_written(tmp_path, substitute, axis):
    world = tube(axis)
    path = write_gdml(world, tmp_path / "tube.gdml")
    for own, other in zip(places(world), geant4_places(path, substitute), strict=True):
        assert own == pytest.approx(other, abs=1e-9)
