"""What both packages with the libraries of Geant4 must do alike."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.errors import ConfigError, MissingExtraError
from detopt.physics import energy_loss, materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import (
    Box,
    Cylinder,
    Geant4,
    Primaries,
    Volume,
    close_pools,
    simulate_stack,
)
from detopt.simulators.geant4.engines import ENGINES, EnginePackage, get_engine

IRON = materials.get("Fe")
TUBES = Volume(
    "World",
    Box((1.0, 1.0, 1.0)),
    "G4_AIR",
    daughters=(
        Volume("Pipe", Cylinder(0.1, 0.2, 0.09, "x"), IRON, (0.0, 0.1, 0.2), active=True),
        Volume("Rod", Cylinder(0.02, 0.3, axis="y"), "G4_WATER", (0.0, 0.0, -0.2), active=True),
    ),
)


def test_a_muon_loses_in_tubes_what_the_stopping_power_says(geant4):
    """The beam crosses two walls of 1 cm and 4 cm of a rod; delta rays leave thin pieces."""
    primaries = Primaries.gun("mu-", 2.0, 600, (0.0, 0.1, -0.49))
    energy = geant4.run(TUBES, primaries, 3).energy
    kinetic = torch.tensor(2.0, dtype=torch.float64)
    for column, (name, length) in enumerate({"Fe": 2.0, "water": 4.0}.items()):  # cm
        loss = energy_loss.stopping_power("mu-", materials.get(name), kinetic).item()
        expected = loss * materials.get(name).density * length
        error = energy[:, column].std().item() / math.sqrt(600)
        assert energy[:, column].mean().item() == pytest.approx(
            expected, abs=0.1 * expected + 3 * error
        )


def test_a_volume_of_the_table_and_daughters_are_taken_out(geant4):
    """A block with a hole of vacuum in it: the beam through the hole leaves nothing."""
    hole = Volume("Hole", Cylinder(0.02, 0.2), "G4_Galactic")
    block = Volume("Block", Box((0.2, 0.2, 0.2)), IRON, active=True, daughters=(hole,))
    world = Volume("World", Box((1.0, 1.0, 1.0)), "G4_Galactic", daughters=(block,))
    beams = torch.tensor([[0.0, 0.0, -0.4], [0.05, 0.0, -0.4]], dtype=torch.float64)
    energy = geant4.run(world, Primaries.gun("mu-", 1.0, 2, beams), 1).energy[:, 0]
    assert energy[0].item() == 0.0
    assert energy[1].item() > 0.1


def test_the_production_cut_is_taken(geant4):
    stack = Stack.of([Layer(IRON, 0.01, active=True)])
    primaries = Primaries.gun("mu-", 1.0, 50)
    coarse, fine = (
        simulate_stack(stack, primaries, 1, geant4=replace(geant4, cut=cut)).visible
        for cut in (0.1, 1e-5)
    )
    close_pools()
    assert not torch.equal(coarse, fine)
    assert coarse.mean().item() > fine.mean().item()  # delta rays leave, if they are made


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_found_by_its_name(name):
    assert get_engine(name).name == name
    assert Geant4(engine=name).engine == name


def test_an_unknown_or_missing_engine_is_refused():
    with pytest.raises(ConfigError, match="must be calzone or geant4-pybind, got 'geant3'"):
        get_engine("geant3")
    absent = EnginePackage("nothing", "no_such_module", "no_engine", "0", "geant4")
    with pytest.raises(MissingExtraError, match=r"Geant4 needs `nothing`.*detopt\[geant4\]"):
        absent.require()
