"""Writes `materials.json`: what the recipes of `materials.csv` and the tables of NIST make.

Densities, excitation energies and compositions are those of NIST ESTAR unless `materials.csv`
says otherwise, and then it names the reason. Radiation lengths, minima and critical energies are
computed; interaction lengths are printed ones, or interpolated between them.
"""

__all__ = ["build"]

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import sources
from scipy.interpolate import PchipInterpolator

from detopt.physics import materials
from detopt.physics._composition import tsai
from detopt.physics._sternheimer import DensityEffect

HERE = Path(__file__).parent
PLASMA = 28.816  # eV, at 1 g/cm3 and Z/A = 1; PDG
WATER_STOPPING = 75.0  # eV, the I of Sternheimer's parameters of water; ICRU Report 37
SAME_DENSITY = 0.01  # within it Sternheimer's medium is that of NIST
FIRST_COMPOUND = 99  # in the list of ESTAR, after the elements
ABSENT = (85, 87, 98)  # elements without a row in the table of Geant4
# Rows of Geant4's table
PURE_ROWS = {"graphite": 277, "diamond": 276, "amorphous_carbon": 6, "liquid_hydrogen": 0}
ROCK_ROW = "CALCIUM_CARBONATE"  # its Sternheimer parameters are those of standard rock; PDG
# Two misprints of Geant4's table; so does the correction join at x0
CORRECTED = {"Be": {2: 0.0592}, "As": {5: 0.08}}
# Excitation energies of atoms in liquids and solids [eV], 1.13 times the element's for the rest;
# S. M. Seltzer and M. J. Berger, Int. J. Appl. Radiat. Isot. 33 (1982) 1189
CONDENSED = {"H": 19.2, "C": 81.0, "N": 82.0, "O": 106.0, "F": 112.0, "Cl": 180.0}
CONDENSED_FACTOR = 1.13
LIQUID_ELEMENTS = {"Br": 357.0}  # eV; ICRU Report 37
GAS_DENSITY = 0.05  # g/cm3
ROCK = {"atomic_number": 11, "atomic_mass": 22.0, "excitation": 136.4, "interaction_length": 101.3}
# Nuclear interaction lengths [g/cm2], Review of Particle Physics, atomic and nuclear properties
ELEMENT_LENGTHS = {
    "H": 52.0, "He": 71.0, "Li": 71.3, "Be": 77.8, "C": 85.8, "N": 89.7, "O": 90.2, "F": 97.4,
    "Ne": 99.0, "Al": 107.2, "Si": 108.4, "Cl": 115.7, "Ar": 119.7, "Ti": 126.2, "Fe": 132.1,
    "Cu": 137.3, "Ge": 143.0, "Sn": 166.7, "Xe": 172.1, "W": 191.9, "Pt": 195.7, "Au": 196.3,
    "Pb": 199.6, "U": 209.0,
}  # fmt: skip
COMPOUND_LENGTHS = {
    "water": 83.3, "air": 90.1, "concrete": 97.5, "borosilicate_glass": 96.5, "lead_glass": 158.0,
    "methane": 73.8, "ethane": 75.9, "propane": 76.7, "butane": 77.1, "octane": 77.8,
    "paraffin": 78.3, "nylon": 81.6, "polycarbonate": 83.6, "polyethylene": 78.5, "mylar": 84.9,
    "polyimide": 85.5, "acrylic": 82.8, "polypropylene": 78.5, "polystyrene": 81.7,
    "teflon": 94.4, "polyvinyltoluene": 81.3, "Al2O3": 98.4, "BaF2": 149.0, "BGO": 159.1,
    "carbon_dioxide": 88.9, "CsI": 171.5, "LiF": 88.7, "LiH": 68.1, "PbWO4": 168.3, "SiO2": 97.8,
    "NaCl": 110.1, "NaI": 154.6, "silica_aerogel": 97.3,
}  # fmt: skip
# Mass fractions of oxides: a ladle-furnace slag, and the mean granite of Blatt & Tracy 1997
SLAG = {"CaO": 0.50, "SiO2": 0.20, "MgO": 0.08, "Al2O3": 0.15, "FeO": 0.07}
GRANITE = {
    "SiO2": 0.7204, "Al2O3": 0.1442, "K2O": 0.0412, "Na2O": 0.0369, "CaO": 0.0182,
    "FeO": 0.0168, "Fe2O3": 0.0122, "MgO": 0.0071,
}  # fmt: skip
# Density [g/cm3], nominal mass fractions, metal that gives the density effect
ALLOYS: dict[str, tuple[float, dict[str, float], str | None]] = {
    "stainless_steel": (8.0, {"Si": 0.01, "Cr": 0.19, "Mn": 0.02, "Fe": 0.68, "Ni": 0.10}, "Fe"),
    "brass": (8.53, {"Cu": 0.70, "Zn": 0.30}, "Cu"),
    "bronze": (8.8, {"Cu": 0.89, "Sn": 0.11}, "Cu"),
    "heavymet": (18.0, {"Ni": 0.035, "Cu": 0.015, "W": 0.95}, "W"),
    "carbon_fiber": (1.6, {"H": 0.018, "C": 0.90, "O": 0.082}, None),
    "CZT": (5.78, {"Zn": 0.0279, "Cd": 0.4315, "Te": 0.5406}, None),
    "LYSO": (7.1, {"O": 0.175, "Si": 0.0614, "Y": 0.0391, "Lu": 0.7245}, None),
    "boron_polyethylene": (0.95, {"H": 0.1366, "B": 0.05, "C": 0.8134}, None),
}
# Radiation lengths [mm] that the ladle-furnace benchmark takes
LADLE = {"steel": 17.82, "liquid_steel": 19.91, "slag": 82.11}
UNITS = {
    "density": "g/cm3", "z_over_a": "mol/g", "excitation": "eV", "stopping_excitation": "eV",
    "sternheimer": "a, k, x0, x1, C-bar, delta0", "radiation_length": "g/cm2",
    "interaction_length": "g/cm2", "minimum": "MeV cm2/g", "critical_energy": "MeV",
    "composition": "mass fractions", "radiation_length_mm": "mm", "atomic_mass": "g/mol",
}  # fmt: skip
Row = dict[str, Any]
Fractions = dict[str, float]


