"""Mixed materials: 440 designs against the best of all combinations.

    python -m black_box_parts.materials          finds the optimum again, about 10 minutes
    python -m black_box_parts.materials --quick  the same for few combinations, written nowhere

in the folder `benchmarks`. The optimum is that of each of the 64 combinations of materials, found
with gradients from several starts and with many events; it is kept with its seed in
`results/mixed_materials.json`. Every design that the simulator is given is written down, and
compared with bounds and limits by the numbers below, which are those of the published problem.
Showers are parametrized: not like for like with published studies, which use Geant4.
"""

__all__ = ["Watched", "broken", "exhaustive", "judge", "rows", "run"]

import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from detopt.design import Design, DesignSpace
from detopt.optimizers import make
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_mixed_materials import Config, MixedMaterials, Signals

OPTIMUM = Path(__file__).resolve().parent.parent / "results" / "mixed_materials.json"
SEED = 7  # of the search for the optimum
N_STARTS, N_REFINED = 4, 10  # of each combination; of the best combinations
N_SEEDS, N_DESIGNS, N_JUDGE, CPU_S, EXCESS = 5, 440, 100_000, 600, 0.02
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options, for at most 440 designs
    "enumeration": (100, {"learning_rate": 0.5, "n_events": 2_000}),
    "cma": (40, {"population": 11, "n_events": 2_000}),
}
SEEDED = ("cma",)

BOUNDS_M = (0.005, 0.5)
LONGEST_M, DEAREST = 2.0, 200_000.0
PRICES_PER_CM = {"absorber": (25.0, 4.166), "scintillator": (2500.0, 0.01)}


@dataclass
class Watched(MixedMaterials):
    """The problem, which writes down every design that its simulator is given."""

    seen: list[dict[str, Any]] = field(default_factory=list)

    def summarize(self, design: Design, n_events: int, rng: Generator) -> Signals:
        """The signals, after a note of the design."""
        self.seen.append(design.detach().numbers())
        return super().summarize(design, n_events, rng)


def broken(design: Mapping[str, Any]) -> list[str]:
    """The bounds and limits that a design breaks."""
    found, price = [], 0.0
    thickness = design["thickness"]
    for i, width in enumerate(thickness):
        if not BOUNDS_M[0] <= width <= BOUNDS_M[1]:
            found.append(f"thickness[{i}] is {width} m")
        kind = ("absorber", "scintillator")[i % 2]
        choice = design[f"{kind}_{i // 2}"]
        if choice not in (0.0, 1.0):
            found.append(f"{kind}_{i // 2} is {choice}")
            continue
        price += PRICES_PER_CM[kind][int(choice)] * width * 100
    if not sum(thickness) <= LONGEST_M:
        found.append(f"the length is {sum(thickness)} m")
    if not price <= DEAREST:
        found.append(f"the price is {price}")
    return found


def run(quick: bool) -> dict[str, Any]:
    """Objective of all methods and seeds, and of the exhaustive optimum, on the same events."""
    torch.set_num_threads(1)
    problem = load("benchmark_mixed_materials").build()
    optimum = exhaustive(problem, quick=True) if quick else json.loads(OPTIMUM.read_text())
    n_judge = 4_000 if quick else N_JUDGE
    design = {name: torch.tensor(value).double() for name, value in optimum["design"].items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for method, (n_rounds, options) in METHODS.items():
        rounds = max(10, n_rounds // 8) if quick else n_rounds
        seeds = range(1 if quick else N_SEEDS)
        found[method] = [_search(method, rounds, options, seed, n_judge) for seed in seeds]
    return {"optimum": judge(problem, Design(design), n_judge), "methods": found, "quick": quick}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for method, runs in result["methods"].items():
        main = method == "enumeration"
        excess = [one["objective"] / result["optimum"] - 1 for one in runs]
        middle = statistics.median(excess)
        every = ", ".join(f"{100 * one:.1f}" for one in excess)
        what = f"{method}: above the exhaustive optimum, median (all {len(runs)} seeds)"
        what += "; not like for like with Geant4" if main else ""
        holds = not main or middle <= EXCESS
        bar = f"<= {100 * EXCESS:.0f} %" if main else "for comparison"
        table.append((what, bar, f"{100 * middle:.1f} % ({every})", holds))
        most = max(one["designs"] for one in runs)
        table.append((f"{method}: designs", f"<= {N_DESIGNS}", str(most), most <= N_DESIGNS))
        wrong, total = (sum(one[key] for one in runs) for key in ("broken", "designs"))
        what = f"{method}: designs outside of bounds or limits, of all {total} that were simulated"
        table.append((what, "0", str(wrong), wrong == 0))
        cpu = max(one["cpu_s"] for one in runs)
        table.append((f"{method}: CPU time [s]", f"<= {CPU_S}", f"{cpu:.0f}", cpu <= CPU_S))
    return table


def judge(problem: Problem, design: Design, n_events: int) -> float:
    """Objective on fresh events that all designs share."""
    _, outcome = summarize_design(problem.reference, design, Seed("judge"), n_events)
    return float(outcome.objective)


def _search(
    method: str, n_rounds: int, options: dict[str, Any], seed: int, n_judge: int
) -> dict[str, Any]:
    plain = load("benchmark_mixed_materials").build()
    watched = Watched(Config(), plain.space, n_events=plain.n_events)
    extra = {"seed": seed} if method in SEEDED else {}
    begin = time.process_time()
    optimizer = make(method, watched.space, n_rounds, options | extra, watched)
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(watched, request, Seed(seed)) for request in requests])
    cpu_s = time.process_time() - begin
    design = watched.space.design(optimizer.recommend()).detach()
    found = {
        "objective": judge(plain, design, n_judge),
        "designs": len(watched.seen),
        "broken": sum(bool(broken(one)) for one in [*watched.seen, design.numbers()]),
        "cpu_s": cpu_s,
        "design": design.numbers(),
    }
    print(method, seed, found, file=sys.stderr, flush=True)
    return found


