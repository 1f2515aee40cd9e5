"""A thousand machines that are taken away, simulated on this control plane; see `pool.Pool`.

What the database takes is measured on a PostgreSQL here; the rest of the times are assumed. The
queue is `queues.PlainQueue`, which is compared event by event with the real one first.

Lives of machines: without memory, with a mean of 10 and of 30 minutes; and the bathtub that was
fitted to 1,500 preemptible machines of a cloud, which live for a day at most: J. Kadupitiya,
V. Jadhao and P. Sharma, HPDC 2020, doi:10.1145/3369583.3392671.
"""

import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from detopt.runtime.storage import BlobStore, Database, Lease, NewTask, Store, TaskQueue
from detopt.testing.postgres import new_database, postgres_server, postgres_tools
from runtime_parts.pool import Pool, Simulation, Tally
from runtime_parts.queues import DIGEST, KIND, Clock, PlainQueue, StoreQueue

RESULTS = Path(__file__).resolve().parent.parent / "results" / "scale.json"
BARS = {600.0: 0.90, 1_800.0: 0.95}
HOUR = 3_600.0  # s
BATHTUB = (0.45, 1.0, 0.8, 24.0)  # A, tau_1, tau_2, b of the fit [h], in the middle of its ranges
PIECES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)  # s
N_MEASURED, N_BLOCKS = 400, 8


def run(quick: bool) -> dict[str, Any]:
    times = _measured(40 if quick else N_MEASURED)
    scale = 0.05 if quick else 1.0
    found: dict[str, Any] = {"times": times, "same": _same(30 if quick else 200)}
    base = replace(Pool(life=lasting(600.0)), **times)
    base = replace(base, machines=round(1_000 * scale), per_round=round(1_000 * scale))
    cases = {
        "10 min": base,
        "30 min": replace(base, life=lasting(1_800.0), begin=600.0, end=4_200.0),
        "10 min, notice of 30 s": replace(base, notice=30.0),
        "10 min, notice of 120 s": replace(base, notice=120.0),
        "10 min, one study alone": replace(
            base, studies=1, per_round=20 * base.per_round, begin=300.0, end=3_300.0
        ),
        "a day at most": replace(
            base,
            life=bathtub,
            piece=30.0,
            machines=max(2, round(50 * scale)),
            per_round=50,
            begin=HOUR,
            end=(3 if quick else 25) * HOUR,
        ),
    }
    found["cases"] = {name: _of(pool) for name, pool in cases.items()}
    found["pieces"] = {
        str(mean): {str(piece): _pieces(base, mean, piece, quick) for piece in PIECES}
        for mean in BARS
    }
    found["pool"] = {k: v for k, v in asdict(base).items() if k != "life"}
    if not quick:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    return found


def lasting(mean: float) -> Callable[[random.Random], float]:
    """Lives without memory, of a mean [s]."""
    return lambda rng: rng.expovariate(1 / mean)


def bathtub(rng: random.Random) -> float:
    """A life whose distribution is F(t) = A (1 - exp(-t/tau_1) + exp((t - b)/tau_2)) [s]."""
    scale, first, last, end = BATHTUB
    wanted, low, high = rng.random(), 0.0, end
    for _ in range(50):
        middle = (low + high) / 2
        found = scale * (1 - math.exp(-middle / first) + math.exp((middle - end) / last))
        low, high = (middle, high) if found < wanted else (low, middle)
    return high * HOUR


def _simulated(pool: Pool, queue: Any = None, clock: Clock | None = None) -> Tally:
    clock = clock or Clock()
    return Simulation(pool, queue or PlainQueue(clock), clock).run()


def _of(pool: Pool) -> dict[str, float]:
    tally = _simulated(pool)
    names = ("useful", "starting", "visiting", "idle", "lost")
    return {name: getattr(tally, name) / tally.paid for name in names} | {
        "database": tally.database / (pool.end - pool.begin),
        "evictions": float(tally.evictions),
        "taken": statistics.fmean(tally.taken),
        "claims_per_s": len(tally.taken) / pool.end,
    }


def _pieces(base: Pool, mean: float, piece: float, quick: bool) -> dict[str, dict[str, float]]:
    """As the worker chooses, and one task at a time."""
    span = 300.0 if quick else max(1_200.0, 10 * piece)
    pool = replace(
        base,
        life=lasting(mean),
        piece=piece,
        machines=20 if quick else 100,
        per_round=20 if quick else 400,
        begin=300.0,
        end=300.0 + span,
    )
    return {"chosen": _of(pool), "single": _of(replace(pool, most=1))}


