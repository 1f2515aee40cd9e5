"""Event rate of the Pythia source beside that of the generator alone, in one process.

The generator alone makes events that nobody sees (`next`), or hands them over as arrays by its
own fastest way (`nextBatch`), the same events as the source, from the same seeds. The source has
one process or, as by default where there are two cores, two; the generator alone has one. The CPU
time of all processes stands beside the rate by the clock.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from detopt.simulators.sources import Pythia, generator
from tables import Row

LEAST = 0.9  # of the generator's own rate
WORKERS = (1, 2)
ALONE_BLOCKS = {"next": 0, "nextBatch": 500}  # events at a time; with more it is no faster
TURNS = 12  # in each the generator alone and the sources in a row
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
import sys, time, awkward, pythia8mc
BLOCK = int(sys.argv[1])
pythia = pythia8mc.Pythia("", False)
for line in ["Print:quiet = on", "Random:setSeed = on", "Random:seed = 1", *sys.argv[2:]]:
    pythia.readString(line)
pythia.init()
for request in sys.stdin:
    seed, n = map(int, request.split())
    pythia.rndm.init(seed)
    start, used = time.perf_counter(), time.process_time()
    made = 0
    while made < n:
        made += len(pythia.nextBatch(min(BLOCK, n - made), "skip")) if BLOCK else pythia.next()
    print(time.perf_counter() - start, time.process_time() - used, flush=True)
"""


def run(quick: bool) -> list[dict[str, Any]]:
    """Least time of several turns, in each the generator alone and the sources in a row."""
    return [
        _turns(name, n // 5 if quick else n, stretch, settings, 2 if quick else TURNS)
        for name, (n, stretch, settings) in PROCESSES.items()
    ]


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """The table."""
    return [row for one in result for n in WORKERS for row in _rows(one, str(n))]


def _rows(one: dict[str, Any], workers: str) -> list[Row]:
    (alone, alone_cpu), (batch, batch_cpu) = (one["alone"][name] for name in ALONE_BLOCKS)
    clock, cpu = one["sources"][workers]
    n = one["n"]
    how = "1 process" if workers == "1" else f"{workers} processes"
    if int(workers) == generator.WORKERS:
        how += " (the default where there are as many cores)"
    what = f"Pythia source, {one['name']}, {n} events with {one['size']:.0f} final particles, {how}"
    return [
        (
            f"{what}: rate by the clock beside that of `next` alone, least of {one['turns']} turns",
            f"at least {LEAST:.0%}",
            f"{n / clock:.0f} of {n / alone:.0f} events/s ({alone / clock:.1%})",
            alone >= LEAST * clock,
        ),
        (
            f"{what}: the same beside that of `nextBatch` alone, which hands events over",
            f"at least {LEAST:.0%}",
            f"{n / clock:.0f} of {n / batch:.0f} events/s ({batch / clock:.1%})",
            batch >= LEAST * clock,
        ),
        (
            f"{what}: CPU time of all processes beside that of `next` and `nextBatch` alone",
            "no bar",
            f"{1e3 * cpu / n:.3f} for {1e3 * alone_cpu / n:.3f} and {1e3 * batch_cpu / n:.3f} ms "
            "an event",
            True,
        ),
    ]


def _turns(name: str, n: int, stretch: int, settings: list[str], turns: int) -> dict[str, Any]:
    sources = {
        str(workers): Pythia(settings, n_workers=workers, stretch=stretch) for workers in WORKERS
    }
    for source in sources.values():
        source(n, _generator(), torch.float64)  # starts the processes
    alone = {name: _Alone(block, settings) for name, block in ALONE_BLOCKS.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*alone, *sources)}
    size = 0.0
    for turn in range(turns):
        for what in list(found)[:: 1 if turn % 2 else -1]:
            if what in alone:
                found[what].append(alone[what].make(n, stretch))
                continue
            source, before, start = sources[what], _cpu(sources[what]), time.perf_counter()
            events = source(n, _generator(), torch.float64)
            clock = time.perf_counter() - start
            time.sleep(END)
            found[what].append((clock, _cpu(source) - before))
            size = len(events) / n
    for one in alone.values():
        one.close()
    for source in sources.values():
        source.close()
    least = {what: _least(times) for what, times in found.items()}
    return {
        "name": name,
        "n": n,
        "size": size,
        "turns": turns,
        "alone": {what: least[what] for what in alone},
        "sources": {what: least[what] for what in sources},
    }


class _Alone:
    """A process with the generator and nothing else."""

    def __init__(self, block: int, settings: list[str]) -> None:
        words = [sys.executable, "-c", ALONE, str(block), *settings]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def make(self, n: int, stretch: int) -> tuple[float, float]:
        """Seconds by the clock and of CPU for the events that a source makes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        rng, clock, cpu = _generator(), 0.0, 0.0
        for first in range(0, n, stretch):
            seed = int(torch.randint(1, generator.SEEDS + 1, (), generator=rng))
            self._process.stdin.write(f"{seed} {min(stretch, n - first)}\n")
            self._process.stdin.flush()
            one, used = map(float, self._process.stdout.readline().split())
            clock, cpu = clock + one, cpu + used
        return clock, cpu

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _generator() -> torch.Generator:
    """The same events in all turns."""
    return torch.Generator().manual_seed(1)


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