def build() -> str:
    """The text of the data file."""
    elements = _elements()
    rows = _materials(elements)
    with (HERE / "aliases.csv").open(encoding="utf-8") as file:
        aliases = {line["alias"]: line["name"] for line in csv.DictReader(file)}
    alloys = _alloys(elements)
    assert set(aliases.values()) <= {*rows, *alloys}
    parts = {"source": sources.header("materials")}
    parts["units"] = json.dumps(UNITS)
    for name, table in (("elements", elements), ("materials", rows), ("alloys", alloys)):
        lines = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
        parts[name] = "{\n" + ",\n".join(lines) + "\n  }"
    parts["aliases"] = json.dumps(aliases)
    return "{\n" + ",\n".join(f'  "{key}": {text}' for key, text in parts.items()) + "\n}\n"


def _elements() -> dict[str, Row]:
    masses = sources.atomic_masses()
    printed = sorted((masses[s], x) for s, x in ELEMENT_LENGTHS.items() if s not in {"H", "He"})
    curve = PchipInterpolator(*np.log(np.array(printed)).T)
    nist = {r.number: r for r in sources.nist_materials().values() if r.number < FIRST_COMPOUND}
    table: dict[str, Row] = {}
    for z, (name, mass) in enumerate(masses.items(), start=1):
        if z == ROCK["atomic_number"]:
            table["Rk"] = ROCK
        carbon = sources.nist_materials()["CARBON_(GRAPHITE)"]
        excitation = (carbon if name == "C" else nist[z]).excitation
        length = ELEMENT_LENGTHS.get(name) or math.exp(float(curve(math.log(mass))))
        table[name] = {
            "atomic_number": z,
            "atomic_mass": mass,
            "excitation": LIQUID_ELEMENTS.get(name, excitation),
            "interaction_length": round(length, 1),
        }
    return table


