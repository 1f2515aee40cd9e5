"""Tau pairs: cross entropy against inference-aware training on the same budget of CPU time.

    python -m inference_parts.tau_pairs          all seeds, about 8 minutes of one core
    python -m inference_parts.tau_pairs --quick  a small version, written nowhere

in the folder `benchmarks`.

Both trainings begin with the same network. Cross entropy goes on for all its rounds; the bins of
its score are the best of three usual choices on events of their own. Inference-aware training
begins with few rounds of cross entropy and signal quantiles as edges, then moves network and edges
for the profiled uncertainty. Both are judged with hard bins on the same fresh events.
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
from torch import Tensor

from detopt.design import Design, DesignSpace
from detopt.optimizers import make
from detopt.pipeline import Pipeline, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.relax import quantile_edges
from detopt.usecases import load
from detopt.usecases.tau_pairs.events import TauPairs
from detopt.usecases.tau_pairs.problem import N_SIGNALS

RESULTS = Path(__file__).resolve().parent.parent / "results" / "tau_pairs.json"
N_SEEDS, N_PROCESSES = 5, 1
N_ENTROPY, N_WARM, N_AWARE = 1_200, 300, 150  # rounds
N_FRESH, N_BINNING = 20_000, 5_000  # rows
LEARNING_RATE = {"cross_entropy": 0.2, "uncertainty": 0.05}
OPTIONS = {"n_events": 1_000}
STUDENT = {2: 12.706, 5: 2.776}  # 97.5 % quantile of Student's t for that many seeds


def run(quick: bool) -> dict[str, Any]:
    """Uncertainties of both trainings for all seeds, and the gain with its interval."""
    n_seeds, shrink = (2, 20) if quick else (N_SEEDS, 1)
    work = [(seed, shrink) for seed in range(n_seeds)]
    with ProcessPoolExecutor(N_PROCESSES, mp_context=get_context("spawn")) as pool:
        seeds = list(pool.map(_compare, work))
    gains = [1 - seed["uncertainty"]["sigma"] / seed["cross_entropy"]["sigma"] for seed in seeds]
    mean = statistics.mean(gains)
    half = STUDENT[n_seeds] * statistics.stdev(gains) / n_seeds**0.5
    return {"seeds": seeds, "gain": {"mean": mean, "low": mean - half, "high": mean + half}}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    gain = result["gain"]
    found = f"{100 * gain['mean']:.1f} % [{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"
    cpu = {
        name: statistics.mean(seed[name]["cpu_s"] for seed in result["seeds"])
        for name in LEARNING_RATE
    }
    ratio = cpu["uncertainty"] / cpu["cross_entropy"]
    return [
        (
            "inference-aware against cross entropy, 15 systematic variations",
            "gain > 0 outside 95 %",
            found,
            gain["low"] > 0,
        ),
        ("its CPU time over that of cross entropy", "<= 1.2", f"{ratio:.2f}", ratio <= 1.2),
    ]


def _compare(work: tuple[int, int]) -> dict[str, Any]:
    """Both trainings of one seed."""
    torch.set_num_threads(1)
    seed, shrink = work
    case = load("tau_pairs")
    entropy = case.build({**OPTIONS, "seed": seed, "training": "cross_entropy"})
    aware = case.build({**OPTIONS, "seed": seed})
    long, cpu_entropy = _train(entropy, "cross_entropy", N_ENTROPY // shrink, seed)
    candidates = _binnings(entropy, long, seed)
    sigmas = {
        name: _judge(aware, edged, Seed("binning", seed), N_BINNING // shrink)[0]
        for name, edged in candidates.items()
    }
    best = min(sigmas, key=lambda name: sigmas[name])

    warm, cpu_warm = _train(entropy, "cross_entropy", N_WARM // shrink, seed)
    start = _binnings(entropy, warm, seed)["signal quantiles"]
    final, cpu_aware = _train(_started(aware, start), "uncertainty", N_AWARE // shrink, seed)

    found: dict[str, Any] = {"seed": seed, "binning": best}
    for name, design, cpu_s in (
        ("cross_entropy", candidates[best], cpu_entropy),
        ("uncertainty", final, cpu_warm + cpu_aware),
    ):
        sigma, alone, counts = _judge(aware, design, Seed("fresh", seed), N_FRESH // shrink)
        found[name] = {
            "sigma": sigma,
            "without_nuisances": alone,
            "counts": counts,
            "cpu_s": cpu_s,
        }
        print(seed, name, sigma, alone, cpu_s, file=sys.stderr, flush=True)
    return found


def _train(problem: Pipeline, training: str, n_rounds: int, seed: int) -> tuple[Design, float]:
    begin = time.process_time()
    options = {"learning_rate": LEARNING_RATE[training]}
    optimizer = make("adam", problem.space, n_rounds, options)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(seed, training)) for request in requests])
    design = problem.space.design(optimizer.recommend()).detach()
    return design, time.process_time() - begin


def _binnings(problem: Pipeline, design: Design, seed: int) -> dict[str, Design]:
    """The design with usual edges of the score."""
    assert problem.nuisances is not None
    rng = Seed("edges", seed).generator()
    events = TauPairs()(20_000, rng, torch.float64)
    whole = problem.nuisances.augment(design)
    scored = problem.reconstruction(problem.simulator(events, whole, rng), whole)
    score, weights = scored.score, scored.weights
    n_bins = len(design["edges"]) + 1
    share = weights.sum(dim=0, keepdim=True)
    even = torch.where(torch.arange(weights.shape[1]) < N_SIGNALS, 1.0, -1.0).to(weights)
    signal, other = (even * share).clamp(min=0).sum(), (-even * share).clamp(min=0).sum()
    balanced = weights / torch.where(even > 0, signal, other)

    def quantiles(values: Tensor, mass: Tensor) -> Tensor:
        return quantile_edges(values.reshape(-1), n_bins, mass.reshape(-1))[1:-1]

    choices = {
        "equal widths": torch.linspace(0, 1, n_bins + 1, dtype=score.dtype)[1:-1].logit(),
        "signal quantiles": quantiles(score[:, :N_SIGNALS], weights[:, :N_SIGNALS]),
        "quantiles of both": quantiles(score, balanced),
    }
    return {name: Design({**design, "edges": edges}) for name, edges in choices.items()}


def _started(problem: Pipeline, design: Design) -> Pipeline:
    """The problem whose search starts at `design`."""
    parameters = [
        replace(parameter, start=design[parameter.name].tolist())
        for parameter in problem.space.parameters
    ]
    started = problem.with_space(DesignSpace(parameters))
    assert isinstance(started, Pipeline)
    return started


def _judge(
    problem: Pipeline, design: Design, seed: Seed, n_rows: int
) -> tuple[float, float, dict[str, list[float]]]:
    """Uncertainty with hard bins, the same without nuisance parameters, and the counts."""
    summary, outcome = summarize_design(problem.reference, design, seed, n_rows)
    rows = summary.values
    counts = {
        "signal": rows.signal.mean(dim=0).tolist(),
        "background": rows.background.mean(dim=0).tolist(),
    }
    alone = float(outcome.metrics["uncertainty without nuisances"])
    return float(outcome.objective), alone, counts


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv[1:]
    answer = run(is_quick)
    if not is_quick:
        RESULTS.write_text(json.dumps(answer, indent=1) + "\n")
    for row in rows(answer):
        print(*row, sep=" | ")
