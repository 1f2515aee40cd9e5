"""Calls of the simulator until the L-GSO benchmarks are solved, by method.

A call is one design with 3,000 fresh samples. The recommended design after every round is judged on
the function without noise (Rosenbrock) or with 200,000 common samples (hump). Every method has one
setting for all problems. Seeds, and the rotations and noise below them, are those of the benchmark
alone: settings were chosen with others.
"""

import math
import statistics
import time
from typing import Any

import torch

from detopt.gradients import Verdict, check_gradients
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, Problem, evaluate
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_rosenbrock import Simulation, rosenbrock

SEEDS = range(5)
N_JUDGE = 200_000
CASES: dict[str, tuple[str, dict[str, Any], int, dict[float, float]]] = {
    "rosenbrock-10": ("benchmark_rosenbrock", {"dimensions": 10}, 400, {1.0: 120}),
    "rosenbrock-100": ("benchmark_rosenbrock", {"dimensions": 100}, 500, {1.0: 126, 0.5: 300}),
    "hump-2": ("hump", {}, 200, {-0.80: 70}),
    "hump-40": ("benchmark_hump_40", {}, 200, {-0.80: 60}),
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "local_surrogate": ("local_surrogate", {}),
    "adam, finite differences": (
        "adam",
        {"estimator": "finite_differences", "learning_rate": 0.15},
    ),
    "adam, pathwise": ("adam", {}),
    "cma": ("cma", {}),
}
MAX_OVERHEAD = 2.0  # CPU s of a run


def run(quick: bool) -> dict[str, Any]:
    """Calls to each level, overhead and verdict of the gradient check."""
    result: dict[str, Any] = {"calls": {}, "overhead_s": {}, "pathwise": {}}
    for name, (case, options, budget, levels) in CASES.items():
        problem = load(case).build(options)
        for title, (method, settings) in METHODS.items():
            runs = [
                _walk(problem, method, dict(settings), 30 if quick else budget, levels, seed)
                for seed in (SEEDS[:1] if quick else SEEDS)
            ]
            result["calls"].setdefault(name, {})[title] = {
                str(level): [calls[level] for calls, _ in runs] for level in levels
            }
            result["overhead_s"].setdefault(name, {})[title] = [round(s, 3) for _, s in runs]
        if case != "benchmark_rosenbrock":
            checks = check_gradients(problem)
            result["pathwise"][name] = [check.verdict for check in checks]
    return result


def _walk(
    problem: Problem,
    method: str,
    settings: dict[str, Any],
    budget: int,
    levels: dict[float, float],
    seed: int,
) -> tuple[dict[float, float], float]:
    """Calls to each level, infinite where it is not reached, and the CPU time of the method."""
    if method in {"cma", "local_surrogate"}:
        settings["seed"] = seed
    gradient_calls = 2 * problem.space.n_free + 1
    planned = budget // (gradient_calls if "estimator" in settings else 1)
    optimizer = make(method, problem.space, max(planned, 2), settings, problem)
    calls, overhead, found = 0, 0.0, dict.fromkeys(levels, math.inf)
    while calls < budget and not optimizer.finished and math.inf in found.values():
        begin = time.process_time()
        requests = optimizer.ask()
        overhead += time.process_time() - begin
        answers = [evaluate(problem, request, Seed(seed)) for request in requests]
        begin = time.process_time()
        optimizer.tell(answers)
        overhead += time.process_time() - begin
        calls += len(requests)
        value = _judge(problem, optimizer.recommend())
        found = {k: min(v, calls if value <= k else math.inf) for k, v in found.items()}
    return found, overhead


def _judge(problem: Problem, theta: torch.Tensor) -> float:
    """The objective as exactly as it is known."""
    assert isinstance(problem, FunctionProblem)
    design = problem.space.design(theta)
    if isinstance(problem.function, Simulation):
        return float(rosenbrock(problem.function.intrinsic(design["psi"])))
    rng = torch.Generator().manual_seed(20_000)
    return float(problem.function(design, N_JUDGE, rng).mean())


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds."""
    table = []
    for name, (_, _, _, levels) in CASES.items():
        for level, allowed in levels.items():
            medians = {
                title: statistics.median(calls[str(level)])
                for title, calls in result["calls"][name].items()
            }
            best = medians.pop("local_surrogate")
            runs = result["calls"][name]["local_surrogate"][str(level)]
            others = ", ".join(f"{title} {_calls(median)}" for title, median in medians.items())
            measured = f"{_calls(best)} ({', '.join(map(_calls, runs))}); {others}"
            table.append((f"{name}, <= {level:g}", f"{allowed:g} calls", measured, best <= allowed))
    spent = [max(kinds["local_surrogate"]) for kinds in result["overhead_s"].values()]
    table.append(
        (
            "CPU time of the local surrogate itself, longest run",
            f"{MAX_OVERHEAD:g} s",
            f"{max(spent):.2f} s",
            max(spent) <= MAX_OVERHEAD,
        )
    )
    for name, verdicts in result["pathwise"].items():
        n_biased = verdicts.count(Verdict.BIASED)
        text = f"biased at {n_biased} of {len(verdicts)} parameters"
        table.append((f"naive pathwise on {name}", "the check calls it biased", text, n_biased > 0))
    return table


def _calls(number: float) -> str:
    return "never" if math.isinf(number) else f"{number:g}"
