"""Layer placement: resolutions against those of equal spacings, on fresh showers.

    python -m black_box_parts.placement          prints the result, about 10 minutes
    python -m black_box_parts.placement --quick  a small version

in the folder `benchmarks`. All methods have the same number of evaluations; one gradient counts as
one. All designs are judged with the same fresh showers. Showers are parametrized: not like for like
with published studies, which use Geant4.
"""

__all__ = ["rows", "run"]

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline import evaluate
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_layer_placement import (
    LayerPlacement,
    Signals,
    make_showers,
    measure,
)

N_FRESH, N_CHUNK, N_BOOTSTRAP, N_SEEDS = 60_000, 1_000, 100, 5
WIDEST = 0.01  # of the interval of a gain that decides
TARGETS = {"hadronic": -0.24, "electromagnetic": -0.03}
LAYERS = (8, 12, 24)  # the first is the default, and the one that is judged
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options, for equal evaluations
    "adam": (160, {}),
    "cma": (16, {"population": 10}),
    "local_surrogate": (39, {"batch": 4}),
    "policy_gradient": (5, {"batch": 32}),
}
SEEDED = ("cma", "local_surrogate", "policy_gradient")
MAIN, BASELINE = "adam", "policy_gradient"


def run(quick: bool) -> dict[str, Any]:
    """Gains of all methods and seeds with eight layers, and of `adam` with more."""
    torch.set_num_threads(1)
    n_fresh, n_seeds = (2_000, 1) if quick else (N_FRESH, N_SEEDS)
    plan = [(LAYERS[0], method, seed) for method in METHODS for seed in range(n_seeds)]
    plan += [] if quick else [(n_layers, MAIN, 0) for n_layers in LAYERS[1:]]
    found: list[dict[str, Any]] = []
    for n_layers in LAYERS:
        chosen = [(method, seed) for n, method, seed in plan if n == n_layers]
        problem = load("benchmark_layer_placement").build({"n_layers": n_layers})
        assert isinstance(problem, LayerPlacement)
        runs = [_search(problem, method, seed, quick) for method, seed in chosen]
        gains = _gains(problem, [one["design"] for one in runs], n_fresh)
        found += [
            one | gain | {"design": one["design"].numbers(), "n_layers": n_layers}
            for one, gain in zip(runs, gains, strict=True)
        ]
    return {"runs": found}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table, runs = [], {}
    for method in METHODS:
        same = [r for r in result["runs"] if (r["method"], r["n_layers"]) == (method, LAYERS[0])]
        runs[method] = sorted(same, key=lambda one: one["objective"])
    middle = {method: many[len(many) // 2] for method, many in runs.items()}
    for name, target in TARGETS.items():
        gain = middle[MAIN]["gains"][name]
        what = f"{MAIN}: {name} resolution against equal spacings, {LAYERS[0]} layers, median of "
        what += f"{len(runs[MAIN])} seeds (not like for like with Geant4)"
        text = f"{_percent(gain)}; others {_others(runs[MAIN], name)}"
        table.append((what, f"<= {100 * target:.0f} %", text, gain["value"] <= target))
    gain = middle[MAIN]["gains"]["hadronic"]
    width = gain["high"] - gain["low"]
    what, bar = "width of the 95 % interval of the hadronic gain", f"<= {100 * WIDEST:.0f} %"
    table.append((what, bar, f"{100 * width:.2f} %", width <= WIDEST))
    cpu = max(one["cpu_s"] for one in runs[MAIN])
    table.append(("CPU time of the search [s]", "<= 600", f"{cpu:.0f}", cpu <= 600))
    baseline = statistics.median(one["objective"] for one in runs[BASELINE])
    for method, many in runs.items():
        values = [one["objective"] for one in many]
        objective = statistics.median(values)
        what = f"{method}: objective after {many[0]['designs']} evaluations, median of {len(many)}"
        text = f"{objective:.4f} [{min(values):.4f}, {max(values):.4f}]"
        text += f", hadronic {100 * middle[method]['gains']['hadronic']['value']:.1f} %"
        text += f", {statistics.median(one['cpu_s'] for one in many):.0f} CPU s"
        judged = method in (MAIN, "local_surrogate")
        bar = f"at least as good as {BASELINE}" if judged else "for comparison"
        table.append((what, bar, text, not judged or objective <= baseline))
    for one in result["runs"]:
        if one["n_layers"] != LAYERS[0]:
            for name in TARGETS:
                what = f"{name} resolution against equal spacings, {one['n_layers']} layers"
                table.append((what, "for comparison", _percent(one["gains"][name]), True))
    return table


def _percent(gain: dict[str, float]) -> str:
    value, low, high = (100 * gain[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _others(runs: Sequence[dict[str, Any]], name: str) -> str:
    values = [100 * one["gains"][name]["value"] for one in runs]
    return f"{min(values):.1f} to {max(values):.1f} %"


def _search(problem: LayerPlacement, method: str, seed: int, quick: bool) -> dict[str, Any]:
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
    print(method, seed, n_designs, cpu_s, file=sys.stderr, flush=True)
    return {"method": method, "designs": n_designs, "cpu_s": cpu_s, "design": design}


def _gains(
    problem: LayerPlacement, designs: Sequence[Design], n_fresh: int
) -> list[dict[str, Any]]:
    """Change of both resolutions with 95 % intervals, on the same showers for all designs."""
    every = [problem.baselines["uniform"], *designs]
    summaries: list[list[Signals]] = [[] for _ in every]
    for i in range(n_fresh // N_CHUNK):
        library = make_showers(problem.config, N_CHUNK, Seed("fresh", i).generator())
        for design, found in zip(every, summaries, strict=True):
            rng = Seed("fresh", "signal", i).generator()
            found.append(measure(problem.config, library, design["positions"].float(), rng))
    signals = [
        Signals(torch.cat([s.total for s in many]), torch.cat([s.first for s in many]))
        for many in summaries
    ]
    terms = [problem.judge(one, design).terms for one, design in zip(signals, every, strict=True)]
    found_gains: list[dict[str, Any]] = []
    samples = _samples(problem, signals, n_fresh)
    for design, one, many in zip(designs, terms[1:], samples, strict=True):
        gains = {}
        for name in TARGETS:
            low, high = many[name].quantile(torch.tensor([0.025, 0.975])).tolist()
            value = float(one[name] / terms[0][name]) - 1
            gains[name] = {"value": value, "low": low, "high": high}
        objective = float(problem.judge(signals[1 + len(found_gains)], design).objective)
        found_gains.append({"objective": objective, "gains": gains})
    return found_gains


def _samples(
    problem: LayerPlacement, signals: Sequence[Signals], n_fresh: int
) -> list[dict[str, torch.Tensor]]:
    """Gains over the first of the designs in bootstrap samples of the showers."""
    rng = Seed("bootstrap").generator()
    found: list[dict[str, list[float]]] = [{name: [] for name in TARGETS} for _ in signals[1:]]
    for _ in range(N_BOOTSTRAP):
        index = torch.randint(n_fresh, (n_fresh,), generator=rng)
        terms = [problem.judge(one.rows(index), Design({})).terms for one in signals]
        for many, one in zip(found, terms[1:], strict=True):
            for name, values in many.items():
                values.append(float(one[name] / terms[0][name]) - 1)
    return [{name: torch.tensor(values) for name, values in many.items()} for many in found]


def main() -> None:
    """Print the result."""
    print(json.dumps(rows(run("--quick" in sys.argv[1:])), indent=1))


if __name__ == "__main__":
    main()
