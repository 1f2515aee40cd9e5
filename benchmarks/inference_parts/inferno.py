"""INFERNO: the published network on the published numbers of events, ten seeds.

    python -m inference_parts.inferno             all, about 15 minutes of one core
    python -m inference_parts.inferno --quick     a small version, written nowhere
    python -m inference_parts.inferno --only SiLU    variants with this word; the others stay

in the folder `benchmarks`.

Every training set, and every test set of a million fresh events, has random numbers of its own.
The recipe was chosen on other seeds and on validation sets. Two kinds of result stand side by
side: the Fisher form, which the network was trained for, and half widths of the profile likelihood
at 0.5 above its minimum, from templates that are weighted afresh for each shift and rate.
"""

__all__ = ["measure", "rows", "run", "run_variants", "summarize"]

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import brentq, minimize

from detopt.design import Design
from detopt.random import Seed
from detopt.usecases.inferno import Config
from detopt.usecases.inferno.config import BENCHMARKS, PUBLISHED
from detopt.usecases.inferno.events import BACKGROUND, BACKGROUND_RATE, SIGNAL, Mixture
from detopt.usecases.inferno.network import scores_of_bins
from detopt.usecases.inferno.training import Recipe, evaluate_bins, train

RESULTS = Path(__file__).resolve().parent.parent / "results" / "inferno.json"
BOUND = {"B0": 14.705, "B1": 15.503, "B2": 15.634, "B3": 15.605, "B4": 16.877}
BOUND_AT_ONE = {"B0": 16.154, "B1": 16.429, "B2": 16.619, "B3": 16.608, "B4": 18.280}
PUBLISHED_B4 = {"B0": 15.71, "B1": 16.89, "B2": 16.95, "B3": 16.88, "B4": 18.68}
N_TEST, N_PROFILE = 1_000_000, 200_000
LIMIT_CPU_S = 110.0
RELU = {**PUBLISHED, "benchmark": "B2", "activation": "relu"}
VARIANTS: Mapping[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # options, recipe, seeds
    "weights, 10 bins": (RELU, {}, 10),
    "weights, 20 bins": ({**RELU, "bins": 20}, {}, 3),
    "variations, 10 bins": ({**RELU, "slopes": "variations"}, {}, 3),
    "transformation, 10 bins, SiLU": (
        {**RELU, "activation": "silu", "slopes": "transformation"},
        {"batch": 4_000, "n_steps": 1_000, "temperatures": (1.0, 0.4)},
        3,
    ),
    "transformation, 10 bins, SiLU, recipe of the weights": (
        {**RELU, "activation": "silu", "slopes": "transformation"},
        {},
        1,
    ),
    "weights, 10 bins, no bonus": (RELU, {"bonus": 0.0}, 2),
    "weights, 10 bins, no classifier": (RELU, {"classifier_steps": 0}, 2),
    "weights, 10 bins, signal mean (1, 1)": ({**RELU, "signal_mean": 1.0}, {}, 1),
}
MAIN = "weights, 10 bins"
MOVED = ("variations, 10 bins", "transformation, 10 bins, SiLU")  # samples that move


