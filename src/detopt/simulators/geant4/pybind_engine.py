"""Geant4 through geant4-pybind; `detopt.simulators.geant4.worker` loads this file in its process.

Deposits are summed by a scorer of Geant4's own, so that Python runs twice for an event and never
for a step. The package is not imported here.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

CONSTRUCTORS = {  # of electromagnetic physics, and what they are called in names of whole lists
    "standard": ("G4EmStandardPhysics", ""),
    "option1": ("G4EmStandardPhysics_option1", "_EMV"),
    "option2": ("G4EmStandardPhysics_option2", "_EMX"),
    "option3": ("G4EmStandardPhysics_option3", "_EMY"),
    "option4": ("G4EmStandardPhysics_option4", "_EMZ"),
    "livermore": ("G4EmLivermorePhysics", "_LIV"),
    "penelope": ("G4EmPenelopePhysics", "_PEN"),
    "dna": ("G4EmDNAPhysics", None),
}
MM_PER_CM = 10.0
WORDS = 4  # of a stream of the generator, 32 bits each
Array = npt.NDArray[Any]
Tree = dict[str, Any]


class Engine:
    """Runs particles in a geometry.

    Args:
        physics: Electromagnetic list, with a hadronic one behind a dash if wanted.
        cut: Production cut [cm].
        is_same: Whether a medium has a density and a composition.
    """

    def __init__(self, physics: str, cut: float, is_same: Callable[..., bool]) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # kept by an abort
        self.g4: Any = importlib.import_module("geant4_pybind")
        self.cut, self.is_same = cut, is_same
        self.random = self.g4.MixMaxRng()
        self.g4.G4Random.setTheEngine(self.random)
        self.manager = self.g4.G4RunManager()
        self.manager.SetVerboseLevel(0)
        self.detector: Any = None
        self.events: Any = None
        self.actions: tuple[Any, ...] = ()
        self.physics = _physics(self.g4, physics)
        self.geometry = ""

    def run(self, request: dict[str, Any], particles: Array, first: int) -> Array:
        """Deposits of these rows [MeV], volume by volume."""
        text = json.dumps([request["geometry"], request["media"], request["volumes"]])
        if self.geometry != text:
            self._build(request)
            self.geometry = text
        deposits = np.zeros((len(particles), len(request["volumes"])))
        self.events.fill(particles, first, request["seed"], deposits)
        self.manager.BeamOn(len(particles))
        return deposits

    def _build(self, request: dict[str, Any]) -> None:
        media = {one["name"]: self._material(one) for one in request["media"]}
        if self.detector is None:
            self._start(request, media)
            return
        self.detector.set(request, media)
        self._command("/run/reinitializeGeometry 1")
        self.manager.Initialize()

    def _start(self, request: dict[str, Any], media: dict[str, Any]) -> None:
        """What happens once."""
        self.detector = _detector(self.g4)
        self.detector.set(request, media)
        self.manager.SetUserInitialization(self.detector)
        self.manager.SetUserInitialization(self.physics)
        self.events = Events(self.g4, self.random)
        self.actions = self.events.actions()
        for one in self.actions:
            self.manager.SetUserAction(one)
        self.g4.G4EmParameters.Instance().SetVerbose(0)
        self.manager.Initialize()
        self._command(f"/run/setCut {self.cut!r} cm")

    def _command(self, line: str) -> None:
        self.g4.G4UImanager.GetUIpointer().ApplyCommand(line)

    def _material(self, medium: dict[str, Any]) -> Any:
        """Geant4's own material where it is the same, else a mixture that is made once."""
        table = self.g4.G4NistManager.Instance()
        known = table.FindOrBuildMaterial(medium["table_name"])
        if not medium["composition"]:
            if known is None:
                raise ValueError(f"There is no material {medium['table_name']}.")
            return known
        unit = self.g4.g / self.g4.cm3
        if known is not None:
            shares = zip(known.GetElementVector(), known.GetFractionVector(), strict=True)
            composition = {element.GetName(): share for element, share in shares}
            if self.is_same(medium, known.GetDensity() / unit, composition):
                return known
        made = self.g4.G4Material.GetMaterial(medium["name"], False)
        if made is None:
            parts = medium["composition"]
            made = self.g4.G4Material(medium["name"], medium["density"] * unit, len(parts))
            for symbol, share in parts.items():
                made.AddElementByMassFraction(table.FindOrBuildElement(symbol), share)
        return made


