"""Fits the fast shower model to Geant4, and writes its coefficients with their origin.

    python -m detopt.usecases.sampling_calorimeter.tuning shower_tuning.json

takes an hour of one core. With official data of Geant4 in `GEANT4_DATA_DIR` the file says
so.
"""

__all__ = ["STACKS", "layers_of", "simulate_samples", "write_tuning"]

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.physics.shower_tuning import LayerSample, fit_tuning
from detopt.simulators.geant4 import Geant4, Primaries, simulate_stack

MM = 1e-3  # m
DIGITS = 5
ENERGIES = {1.0: 4_000, 4.0: 1_500, 15.0: 900, 50.0: 900}  # GeV: electrons
Slabs = Sequence[tuple[str, float, bool]]  # material, thickness [mm], whether it is active


def layers_of(absorber: str, thickness: float, active: str, sensor: float, n: int) -> Slabs:
    """Equal cells of an absorber and an active layer, thicknesses in mm."""
    return [(absorber, thickness, False), (active, sensor, True)] * n


def _graded(thicknesses: Sequence[float], sensor: float) -> Slabs:
    """Lead of different thicknesses, with scintillators of one thickness [mm]."""
    pairs = [[("Pb", one, False), ("polyvinyltoluene", sensor, True)] for one in thicknesses]
    return [slab for pair in pairs for slab in pair]


STACKS: Mapping[str, Slabs] = {
    "40 x (3 mm Pb + 5 mm plastic)": layers_of("Pb", 3.0, "polyvinyltoluene", 5.0, 40),
    "16 x (8 mm Pb + 4 mm plastic)": layers_of("Pb", 8.0, "polyvinyltoluene", 4.0, 16),
    "25 x (3.5 mm W + 0.5 mm Si)": layers_of("W", 3.5, "Si", 0.5, 25),
    "26 x (3 mm W + 3 mm plastic)": layers_of("W", 3.0, "polyvinyltoluene", 3.0, 26),
    "38 x (10 mm Fe + 5 mm plastic)": layers_of("Fe", 10.0, "polyvinyltoluene", 5.0, 38),
    "16 x (25 mm Fe + 5 mm plastic)": layers_of("Fe", 25.0, "polyvinyltoluene", 5.0, 16),
    "38 x (8 mm Cu + 4 mm liquid argon)": layers_of("Cu", 8.0, "liquid_argon", 4.0, 38),
    "38 x (3 mm Pb + 5 mm liquid argon)": layers_of("Pb", 3.0, "liquid_argon", 5.0, 38),
    "16 x (2 to 12 mm Pb + 4 mm plastic)": _graded(
        (2.0,) * 3 + (3.0,) * 3 + (5.0,) * 3 + (8.0,) * 3 + (12.0,) * 4, 4.0
    ),
    "21 x (14, 2, 2 mm Pb + 5 mm plastic)": _graded((14.0, 2.0, 2.0) * 7, 5.0),
    "8 x (10 mm Pb + 5 mm plastic)": layers_of("Pb", 10.0, "polyvinyltoluene", 5.0, 8),
    "9 x (22 mm Fe + 4 mm plastic)": layers_of("Fe", 22.0, "polyvinyltoluene", 4.0, 9),
    "20 x (15 mm Cu + 3 mm plastic)": layers_of("Cu", 15.0, "polyvinyltoluene", 3.0, 20),
    "20 x (14 to 3 mm Pb + 6 mm plastic)": _graded(
        (14.0,) * 4 + (10.0,) * 4 + (6.0,) * 4 + (3.0,) * 8, 6.0
    ),
    "28 x (13 mm Fe + 8 mm plastic)": layers_of("Fe", 13.0, "polyvinyltoluene", 8.0, 28),
    "20 x (20 mm Fe + 8 mm plastic)": layers_of("Fe", 20.0, "polyvinyltoluene", 8.0, 20),
    "28 x (14 mm Fe + 3 mm plastic)": layers_of("Fe", 14.0, "polyvinyltoluene", 3.0, 28),
    "32 x (10 mm Cu + 7 mm plastic)": layers_of("Cu", 10.0, "polyvinyltoluene", 7.0, 32),
    "16 x (20 mm Cu + 5 mm plastic)": layers_of("Cu", 20.0, "polyvinyltoluene", 5.0, 16),
    "20 x (6 mm Pb + 12 mm plastic)": layers_of("Pb", 6.0, "polyvinyltoluene", 12.0, 20),
}


def simulate_samples(
    slabs: Slabs, energies: Mapping[float, int], seed: int, geant4: Geant4 | None = None
) -> list[LayerSample]:
    """Electrons of several energies in one stack.

    Args:
        slabs: Material, thickness [mm] and whether it is active, front first.
        energies: How many electrons of each energy [GeV].
        seed: Seed of the runs.
        geant4: Data, physics and processes.

    Raises:
        NotFoundError: There are no data for Geant4.
        SimulationError: Geant4 failed.
    """
    stack = Stack.of([Layer(materials.get(name), MM * t, active) for name, t, active in slabs])
    return [
        LayerSample(
            stack,
            energy,
            simulate_stack(stack, Primaries.gun("e-", energy, n), seed, geant4=geant4).energy,
        )
        for energy, n in energies.items()
    ]


def write_tuning(
    path: str | Path,
    samples: Mapping[str, Sequence[LayerSample]],
    label: str,
    digest: str,
    n_iterations: int = 40,
) -> None:
    """Fit the coefficients and keep them with their origin.

    Args:
        path: The file (JSON).
        samples: Samples of each stack, by its name.
        label: Which Geant4, data and physics.
        digest: SHA-256 of the data.
        n_iterations: Steps of the fit, at most.
    """
    every = [one for each in samples.values() for one in each]
    tuning = fit_tuning(every, n_iterations=n_iterations)
    numbers = {
        name: [round(one, DIGITS) for one in values] for name, values in tuning.numbers().items()
    }
    showers = {
        name: {f"{one.energy:g} GeV": one.n_showers for one in each}
        for name, each in samples.items()
    }
    origin = {"label": label, "sha256": digest, "particle": "electrons", "stacks": showers}
    Path(path).write_text(json.dumps({"origin": origin, "tuning": numbers}, indent=1) + "\n")


def main(path: str) -> None:
    """Simulate all stacks, fit, and write the file."""
    geant4 = Geant4()
    data = geant4.data_set
    samples = {
        name: simulate_samples(slabs, ENERGIES, 11, geant4) for name, slabs in STACKS.items()
    }
    write_tuning(path, samples, geant4.label, data.digest)


if __name__ == "__main__":
    main(sys.argv[1])
