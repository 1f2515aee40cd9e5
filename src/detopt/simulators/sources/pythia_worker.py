"""Makes events with Pythia 8, in a process and an interpreter of its own.

    python pythia_worker.py ANSWERS < REQUESTS

The first request is a line of JSON with `settings`, a list of lines of Pythia's, and `final`,
whether particles that leave the events are wanted alone. Each further one has `seed`, `n_events`
and `block`. To the file descriptor ANSWERS go frames: one letter, the length in 8 bytes (little
endian), and that many bytes. `R` (ready) and `E` (end of a request) are empty, `B` is a block of
events in the npy form of NumPy, `F` a JSON mapping that says what failed.

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


def answer(pythia: Any, request: dict[str, int], final: bool, answers: int) -> None:
    """Make the events of a request."""
    pythia.rndm.init(request["seed"])
    left = request["n_events"]
    while left > 0:
        batch = pythia.nextBatch(min(left, request["block"]), "skip")
        if len(batch) == 0:
            fail(answers, "event", "Pythia gave up: no event of a block succeeded.")
        left -= len(batch)
        send(answers, b"B", pack(columns(batch, final)))
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
