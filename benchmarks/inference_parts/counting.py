"""Counting experiment: detector, network and bins at once, against two stages.

    python -m inference_parts.counting          all seeds, about 6 minutes of one core
    python -m inference_parts.counting --quick  a small version, written nowhere

in the folder `benchmarks`.

Two-stage designs take their shares of the budget from a figure of merit for counting in a mass
window, and train network and bins for the profiled uncertainty afterwards, with as many rounds and
events as the joint optimization has for all. Every result is judged with hard bins on fresh events
that all designs of a seed share.
"""

__all__ = ["rows", "run"]

import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from detopt.design import DesignSpace
from detopt.optimizers import make
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load

RESULTS = Path(__file__).resolve().parent.parent / "results" / "counting_experiment.json"
N_SEEDS, N_ROUNDS, N_EVENTS, N_FRESH = 5, 250, 1_000, 50_000
N_PROCESSES = 1
LEARNING_RATE = 0.2
OPTIONS = {"softness": 0.01, "n_events": N_EVENTS}
CALIBRATION = 0.10  # share by rule of thumb
STUDENT = {2: 12.706, 5: 2.776}  # 97.5 % quantile of Student's t for that many seeds
FIRST_STAGES = {  # figure of merit: (with systematic uncertainties, share of the calibration)
    "S/sqrt(S+B)": (False, None),
    "S/sqrt(S+B+systematics)": (True, None),
    "S/sqrt(S+B), 10 % calibration": (False, CALIBRATION),
}
JOINT = "joint"


def run(quick: bool) -> dict[str, Any]:
    """Uncertainties of all variants and seeds, and the joint gain with its interval."""
    torch.set_num_threads(1)
    n_seeds, n_rounds, n_fresh = (2, 30, 4_000) if quick else (N_SEEDS, N_ROUNDS, N_FRESH)
    case = load("counting_experiment")
    config = case.configure(OPTIONS)
    first = {
        name: list(case.module.first_stage(config, systematic, calibration))
        for name, (systematic, calibration) in FIRST_STAGES.items()
    }
    names = (*first, JOINT)
    work = [(first.get(name), seed, n_rounds, n_fresh) for seed in range(n_seeds) for name in names]
    with ProcessPoolExecutor(N_PROCESSES, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_optimize, work))
    runs = {name: found[i :: len(names)] for i, name in enumerate(names)}
    joint = [each["uncertainty"] for each in runs[JOINT]]
    gains = {
        name: _interval(
            [1 - j / each["uncertainty"] for j, each in zip(joint, runs[name], strict=True)]
        )
        for name in first
    }
    return {
        "n_seeds": n_seeds,
        "n_rounds": n_rounds,
        "n_fresh": n_fresh,
        "first_stage": first,
        "runs": runs,
        "gain": gains,
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for name, gain in result["gain"].items():
        found = f"{100 * gain['mean']:.1f} % [{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"
        what = f"joint against two stages, first {name}"
        by_rule = FIRST_STAGES[name][1] is not None  # no figure of merit: for comparison only
        bar = "for comparison" if by_rule else "gain > 0 outside 95 %"
        table.append((what, bar, found, by_rule or gain["low"] > 0))
    cpu = {name: statistics.mean(r["cpu_s"] for r in runs) for name, runs in result["runs"].items()}
    least = min(cpu[name] for name in result["gain"])
    table.append(
        (
            "compute of the joint optimization over that of two stages",
            "<= 1.2",
            f"{cpu[JOINT] / least:.2f}",
            cpu[JOINT] <= 1.2 * least,
        )
    )
    return table


def _fixed(problem: Problem, shares: list[float] | None) -> Problem:
    """The problem in which the shares of the budget are decided already."""
    if shares is None:
        return problem
    frozen = {"shares": torch.tensor(shares, dtype=torch.float64)}
    return problem.with_space(DesignSpace(problem.space.parameters, frozen))


def _optimize(work: tuple[list[float] | None, int, int, int]) -> dict[str, Any]:
    """A design, found by so many rounds and judged on fresh events."""
    torch.set_num_threads(1)
    shares, seed, n_rounds, n_fresh = work
    problem = _fixed(load("counting_experiment").build({**OPTIONS, "seed": seed}), shares)
    begin = time.process_time()
    optimizer = make("adam", problem.space, n_rounds, {"learning_rate": LEARNING_RATE})
    history = []
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        evaluations = [evaluate(problem, request, Seed(seed)) for request in requests]
        optimizer.tell(evaluations)
        history.append(evaluations[0].value)
    cpu_s = time.process_time() - begin
    design = problem.space.design(optimizer.recommend()).detach()
    _, outcome = summarize_design(problem.reference, design, Seed("fresh", seed), n_fresh)
    print(seed, shares, float(outcome.objective), cpu_s, file=sys.stderr, flush=True)
    return {
        "uncertainty": float(outcome.objective),
        "without_nuisances": float(outcome.metrics["uncertainty without nuisances"]),
        "shares": design["shares"].tolist(),
        "cpu_s": cpu_s,
        "history": [round(value, 5) for value in history],
    }


def _interval(samples: list[float]) -> dict[str, float]:
    """Mean with its 95 % interval over seeds."""
    mean = statistics.mean(samples)
    half = STUDENT[len(samples)] * statistics.stdev(samples) / len(samples) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv[1:]
    answer = run(is_quick)
    if not is_quick:
        RESULTS.write_text(json.dumps(answer, indent=1) + "\n")
    for row in rows(answer):
        print(*row, sep=" | ")
