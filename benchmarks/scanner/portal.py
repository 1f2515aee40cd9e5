"""Row `portal`: optimized portals against even ones, and against a single technology, at one cost.

For each seed a study with all technologies and, with the same method, rounds and money, one
restricted to each technology. All final designs and the portals of humans are judged on the same
fresh scans by the simulation with sharp edges. The intervals of differences come from resampling
scans, the same ones for both designs.

In the folder `benchmarks`:

    python -m scanner.portal            all studies, about an hour and a half of one core
    python -m scanner.portal --quick    small ones, written nowhere

Designs that were found are kept in `runs/portal` and not searched again with the same settings.
"""

__all__ = ["gradients", "rows", "run", "search", "verdicts"]

import hashlib
import inspect
import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detopt.design import Design
from detopt.gradients import check_gradients
from detopt.gradients.check import generic_point
from detopt.optimizers import make
from detopt.optimizers.multi_start import MultiStart
from detopt.pipeline import Pipeline, Summary, evaluate
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build, recommended_for
from detopt.usecases.muon_scanner.portal.score import PortalRows
from detopt.usecases.muon_scanner.technologies import SHARES, pure
from detopt.usecases.muon_scanner.technologies import TECHNOLOGIES as TECHNOLOGY_TABLE
from scanner import portal_choices
from scanner.portal_judging import Portal, interval, judge, scan

RESULTS = Path(__file__).resolve().parent.parent / "results" / "portal.json"
TECHNOLOGIES = ("rpc", "scintillator", "silicon")
SEEDS = (0, 1, 2, 3, 4)
ALONE_SEEDS: Mapping[str, tuple[int, ...]] = {"silicon": (0,)}  # hopeless at this price
STUDY = recommended_for({"task": "portal"})  # method, its options, and rounds
ROUNDS = STUDY["rounds"]
QUICK_ROUNDS = 14
KEPT = Path(__file__).resolve().parent.parent.parent / "runs" / "portal"
JUDGING = 10_800  # scans: 5400 harmless ones, 1800 of each material
MIXED = "mixed"
PORTAL = Path(inspect.getfile(PortalRows)).parent
SCANNER = PORTAL.parent
OPTIMIZERS = Path(inspect.getfile(MultiStart)).parent
SOURCES = sorted([*PORTAL.glob("*.py"), *SCANNER.glob("*.py"), *OPTIMIZERS.glob("*.py")])
SOURCES += sorted((SCANNER / "realism").glob("*.py"))
CODE = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
SCENE = [repr(Config(task="portal")), CODE]  # what was found in another one is not used again
SMALL = {"exposure": 5.0, "voxel_size": 0.1, "n_scans": 12}
CHECK_EXTRA = 1200  # most further repetitions of the estimator alone
CHECK_SCANS = 36
CHECKS: tuple[dict[str, Any], ...] = (  # within a step of 1e-2 a muon crosses much of a soft edge
    {"are_shares": False, "n_repeats": 24, "step": 1e-3},
    # with another share another muon answers: rare and large differences, the rarer the shorter
    {"are_shares": True, "n_repeats": 72, "step": 1e-2},
)


def run(quick: bool) -> dict[str, Any]:
    """Verdicts on all portals, and the gradient check."""
    torch.set_num_threads(1)
    small = SMALL if quick else {}
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
            if seed not in ALONE_SEEDS.get(name, seeds):
                continue
            label = f"{name} {seed}"
            if quick:
                design, cpu_s[label] = search(problem, seed, QUICK_ROUNDS)
            else:
                design, cpu_s[label] = _search_once(name, problem, seed)
            found[label] = problem, design
    answers = scan(found, range(n_judge))
    alone = [found[f"scintillator {seed}"][1] for seed in seeds]
    if quick:  # too few rounds to give up a panel
        alone = [problems[MIXED].baselines["two scintillator"]]
    return {
        **verdicts(seeds, found, cpu_s, answers),
        "choices": portal_choices.judge_choices(problems[MIXED], alone, n_judge),
        "quick": quick,
        "gradients": gradients(quick),
    }


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
        **_differences(samples, seeds),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for other, found in result["differences"].items():
        worst = max(one["high"] for one in found)
        middle = statistics.median(one["value"] for one in found)
        table.append(
            (
                f"missed blocks: mixed technologies less {other}, {len(found)} pairs",
                "< 0 outside the 95 % interval of each",
                f"median {100 * middle:+.1f} %, upper end of the worst {100 * worst:+.1f} %",
                worst < 0,
            )
        )
        if other.startswith("optimized "):
            best = max(one["low"] for one in found)
            table.append(
                (
                    f"missed blocks: mixed technologies not worse than {other}, {len(found)} pairs",
                    "lower end of the 95 % interval of each <= 0",
                    f"lower end of the worst {100 * best:+.1f} %",
                    best <= 0,
                )
            )
        mean = {k: 100 * v for k, v in result["mean_differences"][other].items()}
        table.append(
            (
                f"missed blocks: mean of the mixed designs less {other}",
                "< 0 outside the 95 % interval",
                f"{mean['value']:+.1f} % [{mean['low']:+.1f}, {mean['high']:+.1f}]",
                mean["high"] < 0,
            )
        )
    portals = [v for k, v in result["portals"].items() if k.startswith(f"{MIXED} ")]
    shares = min(one["purest"] for one in portals)
    table.append(("least share of the chosen technology", "1", f"{shares:.3f}", shares > 0.999))
    table += portal_choices.choices_rows(result.get("choices", {}))
    cpu = max(one.get("cpu_s", 0) for one in result["portals"].values())
    table.append(("CPU time of a study [s]", "<= 180", f"{cpu:.0f}", cpu <= 180))
    if "gradients" not in result:
        return table
    checks = result["gradients"]["verdicts"]
    agreeing = checks.get("agrees", 0)
    arrays = dict.fromkeys(one["name"].partition("[")[0] for one in result["gradients"]["checks"])
    table.append(
        (
            f"gradients of the portal: entries of {', '.join(arrays)} that agree",
            "all",
            f"{agreeing} of {sum(checks.values())}",
            agreeing == sum(checks.values()),
        )
    )
    return table