def _same(machines: int) -> dict[str, Any]:
    """Whether the rules in memory are those of the real queue."""
    pool = Pool(
        life=lasting(100.0),
        piece=2.0,
        machines=machines,
        studies=2,
        per_round=4 * machines,
        boot=5.0,
        begin=0.0,
        end=60.0,
    )
    with tempfile.TemporaryDirectory() as name:
        clock = Clock()
        real = _simulated(pool, StoreQueue(Path(name), clock), clock)
    plain = _simulated(pool)
    return {
        "events": len(real.events),
        "evictions": real.evictions,
        "same": real.events == plain.events,
    }


def _measured(n: int) -> dict[str, float]:
    """CPU time of client and PostgreSQL together, and a flush where something is written [s].

    By the clock a call here also waits for others who share the two cores; for the same reason it
    is the best block of calls that counts.
    """
    if postgres_tools() is None:
        return {}
    with tempfile.TemporaryDirectory() as name, postgres_server() as server:
        store = Store(Database(new_database(server, "scale")), BlobStore(name))
        store.database.upgrade()
        store.add_study("study", "f" * 64, {})
        store.add_run("run", "study")
        store.tasks.add("run", [NewTask(str(i), KIND, DIGEST) for i in range(10_000)])
        store.tasks.claim("others", 600.0, 1_000, kinds=[KIND])
        leases: list[Lease] = []

        def claim() -> None:
            queue = TaskQueue(store.database)  # it looks for late leases, as after a while
            leases.extend(queue.claim("worker", 600.0, kinds=[KIND]))

        turns = {
            "claim": claim,
            "renew": lambda: store.tasks.renew(leases[-1], 600.0),
            "finish": lambda: store.tasks.finish(leases.pop(0), DIGEST),
            "share": lambda: store.tasks.share(16, [KIND]),
        }
        postmaster = Path(str(store.database.engine.url.query["host"])) / "data/postmaster.pid"
        pid = int(postmaster.read_text().split()[0])
        found = {}
        for what, turn in turns.items():
            turn()  # statements are built
            blocks = []
            for _ in range(N_BLOCKS):
                begin = _cpu(pid)
                for _ in range(n // N_BLOCKS):
                    turn()
                blocks.append((_cpu(pid) - begin) / (n // N_BLOCKS))
            found[what] = min(blocks) + (0.0 if what == "share" else _flush(Path(name)))
        store.close()
    return found


def _cpu(pid: int) -> float:
    """CPU time of this process, and of a server with its children, also those that ended [s]."""
    ticks = 0
    for one in [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
        try:
            words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended, and counted by the server
            continue
        ticks += sum(int(word) for word in words[11:15])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _flush(folder: Path, n: int = 50) -> float:
    """What the disk takes to keep a page in the best tenth of its calls [s]."""
    spent = []
    with (folder / "flush").open("wb") as file:
        for _ in range(n):
            file.write(b"x" * 8_192)
            file.flush()
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begin)
    return statistics.quantiles(spent, n=10)[0]


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    same, times = result["same"], result["times"]
    table = [
        (
            f"{same['events']} answers and {same['evictions']} evictions on the simulated queue",
            "those of the real queue, one by one",
            "the same" if same["same"] else "others",
            same["same"],
        ),
        (
            "CPU of PostgreSQL and client, and a flush: claim, hand in, renew, count",
            "for information",
            ", ".join(f"{1000 * times[k]:.1f}" for k in ("claim", "finish", "renew", "share"))
            + " ms"
            if times
            else "not installed: assumed",
            True,
        ),
    ]
    bars = {"10 min": BARS[600.0], "30 min": BARS[1_800.0]}
    n = result["pool"]["machines"]
    for name, one in result["cases"].items():
        mean = name.partition(",")[0]
        bar = None if "alone" in name else bars.get(mean)
        what = "a bathtub of lives, " if mean not in bars else "mean time between evictions "
        table.append(
            (
                f"useful work of machines, {what}{name}" + (f" ({n} machines)" if bar else ""),
                "for information" if bar is None else f">= {bar:.0%} of paid time",
                f"{one['useful']:.1%}; starting {one['starting']:.1%}, lost {one['lost']:.1%}, "
                f"visits {one['visiting']:.1%}, idle {one['idle']:.1%}; database busy "
                f"{one['database']:.0%}",
                bar is None or one["useful"] >= bar,
            )
        )
    return table
