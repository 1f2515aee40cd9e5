"""Makes events with Pythia 8, in a process and an interpreter of its own.

    python pythia_worker.py ANSWERS < REQUESTS

The first request is a line of JSON with `settings`, a list of lines of Pythia's, and `final`,
whether particles that leave the events are wanted alone. Each further one has `seed`, `n_events`
and `block`. To the file descriptor ANSWERS go frames: one letter, the length in 8 bytes (little
endian), and that many bytes. `R` (ready) and `E` (end of a request) are empty, `B` is a block of
events in the npz form of NumPy, `F` a JSON mapping that says what failed.

Each request is answered by a copy (fork) of the initialized process, so that events depend on
settings, seed and number in the request alone.
"""

import importlib
import io
import json
import os
import sys
from typing import Any, NoReturn

import numpy as np

MM_PER_M, SPEED_OF_LIGHT = 1e3, 299_792_458.0


def send(answers: int, letter: bytes, payload: bytes = b"") -> None:
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


def make_generator(settings: list[str], answers: int) -> Any:
    """Pythia with its settings, initialized."""
    try:
        importlib.import_module("awkward")  # the form of what Pythia hands over
        pythia8mc = importlib.import_module("pythia8mc")
    except ImportError as error:
        fail(answers, "missing", f"{sys.executable}: {error}")
    pythia = pythia8mc.Pythia("", False)
    for line in ["Print:quiet = on", *settings, "Random:setSeed = on", "Random:seed = 1"]:
        if not pythia.readString(line):
            fail(answers, "settings", f"Pythia does not know the setting {line!r}.")
    if not pythia.init():
        fail(answers, "settings", "Pythia refuses the settings.")
    return pythia


def columns(batch: Any, final: bool) -> dict[str, Any]:
    """Arrays of a batch of events."""
    ak = importlib.import_module("awkward")

    particles = batch.prt
    particles = particles[particles.status > 0] if final else particles[:, 1:]  # 0 is the sum
    rows = ak.flatten(particles)

    def number(values: Any) -> Any:
        return ak.to_numpy(values)

    four, start = rows.p, ak.fill_none(rows.vProd, {"px": 0.0, "py": 0.0, "pz": 0.0, "e": 0.0})
    vertex = np.stack([number(start[name]) for name in ("e", "px", "py", "pz")], 1) / MM_PER_M
    vertex[:, 0] /= SPEED_OF_LIGHT
    return {
        "pdg": number(rows.id),
        "status": number(rows.status),
        "momentum": np.stack([number(four[name]) for name in ("e", "px", "py", "pz")], 1),
        "vertex": vertex,
        "size": number(ak.num(particles)),
        "weight": number(batch.info.weights[:, 0]),
    }


def answer(pythia: Any, request: dict[str, int], final: bool, answers: int) -> None:
    """Make the events of a request."""
    pythia.rndm.init(request["seed"])
    left = request["n_events"]
    while left > 0:
        batch = pythia.nextBatch(min(left, request["block"]), "skip")
        if len(batch) == 0:
            fail(answers, "event", "Pythia gave up: no event of a block succeeded.")
        left -= len(batch)
        file = io.BytesIO()
        np.savez(file, **columns(batch, final))
        send(answers, b"B", file.getvalue())
    send(answers, b"E")


def main(answers: int) -> None:
    """Serve requests until the end of the input."""
    first = json.loads(sys.stdin.readline())
    pythia = make_generator(first["settings"], answers)
    send(answers, b"R")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                answer(pythia, request, first["final"], answers)
            except BaseException as error:
                fail(answers, "event", repr(error))
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
