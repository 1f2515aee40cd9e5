r"""Sampling calorimeter: which layers measure energies best at a given price and length?

Absorber and active layers alternate; many thin ones sample a shower well, but money, length and
channels are given. Layers where showers are dense are worth more than those in their tails, and
showers of 1 and of 50 GeV are not dense at the same depth. Design parameters: thicknesses of
`absorber` and `active` layers [mm], of given sum or within limits, or `positions` of active layers
in a block [mm]; materials from lists; `presence` of layers, if their number is relaxed. Objective:
root mean square of :math:`(\hat E - E)/\sqrt E` over the spectrum, with a weight for each layer
that is fitted anew for every design, within length, price and channels of equal layers.

Showers come from the fast model (differentiable), from Geant4, or from a library of depths:
`source`. Prices are estimates.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch

from detopt.pipeline import Pipeline, Simulator
from detopt.usecases.sampling_calorimeter.config import Config
from detopt.usecases.sampling_calorimeter.layers import Calorimeter
from detopt.usecases.sampling_calorimeter.library import (
    N_SHOWERS,
    ShowerLibrary,
    make_library,
    write_library,
)
from detopt.usecases.sampling_calorimeter.network import NetworkColumns
from detopt.usecases.sampling_calorimeter.reconstruction import (
    POWERS,
    EnergyError,
    KeepColumns,
    LinearColumns,
    scatter,
)
from detopt.usecases.sampling_calorimeter.sources import (
    Beam,
    FastShowers,
    Geant4Showers,
    LibraryShowers,
    Showers,
    Signals,
)

__all__ = [
    "CHECK_EVENTS",
    "RECOMMENDED",
    "Calorimeter",
    "Config",
    "ShowerLibrary",
    "build",
    "make_library",
    "recommended_for",
    "write_library",
]

RECOMMENDED = {
    "rounds": 80,
    "method_options": {"learning_rate": 0.1},
    "evaluation_events": 10_000,
}
CHECK_EVENTS = 200
UNITS = {"stochastic": "GeV^1/2", "relative": "relative"}
CHUNK = 10_000
ALL = 10**9  # a library has all of its showers in one chunk, where none comes twice


def recommended_for(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Methods without gradients for Geant4, and searches of materials where there are lists.

    Verdicts of a library have half of its showers.
    """
    lists = any(len(_names(options.get(kind))) > 1 for kind in ("absorber", "active"))
    if options.get("source") == "geant4":
        search = {"method_options": {"n_events": 200}, "rounds": 8, "evaluation_events": 1_000}
        return {"method": "cma" if lists else "local_surrogate", **search}
    method = {"method": "enumeration"} if lists else {}
    if options.get("source") == "library":
        return {**method, "evaluation_events": N_SHOWERS // 2}
    return method


def _names(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes.

    Raises:
        ConfigError: The library is unusable.
        NotFoundError: A material does not exist.
    """
    calorimeter = Calorimeter(config)
    space, power = calorimeter.space, POWERS[config.measure]
    reconstruction = (
        NetworkColumns(config) if config.reconstruction == "network" else LinearColumns()
    )

    def pipeline(
        simulator: Simulator[Showers, Signals],
        hard: Pipeline | None = None,
        library: ShowerLibrary | None = None,
    ) -> Pipeline:
        return Pipeline(
            space,
            Beam(config, library),
            simulator,
            reconstruction,
            KeepColumns(),
            EnergyError(calorimeter),
            hard=hard,
            n_events=config.n_events,
            chunk_size=max(config.n_events, CHUNK) if library is None else ALL,
            baselines={"equal layers": calorimeter.baseline},
            price=calorimeter.price,
            objective_name=f"energy error over the spectrum [{UNITS[config.measure]}]",
            dtype=torch.float64,
            view=calorimeter.scene,
            diagnostics=functools.partial(scatter, power=power),
        )

    if config.source == "library":
        half, other = make_library(config).halves()
        hard = pipeline(LibraryShowers(calorimeter, other, hard=True), library=other)
        return pipeline(LibraryShowers(calorimeter, half), hard, half)
    if config.source == "geant4":
        return pipeline(Geant4Showers(calorimeter))
    hard = pipeline(FastShowers(calorimeter, hard=True))
    return pipeline(FastShowers(calorimeter), hard if config.number == "relaxed" else None)
