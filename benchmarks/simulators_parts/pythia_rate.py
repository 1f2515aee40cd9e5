"""Event rate of the Pythia source beside that of the generator alone, for the same events."""

import subprocess
import sys
import time
from typing import Any

import torch

from detopt.simulators.sources import Pythia
from detopt.simulators.sources.pythia import SEEDS
from tables import Row

LEAST = 0.9  # of the generator's own rate
PROCESSES = {
    "gg -> ttbar at 13 TeV": (500, ["Beams:eCM = 13000.", "Top:gg2ttbar = on"]),
    "e+e- -> Z -> qq at 91.2 GeV": (
        4000,
        [
            "Beams:idA = 11",
            "Beams:idB = -11",
            "Beams:eCM = 91.2",
            "PDF:lepton = off",
            "WeakSingleBoson:ffbar2gmZ = on",
            "23:onMode = off",
            "23:onIfAny = 1 2 3 4 5",
        ],
    ),
}
ALONE = """
import sys, time, pythia8mc
pythia = pythia8mc.Pythia("", False)
for line in ["Print:quiet = on", "Random:setSeed = on", "Random:seed = 1", *sys.argv[1:]]:
    pythia.readString(line)
pythia.init()
for request in sys.stdin:
    seed, n = map(int, request.split())
    pythia.rndm.init(seed)
    start = time.perf_counter()
    made = 0
    while made < n:
        made += pythia.next()
    print(time.perf_counter() - start, flush=True)
"""


def run(quick: bool) -> list[dict[str, Any]]:
    """Least time of several turns, in each the generator alone and the source in a row."""
    return [
        _turns(name, n // 5 if quick else n, settings, 2 if quick else 8)
        for name, (n, settings) in PROCESSES.items()
    ]


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """The table."""
    return [
        (
            f"Pythia source, {one['name']}, {one['n']} events with {one['size']:.0f} final "
            f"particles, rate beside that of `next` alone, least of {one['turns']} turns",
            f"at least {LEAST:.0%}",
            f"{one['n'] / one['source']:.0f} of {one['n'] / one['alone']:.0f} events/s "
            f"({one['alone'] / one['source']:.1%})",
            one["alone"] >= LEAST * one["source"],
        )
        for one in result
    ]


def _turns(name: str, n: int, settings: list[str], turns: int) -> dict[str, Any]:
    source = Pythia(settings)
    source(1, torch.Generator().manual_seed(0), torch.float64)  # starts the process
    alone, through, size = [], [], 0.0
    words = [sys.executable, "-c", ALONE, *settings]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for turn in range(turns):
            rng = torch.Generator().manual_seed(1)  # the same events in all turns
            seed = int(torch.randint(1, SEEDS + 1, (), generator=rng))
            for what in ("alone", "source") if turn % 2 else ("source", "alone"):
                if what == "alone":
                    process.stdin.write(f"{seed} {n}\n")
                    process.stdin.flush()
                    alone.append(float(process.stdout.readline()))
                    continue
                rng = torch.Generator().manual_seed(1)
                start = time.perf_counter()
                events = source(n, rng, torch.float64)
                through.append(time.perf_counter() - start)
                size = len(events) / n
        process.stdin.close()
    source.close()
    return {
        "name": name,
        "n": n,
        "size": size,
        "turns": turns,
        "alone": min(alone),
        "source": min(through),
    }
