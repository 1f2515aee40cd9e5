"""Writes `photons.json`: cross sections of xraylib up to 800 keV and of NIST XCOM above."""

__all__ = ["build"]

import importlib
import json
from typing import Any

import numpy as np
import sources
import torch
from scipy.interpolate import CubicSpline
from sources import Array

from detopt.physics._cross_sections import klein_nishina

START, JOIN = 8.0, 800.0  # keV, first energy and the one where XCOM takes over
N_LOW, N_HIGH = 46, 96  # steps of the grid below and above
BELOW_JOIN = JOIN * (1 - 1e-8)  # xraylib ends at 800 keV
LAST_FITTED = 92
PAIR_FROM = 1250.0  # keV; the ratio to the threshold factor is taken constant below
THRESHOLD = 2 * 510.99895  # keV, of pair production
DEGREES = {"photoelectric": 6, "compton": 4, "rayleigh": 4, "pair": 7}  # of polynomials in ln Z
EDGES, EDGE_SHELLS = (8.0, 300.0), range(10)  # keV and shells K, L1, ... whose edges are kept
CM2_PER_BARN_MOLE = 0.602214076


def build(numbers: list[int]) -> str:
    """The text of the data file, for the elements of these atomic numbers."""
    step = np.log(JOIN / START) / N_LOW
    low = START * np.exp(step * np.arange(N_LOW + 1))
    low[-1] = BELOW_JOIN
    high = JOIN * np.exp(step * np.arange(N_HIGH + 1))
    fits = _fit([z for z in numbers if z <= LAST_FITTED], high)

    elements = [f'    "{z}": {json.dumps(_low(z, low))}' for z in numbers]
    rows = [
        f'    "{name}": [\n' + ",\n".join(f"      {json.dumps(row)}" for row in fit) + "\n    ]"
        for name, fit in fits.items()
    ]
    source = sources.header("photons")
    return (
        f'{{\n  "source": {source},\n  "start": {START},\n'
        f'  "step": {step:.12g},\n  "elements": {{\n'
        + ",\n".join(elements)
        + '\n  },\n  "high": {\n'
        + ",\n".join(rows)
        + "\n  }\n}\n"
    )


def _low(z: int, energy: Array) -> dict[str, Any]:
    xraylib = importlib.import_module("xraylib")
    barn = xraylib.AtomicWeight(z) / CM2_PER_BARN_MOLE
    edges = _edges(xraylib, z)
    jumps = np.array([sum(jump for edge, jump in edges if e >= edge) for e in energy])

    def logarithm(function: Any) -> Array:
        return np.log([function(z, float(e)) * barn for e in energy])

    return {
        "edges": edges,
        "photoelectric": _round(logarithm(xraylib.CS_Photo) - jumps),
        "compton": _round(logarithm(xraylib.CS_Compt)),
        "rayleigh": _round(logarithm(xraylib.CS_Rayl)),
    }


def _edges(xraylib: Any, z: int) -> list[list[float]]:
    """Energies and logarithms of the jumps, looked for in the table around the tabulated edges."""
    found = set()
    for shell in EDGE_SHELLS:
        try:
            edge = xraylib.EdgeEnergy(z, shell)
        except ValueError:
            continue
        if not EDGES[0] < edge < EDGES[1]:
            continue
        near = edge * np.exp(np.linspace(-0.01, 0.01, 4001))
        rise = np.diff(np.log([xraylib.CS_Photo(z, float(e)) for e in near]))
        at = int(rise.argmax())
        if rise[at] > 0.01:
            found.add(_jump(lambda e: xraylib.CS_Photo(z, float(e)), near[at], near[at + 1]))
    return [list(pair) for pair in sorted(found)]


def _jump(section: Any, below: float, above: float) -> tuple[float, float]:
    """Across a pair of tabulated points that is not infinitely close."""
    left, right, far = below * 0.9992, above * 1.0008, below * 0.99
    slope = np.log(section(far) / section(left)) / np.log(far / left)
    jump = np.log(section(right) / section(left)) - slope * np.log(right / left)
    return round(float(np.sqrt(below * above)), 5), round(float(jump), 4)


def _fit(numbers: list[int], energy: Array) -> dict[str, list[list[float]]]:
    free = klein_nishina(torch.tensor(energy * 1e-6, dtype=torch.float64)).numpy()
    trends = {
        "photoelectric": -np.log(energy / JOIN),
        "compton": np.log(free / free[0]),
        "rayleigh": -2 * np.log(energy / JOIN),
    }
    columns = {"photoelectric": "photoelectric", "compton": "incoherent", "rayleigh": "coherent"}
    values: dict[str, list[Array]] = {name: [] for name in DEGREES}
    for z in numbers:
        table = sources.xcom(z)
        at = table["energy"]
        smooth = at >= JOIN / 2
        for name, column in columns.items():
            curve = CubicSpline(np.log(at[smooth]), np.log(table[column][smooth]))
            shape = curve(np.log(energy)) - trends[name]
            values[name].append(shape - shape[0])
        above = at > THRESHOLD * 1.008
        pairs = table["pair_atom"][above] + table["pair_electron"][above]
        pairs = pairs / (1 - THRESHOLD / at[above]) ** 3 / (z * (z + 1))
        curve = CubicSpline(np.log(at[above]), np.log(pairs))
        values["pair"].append(curve(np.log(np.maximum(energy, PAIR_FROM))))

    fits = {}
    for name, rows in values.items():
        stacked = np.array(rows)
        logs = np.log(np.array(numbers))
        fit = np.polynomial.polynomial.polyfit(logs, stacked, DEGREES[name])
        miss = np.abs(np.polynomial.polynomial.polyval(logs, fit).T - stacked).max()
        print(f"photons: {name} above {JOIN:g} keV within {miss:.2%} of XCOM")
        fits[name] = [[float(f"{x:.6g}") for x in row] for row in fit.T]
    return fits


def _round(values: Array) -> list[float]:
    return [round(float(x), 4) for x in values]