class Events:
    """What Geant4 asks for at the begin of an event, and says at its end.

    Args:
        g4: The package.
        random: Its generator of random numbers.
    """

    def __init__(self, g4: Any, random: Any) -> None:
        self.g4, self.random = g4, random
        self.gun = g4.G4ParticleGun(1)
        self.table = g4.G4ParticleTable.GetParticleTable()
        self.fill(np.zeros(0), 0, 0, np.zeros((0, 0)))

    def fill(self, particles: Array, first: int, seed: int, deposits: Array) -> None:
        """Take the particles of a run, and an array for its deposits."""
        self.particles, self.first, self.seed, self.deposits = particles, first, seed, deposits

    def begin(self, event: Any) -> None:
        """Give a row its stream of random numbers and its particle."""
        number = event.GetEventID()
        row = self.particles[number]
        text = f"{self.seed}/{self.first + number}"
        words = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=4 * WORDS).digest(), "<u4")
        self.random.setSeeds(words.tolist())
        particle = self.table.FindParticle(int(row["pid"]))
        if particle is None:
            raise ValueError(f"Geant4 has no particle with the number {row['pid']} of the PDG.")
        vector = self.g4.G4ThreeVector
        self.gun.SetParticleDefinition(particle)
        self.gun.SetParticleEnergy(float(row["energy"]))
        self.gun.SetParticleMomentumDirection(vector(*row["direction"].tolist()))
        self.gun.SetParticlePosition(vector(*(MM_PER_CM * row["position"]).tolist()))
        self.gun.GeneratePrimaryVertex(event)

    def end(self, event: Any) -> None:
        """Take the deposits of a row."""
        row = self.deposits[event.GetEventID()]
        for column, energy in event.GetHCofThisEvent().GetHC(0):
            row[column] = energy

    def actions(self) -> tuple[Any, ...]:
        """The objects that Geant4 calls."""
        events = self

        class Begin(self.g4.G4VUserPrimaryGeneratorAction):  # type: ignore[name-defined,misc]
            def GeneratePrimaries(self, event: Any) -> None:  # noqa: N802
                events.begin(event)

        class End(self.g4.G4UserEventAction):  # type: ignore[name-defined,misc]
            def EndOfEventAction(self, event: Any) -> None:  # noqa: N802
                events.end(event)

        return Begin(), End()


def _physics(g4: Any, name: str) -> Any:
    """The physics list: an electromagnetic one with decays, or a whole one of Geant4."""
    electromagnetic, _, hadronic = name.partition("-")
    constructor, suffix = CONSTRUCTORS[electromagnetic]
    if hadronic:
        if suffix is None:
            raise ValueError(f"geant4-pybind has no list {name}.")
        return g4.G4PhysListFactory().GetReferencePhysList(hadronic + suffix)
    physics = g4.G4VModularPhysicsList()
    physics.SetVerboseLevel(0)
    physics.RegisterPhysics(getattr(g4, constructor)())
    physics.RegisterPhysics(g4.G4DecayPhysics())
    return physics


def _detector(g4: Any) -> Any:
    """Builds volumes when Geant4 asks; a scorer sums what active ones take up."""

    class Detector(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
        active: list[Any]

        def set(self, request: dict[str, Any], media: dict[str, Any]) -> None:
            self.request, self.media = request, media

        def Construct(self) -> Any:  # noqa: N802
            self.active = []
            ((name, tree),) = self.request["geometry"].items()
            columns = {path: i for i, path in enumerate(self.request["volumes"])}
            return self.place(tree, name, None, columns)

        def ConstructSDandField(self) -> None:  # noqa: N802
            if not hasattr(self, "detector"):
                self.detector = g4.G4MultiFunctionalDetector("Deposits")
                self.scorer = g4.G4PSEnergyDeposit("Energy")
                self.detector.RegisterPrimitive(self.scorer)
                g4.G4SDManager.GetSDMpointer().AddNewDetector(self.detector)
            for volume in self.active:
                self.SetSensitiveDetector(volume, self.detector)

        def place(self, tree: Tree, path: str, mother: Any, columns: dict[str, int]) -> Any:
            name = path.rpartition(".")[2]
            volume = g4.G4LogicalVolume(_solid(g4, name, tree), self.media[tree["material"]], path)
            if path in columns:
                self.active.append(volume)
            at = g4.G4ThreeVector(*(MM_PER_CM * x for x in tree.get("position", (0.0, 0.0, 0.0))))
            turn = g4.G4Transform3D(_rotation(g4, tree.get("rotation", (0.0, 0.0, 0.0))), at)
            number = columns.get(path, 0)
            placed = g4.G4PVPlacement(turn, volume, path, mother, False, number, False)
            for daughter, inner in _daughters(tree):
                self.place(inner, f"{path}.{daughter}", volume, columns)
            return placed

    return Detector()


def _daughters(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Volumes inside; their names begin with a capital."""
    return ((name, one) for name, one in tree.items() if name[0].isupper())


def _solid(g4: Any, name: str, tree: Tree) -> Any:
    if "box" in tree:
        return g4.G4Box(name, *(MM_PER_CM * length / 2 for length in tree["box"]))
    sizes = {key: MM_PER_CM * size for key, size in tree["cylinder"].items()}
    inner = sizes["radius"] - sizes.get("thickness", sizes["radius"])
    return g4.G4Tubs(name, inner, sizes["radius"], sizes["length"] / 2, 0.0, g4.twopi)


def _rotation(g4: Any, degrees: list[float] | tuple[float, ...]) -> Any:
    """The rotation of a volume about x, then y, then z."""
    rotation = g4.G4RotationMatrix()
    for turn, angle in zip(
        (rotation.rotateX, rotation.rotateY, rotation.rotateZ), degrees, strict=True
    ):
        turn(angle * g4.deg)
    return rotation