def _materials(elements: dict[str, Row]) -> dict[str, Row]:
    with (HERE / "materials.csv").open(encoding="utf-8") as file:
        recipes = {line["name"]: line for line in csv.DictReader(file)}
    table: dict[str, Row] = {}
    for name, recipe in recipes.items():
        nist = sources.nist_materials().get(recipe["nist"])
        composition = _fractions(name, recipes, elements)
        total = sum(composition.values())
        composition = {s: w / total for s, w in composition.items()}
        z_over_a = sum(_electrons(w, elements[s]) for s, w in composition.items())
        density = float(recipe["density"] or (nist.density if nist else math.nan))
        excitation = float(
            recipe["excitation"]
            or (nist.excitation if nist else _bragg(composition, elements, density))
        )
        stopping = WATER_STOPPING if name in {"water", "ice"} else excitation
        effect = _effect(name, nist, density, stopping, z_over_a)
        row = _row(elements, composition, density, z_over_a, excitation, stopping, effect)
        if name in COMPOUND_LENGTHS:
            row["interaction_length"] = COMPOUND_LENGTHS[name]
        table[name] = row
    return table


def _row(
    elements: dict[str, Row],
    composition: Fractions,
    density: float,
    z_over_a: float,
    excitation: float,
    stopping: float,
    effect: DensityEffect,
) -> Row:
    depth = _radiation_depth(composition, elements)
    rates = sum(w / elements[s]["interaction_length"] for s, w in composition.items())
    minimum = materials._minimum_ionization(z_over_a, stopping * 1e-9, effect)
    critical = materials._critical_energy(depth, z_over_a, excitation * 1e-9, effect)
    fields = (effect.k, effect.x0, effect.x1, effect.cbar, effect.delta0)
    row = {
        "density": _digits(density, 6),
        "z_over_a": round(z_over_a, 5),
        "excitation": _digits(excitation, 5),
        "sternheimer": [round(effect.a, 5), *(round(x, 4) for x in fields)],
        "radiation_length": _digits(depth, 5),
        "interaction_length": round(1 / rates, 1),
        "minimum": round(minimum * 1e3, 4),
        "critical_energy": _digits(critical * 1e3, 4),
        "composition": {
            s: round(w, 6)
            for s, w in sorted(
                composition.items(), key=lambda part: int(elements[part[0]]["atomic_number"])
            )
        },
    }
    return row if stopping == excitation else {**row, "stopping_excitation": stopping}


def _effect(
    name: str,
    nist: sources.NistMaterial | None,
    density: float,
    excitation: float,
    z_over_a: float,
) -> DensityEffect:
    """Sternheimer's row, moved to another density and excitation energy, or the general recipe."""
    if name == "standard_rock":
        nist = sources.nist_materials()[ROCK_ROW]
        density, z_over_a = nist.density, nist.z_over_a
    number = PURE_ROWS.get(name, None if nist is None else _row_number(nist.number))
    if number is None:
        plasma = PLASMA * 1e-9 * math.sqrt(density * z_over_a)
        return DensityEffect.from_plasma(excitation * 1e-9, plasma, density < GAS_DENSITY)
    known, plasma, fit = sources.sternheimer_row(number)
    for position, value in CORRECTED.get(name, {}).items():
        fit[position] = value
    base = (plasma / PLASMA) ** 2 / (nist.z_over_a if nist else z_over_a)
    if nist is not None and abs(base / nist.density - 1) < SAME_DENSITY:
        base = nist.density
    shift = math.log(base / density) + 2 * math.log(excitation / known)
    step = shift / (2 * math.log(10))
    a, k, x0, x1, cbar, delta0 = fit
    return DensityEffect(a, k, x0 + step, x1 + step, cbar + shift, delta0)


def _row_number(number: int) -> int | None:
    """Row of Geant4's table for a material of ESTAR; both follow the same order."""
    return None if number in ABSENT else number - sum(absent < number for absent in ABSENT)