def exhaustive(problem: Problem, quick: bool = False) -> dict[str, Any]:
    """The best designs of all combinations of materials, best first."""
    rounds, events, n_refined = (
        ((10, 200), (20, 400), 2) if quick else ((60, 1_000), (250, 4_000), N_REFINED)
    )
    n_judge, n_starts = (2_000, 1) if quick else (N_JUDGE, N_STARTS)
    names = [parameter.name for parameter in problem.space.free if parameter.is_discrete]
    found = []
    for levels in itertools.islice(
        itertools.product((0.0, 1.0), repeat=len(names)), 0, None, 16 if quick else 1
    ):
        chosen = {
            name: torch.tensor(value).double() for name, value in zip(names, levels, strict=True)
        }
        space = DesignSpace(problem.space.parameters, chosen, problem.space.limits)
        ends = [
            _descend(problem.with_space(space), theta, rounds[0], rounds[1])
            for theta in _starts(space, n_starts)
        ]
        value, theta = min(
            ((judge(problem, space.design(end), n_judge), end) for end in ends),
            key=lambda one: one[0],
        )
        found.append((value, space, theta))
        print(len(found), levels, value, file=sys.stderr, flush=True)
    found.sort(key=lambda one: one[0])
    for i, (value, space, theta) in enumerate(found[:n_refined]):
        end = _descend(problem.with_space(space), theta, events[0], events[1])
        better = judge(problem, space.design(end), n_judge)
        found[i] = min((value, space, theta), (better, space, end), key=lambda one: one[0])
        print(i, value, better, file=sys.stderr, flush=True)
    found.sort(key=lambda one: one[0])
    designs = [(value, space.design(theta).detach().numbers()) for value, space, theta in found]
    return {
        "seed": SEED,
        "objective": designs[0][0],
        "design": designs[0][1],
        "combinations": [{"objective": value, "design": design} for value, design in designs],
    }


def _starts(space: DesignSpace, n: int) -> list[torch.Tensor]:
    """The start of the space, and allowed designs at random."""
    rng = Seed(SEED, "starts").generator()
    start = space.theta(space.start)
    random = 1.5 * torch.randn(n - 1, len(start), generator=rng, dtype=torch.float64)
    return [start, *(space.project(theta, start) for theta in random)]


def _descend(problem: Problem, start: torch.Tensor, n_rounds: int, n_events: int) -> torch.Tensor:
    """Thicknesses for one combination of materials."""
    options = {"learning_rate": 0.3, "n_events": n_events}
    optimizer = make("adam", problem.space, n_rounds, options)
    optimizer.load_state_dict(optimizer.state_dict() | {"theta": start})
    for _ in range(n_rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(SEED)) for request in requests])
    return optimizer.recommend()


def main() -> None:
    """Find the optimum again."""
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv[1:]
    optimum = exhaustive(load("benchmark_mixed_materials").build(), quick)
    if not quick:
        OPTIMUM.write_text(json.dumps(optimum, indent=1) + "\n")


if __name__ == "__main__":
    main()
