"""Row `portal`: optimized portals against even ones, and against a single technology, at one cost.

For each seed a study with all technologies and, with the same settings and budget, one restricted
to each technology. The first half of a study chooses technologies by relaxation, the second half
keeps them, in pure panels. All final designs and the evenly spread portals of humans are judged on
the same fresh scans by the simulation with sharp edges. The intervals of differences come from
resampling scans, the same ones for both designs.

    python -m scanner.portal            all studies, about half an hour of one core
    python -m scanner.portal --quick    small ones, written nowhere

in the folder `benchmarks`.
"""

__all__ = ["gradients", "judge", "rows", "run", "scan", "search", "verdicts"]

import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace
from detopt.gradients import check_gradients
from detopt.optimizers import make
from detopt.pipeline import Pipeline, Summary, evaluate
from detopt.pipeline.evaluation import bootstrap
from detopt.pipeline.outcome import merge
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.technologies import SHARES, pure

RESULTS = Path(__file__).resolve().parent.parent / "results" / "portal.json"
TECHNOLOGIES = ("rpc", "scintillator", "silicon")
SEEDS = (0, 1, 2, 3, 4)
ROUNDS, RATE = 40, 0.25
JUDGING = 1_800  # scans: 900 harmless ones, 300 of each material
SAMPLES = 400
TAILS = (0.025, 0.975)
MIXED = "mixed"
Portal = tuple[Pipeline, Design]
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
    found: dict[str, Portal] = {
        name: (problems[MIXED], design) for name, design in problems[MIXED].baselines.items()
    }
    cpu_s: dict[str, float] = {}
    for seed in seeds:
        for name, problem in problems.items():
            design, cpu_s[f"{name} {seed}"] = search(problem, seed, 4 if quick else ROUNDS)
            found[f"{name} {seed}"] = problem, design
    answers = scan(found, range(n_judge))
    return {**verdicts(seeds, found, cpu_s, answers), "quick": quick, "gradients": gradients(quick)}


def verdicts(
    seeds: tuple[int, ...],
    found: dict[str, Portal],
    cpu_s: dict[str, float],
    answers: dict[str, list[Summary]],
) -> dict[str, Any]:
    """Verdicts on all portals that were `found`, with the CPU time of the searches."""
    judged, samples = judge(found, answers)
    for name, seconds in cpu_s.items():
        judged[name] |= {"cpu_s": seconds, "design": found[name][1].numbers()}
    return {
        "seeds": list(seeds),
        "scans": sum(part.n_rows for part in next(iter(answers.values()))),
        "portals": judged,
        "differences": _differences(samples, seeds),
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
    table.append(("least share of the chosen technology", "1", f"{shares:.3f}", shares > 0.999))
    cpu = max(one.get("cpu_s", 0) for one in result["portals"].values())
    table.append(("CPU time of a study [s]", "<= 180", f"{cpu:.0f}", cpu <= 180))
    if "gradients" not in result:
        return table
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


def search(problem: Pipeline, seed: int, n_rounds: int) -> tuple[Design, float]:
    """The optimized design with pure panels, and the CPU time.

    Technologies are chosen by relaxation in the first half of the rounds. In the second half each
    panel keeps the technology of its largest share, and the rest of the design adapts to that.
    """
    begin = time.process_time()
    design = _descend(problem, Seed(seed, "choice"), n_rounds // 2)
    pure_problem = replace(problem, space=_pure_space(problem.space, pure(design)))
    design = _descend(pure_problem, Seed(seed, "pure"), n_rounds - n_rounds // 2)
    return design, time.process_time() - begin


def _descend(problem: Pipeline, seed: Seed, n_rounds: int) -> Design:
    optimizer = make("adam", problem.space, n_rounds, {"learning_rate": RATE}, problem)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, seed) for request in requests])
    return problem.space.design(optimizer.recommend()).detach()


def _pure_space(space: DesignSpace, design: Design) -> DesignSpace:
    """The space that starts at `design` and keeps its technologies."""
    frozen = {**space.frozen}
    if SHARES in design:
        frozen[SHARES] = design[SHARES]
    parameters = [
        one
        if one.name in frozen or not isinstance(one, Continuous)
        else replace(one, start=design[one.name].tolist())
        for one in space.parameters
    ]
    return DesignSpace(parameters, frozen, space.limits)


@torch.no_grad()
def scan(found: dict[str, Portal], scans: range) -> dict[str, list[Summary]]:
    """Answers to fresh scans, in chunks; scans and random numbers are shared by all portals."""
    answers: dict[str, list[Summary]] = {name: [] for name in found}
    shared = _real(next(iter(found.values()))[0])
    for first in range(scans.start, scans.stop, shared.chunk_size):
        stream = Seed("portal", "fresh").child(first)
        n_scans = min(shared.chunk_size, scans.stop - first)
        events = shared.source(n_scans, stream.child("scans").generator(), shared.dtype)
        for name, (problem, design) in found.items():
            real, values = _real(problem), design.to(shared.dtype)
            readout = real.simulator(events, values, stream.child("hits").generator())
            answers[name].append(real.analysis(real.reconstruction(readout, values), events))
    return answers


def _real(problem: Pipeline) -> Pipeline:
    """The simulation that the verdict is taken from."""
    real = problem.reference
    assert isinstance(real, Pipeline)
    return real


def judge(
    found: dict[str, Portal], answers: dict[str, list[Summary]]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Verdicts, and their values for resampled scans, the same ones for all portals."""
    judged: dict[str, Any] = {}
    samples: dict[str, Tensor] = {}
    for name, (problem, design) in found.items():
        summary, values = merge(answers[name]), design.to(problem.reference.dtype)
        outcome = problem.reference.judge(summary, values)
        samples[name] = bootstrap(
            problem.reference, summary, values, Seed("portal", "fresh"), SAMPLES
        )
        judged[name] = {
            "objective": _interval(float(outcome.objective), samples[name]),
            "cost": float(_real(problem).cost(design)),
            "metrics": {key: float(value) for key, value in outcome.metrics.items()},
            "purest": float(design[SHARES].amax(-1).min()) if SHARES in design else 1.0,
        }
    return judged, samples


def _interval(value: float, samples: Tensor) -> dict[str, float]:
    low, high = samples.quantile(torch.tensor(TAILS, dtype=samples.dtype)).tolist()
    return {"value": value, "low": low, "high": high}


def _differences(
    samples: dict[str, Tensor], seeds: tuple[int, ...]
) -> dict[str, list[dict[str, float]]]:
    """Of each mixed design to the best even portal, and to each technology, seed by seed."""
    even = [name for name in samples if name.startswith("even ")]
    best = min(even, key=lambda name: float(samples[name].mean()))
    pairs = {f"the best even portal ({best})": dict.fromkeys(seeds, best)}
    for name in TECHNOLOGIES:
        pairs[f"even {name}"] = dict.fromkeys(seeds, f"even {name}")
        alone = {seed: f"{name} {seed}" for seed in seeds if f"{name} {seed}" in samples}
        if alone:
            pairs[f"optimized {name}"] = alone
    return {
        label: [
            _interval(float(d.mean()), d)
            for d in (samples[f"{MIXED} {seed}"] - samples[other] for seed, other in others.items())
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
