"""Event rate of the Pythia source beside that of the generator alone, in one process.

The source has one process or two, and the machine two cores. The CPU time of all processes stands
beside the rate by the clock.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from detopt.simulators.sources import Pythia
from detopt.simulators.sources.pythia import SEEDS
from tables import Row

LEAST = 0.9  # of the generator's own rate
WORKERS = (1, 2)
END = 0.2  # s, until copies of a process have ended and their CPU time is known
TICKS = os.sysconf("SC_CLK_TCK")
PROCESSES = {  # events, events of a stretch, settings
    "gg -> ttbar at 13 TeV": (500, 125, ["Beams:eCM = 13000.", "Top:gg2ttbar = on"]),
    "e+e- -> Z -> qq at 91.2 GeV": (
        4000,
        2000,
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
    start, used = time.perf_counter(), time.process_time()
    made = 0
    while made < n:
        made += pythia.next()
    print(time.perf_counter() - start, time.process_time() - used, flush=True)
"""


def run(quick: bool) -> list[dict[str, Any]]:
    """Least time of several turns, in each the generator alone and the sources in a row."""
    return [
        _turns(name, n // 5 if quick else n, stretch, settings, 2 if quick else 8)
        for name, (n, stretch, settings) in PROCESSES.items()
    ]


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """The table."""
    return [row for one in result for n in WORKERS for row in _rows(one, str(n))]


def _rows(one: dict[str, Any], workers: str) -> list[Row]:
    alone, alone_cpu = one["alone"]
    clock, cpu = one["sources"][workers]
    n = one["n"]
    what = (
        f"Pythia source, {one['name']}, {n} events with {one['size']:.0f} final particles, "
        f"{workers} {'process' if workers == '1' else 'processes'}"
    )
    return [
        (
            f"{what}: rate by the clock beside that of `next` alone, least of {one['turns']} turns",
            f"at least {LEAST:.0%}",
            f"{n / clock:.0f} of {n / alone:.0f} events/s ({alone / clock:.1%})",
            alone >= LEAST * clock,
        ),
        (
            f"{what}: CPU time of all processes beside that of `next` alone",
            "no bar",
            f"{1e3 * cpu / n:.3f} for {1e3 * alone_cpu / n:.3f} ms an event "
            f"({alone_cpu / cpu:.1%} of it makes events)",
            True,
        ),
    ]


def _turns(name: str, n: int, stretch: int, settings: list[str], turns: int) -> dict[str, Any]:
    sources = {
        str(workers): Pythia(settings, n_workers=workers, stretch=stretch) for workers in WORKERS
    }
    for source in sources.values():
        source(n, _generator(), torch.float64)  # starts the processes
    alone: list[tuple[float, float]] = []
    through: dict[str, list[tuple[float, float]]] = {workers: [] for workers in sources}
    words = [sys.executable, "-c", ALONE, *settings]
    size = 0.0
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for turn in range(turns):
            order = ["alone", *sources]
            for what in order if turn % 2 else order[::-1]:
                if what == "alone":
                    process.stdin.write(f"{int(_seed())} {n}\n")
                    process.stdin.flush()
                    clock, cpu = map(float, process.stdout.readline().split())
                    alone.append((clock, cpu))
                    continue
                source, before, start = sources[what], _cpu(sources[what]), time.perf_counter()
                events = source(n, _generator(), torch.float64)
                clock = time.perf_counter() - start
                time.sleep(END)
                through[what].append((clock, _cpu(source) - before))
                size = len(events) / n
        process.stdin.close()
    for source in sources.values():
        source.close()
    least = {workers: _least(found) for workers, found in through.items()}
    return {
        "name": name,
        "n": n,
        "size": size,
        "turns": turns,
        "alone": _least(alone),
        "sources": least,
    }


def _generator() -> torch.Generator:
    """The same events in all turns."""
    return torch.Generator().manual_seed(1)


def _seed() -> torch.Tensor:
    """Seed of the first events of the source."""
    return torch.randint(1, SEEDS + 1, (), generator=_generator())


def _least(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    clock, cpu = (min(one) for one in zip(*pairs, strict=True))
    return clock, cpu


def _cpu(source: Pythia) -> float:
    """CPU time of this process and those of the source [s]."""
    used = time.process_time()
    for one in source._processes:
        if one._process is not None:
            fields = Path(f"/proc/{one._process.pid}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / TICKS  # with what it waited for
    return used
