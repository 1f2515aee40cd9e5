"""The crystal of the reference by geant4-pybind alone, as its manual shows; no part of detopt.

    GEANT4_DATA_DIR=DIR python geant4_crystal.py 20000 1 OUT.json

Electrons of 1 GeV enter 20 x 20 x 22 cm3 of PbWO4; a stepping action in Python sums the deposits.
OUT.json gets the deposit [MeV] and the number of steps of each event. Geant4 prints what it likes.
"""

import json
import sys
from pathlib import Path

import geant4_pybind as g4

ENERGY, WIDTH, LENGTH, SPACE = g4.GeV, 20 * g4.cm, 22 * g4.cm, 2 * g4.m


class Detector(g4.G4VUserDetectorConstruction):
    """One block in vacuum."""

    def Construct(self):  # noqa: N802
        """Called by Geant4."""
        table = g4.G4NistManager.Instance()
        vacuum = table.FindOrBuildMaterial("G4_Galactic")
        shape = g4.G4Box("world", SPACE / 2, SPACE / 2, SPACE / 2)
        world = g4.G4LogicalVolume(shape, vacuum, "world")
        origin = g4.G4ThreeVector()
        self.world = g4.G4PVPlacement(None, origin, world, "world", None, False, 0)
        shape = g4.G4Box("block", WIDTH / 2, WIDTH / 2, LENGTH / 2)
        block = g4.G4LogicalVolume(shape, table.FindOrBuildMaterial("G4_PbWO4"), "block")
        middle = g4.G4ThreeVector(0, 0, LENGTH / 2)
        self.block = g4.G4PVPlacement(None, middle, block, "block", world, False, 0)
        return self.world


class Physics(g4.G4VModularPhysicsList):
    """The list of the reference."""

    def __init__(self):
        super().__init__()
        self.RegisterPhysics(g4.G4EmStandardPhysics_option1())


class Gun(g4.G4VUserPrimaryGeneratorAction):
    """A millimetre in front of the block."""

    def __init__(self):
        super().__init__()
        self.gun = g4.G4ParticleGun(1)
        self.gun.SetParticleDefinition(g4.G4ParticleTable.GetParticleTable().FindParticle("e-"))
        self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(0, 0, 1))
        self.gun.SetParticlePosition(g4.G4ThreeVector(0, 0, -g4.mm))
        self.gun.SetParticleEnergy(ENERGY)

    def GeneratePrimaries(self, event):  # noqa: N802
        """Called by Geant4."""
        self.gun.GeneratePrimaryVertex(event)


class Steps(g4.G4UserSteppingAction):
    """Sums the deposits of an event; nothing but the block takes any."""

    def __init__(self):
        super().__init__()
        self.deposit, self.n_steps = 0.0, 0

    def UserSteppingAction(self, step):  # noqa: N802
        """Called by Geant4."""
        self.deposit += step.GetTotalEnergyDeposit()
        self.n_steps += 1


class Ends(g4.G4UserEventAction):
    """Keeps the sum of each event."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.found = steps, []

    def BeginOfEventAction(self, event):  # noqa: ARG002, N802
        """Called by Geant4."""
        self.steps.deposit, self.steps.n_steps = 0.0, 0

    def EndOfEventAction(self, event):  # noqa: ARG002, N802
        """Called by Geant4."""
        self.found.append((self.steps.deposit / g4.MeV, self.steps.n_steps))


class Actions(g4.G4VUserActionInitialization):
    """All of them, kept alive."""

    def Build(self):  # noqa: N802
        """Called by Geant4."""
        steps = Steps()
        self.ends = Ends(steps)
        self.all = [Gun(), steps, self.ends]
        for one in self.all:
            self.SetUserAction(one)


def main() -> None:
    """Run, and write what was found."""
    n_events, seed, target = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    manager = g4.G4RunManager()
    manager.SetVerboseLevel(0)
    g4.G4Random.setTheSeed(seed)
    parts = Detector(), Physics(), Actions()
    for part in parts:
        manager.SetUserInitialization(part)
    manager.Initialize()
    manager.BeamOn(n_events)
    deposits, steps = zip(*parts[2].ends.found, strict=True)
    target.write_text(json.dumps({"deposits": deposits, "steps": steps}))


if __name__ == "__main__":
    main()
