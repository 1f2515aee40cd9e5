"""Arrangement of six planes: the search against the exhaustive evaluation, for four targets.

    python -m scanner.arrangement          prints the result, about 3 minutes
    python -m scanner.arrangement --quick  a small version

in the folder `benchmarks`. Exhaustive: each arrangement by itself, its continuous parameters
descended from four starts of a grid, all judged by the reference simulation. The search is
`enumeration`, which gives up arrangements as it goes, with three seeds.
"""

__all__ = ["rows", "run"]

import itertools
import json
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from detopt.design import Continuous, Design, DesignSpace
from detopt.optimizers import make
from detopt.pipeline import Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.modular_telescope.config import ARRANGEMENTS
from detopt.usecases.modular_telescope.targets import TARGETS

ROUNDS, SEARCH_ROUNDS, N_JUDGE, N_SEEDS = 50, 60, 4_000, 3
STARTS = {"spacing": (0.12, 0.5), "aim": (0.05,), "view_angle": (0.35, 0.9)}


def run(quick: bool) -> dict[str, Any]:
    """Errors of all arrangements, and what the search chose, for all targets."""
    torch.set_num_threads(1)
    return {"quick": quick, "targets": {name: _target(name, quick) for name in TARGETS}}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for name, one in result["targets"].items():
        best = min(one["exhaustive"], key=lambda kind: one["exhaustive"][kind]["error"])
        chosen = [search["arrangement"] for search in one["searches"]]
        errors = ", ".join(f"{k} {v['error']:.4g}" for k, v in one["exhaustive"].items())
        what = f"arrangement for `{name}`: choice of the search, {len(chosen)} seeds ({errors})"
        table.append((what, best, ", ".join(sorted(set(chosen))), set(chosen) == {best}))
        worst = max(search["error"] for search in one["searches"])
        excess = worst / one["exhaustive"][best]["error"] - 1
        what = f"arrangement for `{name}`: error above the exhaustive one, worst seed"
        table.append((what, "<= 2 %", f"{100 * excess:.2f} %", excess <= 0.02))
    winners = {
        min(one["exhaustive"], key=lambda kind: one["exhaustive"][kind]["error"])
        for one in result["targets"].values()
    }
    what = "different winners among the four targets"
    table.append((what, ">= 2", str(len(winners)), len(winners) >= 2))
    return table


def _target(name: str, quick: bool) -> dict[str, Any]:
    problem = load("modular_telescope").build({"target": name})
    rounds = 15 if quick else ROUNDS
    starts = list(itertools.product(*STARTS.values()))[:: 3 if quick else 1]
    exhaustive = {}
    for index, kind in enumerate(ARRANGEMENTS):
        found = [_descend(problem, index, start, rounds) for start in starts]
        found.sort(key=lambda one: one["error"])
        exhaustive[kind] = found[0]
        print(name, kind, found[0]["error"], file=sys.stderr, flush=True)
    seeds = range(1 if quick else N_SEEDS)
    searches = [_search(problem, seed, 20 if quick else SEARCH_ROUNDS) for seed in seeds]
    print(name, searches, file=sys.stderr, flush=True)
    return {"exhaustive": exhaustive, "searches": searches}


def _descend(problem: Problem, index: int, start: tuple[float, ...], rounds: int) -> dict[str, Any]:
    """Continuous parameters of one arrangement, from one start."""
    values = dict(zip(STARTS, start, strict=True))
    parameters = [
        replace(p, start=values[p.name]) if isinstance(p, Continuous) and p.name in values else p
        for p in problem.space.parameters
    ]
    kind = torch.tensor(float(index), dtype=torch.float64)
    space = DesignSpace(parameters, {**problem.space.frozen, "arrangement": kind})
    alone = problem.with_space(space)
    optimizer = make("adam", space, rounds, {"learning_rate": 0.2})
    for _ in range(rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(alone, request, Seed("exhaustive")) for request in requests])
    design = space.design(optimizer.recommend()).detach()
    return {"error": _judge(problem, design), "design": design.numbers()}


def _search(problem: Problem, seed: int, rounds: int) -> dict[str, Any]:
    begin = time.process_time()
    options = {"method": "adam", "learning_rate": 0.2}
    optimizer = make("enumeration", problem.space, rounds, options, problem)
    n_designs = 0
    for _ in range(rounds):
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        n_designs += len(requests)
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in requests])
    design = problem.space.design(optimizer.recommend()).detach()
    return {
        "arrangement": ARRANGEMENTS[int(design["arrangement"])],
        "error": _judge(problem, design),
        "designs": n_designs,
        "cpu_s": time.process_time() - begin,
        "design": design.numbers(),
    }


def _judge(problem: Problem, design: Design) -> float:
    """Objective on fresh targets that all designs share."""
    _, outcome = summarize_design(problem.reference, design, Seed("judge"), N_JUDGE)
    return float(outcome.objective)


def main() -> None:
    """Print the result."""
    print(json.dumps(rows(run("--quick" in sys.argv[1:])), indent=1))


if __name__ == "__main__":
    main()
