"""Writes `bremsstrahlung.json` from NIST ESTAR and `shell_corrections.json` from NIST PSTAR."""

__all__ = ["build_bremsstrahlung", "build_shell_corrections"]

import json
from typing import Any

import numpy as np
import sources
import torch
from scipy.interpolate import CubicSpline
from sources import Array

from detopt.physics import _collision
from detopt.physics._composition import tsai
from detopt.physics._radiative import AVOGADRO, ELECTRON_RADIUS
from detopt.physics._sternheimer import DensityEffect

FITTED, DEGREE = 92, 6  # elements Z = 1 to 92, polynomial in ln Z
GRID = (1e-2, 1e5, 57)  # MeV, kinetic energies of electrons and their number
SLOPE_FROM = 0.5  # of the last tabulated energy: where the approach to full screening is fitted
PROTON_MASS = 938.27208943  # MeV; CODATA 2022
PROTON_GRID = (0.02, 250.0, 40)  # MeV, kinetic energies and their number
PROTON_ELEMENTS = {
    "HYDROGEN": "H", "HELIUM": "He", "BERYLLIUM": "Be", "GRAPHITE": "graphite", "NITROGEN": "N",
    "OXYGEN": "O", "NEON": "Ne", "ALUMINUM": "Al", "SILICON": "Si", "ARGON": "Ar",
    "TITANIUM": "Ti", "IRON": "Fe", "COPPER": "Cu", "GERMANIUM": "Ge", "KRYPTON": "Kr",
    "MOLYBDENUM": "Mo", "SILVER": "Ag", "TIN": "Sn", "XENON": "Xe", "GADOLINIUM": "Gd",
    "TUNGSTEN": "W", "PLATINUM": "Pt", "GOLD": "Au", "LEAD": "Pb", "URANIUM": "U",
}  # fmt: skip


def build_bremsstrahlung() -> str:
    """The text of the data file of the radiative loss of electrons."""
    energy, masses, table = sources.electron_radiation()
    first, last, count = GRID
    grid = np.exp(np.linspace(np.log(first), np.log(last), count))
    rows = [_radiation(z, masses[z - 1], energy, table[z - 1], grid) for z in range(1, FITTED + 1)]
    logs, values = np.log(np.arange(1, FITTED + 1)), np.log(np.array(rows))
    fit = np.polynomial.polynomial.polyfit(logs, values, DEGREE)
    miss = np.exp(np.polynomial.polynomial.polyval(logs, fit).T - values) - 1
    miss = 100 * miss[:, grid <= energy[-1]]
    deviation = {"rms": float(np.sqrt((miss**2).mean())), "worst": float(np.abs(miss).max())}
    source = sources.header("bremsstrahlung", **deviation)
    lines = ",\n".join(f"    {json.dumps([float(f'{x:.7g}') for x in row])}" for row in fit.T)
    return _text(
        source, first * 1e-3, np.log(grid[1] / grid[0]), "coefficients", f"[\n{lines}\n  ]"
    )


def _radiation(z: int, mass: float, energy: Array, loss: Array, grid: Array) -> Array:
    unit = AVOGADRO * _collision.FINE_STRUCTURE * ELECTRON_RADIUS**2 * z * (z + 1) / mass
    shape = loss / (unit * (energy + _collision.ELECTRON_MASS * 1e3))
    curve = CubicSpline(np.log(energy), np.log(shape))
    inside = np.exp(curve(np.log(np.minimum(grid, energy[-1]))))
    screened = 1 / (unit * tsai(z, mass))
    if screened <= shape[-1]:
        return np.asarray(inside)
    earlier = int(np.searchsorted(energy, SLOPE_FROM * energy[-1]))
    gaps = np.log((screened - shape[[earlier, -1]]).clip(min=1e-12))
    power = max(float(gaps[0] - gaps[1]) / np.log(energy[-1] / energy[earlier]), 0.3)
    outside = screened - (screened - shape[-1]) * (energy[-1] / grid) ** power
    return np.where(grid > energy[-1], outside, inside)


def build_shell_corrections(table: dict[str, Any]) -> str:
    """The text of the data file of the corrections, for the media of `materials.json`."""
    lowest, highest, count = PROTON_GRID
    ends = [np.log(np.sqrt((t / PROTON_MASS + 1) ** 2 - 1)) for t in (lowest, highest)]
    beta_gamma = np.exp(np.linspace(ends[0], ends[1], count))
    rows = {}
    for name, medium in PROTON_ELEMENTS.items():
        (symbol,) = table["materials"][medium]["composition"]
        number = table["elements"][symbol]["atomic_number"]
        rows[number] = _correction(name, table["materials"][medium], beta_gamma)
    lines = ",\n".join(
        f'    "{z}": {json.dumps([round(float(x), 4) for x in row])}'
        for z, row in sorted(rows.items())
    )
    step = (ends[1] - ends[0]) / (count - 1)
    return _text(
        sources.header("shell_corrections"), beta_gamma[0], step, "correction", f"{{\n{lines}\n  }}"
    )


def _correction(name: str, medium: dict[str, Any], beta_gamma: Array) -> Array:
    energy, loss = sources.protons(name)
    gamma = np.sqrt(1 + beta_gamma**2)
    curve = CubicSpline(np.log(energy), np.log(loss))
    printed = np.exp(curve(np.log(PROTON_MASS * (gamma - 1)))) * 1e-3
    bare = _collision.bethe(
        torch.tensor(beta_gamma),
        PROTON_MASS * 1e-3,
        1.0,
        medium["z_over_a"],
        medium["excitation"] * 1e-9,
        DensityEffect(*medium["sternheimer"]),
    ).numpy()
    scale = _collision.K * medium["z_over_a"] / (beta_gamma / gamma) ** 2
    return np.asarray((bare - printed) / scale)


def _text(source: str, start: float, step: float, name: str, body: str) -> str:
    return (
        f'{{\n  "source": {source},\n  "start": {start:.10g},\n  "step": {step:.10g},\n'
        f'  "{name}": {body}\n}}\n'
    )
