"""Makes events with Pythia 8 or a model of chromo, in a process and an interpreter of its own.

    python generator_worker.py ANSWERS < REQUESTS

The first request is a line of JSON with `program`, "pythia" or "chromo", `settings` of it, and
`final`, whether particles that leave the events are wanted alone. Each further one has `seed`,
`n_events` and `block`. To the file descriptor ANSWERS go frames: one letter, the length in 8 bytes
(little endian), and that many bytes. `R` (ready) and `E` (end of a request) are empty, `B` is a
block of events: a line of JSON with name, type and shape of each array, and the arrays. `F` is a
JSON mapping that says what failed.

Each request is answered by a copy (fork) of the initialized process, so that events depend on
settings, seed and number in the request alone.
"""

import functools
import importlib
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MM_PER_M, SPEED_OF_LIGHT = 1e3, 299_792_458.0
BEAM_CODE = 12  # minus this is the status of a beam particle, as of Pythia's
FAILURES = 100  # of Pythia's events in a row
FROM_FILE = 4  # frame type of Pythia's beams
KINDS = {"i32": np.int32, "i64": np.int64}  # of indices, in the words of awkward


def send(answers: int, letter: bytes, *parts: Any) -> None:
    """Write a frame."""
    views = [memoryview(part) for part in parts]
    size = sum(view.nbytes for view in views)
    for view in (memoryview(letter + size.to_bytes(8, "little")), *views):
        while view:
            view = view[os.write(answers, view) :]


def send_block(answers: int, arrays: dict[str, Any]) -> None:
    """Write a frame with arrays, as they lie in memory."""
    about = [(name, one.dtype.str, one.shape) for name, one in arrays.items()]
    flat = [one.ravel().view(np.uint8) for one in arrays.values()]
    send(answers, b"B", f"{json.dumps(about)}\n".encode(), *flat)


def fail(answers: int, kind: str, message: str) -> NoReturn:
    """Say what failed, and end."""
    send(answers, b"F", json.dumps({"kind": kind, "message": message}).encode())
    sys.stdout.flush()
    os._exit(1)