def measure(variant: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One training and its results."""
    torch.set_num_threads(1)
    options, changes, _ = VARIANTS[variant]
    config = Config(**options)
    steps = {"n_steps": 100, "classifier_steps": 50} if quick else {}
    n_test = 100_000 if quick else N_TEST
    begin = time.process_time()
    design = train(config, Recipe(**{**steps, **changes}), seed)
    cpu_s = time.process_time() - begin
    result = evaluate_bins(design, config, n_test, Seed("inferno", "test", seed))
    found = {
        "variant": variant,
        "seed": seed,
        "cpu_s": cpu_s,
        "uncertainty": result.uncertainty,
        "std_error": result.std_error,
        "used_bins": int((result.templates.counts > 0).sum()),
    }
    if variant == MAIN:
        found["profile_half_width"] = profile_half_width(design, config, seed)
    return found


def profile_half_width(design: Design, config: Config, seed: int) -> float:
    """Half the interval of s where the profile likelihood of B2 rises by 0.5, Asimov data."""
    rng = Seed("inferno", "profile", seed).generator()
    events = Mixture(config.signal_mean)(2 * N_PROFILE, rng, torch.float32)
    with torch.no_grad():
        pieces = events.features.split(50_000)
        best = [scores_of_bins(design, x, config.activation).argmax(dim=1) for x in pieces]
        bins = torch.nn.functional.one_hot(torch.cat(best), config.bins).to(torch.float64)
    signal = bins[:N_PROFILE].mean(dim=0)
    used = bins.sum(dim=0) > 0
    x = events.features[N_PROFILE:].to(torch.float64)
    shares = bins[N_PROFILE:][:, used]

    def expected(s: float, r: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        weight = torch.exp(
            r * (x[:, 0] - 2) / 5
            - r.square() / 10
            + (rate / BACKGROUND_RATE).log()
            - (rate - BACKGROUND_RATE) * x[:, 2]
        )
        return s * signal[used] + BACKGROUND * (weight @ shares) / N_PROFILE

    nominal = torch.tensor([0.0, BACKGROUND_RATE], dtype=torch.float64)
    data = expected(SIGNAL, *nominal)

    def profiled(s: float) -> float:
        def value(point: Any) -> tuple[float, Any]:
            at = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            counts = expected(s, at[0], at[1])
            f = (counts - data - data * (counts / data).log()).sum()
            (slope,) = torch.autograd.grad(f, at)
            return float(f.detach()), slope.numpy()

        return float(minimize(value, nominal.numpy(), jac=True, method="BFGS").fun) - 0.5

    low = brentq(profiled, SIGNAL - 30, SIGNAL - 5, xtol=1e-3)
    high = brentq(profiled, SIGNAL + 5, SIGNAL + 30, xtol=1e-3)
    return (high - low) / 2


def run(quick: bool) -> dict[str, Any]:
    """All variants and seeds, or the main one with a short training."""
    if quick:
        return summarize([measure(MAIN, 0, quick=True)])
    return run_variants(VARIANTS)


def run_variants(variants: Iterable[str]) -> dict[str, Any]:
    """Some variants with all their seeds; stored runs of the others stay."""
    new = [measure(name, seed) for name in variants for seed in range(VARIANTS[name][2])]
    old = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    changed = {run["variant"] for run in new}
    kept = [run for run in old if run["variant"] not in changed]
    order = list(VARIANTS)
    runs = sorted(kept + new, key=lambda run: (order.index(run["variant"]), run["seed"]))
    result = summarize(runs)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return result


def summarize(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over seeds, beside the runs themselves."""
    medians: dict[str, Any] = {}
    for variant in dict.fromkeys(run["variant"] for run in measured):
        runs = [run for run in measured if run["variant"] == variant]
        medians[variant] = {
            "n_seeds": len(runs),
            "cpu_s": max(run["cpu_s"] for run in runs),
            **{
                name: statistics.median(run["uncertainty"][name] for run in runs)
                for name in BENCHMARKS
            },
        }
        widths = [run["profile_half_width"] for run in runs if "profile_half_width" in run]
        if widths:
            medians[variant]["profile_half_width"] = statistics.median(widths)
    return {"medians": medians, "runs": list(measured)}


def rows(result: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what it must be, what was measured, and whether it holds."""
    medians = result["medians"]
    main = medians[MAIN]
    table = [
        _row(f"B2, 10 bins, median of {main['n_seeds']} seeds", "<=", 16.2, main["B2"]),
        *(
            _row(f"{name}, the same networks", "<", PUBLISHED_B4[name], main[name])
            for name in BENCHMARKS
        ),
    ]
    more = medians.get("weights, 20 bins")
    if more is not None:
        table.append(_row("B2, 20 bins, median", "<=", 15.9, more["B2"]))
    moved = [variant for variant in MOVED if variant in medians]
    table += [_row(f"B2, {name}, median", "<=", 16.2, medians[name]["B2"]) for name in moved]
    if "profile_half_width" in main:
        width = main["profile_half_width"]
        table.append(_row("B2, half width of the profile likelihood", "<=", 16.97, width))
    slowest = max(run["cpu_s"] for run in result["runs"])
    table.append(_row("CPU time of a training [s]", "<=", LIMIT_CPU_S, slowest))
    lowest = min(_above_bound(run) for run in result["runs"])
    table.append(_row("lowest result above the exact bound [std errors]", ">=", -3.0, lowest))
    return table


def _row(what: str, relation: str, limit: float, value: float) -> tuple[str, str, str, bool]:
    holds = {"<=": value <= limit, "<": value < limit, ">=": value >= limit}[relation]
    return what, f"{relation} {limit:g}", f"{value:.3f}", math.isfinite(value) and holds


def _above_bound(run: Mapping[str, Any]) -> float:
    """Smallest distance from the exact bound, in Monte Carlo errors."""
    bound = BOUND_AT_ONE if "(1, 1)" in run["variant"] else BOUND
    return min(
        (run["uncertainty"][name] - bound[name]) / run["std_error"][name] for name in BENCHMARKS
    )


if __name__ == "__main__":
    if "--only" in sys.argv:
        word = sys.argv[sys.argv.index("--only") + 1]
        found = run_variants([name for name in VARIANTS if word in name])
    else:
        found = run("--quick" in sys.argv)
    for row in rows(found):
        print(*row, sep=" | ")
