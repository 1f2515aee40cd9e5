"""Row `portal`: optimized portals against even ones, and against a single technology, at one cost.

For each seed a study with all technologies and, with the same settings and budget, one restricted
to each technology. All final designs and the evenly spread portals of humans are judged on the
same fresh scans by the simulation with sharp edges and pure panels. The intervals of differences
come from resampling scans, the same ones for both designs.

    python -m scanner.portal            all studies, about an hour of one core
    python -m scanner.portal --quick    small ones, written nowhere

in the folder `benchmarks`.
"""

__all__ = ["gradients", "rows", "run"]

import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detopt.design import Design
from detopt.gradients import check_gradients
from detopt.optimizers import make
from detopt.pipeline import Pipeline, evaluate
from detopt.pipeline.evaluation import bootstrap, summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.technologies import SHARES

RESULTS = Path(__file__).resolve().parent.parent / "results" / "portal.json"
TECHNOLOGIES = ("rpc", "scintillator", "silicon")
SEEDS = (0, 1, 2, 3, 4)
ROUNDS, RATE = 30, 0.15
JUDGING = 1_800  # scans: 900 harmless ones, 300 of each material
SAMPLES = 400
TAILS = (0.025, 0.975)
MIXED = "mixed"
CHECK = {"exposure": 15.0, "voxel_size": 0.1, "technologies": ("rpc", "scintillator")}
CHECK_EVENTS, CHECK_REPEATS = 12, 12


def run(quick: bool) -> dict[str, Any]:
    """Verdicts on all portals, and the gradient check."""
    torch.set_num_threads(1)
    small = {"exposure": 5.0, "voxel_size": 0.1, "n_scans": 12} if quick else {}
    seeds = SEEDS[:1] if quick else SEEDS
    n_judge = 60 if quick else JUDGING
    spaces = {MIXED: TECHNOLOGIES, **{name: (name,) for name in TECHNOLOGIES}}
    problems = {
        name: build(Config(task="portal", technologies=kinds, **small))
        for name, kinds in spaces.items()
    }
    judged: dict[str, Any] = {}
    samples: dict[str, Tensor] = {}
    for name, design in problems[MIXED].baselines.items():
        judged[name], samples[name] = _judge(problems[MIXED], design, n_judge)
    for seed in seeds:
        for name, problem in problems.items():
            design, cpu_s = _search(problem, seed, 3 if quick else ROUNDS)
            key = f"{name} {seed}"
            judged[key], samples[key] = _judge(problem, design, n_judge)
            judged[key] |= {"cpu_s": cpu_s, "design": design.numbers()}
            print(key, judged[key]["objective"], f"{cpu_s:.0f} s", file=sys.stderr, flush=True)
    return {
        "quick": quick,
        "seeds": list(seeds),
        "scans": n_judge,
        "portals": judged,
        "differences": _differences(samples, seeds),
        "gradients": gradients(quick),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for other, found in result["differences"].items():
        worst = max(one["high"] for one in found)
        middle = statistics.median(one["value"] for one in found)
        table.append(
            (
                f"missed blocks: mixed technologies less {other}, {len(found)} seeds",
                "< 0 outside the 95 % interval of each",
                f"median {100 * middle:+.1f} %, upper end of the worst {100 * worst:+.1f} %",
                worst < 0,
            )
        )
    portals = [v for k, v in result["portals"].items() if k.startswith(f"{MIXED} ")]
    shares = min(one["purest"] for one in portals)
    table.append(("least share of the chosen technology", "> 0.5", f"{shares:.2f}", shares > 0.5))
    cpu = max(one.get("cpu_s", 0) for one in result["portals"].values())
    table.append(("CPU time of a study [s]", "<= 180", f"{cpu:.0f}", cpu <= 180))
    checks = result["gradients"]["verdicts"]
    agreeing = checks.get("agrees", 0)
    table.append(
        (
            "gradients of the portal: parameters that agree",
            "all",
            f"{agreeing} of {sum(checks.values())}",
            agreeing == sum(checks.values()),
        )
    )
    return table


def gradients(quick: bool) -> dict[str, Any]:
    """The gradient check of all parameters of a portal."""
    problem = build(Config(task="portal", **CHECK))
    repeats, events = (8, 6) if quick else (CHECK_REPEATS, CHECK_EVENTS)
    checks = check_gradients(problem, n_repeats=repeats, n_events=events)
    verdicts = [str(check.verdict) for check in checks]
    return {
        "repeats": repeats,
        "scans": events,
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        "others": [check.as_dict() for check in checks if str(check.verdict) != "agrees"],
    }


def _search(problem: Pipeline, seed: int, n_rounds: int) -> tuple[Design, float]:
    begin = time.process_time()
    optimizer = make("adam", problem.space, n_rounds, {"learning_rate": RATE}, problem)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in requests])
    design = problem.space.design(optimizer.recommend()).detach()
    return design, time.process_time() - begin


def _judge(problem: Pipeline, design: Design, n_scans: int) -> tuple[dict[str, Any], Tensor]:
    """Verdict on fresh scans that all portals share, and its values for resampled ones."""
    judge = problem.reference
    stream = Seed("portal", "fresh")
    summary, outcome = summarize_design(judge, design, stream, n_scans)
    again = bootstrap(judge, summary, design.to(judge.dtype), stream, SAMPLES)
    purest = float(design[SHARES].amax(-1).min()) if SHARES in design else 1.0
    verdict = {
        "objective": _interval(float(outcome.objective), again),
        "cost": float(problem.cost(design)),
        "metrics": {name: float(value) for name, value in outcome.metrics.items()},
        "purest": purest,
    }
    return verdict, again


def _interval(value: float, samples: Tensor) -> dict[str, float]:
    low, high = samples.quantile(torch.tensor(TAILS, dtype=samples.dtype)).tolist()
    return {"value": value, "low": low, "high": high}


def _differences(
    samples: dict[str, Tensor], seeds: tuple[int, ...]
) -> dict[str, list[dict[str, float]]]:
    """Of each mixed design to the best even portal, and to each technology, seed by seed."""
    even = [name for name in samples if name.startswith("even ")]
    best = min(even, key=lambda name: float(samples[name].mean()))
    pairs = {f"the best even portal ({best})": [best] * len(seeds)}
    for name in TECHNOLOGIES:
        pairs[f"even {name}"] = [f"even {name}"] * len(seeds)
        pairs[f"optimized {name}"] = [f"{name} {seed}" for seed in seeds]
    return {
        label: [
            _interval(float(d.mean()), d)
            for d in (
                samples[f"{MIXED} {seed}"] - samples[other]
                for seed, other in zip(seeds, others, strict=True)
            )
        ]
        for label, others in pairs.items()
    }


def main() -> None:
    """Measure, print the table, and write the results."""
    quick = "--quick" in sys.argv[1:]
    result = run(quick)
    for row in rows(result):
        print(" | ".join(map(str, row)))
    if not quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
