"""A sampling calorimeter optimized with real Geant4 events, beside equal layers.

Twelve scintillators of 5 mm in 14 cm of lead, 25 radiation lengths; electrons of 1 to 50 GeV, as
many in each octave; a weight for each layer, fitted anew for every design. Length, money and
channels are those of equal layers: only where the scintillators stand is chosen. Showers of Geant4
in a block of lead are simulated once, and the positions follow the gradient of half of them:
signals are what these showers deposit at the depths of the layers. All designs are judged with
fresh events of Geant4 in the layers themselves.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed
from detopt.simulators.geant4.folders import VARIABLE
from detopt.usecases.sampling_calorimeter import Config, build, write_library
from simulators_parts.geant4 import geant4
from tables import Row

OPTIONS = {"design": "positions", "n_layers": 12, "absorber_thickness": 0.0117}
N_LIBRARY, MOST = 3_000, 3_000  # Geant4 events of the library, half of them for the search
N_ROUNDS, N_EVENTS, LEARNING_RATE = 80, 1_000, 0.1
N_JUDGE = 1_500  # fresh Geant4 events of each design
SEED = 2026
NORMAL = 1.96


def run(quick: bool) -> dict[str, Any]:
    """Optimize with stored Geant4 events and with the fast model; judge with fresh ones."""
    runner = geant4()
    os.environ[VARIABLE] = str(runner.data_set.folder)
    n_library, n_judge = (60, 60) if quick else (N_LIBRARY, N_JUDGE)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "showers.npz"
        write_library(path, Config(**OPTIONS), n_library, runner)
        simulated = time.perf_counter() - begin
        stored = build(Config(**OPTIONS, source="library", library=path))
        fast = build(Config(**OPTIONS))
        designs = {
            "equal layers": fast.baselines["equal layers"],
            "optimized with Geant4 events": _optimize(stored, 10 if quick else N_ROUNDS),
            "optimized with the fast model": _optimize(fast, 10 if quick else N_ROUNDS),
        }
    real = build(Config(**OPTIONS, source="geant4"))
    found = {}
    for name, design in designs.items():
        found[name] = {
            **judge(real, design, n_judge),
            "fast": judge(fast, design, 4_000 if quick else 20_000)["objective"],
            "design": design.numbers(),
            "price": float(real.cost(design)),
            "length": float(real.space.limits[0].quantity(design)),
        }
    return {
        "designs": found,
        "n_library": n_library,
        "n_judge": n_judge,
        "library_s": simulated,
        "label": runner.label,
    }


def _optimize(problem: Problem, n_rounds: int) -> Design:
    """Gradient descent from equal layers."""
    options = {"learning_rate": LEARNING_RATE, "n_events": N_EVENTS}
    optimizer = make("adam", problem.space, n_rounds, options)
    for _ in range(n_rounds):
        requests = optimizer.ask()
        optimizer.tell([evaluate(problem, request, Seed(SEED)) for request in requests])
    return problem.space.design(optimizer.recommend()).detach()


def judge(problem: Problem, design: Design, n_events: int, events: str = "fresh") -> dict[str, Any]:
    """Objective on the events of that name, its standard error and its metrics."""
    seed = Seed(events, SEED)
    summary, outcome = summarize_design(problem, design, seed, n_events)
    draws = bootstrap(problem, summary, design, seed)
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    return {
        "objective": float(outcome.objective),
        "error": float(torch.as_tensor(draws).std()),
        "metrics": metrics,
    }


def rows(result: dict[str, Any]) -> list[Row]:
    """What must hold."""
    found = result["designs"]
    base, best = found["equal layers"], found["optimized with Geant4 events"]
    gain = 1 - best["objective"] / base["objective"]
    error = (1 - gain) * (
        (best["error"] / best["objective"]) ** 2 + (base["error"] / base["objective"]) ** 2
    ) ** 0.5
    table = [
        (
            "positions of 12 scintillators in 25 X0 of lead, optimized with real Geant4 events: "
            "resolution better than that of equal layers at equal length, price and channels, "
            f"{result['n_judge']} fresh Geant4 events of each",
            "gain outside the 95 % interval",
            f"{best['objective']:.4f} +- {best['error']:.4f} for {base['objective']:.4f} +- "
            f"{base['error']:.4f} GeV^1/2: {gain:.1%} +- {error:.1%}",
            gain > NORMAL * error,
        ),
        (
            "Geant4 events that this optimization used",
            f"<= {MOST}",
            f"{result['n_library']}, in {result['library_s']:.0f} s by the clock",
            result["n_library"] <= MOST,
        ),
        (
            "length and price of both designs",
            "not more than those of equal layers",
            f"{1e3 * best['length']:.1f} for {1e3 * base['length']:.1f} mm, "
            f"{best['price']:.2f} for {base['price']:.2f} kEUR (estimated prices)",
            best["length"] <= base["length"] * (1 + 2e-6)
            and best["price"] <= base["price"] * (1 + 2e-6),
        ),
    ]
    for name, one in found.items():
        thickness = ", ".join(f"{end:.0f}" for end in one["design"]["positions"])
        table.append(
            (
                f"{name}: backs of the scintillators [mm]; objective by Geant4, and by the fast "
                "model",
                "no bar",
                f"{thickness}; {one['objective']:.4f} +- {one['error']:.4f}, {one['fast']:.4f} "
                "GeV^1/2",
                True,
            )
        )
    return table
