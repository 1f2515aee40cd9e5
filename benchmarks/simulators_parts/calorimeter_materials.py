"""Thicknesses and materials of a sampling calorimeter together: three ways to the same optimum.

Six scintillators, absorbers of lead or iron in two zones, electrons of the fast shower model.
Length and money are limited, and 16 radiation lengths must be kept, four fifths of the baseline's
lead. The exhaustive optimum is the best of all combinations, each with an evolution strategy of its
own: steps along noisy gradients push layers to their least thickness, where they stay. The local
surrogate has so many showers for a design that their noise, 0.6 %, is small beside 2 %. Designs
that methods find are judged on the same fresh showers.
"""

import itertools
import time
from dataclasses import replace
from typing import Any

import torch

from detopt.design import Design, DesignSpace
from detopt.errors import DesignError
from detopt.optimizers import make
from detopt.physics import materials
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases.sampling_calorimeter import Config, build
from tables import Row

OPTIONS: dict[str, Any] = {
    "n_layers": 6,
    "n_zones": 2,
    "absorber": ("lead", "iron"),
    "absorber_thickness": 0.0185,
    "design": "thickness",
    "containment": 0.8,
    "length": 0.35,
    "budget": 30.0,
}
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options
    "exhaustive scan": (60, {"n_events": 2_000}),
    "local surrogate": (24, {"method": "local_surrogate", "n_events": 16_000}),
    "end-to-end surrogate": (40, {"n_events": 4_000}),
}
SCAN = "cma"  # of each combination of materials
N_JUDGE, WITHIN, SEED = 20_000, 0.02, 11
START = 0.85  # of the baseline's radiation lengths, where the scan begins


def run(quick: bool) -> dict[str, Any]:
    """All methods."""
    problem = build(Config(**OPTIONS))
    problem = problem.with_space(problem.space.freeze("active"))
    found = {}
    for name, (n_rounds, options) in METHODS.items():
        begin = time.process_time()
        rounds = max(6, n_rounds // 5) if quick else n_rounds
        if name == "exhaustive scan":
            runs = [search(part, SCAN, rounds, options) for part in combinations(problem)]
            best = min(runs, key=lambda one: objective(problem, one[0], 4_000))
            design, counts = best[0], [sum(one[1][i] for one in runs) for i in range(3)]
        else:
            method = "enumeration" if name == "local surrogate" else "end_to_end_surrogate"
            design, counts = search(problem, method, rounds, options)
        found[name] = {
            "objective": objective(problem, design, 2_000 if quick else N_JUDGE),
            "materials": [int(design[f"absorber_material_{zone}"]) for zone in range(2)],
            "absorber": design["absorber"].tolist(),
            "designs": counts[0],
            "events": counts[1],
            "outside": counts[2],
            "cpu_s": time.process_time() - begin,
        }
    start = problem.space.start
    found["equal layers"] = {"objective": objective(problem, start, N_JUDGE)}
    return found


def combinations(problem: Problem) -> list[Problem]:
    """The problem with each choice of materials fixed; layers of equal radiation lengths begin."""
    space, parts = problem.space, []
    names = [f"absorber_material_{zone}" for zone in range(OPTIONS["n_zones"])]
    per_zone = OPTIONS["n_layers"] // OPTIONS["n_zones"]
    lengths = torch.tensor([materials.get(one).radiation_length for one in OPTIONS["absorber"]])
    for values in itertools.product((0, 1), repeat=OPTIONS["n_zones"]):
        chosen = {name: torch.tensor(float(v)) for name, v in zip(names, values, strict=True)}
        scale = START * (lengths / lengths[0])[list(values)].repeat_interleave(per_zone)
        thickness = {"absorber": space.start["absorber"] * scale}
        design = Design({**space.start, **thickness, **chosen})
        parts.append(problem.with_space(space.starting_at(design).freeze(*names)))
    return parts


def search(
    problem: Problem, method: str, n_rounds: int, options: dict[str, Any]
) -> tuple[Design, list[int]]:
    """The design that a method recommends; designs, showers, and designs outside of limits."""
    optimizer = make(method, problem.space, n_rounds, options, problem)
    counts = [0, 0, 0]
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        for request in requests:
            counts[0] += 1
            counts[1] += request.n_events or problem.n_events
            counts[2] += _is_outside(problem.space, request.theta)
        optimizer.tell([evaluate(problem, request, Seed(SEED)) for request in requests])
    return problem.space.design(optimizer.recommend()).detach(), counts


def _is_outside(space: DesignSpace, theta: Any) -> bool:
    try:
        space.check(space.design(theta))
    except DesignError:
        return True
    return False


def objective(problem: Problem, design: Design, n_events: int) -> float:
    _, outcome = summarize_design(problem, design, Seed("judge", SEED), n_events)
    return float(outcome.objective)


def rows(result: dict[str, Any]) -> list[Row]:
    """What must hold."""
    best = result["exhaustive scan"]["objective"]
    table = []
    for name in METHODS:
        one = result[name]
        layers = ", ".join(f"{thickness:.1f}" for thickness in one["absorber"])
        metals = " and ".join(OPTIONS["absorber"][k] for k in one["materials"])
        away = one["objective"] / best - 1
        table.append(
            (
                f"two zones of lead or iron, six thicknesses, fast showers: {name}, "
                f"{one['designs']} designs, {one['events']} showers, {one['cpu_s']:.0f} s of CPU",
                f"within {WITHIN:.0%} of the exhaustive scan",
                f"{one['objective']:.4f} GeV^1/2 ({away:+.1%}): {metals}, {layers} mm; equal "
                f"layers of lead {result['equal layers']['objective']:.4f}",
                abs(away) <= WITHIN,
            )
        )
        table.append(
            (
                f"{name}: designs outside of bounds or limits",
                "0",
                str(one["outside"]),
                one["outside"] == 0,
            )
        )
    return table
