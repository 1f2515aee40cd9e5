"""Energy that muons lose in the middle of thick blocks, beside the stopping power of the tables."""

import math
from typing import Any

import torch

from detopt.physics import energy_loss, materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import Primaries, simulate_stack
from simulators_parts.geant4 import MEV, geant4

Row = tuple[str, str, str, bool]
MEDIA = ("water", "Fe", "Pb", "PbWO4")
ENERGIES = {1.0: 4000, 10.0: 8000}  # GeV: events
GRAMS = 15.0  # g/cm2, of a layer for 1 GeV: short beside the range, long beside that of delta rays
DEPTH = (
    2.5  # radiation lengths, of a layer for 10 GeV: the showers that muons start build up slowly
)
N_LAYERS, FIRST, LAST = 10, 4, 8  # what leaves these layers is what enters them
CM_PER_M = 100.0
WITHIN = 0.03


def run(quick: bool) -> list[dict[str, Any]]:
    """All media and energies."""
    runner, found = geant4(), []
    for name in MEDIA:
        medium = materials.get(name)
        for energy, n in ENERGIES.items():
            length = DEPTH * medium.radiation_length
            if energy < 2:
                length = GRAMS / medium.density / CM_PER_M
            grams = length * medium.density * CM_PER_M
            layer = Layer(medium, length, active=True)
            primaries = Primaries.gun("mu-", energy, n // 20 if quick else n)
            stack = Stack.of([layer] * N_LAYERS)
            deposits = simulate_stack(stack, primaries, 11, 4.0, geant4=runner)
            lost = deposits.energy[:, FIRST:LAST].mean(1)
            before = deposits.energy[:, : (FIRST + LAST) // 2].sum(1).mean().item()
            at = torch.tensor(energy - before, dtype=torch.float64)
            table = energy_loss.stopping_power("mu-", medium, at).item()
            found.append(
                {
                    "case": f"{energy:g} GeV mu- in {name}",
                    "n": len(primaries),
                    "loss": MEV * lost.mean().item() / grams,
                    "error": MEV * lost.std().item() / math.sqrt(len(primaries)) / grams,
                    "table": MEV * table,
                }
            )
    return found


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """What must hold."""
    return [
        (
            f"{one['case']}: mean loss, {one['n']} events",
            f"{one['table']:.3f} MeV cm2/g within 3 % beyond statistics",
            f"{one['loss']:.3f} +- {one['error']:.3f} MeV cm2/g "
            f"({one['loss'] / one['table'] - 1:+.1%})",
            abs(one["loss"] - one["table"]) <= WITHIN * one["table"] + 2 * one["error"],
        )
        for one in result
    ]
