"""Volumes and GDML: what is written is read again, and what is dangerous is refused."""

import math

import pytest

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import Box, Cylinder, Primaries, Volume, stack_volume
from detopt.simulators.geant4.gdml import write_gdml
from detopt.simulators.geant4.gdml_reader import read_gdml
from detopt.simulators.geant4.run import describe
from detopt.simulators.geant4.volumes import walk

LEAD = materials.get("Pb")
PIPE = Volume(
    "World",
    Box((1.0, 1.0, 1.0)),
    "G4_AIR",
    daughters=(
        Volume("Pipe", Cylinder(0.1, 0.2, 0.09, "x"), LEAD, (0.0, 0.1, 0.2), active=True),
        Volume("Rod", Cylinder(0.05, 0.5), materials.get("PbWO4"), (0.0, 0.0, -0.2)),
    ),
)
STACK = stack_volume(Stack.of([Layer(LEAD, 0.01), Layer(LEAD, 0.02, active=True)]), cells=(2, 3))
MINIMAL = """<?xml version="1.0"?>{doctype}
<gdml><define><constant name="half" value="50"/>
<quantity name="field" value="1" unit="tesla"/><position name="at" unit="cm" x="10"/>
<rotation name="quarter" unit="deg" y="90"/></define>
<materials><isotope name="Pb208" N="208" Z="82"/><element name="Lead"><fraction n="1" ref="Pb208"/>
</element><element name="O" Z="8"><atom value="16"/></element>
<material name="Oxide"><D value="9530" unit="kg/m3"/>
<composite n="1" ref="Lead"/><composite n="1" ref="O"/></material>
<material name="Metal" Z="82"><D value="11.35"/><atom value="207.2"/></material>
<material name="Blend"><D value="10"/><fraction n="0.5" ref="Oxide"/><fraction n="0.5" ref="Metal"/>
</material></materials>
<solids><box name="b" x="half" y="20" z="30"/><box name="w" lunit="m" x="1" y="1" z="1"/>
{solid}</solids>
<structure><volume name="inner"><materialref ref="{material}"/><solidref ref="{shape}"/></volume>
<volume name="top"><materialref ref="G4_Galactic0x55aa"/><solidref ref="w"/>
<physvol name="block0x12"><volumeref ref="inner"/><positionref ref="at"/>{rotation}</physvol>
</volume>{structure}</structure><setup><world ref="top"/></setup></gdml>"""


def minimal(tmp_path, **changes):
    parts = dict.fromkeys(("doctype", "solid", "structure"), "")
    parts |= {"material": "Oxide", "shape": "b", "rotation": '<rotationref ref="quarter"/>'}
    path = tmp_path / "minimal.gdml"
    path.write_text(MINIMAL.format(**(parts | changes)))
    return path


@pytest.mark.parametrize("world", [PIPE, STACK], ids=["pipe", "stack"])
def test_a_geometry_is_read_as_it_was_written(tmp_path, world):
    read = read_gdml(write_gdml(world, tmp_path / "world.gdml"))
    pairs = list(zip(walk(world), walk(read), strict=True))
    for (path, wrote), (other, found) in pairs:
        assert other == path
        assert found.active == wrote.active
        assert found.position == pytest.approx(wrote.position)
        assert found.shape.extent == pytest.approx(wrote.shape.extent)
        assert type(found.shape) is type(wrote.shape)
        if isinstance(wrote.material, str):
            assert found.material == wrote.material
        else:
            assert found.material.density == wrote.material.density
            assert dict(found.material.composition) == pytest.approx(wrote.material.composition)


def test_a_file_of_others_is_read(tmp_path):
    (block,) = read_gdml(minimal(tmp_path)).daughters
    assert block.name == "Block"
    assert block.shape.extent == pytest.approx((0.03, 0.02, 0.05))  # a quarter turn about y
    assert block.position == pytest.approx((0.1, 0.0, 0.0))
    assert block.material.density == pytest.approx(9.53)
    assert dict(block.material.composition) == pytest.approx({"Pb": 0.9283, "O": 0.0717}, abs=1e-4)
    blend = read_gdml(minimal(tmp_path, material="Blend")).daughters[0].material
    assert blend.composition["Pb"] == pytest.approx(0.9642, abs=1e-4)


DOCTYPE = '<!DOCTYPE gdml [<!ENTITY all SYSTEM "file:///etc/passwd">]>'
TUBE = '<tube name="t" rmax="1" z="2" aunit="deg" deltaphi="180"/>'


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"doctype": DOCTYPE}, "document type or entities"),
        ({"doctype": "<!DOCTYPE gdml>"}, "document type or entities"),
        ({"solid": '<sphere name="s"/>', "shape": "s"}, "solid `sphere` is not supported"),
        ({"solid": TUBE, "shape": "t"}, "no full turn"),
        ({"solid": '<box name="e" x="2*half" y="1" z="1"/>', "shape": "e"}, "no plain number"),
        ({"solid": '<box name="u" lunit="inch"/>', "shape": "u"}, "unit `inch` is unknown"),
        ({"shape": "missing"}, "solid `missing`, which it does not define"),
        ({"material": "missing"}, "material `missing`"),
        ({"rotation": '<rotation x="0.3"/>'}, "right angles are"),
        ({"rotation": '<scale x="1" y="1" z="-1"/>'}, "`block0x12` has a scale"),
        ({"rotation": '<scaleref ref="mirror"/>'}, "`block0x12` has a scale"),
        ({"solid": '<box name="f" x="field" y="1" z="1"/>', "shape": "f"}, "of a known unit"),
        ({"structure": "<assembly/>"}, "`assembly` is not supported"),
        ({"structure": "</volume>"}, "no complete XML"),
    ],
)
def test_what_is_dangerous_or_unknown_is_refused(tmp_path, changes, match):
    with pytest.raises(ConfigError, match=match):
        read_gdml(minimal(tmp_path, **changes))