def gradients(quick: bool) -> dict[str, Any]:
    """The gradient check of all parameters of the default scene, at one point."""
    problem = build(Config(task="portal", **(SMALL if quick else {})))
    kept = [_check_once(problem, i, quick) for i in range(len(CHECKS))]
    checks = [check for part in kept for check in part["checks"]]
    verdicts = [check["verdict"] for check in checks]
    return {
        "settings": [_check_settings(i, quick) for i in range(len(CHECKS))],
        "cpu_s": sum(part["cpu_s"] for part in kept),
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        "checks": checks,
    }


def _check_settings(index: int, quick: bool) -> dict[str, Any]:
    """Arguments of one of the gradient checks."""
    settings = {name: CHECKS[index][name] for name in ("n_repeats", "step")}
    if quick:
        return {**settings, "n_repeats": 8, "n_extra": 0, "n_events": 6}
    return {**settings, "n_extra": CHECK_EXTRA, "n_events": CHECK_SCANS}


def _checked_part(problem: Pipeline, index: int) -> Pipeline:
    """The problem with the parameters of one check alone, at the point of all checks."""
    space = problem.space
    point = generic_point(problem.with_dtype(torch.float64), Seed("portal", "gradients"))
    frozen = [p.name for p in space.free if (p.name == SHARES) != CHECKS[index]["are_shares"]]
    return problem.with_space(space.starting_at(space.design(point).detach()).freeze(*frozen))


def _check_once(problem: Pipeline, index: int, quick: bool) -> dict[str, Any]:
    """The checks of some parameters, or those found before."""
    settings = _check_settings(index, quick)
    known = settings | {"technologies": repr(TECHNOLOGY_TABLE), "scene": SCENE}
    path = KEPT / f"check_{index}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() and not quick else {}
    if kept.get("settings") == known:
        return kept
    begin = time.process_time()
    part = _checked_part(problem, index)
    theta = part.space.theta(part.space.start).to(torch.float64)
    found = check_gradients(part, theta=theta, **settings)
    kept = {
        "settings": known,
        "cpu_s": time.process_time() - begin,
        "checks": [check.as_dict() for check in found],
    }
    if not quick:
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def search(problem: Pipeline, seed: int, n_rounds: int) -> tuple[Design, float]:
    """The optimized design with pure panels, and the CPU time."""
    begin = time.process_time()
    optimizer = make(STUDY["method"], problem.space, n_rounds, STUDY["method_options"], problem)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in requests])
    design = problem.space.design(optimizer.recommend()).detach()
    return pure(design), time.process_time() - begin


def _search_once(name: str, problem: Pipeline, seed: int) -> tuple[Design, float]:
    """The same, or what was found before."""
    settings = [STUDY["method"], STUDY["method_options"], ROUNDS, repr(TECHNOLOGY_TABLE), SCENE]
    path = KEPT / f"{name}_{seed}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["settings"] == settings:
            numbers = kept["design"].items()
            found = {key: torch.tensor(value, dtype=torch.float64) for key, value in numbers}
            return Design(found), kept["cpu_s"]
    design, cpu_s = search(problem, seed, ROUNDS)
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = {"settings": settings, "design": design.numbers(), "cpu_s": cpu_s}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return design, cpu_s


def _differences(samples: dict[str, Tensor], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Of each mixed design to portals of humans and to each optimized one of a technology alone.

    The difference of the means tells the methods apart: it has the noise of the scans, not that of
    one search.
    """
    even = [name for name in samples if name.startswith("even ")]
    best = min(even, key=lambda name: float(samples[name].mean()))
    human = [name for name in samples if name.startswith(("even ", "pairs ", "two "))]
    best_human = min(human, key=lambda name: float(samples[name].mean()))
    groups = {
        f"the best even portal ({best})": [best],
        f"the best human portal ({best_human})": [best_human],
    }
    for name in TECHNOLOGIES:
        groups[f"even {name}"] = [f"even {name}"]
        alone = [label for label in samples if label.startswith(f"{name} ")]
        if alone:
            groups[f"optimized {name}"] = alone
    mixed = [samples[f"{MIXED} {seed}"] for seed in seeds]
    found, pooled = {}, {}
    for label, others in groups.items():
        each = [one - samples[other] for one in mixed for other in others]
        found[label] = [interval(float(one.mean()), one) for one in each]
        mean = torch.stack(each).mean(0)
        pooled[label] = interval(float(mean.mean()), mean)
    return {"differences": found, "mean_differences": pooled}


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
