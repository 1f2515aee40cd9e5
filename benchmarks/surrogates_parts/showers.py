"""Geant4 showers that the parts about surrogates share, made once and kept in a scratch folder.

Electrons in 25 x (lead + plastic), 0.5 m wide. A design is the thickness of the lead and that of
the plastic, the same in all layers; theta are their logarithms [ln m]. The folder is that of
`DETOPT_SHOWERS`, or `detopt-showers` among the temporary files.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detopt.physics.shower_stacks import Layer, Stack
from detopt.random import Seed
from detopt.simulators.geant4 import Primaries, simulate_stack
from simulators_parts.geant4 import LEAD, PLASTIC, geant4

FOLDER = Path(os.environ.get("DETOPT_SHOWERS", Path(tempfile.gettempdir()) / "detopt-showers"))
N_LAYERS = 25
LOW = torch.tensor([2.5e-3, 3e-3], dtype=torch.float64).log()  # lead, plastic [ln m]
HIGH = torch.tensor([7.5e-3, 12e-3], dtype=torch.float64).log()
ENERGIES = (0.4, 4.0)  # GeV, log-uniform
BLOCK, N_TRAIN, N_TEST = 50, 720, 280  # events of a design, designs

N_DESIGNS = 20  # at which gradients are compared
STEP = 0.4  # in theta, of a central difference
AT = 0.5  # GeV
N_DIFFERENCE = 6000  # events of a point: resolution to 1 %, its slopes to 0.016

SEED = Seed(2025)


def stack(theta: Tensor) -> Stack:
    """The calorimeter of a design."""
    lead, plastic = theta.exp().tolist()
    cell = [Layer(LEAD, lead), Layer(PLASTIC, plastic, active=True)]
    return Stack.of(cell * N_LAYERS)


def showers(part: str, quick: bool) -> dict[str, Tensor]:
    """Theta, ln of the energy [ln GeV] and energies of the plastic layers [GeV].

    Args:
        part: `train` or `test`.
        quick: Whether a few will do.
    """
    n_designs = {"train": N_TRAIN, "test": N_TEST}[part]
    return _kept(part, quick, lambda: _showers(part, max(8, n_designs // (20 if quick else 1))))


def differences(quick: bool) -> dict[str, Tensor]:
    """Visible energy [GeV] on both sides of random designs: (designs, axes, sides, events)."""
    return _kept("differences", quick, lambda: _differences(quick))


def _kept(name: str, quick: bool, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    path = FOLDER / f"{name}{'-quick' if quick else ''}.npz"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        made = make()
        arrays = {key: value.numpy() for key, value in made.items()}
        draft = path.with_suffix(".part.npz")
        np.savez_compressed(draft, **arrays, wall_s=time.perf_counter() - begin)
        draft.replace(path)
    with np.load(path, allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def _showers(part: str, n_designs: int) -> dict[str, Tensor]:
    seed, runner = SEED.child(part), geant4()
    rng = seed.generator()
    rows = []
    for i in range(n_designs):
        theta = LOW + (HIGH - LOW) * torch.rand(2, generator=rng, dtype=torch.float64)
        u = torch.rand(BLOCK, generator=rng, dtype=torch.float64)
        energy = ENERGIES[0] * (ENERGIES[1] / ENERGIES[0]) ** u
        gun = Primaries.gun("e-", energy, BLOCK)
        deposits = simulate_stack(stack(theta), gun, seed.child(i), geant4=runner)
        layers = deposits.energy[:, deposits.active].double()
        rows.append(torch.cat([theta.expand(BLOCK, 2), energy.log()[:, None], layers], dim=1))
    known = torch.cat(rows)
    return {"theta": known[:, :2], "log_energy": known[:, 2:3], "layers": known[:, 3:]}


def _differences(quick: bool) -> dict[str, Tensor]:
    seed, runner = SEED.child("differences"), geant4()
    rng = seed.generator()
    n, n_designs = (100, 2) if quick else (N_DIFFERENCE, N_DESIGNS)
    inside = torch.rand(n_designs, 2, generator=rng, dtype=torch.float64)
    theta = LOW + STEP + (HIGH - LOW - 2 * STEP) * inside
    visible = torch.empty(n_designs, 2, 2, n, dtype=torch.float64)
    gun = Primaries.gun("e-", AT, n)
    for i in range(n_designs):
        for axis in range(2):
            for side, sign in enumerate((-1, 1)):
                at = theta[i].clone()
                at[axis] += sign * STEP
                run = simulate_stack(stack(at), gun, seed.child(i), geant4=runner)
                visible[i, axis, side] = run.visible
    return {"theta": theta, "visible": visible, "step": torch.tensor(STEP)}


if __name__ == "__main__":
    for one in ("train", "test"):
        print(one, {k: tuple(v.shape) for k, v in showers(one, quick=False).items()}, flush=True)
    print({k: tuple(v.shape) for k, v in differences(quick=False).items()}, flush=True)