def test_replicas_and_other_files_are_refused(tmp_path):
    path = minimal(tmp_path)
    text = path.read_text()
    for part in ("<replicavol/>", '<physvol><file name="other.gdml"/></physvol>'):
        path.write_text(text.replace("<physvol", f"{part}<physvol", 1))
        with pytest.raises(ConfigError, match="is not supported: place volumes one by one"):
            read_gdml(path)
    path.write_text("<gdml/>")
    with pytest.raises(ConfigError, match="is no GDML"):
        read_gdml(path)
    with pytest.raises(NotFoundError, match="There is no file"):
        read_gdml(tmp_path / "nowhere.gdml")


def test_a_muon_goes_through_a_tube_from_gdml(geant4, tmp_path):
    """Twice the wall of a tube, then the wall along its axis."""
    world = read_gdml(write_gdml(PIPE, tmp_path / "pipe.gdml"))
    start = ((-0.49, 0.195, 0.2), (0.0, 0.1, -0.3))  # in the wall along x, and across both walls
    ways = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    runs = (
        geant4.run(world, Primaries.gun("mu-", 50.0, 80, where, way), 5)
        for where, way in zip(start, ways, strict=True)
    )
    along, across = (deposits.energy[:, 0].median().item() for deposits in runs)
    assert along / across == pytest.approx(0.2 / 0.02, rel=0.25)  # more secondaries deep inside


def test_a_smaller_box_in_a_box_takes_its_part(geant4):
    inner = Volume("Inner", Box((0.1, 0.1, 0.1)), LEAD, active=True)
    outer = Volume("Outer", Box((0.1, 0.1, 0.3)), LEAD, active=True, daughters=(inner,))
    world = Volume("World", Box((0.4, 0.4, 0.4)), "G4_Galactic", daughters=(outer,))
    deposits = geant4.run(world, Primaries.gun("mu-", 5.0, 60, (0.0, 0.0, -0.16)), 1)
    assert deposits.volumes == ("World.Outer", "World.Outer.Inner")
    around, inside = deposits.energy.mean(0)
    assert (around / inside).item() == pytest.approx(2.0, rel=0.15)


def test_without_an_active_volume_nothing_runs(geant4):
    world = Volume("World", Box((0.4, 0.4, 0.4)), "G4_Galactic")
    with pytest.raises(ConfigError, match="No volume is active"):
        geant4.run(world, Primaries.gun("mu-", 5.0), 1)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Box((1.0, 0.0, 1.0)), DomainError, "`size` must be >= 1 nm"),
        (lambda: Cylinder(math.inf, 1.0), DomainError, "`radius` must be >= 1 nm"),
        (lambda: Cylinder(0.1, 1.0, 0.1), DomainError, "below the radius"),
        (lambda: Cylinder(0.1, 1.0, axis="w"), ConfigError, "x, y or z"),
        (lambda: Volume("world", Box((1.0, 1.0, 1.0)), "Pb"), ConfigError, "after a capital"),
        (
            lambda: describe(Volume("A", Cylinder(0.1, 1.0, axis="x"), "Pb")),
            DomainError,
            "`A` must be a box or a cylinder along z, got .*axis='x'",
        ),
        (
            lambda: write_gdml(Volume("A", Cylinder(0.1, 1.0, axis="y"), "Pb"), "unwritten.gdml"),
            DomainError,
            "does not rotate its world",
        ),
        (
            lambda: describe(Volume("A", Box((1.0, 1.0, 1.0)), "Pb", (0.1, 0.0, 0.0))),
            DomainError,
            r"`A` must be at \(0, 0, 0\), got \(0.1, 0.0, 0.0\)",
        ),
        (
            lambda: Volume("A", Box((1.0, 1.0, 1.0)), "Pb", (math.nan, 0.0, 0.0)),
            DomainError,
            "must be finite",
        ),
        (
            lambda: Volume("A", Box((1.0, 1.0, 1.0)), "Pb", daughters=(PIPE,) * 2),
            ConfigError,
            "several daughters called `World`",
        ),
        (
            lambda: Volume("A", Box((1.0, 1.0, 0.5)), "Pb", daughters=(PIPE,)),
            DomainError,
            "sticks out of `A` along z",
        ),
    ],
)
def test_impossible_volumes_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_an_unknown_material_is_refused(geant4):
    world = Volume("World", Box((0.4, 0.4, 0.4)), "unobtainium", active=True)
    with pytest.raises(NotFoundError, match="unobtainium"):
        geant4.run(world, Primaries.gun("mu-", 5.0), 1)
