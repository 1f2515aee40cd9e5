"""Makes events with Pythia 8 or a model of chromo, in a process and an interpreter of its own.

    python generator_worker.py ANSWERS < REQUESTS

The first request is a line of JSON with `program`, "pythia" or "chromo", `settings` of it, and
`final`, whether particles that leave the events are wanted alone. Each further one has `seed`,
`n_events` and `block`. To the file descriptor ANSWERS go frames: one letter, the length in 8 bytes
(little endian), and that many bytes. `R` (ready) and `E` (end of a request) are empty, `B` is a
block of events in the npy form of NumPy, `F` a JSON mapping that says what failed.

Each request is answered by a copy (fork) of the initialized process, so that events depend on
settings, seed and number in the request alone.
"""

import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MM_PER_M, SPEED_OF_LIGHT = 1e3, 299_792_458.0
BEAM_CODE = 12  # minus this is the status of a beam particle, as of Pythia's


def send(answers: int, letter: bytes, payload: bytes | memoryview = b"") -> None:
    """Write a frame."""
    for part in (letter + len(payload).to_bytes(8, "little"), payload):
        view = memoryview(part)
        while view:
            view = view[os.write(answers, view) :]


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


def make_pythia(settings: list[str], answers: int) -> Any:
    """Pythia with its settings, initialized."""
    pythia8mc, _ = packages(answers, "pythia8mc", "awkward")  # the form of what it hands over
    pythia = pythia8mc.Pythia("", False)
    for line in ["Print:quiet = on", *settings, "Random:setSeed = on", "Random:seed = 1"]:
        if not pythia.readString(line):
            fail(answers, "settings", f"Pythia does not know the setting {line!r}.")
    if not pythia.init():
        fail(answers, "settings", "Pythia refuses the settings.")
    return pythia


def columns(batch: Any, final: bool) -> dict[str, Any]:
    """Arrays of a batch of events.

    They are taken from the buffers of the batch: operations of awkward would copy the columns that
    nobody wants, which costs as much as making small events.
    """
    particles = batch.layout.content("prt")
    edges, rows = np.asarray(particles.offsets.data), particles.content

    def number(record: Any, name: str) -> Any:
        return record.content(name).data

    status = number(rows, "status")
    wanted = status > 0 if final else np.ones(len(status), dtype=bool)
    if not final:
        wanted[edges[:-1]] = False  # the first is the sum
    index = np.flatnonzero(wanted[: edges[-1]])
    four, start = rows.content("p"), rows.content("vProd")
    momentum, vertex = np.empty((len(index), 4)), np.zeros((len(index), 4))
    where = np.asarray(start.index.data)[index]  # negative for those that start at the origin
    has, where = where >= 0, where[where >= 0]
    for column, name in enumerate(("e", "px", "py", "pz")):
        momentum[:, column] = number(four, name)[index]
        vertex[has, column] = number(start.content, name)[where] / MM_PER_M
    vertex[:, 0] /= SPEED_OF_LIGHT
    weights = batch.layout.content("info").content("weights")
    return {
        "pdg": number(rows, "id")[index],
        "status": status[index],
        "momentum": momentum,
        "vertex": vertex,
        "size": np.diff(np.searchsorted(index, edges)),
        "weight": weights.content.data[np.asarray(weights.offsets.data)[:-1]],
    }


def pack(arrays: dict[str, Any]) -> memoryview:
    """Arrays one behind the other in the form of NumPy, in the order of `columns`."""
    file = io.BytesIO()
    for one in arrays.values():
        np.save(file, one, allow_pickle=False)
    return file.getbuffer()


def pythia_blocks(pythia: Any, request: dict[str, int], final: bool) -> Iterator[dict[str, Any]]:
    """The events of a request."""
    pythia.rndm.init(request["seed"])
    left = request["n_events"]
    while left > 0:
        batch = pythia.nextBatch(min(left, request["block"]), "skip")
        if len(batch) == 0:
            raise RuntimeError("Pythia gave up: no event of a block succeeded.")
        left -= len(batch)
        yield columns(batch, final)


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
        momentum = np.stack([one.en, one.px, one.py, one.pz], axis=1)
        vertex = np.stack([one.vt, one.vx, one.vy, one.vz], axis=1) / MM_PER_M
        found.append((np.array(one.pid), status, momentum, vertex))
    found = [found[i] for i in rng.permutation(len(found))]
    pdg, status, momentum, vertex = (np.concatenate(part) for part in zip(*found, strict=True))
    vertex[:, 0] /= SPEED_OF_LIGHT
    yield {
        "pdg": pdg,
        "status": status,
        "momentum": momentum,
        "vertex": vertex,
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
                    send(answers, b"B", pack(block))
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
