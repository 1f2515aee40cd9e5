"""Tracker with three objectives: the front of 300 evaluations against that of 100 000 samples.

    python -m black_box_parts.tracker          makes the reference front again, about 10 minutes
    python -m black_box_parts.tracker --quick  the same with few samples, written nowhere

in the folder `benchmarks`. All fronts are judged with the same fresh tracks; the reference is kept
with its seed in `results/tracker_front.json`. Published studies of such a tracker use Geant4: not
like for like.
"""

__all__ = ["reference_front", "rows", "run"]

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.optimizers import make
from detopt.optimizers.pareto import hypervolume, non_dominated, reference_point
from detopt.optimizers.unit_cube import UnitCube
from detopt.pipeline import evaluate
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_tracker import Tracker, ratio, track_quality

FRONT = Path(__file__).resolve().parent.parent / "results" / "tracker_front.json"
SEED = 11
N_SAMPLES, N_TRACKS, N_JUDGE = 100_000, 10, 100  # tracks in each bin, of all samples and the best
N_BATCH, N_KEPT = 200, 2_000
N_SEEDS, N_EVALUATIONS = 3, 300
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options
    "nsga2": (10, {"population": 30}),
    "bayesian_pareto": (29, {"batch": 10, "n_initial": 20}),
    "random": (10, {"batch": 30}),
}


def run(quick: bool) -> dict[str, Any]:
    """Share of the reference hypervolume that each method reaches, for all seeds."""
    torch.set_num_threads(1)
    problem = load("benchmark_tracker").build()
    assert isinstance(problem, Tracker)
    kept = reference_front(problem, quick=True) if quick else json.loads(FRONT.read_text())
    front = torch.tensor(kept["objectives"], dtype=torch.float64)
    worst = reference_point(front)
    whole = float(hypervolume(front, worst))
    found: dict[str, list[dict[str, float]]] = {}
    for method, (n_rounds, options) in METHODS.items():
        seeds = range(1 if quick else N_SEEDS)
        rounds = min(n_rounds, 3) if quick else n_rounds
        found[method] = [_search(problem, method, rounds, options, i) for i in seeds]
        for one in found[method]:
            values = torch.tensor(one.pop("objectives"), dtype=torch.float64)
            one["share"] = float(hypervolume(values, worst)) / whole
    return {"methods": found, "hypervolume": whole, "n_samples": kept["n_samples"]}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    best = max(
        statistics.median(one["share"] for one in runs) for runs in result["methods"].values()
    )
    for method, runs in result["methods"].items():
        shares = [one["share"] for one in runs]
        middle = statistics.median(shares)
        main = middle == best
        table.append(
            (
                f"{method}: share of the hypervolume of {result['n_samples']} samples, median of "
                f"{len(runs)} seeds (not like for like with Geant4)",
                ">= 98 %" if main else "for comparison",
                f"{100 * middle:.1f} % [{100 * min(shares):.1f}, {100 * max(shares):.1f}]",
                not main or middle >= 0.98,
            )
        )
        designs, broken = (max(int(one[key]) for one in runs) for key in ("designs", "broken"))
        table.append((f"{method}: evaluations", "<= 300", str(designs), designs <= N_EVALUATIONS))
        table.append((f"{method}: designs outside of limits", "0", str(broken), broken == 0))
        cpu = max(one["cpu_s"] for one in runs)
        table.append((f"{method}: CPU time [s]", "reported", f"{cpu:.0f}", True))
    return table


def _search(
    problem: Tracker, method: str, n_rounds: int, options: dict[str, Any], seed: int
) -> dict[str, Any]:
    begin = time.process_time()
    optimizer = make(method, problem.space, n_rounds, options | {"seed": seed}, problem)
    thetas: list[Tensor] = []
    values: list[list[float]] = []
    for _ in range(n_rounds):
        requests = optimizer.ask()
        evaluations = [evaluate(problem, request, Seed(seed)) for request in requests]
        optimizer.tell(evaluations)
        thetas += [request.theta for request in requests]
        values += [list(one.objectives.values()) for one in evaluations]
    cpu_s = time.process_time() - begin
    seen = non_dominated(torch.tensor(values, dtype=torch.float64))
    chosen = torch.stack(thetas)[seen]
    return {
        "objectives": qualities(problem, chosen, N_JUDGE, Seed("judge")).tolist(),
        "designs": len(thetas),
        "broken": sum(not problem.space.allows(theta) for theta in thetas),
        "cpu_s": cpu_s,
    }


def qualities(
    problem: Tracker, thetas: Float[Tensor, "n d"], n_tracks: int, seed: Seed
) -> Float[Tensor, "n 3"]:
    """Objectives of many designs at once, on tracks that all share."""
    eta, momentum = problem.tracks(n_tracks, seed.generator())
    field = problem.config.field
    with torch.no_grad():
        found = []
        baseline = track_quality(
            problem.baselines["baseline"], eta.flatten(), momentum.flatten(), field
        ).reshape(*eta.shape, 3)
        for batch in thetas.split(N_BATCH):
            design = problem.space.design(batch)
            each = track_quality(design, eta.flatten(), momentum.flatten(), field)
            found.append(ratio(each.reshape(len(batch), *eta.shape, 3), baseline))
        return torch.cat(found)


def reference_front(problem: Tracker, quick: bool = False) -> dict[str, Any]:
    """The front of quasi-random designs that keep the limits.

    All are seen with few tracks; those that are near the front then, with many other ones.
    """
    n_samples, n_judge = (400, 20) if quick else (N_SAMPLES, N_JUDGE)
    cube = UnitCube(problem.space)
    thetas = cube.theta(cube.sobol(n_samples, Seed(SEED)))
    first = qualities(problem, thetas, N_TRACKS, Seed(SEED, "first"))
    # layers of the front are peeled off until enough designs are left for a second look
    left = torch.arange(n_samples)
    kept: list[Tensor] = []
    while len(left) and sum(map(len, kept)) < min(N_KEPT, n_samples // 4):
        front = _front(first[left])
        kept.append(left[front])
        left = left[~front]
    chosen = torch.cat(kept)
    second = qualities(problem, thetas[chosen], n_judge, Seed("judge"))
    front = _front(second)
    design = problem.space.design(thetas[chosen][front])
    return {
        "seed": SEED,
        "n_samples": n_samples,
        "objectives": second[front].tolist(),
        "designs": design.numbers(),
    }


def _front(values: Float[Tensor, "n 3"]) -> Tensor:
    """Mask of the points that none dominates; blocks first, which keep the memory small."""
    left = torch.arange(len(values))
    for _ in range(4):
        left = torch.cat([part[non_dominated(values[part])] for part in left.split(2_000)])
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[left[non_dominated(values[left])]] = True
    return mask


def main() -> None:
    """Make the reference front again."""
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv[1:]
    problem = load("benchmark_tracker").build()
    assert isinstance(problem, Tracker)
    front = reference_front(problem, quick)
    print(len(front["objectives"]), "designs on the front", file=sys.stderr)
    if not quick:
        FRONT.write_text(json.dumps(front, indent=1) + "\n")


if __name__ == "__main__":
    main()
