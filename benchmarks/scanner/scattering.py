"""Row `scattering`: the rms angle behind a slab must not depend on the step."""

from typing import Any

import torch

from detopt.physics import materials, particles
from detopt.physics.scattering import highland_angle
from detopt.random import Seed
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import Grid
from scanner.common import Setting

SLAB = 0.1  # m
STEPS = (1, 10, 100)
MATERIALS = ("Pb", "Fe", "water")
MOMENTA = (1.0, 3.0, 10.0)  # GeV/c
MUONS = 400_000


def run(setting: Setting) -> dict[str, Any]:
    """Three materials, three momenta, three steps; energy loss off."""
    n_muons = 20_000 if setting.quick else MUONS
    rows = [slab(material, p, n_muons) for material in MATERIALS for p in MOMENTA]
    return {
        "muons": n_muons,
        "rows": rows,
        "largest_spread": max(row["spread"] for row in rows),
        "largest_difference_to_highland": max(row["difference"] for row in rows),
    }


def slab(material: str, momentum: float, n_muons: int) -> dict[str, Any]:
    """Rms projected angles [mrad], their spread over the steps, and that from the formula."""
    angles = [1e3 * rms_angle(material, momentum, n, n_muons) for n in STEPS]
    expected = 1e3 * _highland(material, momentum)
    return {
        "material": material,
        "momentum_gev": momentum,
        "rms_mrad": dict(zip(map(str, STEPS), angles, strict=True)),
        "highland_mrad": expected,
        "spread": max(angles) / min(angles) - 1,
        "difference": max(abs(angle / expected - 1) for angle in angles),
    }


def rms_angle(material: str, momentum: float, n_steps: int, n_muons: int) -> float:
    """Rms projected angle of vertical muons behind the slab [rad], over both planes."""
    grid = Grid((-1.0, -1.0, 0.0), (2.0, 2.0, SLAB), (1, 1, 1))
    medium = Medium(grid, (material,), SLAB / n_steps, n_samples=1, energy_loss=False)
    still = torch.zeros(2, 1, n_muons)
    muons = Muons(still, still, torch.full((1, n_muons), momentum), SLAB)
    voxels = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    rng = Seed(material, str(momentum), n_steps).generator()
    after, _ = propagate(muons, voxels, medium, rng)
    return float(after.slope.double().atan().square().mean().sqrt())


def _highland(material: str, momentum: float) -> float:
    p = torch.tensor(momentum, dtype=torch.float64)
    beta = p / (p.square() + particles.mass("muon") ** 2).sqrt()
    length = torch.as_tensor(float(materials.get(material).radiation_length), dtype=p.dtype)
    return float(highland_angle(torch.tensor(SLAB, dtype=p.dtype), length, p, beta))
