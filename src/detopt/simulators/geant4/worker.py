"""The program in which Geant4 runs: it alone loads the libraries, so that it alone can crash.

It is started with a JSON mapping of `memory` [B], `physics`, `cut` [cm], `requests` and `answers`,
two open file descriptors. A request is a line with the path of a JSON file::

    {"folder": ..., "geometry": ..., "media": [...], "volumes": ["World.Layer0", ...],
     "seed": 128-bit integer, "rows": [first, last], "single": false, "event_timeout": 60.0}

Particles lie in `particles.npy` of that folder. Events are run in blocks of a fraction of a second,
each announced by an answer such as `{"rows": [20, 40]}`, and each leaves the deposits [MeV], row by
row and volume by volume, in a file. Every row has a stretch of random numbers of its own, which its
number determines: neither the blocks nor the rows before it change what it does.

The package is not imported here.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

BLOCK_TIME = 0.2  # s
GROWTH = 4  # of a block from one to the next, at most
ALARM = 60.0  # s beyond the time of an event after which a forgotten process ends itself
STRIDE = 0x9E3779B97F4A7C15F39CC0605CEDC835  # between rows; odd, so that all bits move on
PERIOD = 1 << 126  # of the generator
WORD = (1 << 64) - 1
SAME = 1e-3  # relative difference below which two materials are one
Array = npt.NDArray[Any]


class Engine(Protocol):
    """What runs particles in a geometry."""

    def run(self, request: dict[str, Any], particles: Array, first: int) -> Array:
        """Deposits of these rows [MeV], volume by volume; `first` is the number of the first."""


class Calzone:
    """Geant4 through calzone."""

    def __init__(self, physics: str, cut: float) -> None:
        self.calzone: Any = importlib.import_module("calzone")
        electromagnetic, _, hadronic = physics.partition("-")
        self.physics = self.calzone.Physics(
            electromagnetic, default_cut=cut, had_model=hadronic or None
        )
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
        if known is None or abs(known.density / medium["density"] - 1) > SAME:
            return False
        shares = dict(known.composition)
        return shares.keys() == medium["composition"].keys() and all(
            abs(shares[symbol] - share) < SAME for symbol, share in medium["composition"].items()
        )


def _renamed(tree: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A geometry whose materials have the names of Geant4."""
    renamed: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "material":
            renamed[key] = names[value]
        else:
            renamed[key] = _renamed(value, names) if isinstance(value, dict) else value
    return renamed


def answer_request(engine: Engine, path: Path, answer: Callable[[dict[str, Any]], None]) -> None:
    """Run the rows of a request, block by block."""
    request = json.loads(path.read_text())
    folder = Path(request["folder"])
    particles = np.load(folder / "particles.npy", allow_pickle=False)
    first, last = request["rows"]
    size = 1
    while first < last:
        end = min(first + size, last)
        answer({"rows": [first, end]})
        signal.setitimer(signal.ITIMER_REAL, request["event_timeout"] + ALARM)
        begin = time.perf_counter()
        deposits = engine.run(request, particles[first:end], first)
        elapsed = time.perf_counter() - begin
        signal.setitimer(signal.ITIMER_REAL, 0)
        write(folder / block_name(first, end), deposits)
        first = end
        if not request["single"]:
            wanted = int(size * BLOCK_TIME / max(elapsed, 1e-6))
            size = max(1, min(wanted, GROWTH * size))
    answer({"done": True})


def block_name(first: int, end: int) -> str:
    """File of the deposits of a block."""
    return f"deposits-{first:09d}-{end:09d}.npy"


def write(path: Path, deposits: Array) -> None:
    """Write a file that is either whole or not there."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, deposits, allow_pickle=False)
    part.rename(path)


def serve(make: Callable[[str, float], Engine]) -> None:
    """Answer requests until the other side closes.

    Args:
        make: Makes the engine from the name of the physics list and the cut [cm].
    """
    settings = json.loads(sys.argv[1])
    if settings["memory"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (settings["memory"], settings["memory"]))
    with (
        os.fdopen(settings["requests"]) as requests,
        os.fdopen(settings["answers"], "w", buffering=1) as answers,
    ):

        def answer(message: dict[str, Any]) -> None:
            answers.write(json.dumps(message) + "\n")

        try:
            engine = make(settings["physics"], settings["cut"])
            for line in requests:
                answer_request(engine, Path(line.strip()), answer)
        except BrokenPipeError:
            return
        except Exception as error:  # whatever the engine raises; its state is unknown afterwards
            answer({"failed": f"{type(error).__name__}: {error}"})
            raise


if __name__ == "__main__":
    serve(Calzone)
