"""Absorption muography: transmission against mulder, and designs against those of humans.

    python -m scanner.absorption                 prints the result, about 20 minutes
    python -m scanner.absorption --quick         a small version
    python -m scanner.absorption --peer PYTHON   with the Python of mulder's environment

in the folder `benchmarks`. Transmission is the flux of muons with more than 0.1 GeV behind a slab
of standard rock over that in front of it, for one direction. mulder's comes from its Monte Carlo
with random radiative losses (`mixed`), or with all losses and scattering (`discrete`); ours from
`transmitted_intensity`, fed with mulder's own reference flux (GCCLY15 at sea level) as a table in
energy. mulder is run as a program of its own; without `--peer` an environment is made for it, and
if that fails the comparison is left out.
"""

__all__ = ["rows", "run"]

import functools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.physics import particles
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.muon_absorption import Config
from detopt.usecases.muon_absorption.cavity_task import Significances
from detopt.usecases.muon_absorption.survival import detection_grammage, transmitted_intensity

BENCHMARKS = Path(__file__).resolve().parent.parent
DEPTHS = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)  # m of water, vertical
ZENITHS = (0.0, 30.0, 50.0, 70.0)  # degrees
BAR = 0.05
ROUNDS, N_SEEDS, N_JUDGE, N_BOOTSTRAP = 150, 5, 8_000, 400