def packages(answers: int, *names: str) -> list[Any]:
    """Modules that the program needs."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        fail(answers, "missing", f"{sys.executable}: {error}")


class Awkward(types.ModuleType):
    """Stands for the package `awkward`, of which Pythia calls one function.

    The package would make an array of each batch, which takes it some 2 ms, and its memory would be
    copied with the process. Here the buffers stay as they are.
    """

    @staticmethod
    def from_buffers(form: str, length: int, buffers: dict[str, Any]) -> Any:
        """What Pythia hands over: form of the array in JSON, number of events, bytes by name."""
        return form, length, buffers


def make_pythia(settings: list[str], answers: int) -> Any:
    """Pythia with its settings, initialized."""
    sys.modules["awkward"] = Awkward("awkward")
    (pythia8mc,) = packages(answers, "pythia8mc")
    pythia = pythia8mc.Pythia("", False)
    for line in ["Print:quiet = on", *settings, "Random:setSeed = on", "Random:seed = 1"]:
        if not pythia.readString(line):
            fail(answers, "settings", f"Pythia does not know the setting {line!r}.")
    if pythia.mode("Beams:frameType") == FROM_FILE or pythia.word("Beams:LHEF") != "void":
        fail(
            answers,
            "settings",
            "Pythia cannot take events from a file here (`Beams:frameType = 4`, `Beams:LHEF`): "
            "every stretch would begin with the first one. Read the file with `read_lhe` and draw "
            "from it with `EventList`; for its showers run Pythia by hand, and read the HepMC file "
            "that it writes with `read_hepmc`.",
        )
    if not pythia.init():
        fail(answers, "settings", "Pythia refuses the settings.")
    return pythia


read_form = functools.cache(json.loads)  # that of all batches is the same


def columns(form: str, buffers: dict[str, Any], final: bool) -> dict[str, Any]:
    """Arrays of a batch of events; four-vectors have a row for each component."""

    def numbers(node: dict[str, Any], part: str = "data") -> Any:
        kind = node["primitive"] if part == "data" else KINDS[node[part]]
        return buffers[f"{node['form_key']}-{part}"].view(kind)

    events = read_form(form)["contents"]
    edges, particle = numbers(events["prt"], "offsets"), events["prt"]["content"]["contents"]
    status = numbers(particle["status"])
    wanted = status > 0 if final else np.ones(len(status), dtype=bool)
    if not final:
        wanted[edges[:-1]] = False  # the first is the sum
    index = np.flatnonzero(wanted[: edges[-1]])
    momentum, vertex = np.empty((4, len(index))), np.zeros((4, len(index)))
    where = numbers(particle["vProd"], "index")[index]
    has = where >= 0  # the others start at the origin
    where = where[has]
    four, start = particle["p"]["contents"], particle["vProd"]["content"]["contents"]
    for row, name in enumerate(("e", "px", "py", "pz")):
        momentum[row] = numbers(four[name])[index]
        vertex[row, has] = numbers(start[name])[where]
    weights = events["info"]["contents"]["weights"]
    return {
        "pdg": numbers(particle["id"])[index],
        "status": status[index],
        "momentum": momentum,
        "vertex": in_meters(vertex),
        "size": np.diff(np.searchsorted(index, edges)),
        "weight": numbers(weights["content"])[numbers(weights, "offsets")[:-1]],
    }


def in_meters(vertex: Any) -> Any:
    """Times [s] and places [m], of those in mm."""
    vertex = vertex / MM_PER_M
    vertex[0] /= SPEED_OF_LIGHT
    return vertex


def pythia_blocks(pythia: Any, request: dict[str, int], final: bool) -> Iterator[dict[str, Any]]:
    """The events of a request."""
    pythia.rndm.init(request["seed"])
    left, failures = request["n_events"], 0
    while left > 0:
        tries = min(left, request["block"])
        form, made, buffers = pythia.nextBatch(tries, "skip")
        failures = 0 if made else failures + tries
        if failures >= FAILURES:
            raise RuntimeError(f"Pythia gave up: {failures} events in a row failed.")
        if made:
            left -= made
            yield columns(form, buffers, final)


def make_chromo(settings: dict[str, Any], answers: int) -> Any:
    """A model of chromo, with the kinematics and the share of each kind of target."""
    models, kinematics = packages(answers, "chromo.models", "chromo.kinematics")
    name, target = settings["model"], settings["target"]
    if name not in models.__all__:
        known = ", ".join(models.__all__)
        fail(answers, "settings", f"chromo has no model {name!r}, but {known}.")
    mixture = list(target.items()) if isinstance(target, dict) else [(target, 1.0)]

    def particle(given: Any) -> Any:
        return tuple(given) if isinstance(given, list) else given

    frame = kinematics.FixedTarget if settings["fixed_target"] else kinematics.CenterOfMass
    beam, energy = particle(settings["projectile"]), settings["energy"]
    try:
        collisions = [frame(energy, beam, particle(one)) for one, _ in mixture]
        model = getattr(models, name)(collisions[0], seed=1)
        for collision in collisions[1:]:
            model.kinematics = collision
    except Exception as error:
        fail(answers, "settings", f"chromo refuses the collision: {error!r}.")
    shares = np.array([share for _, share in mixture], dtype=float)
    return model, collisions, shares / shares.sum()


def chromo_blocks(made: Any, request: dict[str, int], final: bool) -> Iterator[dict[str, Any]]:
    """The events of a request, in one block; those of a mixture in random order."""
    model, collisions, shares = made
    rng, its_own = np.random.default_rng(request["seed"]).spawn(2)
    model.random_state = its_own.bit_generator.state
    found: list[tuple[Any, ...]] = []
    for event in chromo_events(model, collisions, rng.multinomial(request["n_events"], shares)):
        one = event.final_state() if final else event
        status = np.where(one.status == 1, 1, np.where(one.status == 4, -BEAM_CODE, -1))
        momentum = np.stack([one.en, one.px, one.py, one.pz])
        vertex = np.stack([one.vt, one.vx, one.vy, one.vz])
        found.append((np.array(one.pid), status, momentum, vertex))
    found = [found[i] for i in rng.permutation(len(found))]
    pdg, status, momentum, vertex = (
        np.concatenate(part, axis=-1) for part in zip(*found, strict=True)
    )
    yield {
        "pdg": pdg,
        "status": status,
        "momentum": momentum,
        "vertex": in_meters(vertex),
        "size": np.array([len(one[0]) for one in found]),
        "weight": np.ones(len(found)),
    }


def chromo_events(model: Any, collisions: list[Any], numbers: Any) -> Iterator[Any]:
    """Events of each kind of collision."""
    for collision, number in zip(collisions, numbers, strict=True):
        if len(collisions) > 1:
            model.kinematics = collision
        yield from model(int(number))


Make = Callable[[Any, int], Any]
Blocks = Callable[[Any, dict[str, int], bool], Iterator[dict[str, Any]]]
PROGRAMS: dict[str, tuple[Make, Blocks]] = {
    "pythia": (make_pythia, pythia_blocks),
    "chromo": (make_chromo, chromo_blocks),
}


def main(answers: int) -> None:
    """Serve requests until the end of the input."""
    first = json.loads(sys.stdin.readline())
    make, blocks = PROGRAMS[first["program"]]
    generator = make(first["settings"], answers)
    send(answers, b"R")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                for block in blocks(generator, request, first["final"]):
                    send_block(answers, block)
                send(answers, b"E")
            except BaseException as error:
                fail(answers, "event", repr(error))
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path = [path for path in sys.path if Path(path).resolve() != here]  # without namesakes
    main(int(sys.argv[1]))
