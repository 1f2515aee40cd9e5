"""Materials of the package as Geant4 knows them."""

__all__ = ["VACUUM", "Medium", "medium"]

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from detopt.physics.materials import Material, get

VACUUM = "G4_Galactic"
PREFIX = "G4_"
# Names in Geant4's table of NIST materials that do not follow from ours
OTHER_NAMES = {
    "Al2O3": "G4_ALUMINUM_OXIDE",
    "BaF2": "G4_BARIUM_FLUORIDE",
    "CsI": "G4_CESIUM_IODIDE",
    "GaAs": "G4_GALLIUM_ARSENIDE",
    "LiF": "G4_LITHIUM_FLUORIDE",
    "NaI": "G4_SODIUM_IODIDE",
    "PbWO4": "G4_PbWO4",
    "SiO2": "G4_SILICON_DIOXIDE",
    "acrylic": "G4_PLEXIGLASS",
    "lead_glass": "G4_GLASS_LEAD",
    "liquid_argon": "G4_lAr",
    "liquid_krypton": "G4_lKr",
    "liquid_xenon": "G4_lXe",
    "polyimide": "G4_KAPTON",
    "polyvinyltoluene": "G4_PLASTIC_SC_VINYLTOLUENE",
    "stainless_steel": "G4_STAINLESS-STEEL",
}


@dataclass(frozen=True)
class Medium:
    """A material to be made: Geant4's own where it is the same, else a mixture of elements.

    Attributes:
        name: Name of the mixture; it follows from its contents.
        density: Density [g/cm3].
        composition: Mass fractions by chemical symbol.
        table_name: Name in Geant4's table; it is taken if density and composition agree.
    """

    name: str
    density: float
    composition: Mapping[str, float]
    table_name: str


def medium(material: str | Material) -> Medium:
    """How Geant4 is told about a material.

    Args:
        material: A material, its name, or a name in Geant4's own table such as `G4_AIR`.

    Raises:
        NotFoundError: There is no material of that name.

    Note:
        Geant4's own entry is taken where density and composition agree within 0.1 %: it has the
        measured mean excitation energy. Of other mixtures Geant4 finds it by Bragg's rule.
    """
    if isinstance(material, str) and material.startswith(PREFIX):
        return Medium(material, 0.0, {}, material)
    known = get(material) if isinstance(material, str) else material
    composition = dict(sorted(known.composition.items()))
    contents = json.dumps({"density": known.density, "composition": composition})
    code = hashlib.sha256(contents.encode()).hexdigest()[:12]
    table_name = OTHER_NAMES.get(known.name)
    if table_name is None:
        plain = len(known.composition) == 1 and known.name in known.composition
        table_name = PREFIX + (known.name if plain else known.name.upper())
    readable = re.sub("[^A-Za-z0-9]", "", known.name)
    return Medium(f"M{readable}{code}", known.density, composition, table_name)
