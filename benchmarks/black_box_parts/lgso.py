"""The local generative surrogate: calls until the L-GSO benchmarks are solved, time and gradients.

Calls are counted as in `shirobokov`, whose problems, budgets and levels these are, and whose table
has the local regression surrogate and the other methods. Gradients are compared with those of the
noiseless function at designs that no run has tuned, from the same evaluations for the regression,
the ridge and the generative surrogate. The bar is the linear regression: a row says "no" where the
generative surrogate does worse.
"""

import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from black_box_parts.shirobokov import CASES, _calls, _judge, _walk
from detopt.optimizers import GenerativeSurrogate, make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed
from detopt.surrogates.training import ridge
from detopt.usecases import load

SEEDS = range(3)
SUITE = {"rosenbrock-10": 150, "hump-2": 150, "hump-40": 110, "rosenbrock-100": 300}  # calls
LINEAR = {  # calls of a local linear regression and Adam with the published samples of designs
    "rosenbrock-10": {1.0: 160},
    "rosenbrock-100": {1.0: 168, 0.5: 462},
    "hump-2": {-0.80: 125},
    "hump-40": {-0.80: 84},
}
GRADIENTS = {"rosenbrock-10": 16, "hump-2": 8}  # problem: designs in a round
SHIFT = 0.3  # of the start, in theta, where gradients are compared
DIFFERENCE = 0.05  # of the central differences that give the true gradient


def run(quick: bool) -> dict[str, Any]:
    """Calls, CPU time of a step and errors of the gradients."""
    result: dict[str, Any] = {"calls": {}, "step_s": {}, "gradients": {}}
    for name in list(SUITE)[:1] if quick else SUITE:
        case, options, _, levels = CASES[name]
        problem = load(case).build(options)
        budget = 12 if quick else SUITE[name]
        runs = []
        for seed in SEEDS[:1] if quick else SEEDS:
            calls, spent = _walk(problem, "lgso", {"seed": seed}, budget, levels, seed)
            runs.append(calls)
            optimizer = make("lgso", problem.space, 2, {}, problem)
            assert isinstance(optimizer, GenerativeSurrogate)
            last = max(min(found, budget) for found in calls.values())
            n_steps = 1 + max(0.0, last - optimizer.n_first - 1) / (optimizer.batch + 1)
            result["step_s"].setdefault(name, []).append(round(spent / n_steps, 2))
        result["calls"][name] = {str(level): [c[level] for c in runs] for level in levels}
    for name, batch in GRADIENTS.items():
        if not quick:
            result["gradients"][name] = [_gradient_errors(name, batch, seed) for seed in SEEDS]
    return result


def _gradient_errors(name: str, batch: int, seed: int) -> dict[str, float]:
    """Relative errors of the gradient by each surrogate, from one round of calls."""
    case, options, _, _ = CASES[name]
    problem = load(case).build(options)
    rng = torch.Generator().manual_seed(1_000 + seed)
    optimizer = make("lgso", problem.space, 2, {"batch": batch, "seed": seed}, problem)
    assert isinstance(optimizer, GenerativeSurrogate)
    optimizer.theta += SHIFT * torch.randn(problem.space.n_free, generator=rng).double()
    center = optimizer._proposal = optimizer.theta.clone()
    requests = optimizer.ask()
    answers = [evaluate(problem, request, Seed(1_000 + seed)) for request in requests]
    begin = time.process_time()
    optimizer.tell(answers)
    spent = time.process_time() - begin
    truth = _gradient(problem, center)
    theta = torch.stack([request.theta for request in requests])
    values = torch.tensor([[answer.value] for answer in answers], dtype=torch.float64)
    linear = ridge(theta - theta.mean(dim=0), values - values.mean())[:, 0]
    agreement = optimizer.agreement
    assert agreement is not None
    found = {
        "generative": agreement.gradient,
        "quadratic": agreement.regression_gradient,
        "ridge": linear,
    }
    errors = {k: float((g - truth).norm() / truth.norm()) for k, g in found.items()}
    return errors | {"first_round_s": round(spent, 2)}


def _gradient(problem: Any, theta: Tensor) -> Tensor:
    """Of the noiseless objective, by central differences with common random numbers."""
    assert isinstance(problem, FunctionProblem)
    steps = DIFFERENCE * torch.eye(len(theta), dtype=torch.float64)
    return torch.tensor(
        [
            (_judge(problem, theta + s) - _judge(problem, theta - s)) / (2 * DIFFERENCE)
            for s in steps
        ]
    ).double()


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds."""
    table = []
    for name, levels in result["calls"].items():
        for level, calls in levels.items():
            linear, median = LINEAR[name][float(level)], statistics.median(calls)
            text = f"{_calls(median)} ({', '.join(map(_calls, calls))})"
            budget = "" if math.isfinite(median) else f" within {SUITE[name]}"
            what = f"lgso, {name}, <= {float(level):g}, calls"
            table.append((what, f"<= {linear} (linear)", text + budget, median <= linear))
    for name, spent in result["step_s"].items():
        text = f"{statistics.median(spent):.2f}"
        table.append((f"lgso, {name}, CPU s a step", "reported", text, True))
    for name, found in result["gradients"].items():
        medians = {k: statistics.median(one[k] for one in found) for k in found[0]}
        text = ", ".join(f"{k} {medians[k]:.2f}" for k in ("generative", "quadratic", "ridge"))
        holds = medians["generative"] <= medians["ridge"]
        table.append((f"relative error of the gradient, {name}", "<= ridge", text, holds))
    return table