def run(quick: bool, peer: Path | None = None) -> dict[str, Any]:
    """Transmission, and the designs of all seeds."""
    torch.set_num_threads(1)
    return {"transmission": _transmission(quick, peer), "designs": _designs(quick), "quick": quick}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    found = result["transmission"]
    if "skipped" in found:
        table.append(("transmission of rock against mulder", "within 5 %", found["skipped"], False))
    for mode in {point["mode"]: None for point in found.get("points", ())}:
        points = [point for point in found["points"] if point["mode"] == mode]
        worst = max(points, key=lambda point: abs(point["ratio"] - 1))
        what = "transmission of rock, 10 to 1000 m of water, 0 to 70 degrees, against mulder"
        where = f"{100 * (worst['ratio'] - 1):+.1f} % at {worst['depth']:g} m, {worst['zenith']:g}"
        main = mode != "continuous"
        bar = "within 5 %" if main else "for comparison, ours without fluctuations"
        holds = not main or abs(worst["ratio"] - 1) <= BAR
        table.append((f"{what} ({mode})", bar, f"{where} degrees", holds))
    for target, one in result["designs"].items():
        human = one["human"]["missed"]
        gains = sorted(one["seeds"], key=lambda seed: seed["difference"]["value"])
        middle = gains[len(gains) // 2]
        difference = middle["difference"]
        text = (
            f"{middle['missed']:.3f} against {human:.3f}, difference {difference['value']:.3f} "
            f"[{difference['low']:.3f}, {difference['high']:.3f}]"
        )
        what = f"{target}: missed cavities against the best human design, median of {len(gains)}"
        table.append((what, "fewer, outside of 95 %", text, difference["high"] < 0))
    return table


def _transmission(quick: bool, peer: Path | None) -> dict[str, Any]:
    depths, zeniths = (DEPTHS[::3], ZENITHS[::3]) if quick else (DEPTHS, ZENITHS)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            python = peer or _make_environment(Path(scratch))
            theirs = _peer(python, depths, zeniths, quick)
        except (subprocess.SubprocessError, OSError) as error:
            return {"skipped": f"mulder could not be run: {error}"}
    return {"version": theirs["version"], "points": [_compare(theirs, p) for p in theirs["points"]]}


def _make_environment(folder: Path) -> Path:
    venv.create(folder / "mulder", with_pip=True)
    python = folder / "mulder" / "bin" / "python"
    wanted = BENCHMARKS / "peers" / "mulder-requirements.txt"
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return python


def _peer(
    python: Path, depths: tuple[float, ...], zeniths: tuple[float, ...], quick: bool
) -> dict[str, Any]:
    script = str(BENCHMARKS / "peers" / "mulder_transmission.py")
    command = [
        *(str(python), script, "--depths", *map(str, depths), "--zeniths", *map(str, zeniths)),
        *("--modes", "continuous", "mixed", *(() if quick else ("discrete",))),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1_800)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _compare(theirs: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """Our transmission over mulder's at one depth and zenith angle."""
    index = theirs["zeniths"].index(point["zenith"])
    cosine = torch.tensor(math.cos(math.radians(point["zenith"])), dtype=torch.float64)
    table = _table(tuple(theirs["energy"]), tuple(theirs["flux"][index]), point["mode"])
    threshold = torch.tensor(theirs["threshold"], dtype=torch.float64)
    grammage = detection_grammage(100 * point["depth"] / cosine, threshold, "standard_rock")
    ours = float(table(grammage, cosine)) / theirs["open_sky"][index]
    transmission = point["flux"] / theirs["open_sky"][index]
    return {
        "mode": point["mode"],
        "depth": point["depth"],
        "zenith": point["zenith"],
        "transmission": transmission,
        "ratio": ours / transmission,
        "error": point["error"] / point["flux"],
    }


@functools.lru_cache(maxsize=32)
def _table(energy: tuple[float, ...], flux: tuple[float, ...], mode: str) -> Any:
    """Our table for a flux of mulder's, linear in logarithms of energy and flux."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (energy, flux))
    mass = particles.get("muon").mass

    def model(total: torch.Tensor, cosine: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        at = (total - mass).clamp(min=energy[0], max=energy[-1]).log()
        i = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
        return torch.lerp(y[i - 1], y[i], (at - x[i - 1]) / (x[i] - x[i - 1])).exp()

    return transmitted_intensity(model, fluctuations=mode != "continuous")


def _designs(quick: bool) -> dict[str, Any]:
    targets = ("hill",) if quick else ("hill", "volcano", "building")
    return {target: _target(target, quick) for target in targets}


def _target(target: str, quick: bool) -> dict[str, Any]:
    """Designs of several seeds, and the best of humans, judged on the same cavities."""
    problem = load("muon_absorption").build({"target": target})
    n_judge = 1_000 if quick else N_JUDGE
    humans = {name: _judge(problem, one, n_judge) for name, one in problem.baselines.items()}
    best = min(humans, key=lambda name: humans[name].mean())
    found: list[dict[str, Any]] = []
    for seed in range(1 if quick else N_SEEDS if target == "hill" else 3):
        begin = time.process_time()
        design = _search(problem, seed, 20 if quick else ROUNDS)
        missed = _judge(problem, design, n_judge)
        entry = {
            "seed": seed,
            "missed": float(missed.mean()),
            "difference": _interval(missed - humans[best]),
            "cost": float(design["money"].sum()),
            "design": design.numbers(),
            "cpu_s": time.process_time() - begin,
        }
        found.append(entry)
        print(target, entry, file=sys.stderr, flush=True)
    human = {"name": best, "missed": float(humans[best].mean())}
    return {"human": human, "seeds": found, "median": statistics.median(s["missed"] for s in found)}


def _search(problem: Problem, seed: int, rounds: int) -> Design:
    optimizer = make("adam", problem.space, rounds, {"learning_rate": 0.1}, problem)
    for _ in range(rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in requests])
    return problem.space.design(optimizer.recommend()).detach()


def _judge(problem: Problem, design: Design, n: int) -> torch.Tensor:
    """Whether each of `n` fresh cavities is missed, in the reference simulation."""
    summary, _ = summarize_design(problem.reference, design, Seed("judge"), n)
    assert isinstance(summary, Significances)
    rate = Config().false_positive_rate
    return (summary.signal <= summary.null.quantile(1 - rate)).double()


def _interval(difference: torch.Tensor) -> dict[str, float]:
    """Mean and 95 % interval over the cavities."""
    rng = Seed("bootstrap").generator()
    n = len(difference)
    means = torch.stack(
        [difference[torch.randint(n, (n,), generator=rng)].mean() for _ in range(N_BOOTSTRAP)]
    )
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"value": float(difference.mean()), "low": low, "high": high}


def main() -> None:
    """Print the result."""
    words = sys.argv[1:]
    peer = Path(words[words.index("--peer") + 1]) if "--peer" in words else None
    print(json.dumps(rows(run("--quick" in words, peer)), indent=1))


if __name__ == "__main__":
    main()
