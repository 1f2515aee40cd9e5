"""Layer placement: resolutions against those of equal spacings, on fresh showers.

    python -m black_box_parts.placement          prints the result, about 10 minutes
    python -m black_box_parts.placement --quick  a small version

in the folder `benchmarks`. All methods have the same number of evaluations; one gradient counts as
one. Showers are parametrized: not like for like with published studies, which use Geant4.
"""

__all__ = ["rows", "run"]

import functools
import json
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline import Problem, Summary, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load

N_FRESH, N_BOOTSTRAP, N_SEEDS = 8_000, 200, 3
TARGETS = {"hadronic": -0.24, "electromagnetic": -0.03}
LAYERS = (8, 12, 24)  # the first is the default, and the one that is judged
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options, for equal evaluations
    "adam": (160, {}),
    "cma": (16, {"population": 10}),
    "local_surrogate": (39, {"batch": 4}),
    "policy_gradient": (5, {"batch": 32}),
}
SEEDED = ("cma", "local_surrogate", "policy_gradient")


def run(quick: bool) -> dict[str, Any]:
    """Gains of all methods and seeds with eight layers, and of `adam` with more."""
    torch.set_num_threads(1)
    n_fresh = 2_000 if quick else N_FRESH
    seeds = range(1 if quick else N_SEEDS)
    case = load("benchmark_layer_placement")
    problem = case.build({"n_layers": LAYERS[0]})
    methods = {
        method: [_search(problem, method, seed, n_fresh, quick) for seed in seeds]
        for method in METHODS
    }
    more = {}
    for n_layers in () if quick else LAYERS[1:]:
        other = case.build({"n_layers": n_layers})
        more[n_layers] = _search(other, "adam", 0, n_fresh, quick)
    return {"methods": methods, "more": more, "quick": quick}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    runs = result["methods"]["adam"]
    middle = sorted(runs, key=lambda one: one["objective"])[len(runs) // 2]
    for name, target in TARGETS.items():
        what = f"{name} resolution against equal spacings, {LAYERS[0]} layers (not like for like)"
        holds = middle["gains"][name]["value"] <= target
        table.append((what, f"<= {100 * target:.0f} %", _percent(middle["gains"][name]), holds))
    cpu = max(one["cpu_s"] for one in runs)
    table.append(("CPU time of the search [s]", "<= 600", f"{cpu:.0f}", cpu <= 600))
    for method, searches in result["methods"].items():
        objective = sorted(one["objective"] for one in searches)[len(searches) // 2]
        what = f"objective of {method} after {searches[0]['designs']} evaluations"
        main = method == "adam"
        text = f"{objective:.4f}, {searches[0]['cpu_s']:.0f} CPU s"
        ppo = [one["objective"] for one in result["methods"]["policy_gradient"]]
        bar = "at least as good as policy_gradient" if main else "for comparison"
        table.append((what, bar, text, not main or objective <= sorted(ppo)[len(ppo) // 2]))
    for n_layers, one in result["more"].items():
        for name in TARGETS:
            what = f"{name} resolution against equal spacings, {n_layers} layers"
            table.append((what, "for comparison", _percent(one["gains"][name]), True))
    return table


def _percent(gain: dict[str, float]) -> str:
    value, low, high = (100 * gain[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _search(problem: Problem, method: str, seed: int, n_fresh: int, quick: bool) -> dict[str, Any]:
    rounds, options = METHODS[method]
    rounds = max(2, rounds // 8) if quick else rounds
    extra = {"seed": seed} if method in SEEDED else {}
    begin = time.process_time()
    optimizer = make(method, problem.space, rounds, options | extra, problem)
    n_designs = 0
    for _ in range(rounds):
        # adam needs no standard errors; a surrogate weighs its values with them
        wanted = [replace(r, std_error=method == "local_surrogate") for r in optimizer.ask()]
        n_designs += len(wanted)
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in wanted])
    cpu_s = time.process_time() - begin
    design = problem.space.design(optimizer.recommend()).detach()
    found = _gains(problem, design, n_fresh)
    print(method, seed, found, n_designs, cpu_s, file=sys.stderr, flush=True)
    return found | {"designs": n_designs, "cpu_s": cpu_s, "design": design.numbers()}


def _gains(problem: Problem, design: Design, n_fresh: int) -> dict[str, Any]:
    """Change of both resolutions with 95 % intervals, on the same showers for both designs."""
    summary, outcome = summarize_design(problem.reference, design, Seed("fresh"), n_fresh)
    equal = problem.baselines["uniform"]
    before = _of_equal_spacings(len(equal["positions"]), n_fresh)
    pairs = ((summary, design), (before, equal))
    rng = Seed("bootstrap").generator()
    samples: dict[str, list[float]] = {name: [] for name in TARGETS}
    for i in range(N_BOOTSTRAP + 1):
        index = torch.randint(n_fresh, (n_fresh,), generator=rng) if i else torch.arange(n_fresh)
        ours, theirs = (problem.judge(rows.rows(index), which).terms for rows, which in pairs)
        for name, values in samples.items():
            values.append(float(ours[name] / theirs[name]) - 1)
    gains = {}
    for name, values in samples.items():
        low, high = torch.tensor(values[1:]).quantile(torch.tensor([0.025, 0.975])).tolist()
        gains[name] = {"value": values[0], "low": low, "high": high}
    return {"objective": float(outcome.objective), "gains": gains}


@functools.lru_cache(maxsize=4)
def _of_equal_spacings(n_layers: int, n_fresh: int) -> Summary:
    problem = load("benchmark_layer_placement").build({"n_layers": n_layers})
    equal = problem.baselines["uniform"]
    return summarize_design(problem.reference, equal, Seed("fresh"), n_fresh)[0]


def main() -> None:
    """Print the result."""
    print(json.dumps(rows(run("--quick" in sys.argv[1:])), indent=1))


if __name__ == "__main__":
    main()