def _fractions(
    name: str, recipes: dict[str, dict[str, str]], elements: dict[str, Row]
) -> Fractions:
    """Mass fractions: NIST's, from atoms (``"Pb W O4"``), or by mass (``"SiO2 0.9 + H 0.1"``)."""
    nist = sources.nist_materials().get(recipes[name]["nist"])
    text = recipes[name]["composition"]
    if nist is not None:
        return nist.composition
    if "+" not in text:
        return _by_mass(text.split(), elements)
    found: Fractions = {}
    for part in text.split("+"):
        inner, weight = part.split()
        for symbol, fraction in _fractions(inner, recipes, elements).items():
            found[symbol] = found.get(symbol, 0.0) + float(weight) * fraction
    return found


def _by_mass(atoms: list[str], elements: dict[str, Row]) -> Fractions:
    counts = {atom.rstrip("0123456789"): atom for atom in atoms}
    masses = {
        s: int(atom.removeprefix(s) or 1) * float(elements[s]["atomic_mass"])
        for s, atom in counts.items()
    }
    return {s: mass / sum(masses.values()) for s, mass in masses.items()}


def _alloys(elements: dict[str, Row]) -> dict[str, Row]:
    carbon_steel = {"C": 0.01, "Fe": 0.99}
    slag = _oxides(SLAG, elements)
    ladle = {"steel": carbon_steel, "liquid_steel": carbon_steel, "slag": slag}
    table: dict[str, Row] = {}
    for name, composition in ladle.items():
        density = _radiation_depth(composition, elements) / (LADLE[name] / 10)
        table[name] = _alloy(density, composition, None if name == "slag" else "Fe")
        table[name]["radiation_length_mm"] = LADLE[name]
    table["granite"] = _alloy(2.65, _oxides(GRANITE, elements), None)
    return {**table, **{name: _alloy(*values) for name, values in ALLOYS.items()}}


def _alloy(density: float, composition: Fractions, metal: str | None) -> Row:
    total = sum(composition.values())
    fractions = {symbol: round(w / total, 5) for symbol, w in composition.items()}
    row: Row = {"density": round(density, 3), "composition": fractions}
    return row if metal is None else {**row, "density_effect_of": metal}


def _oxides(shares: Fractions, elements: dict[str, Row]) -> Fractions:
    atoms = {
        "CaO": ["Ca", "O"], "SiO2": ["Si", "O2"], "MgO": ["Mg", "O"], "Al2O3": ["Al2", "O3"],
        "FeO": ["Fe", "O"], "K2O": ["K2", "O"], "Na2O": ["Na2", "O"], "Fe2O3": ["Fe2", "O3"],
    }  # fmt: skip
    found: Fractions = {}
    for oxide, share in shares.items():
        for symbol, fraction in _by_mass(atoms[oxide], elements).items():
            found[symbol] = found.get(symbol, 0.0) + share * fraction
    return dict(sorted(found.items(), key=lambda part: int(elements[part[0]]["atomic_number"])))


def _radiation_depth(composition: Fractions, elements: dict[str, Row]) -> float:
    rows = [(w, elements[s]) for s, w in composition.items()]
    return 1 / sum(w / tsai(e["atomic_number"], e["atomic_mass"]) for w, e in rows)


def _bragg(composition: Fractions, elements: dict[str, Row], density: float) -> float:
    """Excitation energy by Bragg's rule [eV]; pure elements and gases keep their own."""
    bound = len(composition) > 1 and density > GAS_DENSITY
    total = logarithm = 0.0
    for symbol, weight in composition.items():
        own = float(elements[symbol]["excitation"])
        value = CONDENSED.get(symbol, CONDENSED_FACTOR * own) if bound else own
        count = _electrons(weight, elements[symbol])
        total, logarithm = total + count, logarithm + count * math.log(value)
    return math.exp(logarithm / total)


def _electrons(weight: float, element: Row) -> float:
    return weight * float(element["atomic_number"]) / float(element["atomic_mass"])


def _digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
