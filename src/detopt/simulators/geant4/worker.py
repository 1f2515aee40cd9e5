"""The program in which Geant4 runs: it alone loads the libraries, so that it alone can crash.

It is started with a JSON mapping of `memory` [B], `engine`, `physics`, `cut` [cm], `requests` and
`answers`, two open file descriptors. A request is a line with the path of a JSON file::

    {"folder": ..., "geometry": ..., "media": [...], "volumes": ["World.Layer0", ...],
     "seed": 128-bit integer, "rows": [first, last], "single": false, "event_timeout": 60.0}

Particles lie in `particles.npy` of that folder. Events are run in blocks of a fraction of a second,
each announced by an answer such as `{"rows": [20, 40], "cpu_s": 1.5}` with the CPU time of this
program so far [s], and each leaves the deposits [MeV], row by row and volume by volume, in a file.
Every row has a stretch of random numbers of its own, which its number determines: neither the
blocks nor the rows before it change what it does.

The package is not imported here.
"""

import functools
import importlib.util
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
SAME = 1e-3  # relative difference below which two materials are one
Array = npt.NDArray[Any]


class Engine(Protocol):
    """What runs particles in a geometry."""

    def run(self, request: dict[str, Any], particles: Array, first: int) -> Array:
        """Deposits of these rows [MeV], volume by volume; `first` is the number of the first."""


def is_same(medium: dict[str, Any], density: float, composition: dict[str, float]) -> bool:
    """Whether a medium of a request has this density [g/cm3] and these mass fractions."""
    wanted = medium["composition"]
    if abs(density / medium["density"] - 1) > SAME or wanted.keys() != composition.keys():
        return False
    return all(abs(composition[symbol] - share) < SAME for symbol, share in wanted.items())


def load_engine(name: str) -> Callable[[str, float], Engine]:
    """What makes the engine in a file beside this one.

    Args:
        name: Of the file, without its ending.
    """
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make: Callable[[str, float], Engine] = functools.partial(module.Engine, is_same=is_same)
    return make


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


def serve(make: Callable[[str, float], Engine] | None = None) -> None:
    """Answer requests until the other side closes.

    Args:
        make: Makes the engine from the name of the physics list and the cut [cm]; by default that
            of the file that the settings name.
    """
    settings = json.loads(sys.argv[1])
    if settings["memory"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (settings["memory"], settings["memory"]))
    with (
        os.fdopen(settings["requests"]) as requests,
        os.fdopen(settings["answers"], "w", buffering=1) as answers,
    ):

        def answer(message: dict[str, Any]) -> None:
            answers.write(json.dumps({**message, "cpu_s": time.process_time()}) + "\n")

        try:
            make = load_engine(settings["engine"]) if make is None else make
            engine = make(settings["physics"], settings["cut"])
            for line in requests:
                answer_request(engine, Path(line.strip()), answer)
        except BrokenPipeError:
            return
        except Exception as error:  # whatever the engine raises; its state is unknown afterwards
            answer({"failed": f"{type(error).__name__}: {error}"})
            raise


if __name__ == "__main__":
    serve()
