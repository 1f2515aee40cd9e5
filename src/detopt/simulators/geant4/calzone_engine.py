"""Geant4 through calzone; `detopt.simulators.geant4.worker` loads this file in its process."""

import importlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

STRIDE = 0x9E3779B97F4A7C15F39CC0605CEDC835  # between rows; odd, so that all bits move on
PERIOD = 1 << 126  # of the generator
WORD = (1 << 64) - 1
Array = npt.NDArray[Any]


class Engine:
    """Runs particles in a geometry.

    Args:
        physics: Electromagnetic list, with a hadronic one behind a dash if wanted.
        cut: Production cut [cm].
        is_same: Whether a medium has a density and a composition.
    """

    def __init__(self, physics: str, cut: float, is_same: Callable[..., bool]) -> None:
        self.calzone: Any = importlib.import_module("calzone")
        electromagnetic, _, hadronic = physics.partition("-")
        self.physics = self.calzone.Physics(
            electromagnetic, default_cut=cut, had_model=hadronic or None
        )
        self.is_same = is_same
        self.geometry: tuple[str, Any] = ("", None)

    def run(self, request: dict[str, Any], particles: Array, first: int) -> Array:
        """Deposits of these rows [MeV], volume by volume."""
        simulation = self.calzone.Simulation(
            self._geometry(request),
            self.physics,
            self.calzone.Random(request["seed"]),
            sample_particles=False,
        )
        stretches = [(number * STRIDE) % PERIOD for number in range(first, first + len(particles))]
        words = np.array([(one >> 64, one & WORD) for one in stretches], dtype=np.uint64)
        found = simulation.run(particles, random_indices=words) or {}
        deposits = np.zeros((len(particles), len(request["volumes"])))
        for column, name in enumerate(request["volumes"]):
            if name in found:
                deposits[found[name]["event"], column] = found[name]["value"]
        return deposits

    def _geometry(self, request: dict[str, Any]) -> Any:
        text = json.dumps([request["geometry"], request["media"]])
        if self.geometry[0] != text:
            names, mixtures = self._media(request["media"])
            tree = _renamed(request["geometry"], names)
            if mixtures:
                tree["materials"] = {"mixtures": mixtures}
            self.geometry = (text, self.calzone.Geometry(tree))
        return self.geometry[1]

    def _media(self, media: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, Any]]:
        """The names under which Geant4 knows materials, and the mixtures to make."""
        names, mixtures = {}, {}
        for one in media:
            table_name, composition = one["table_name"], one["composition"]
            if not composition or self._is_in_table(one):
                names[one["name"]] = table_name
            else:
                names[one["name"]] = one["name"]
                mixtures[one["name"]] = {"density": one["density"], "composition": composition}
        return names, mixtures

    def _is_in_table(self, medium: dict[str, Any]) -> bool:
        try:
            known = self.calzone.describe(material=medium["table_name"])
        except (KeyError, ValueError):
            return False
        return known is not None and self.is_same(medium, known.density, dict(known.composition))


def _renamed(tree: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A geometry whose materials have the names of Geant4."""
    renamed: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "material":
            renamed[key] = names[value]
        else:
            renamed[key] = _renamed(value, names) if isinstance(value, dict) else value
    return renamed
