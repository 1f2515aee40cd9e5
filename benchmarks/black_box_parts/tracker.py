"""Tracker with three objectives: the front of 300 evaluations against two reference fronts.

    python -m black_box_parts.tracker          makes the reference again, about 20 minutes
    python -m black_box_parts.tracker --quick  the same with few samples, written nowhere

in the folder `benchmarks`. One reference is the front of 100 000 quasi-random designs. In nine
dimensions it is far from the true one, so that an evolution of tens of thousands of evaluations
starts from it; that one sees the very tracks which judge, and no method should exceed it. Both are
kept in `results/tracker_front.json`, with the reference point of the first. Published studies of
such a tracker use Geant4: not like for like.
"""

__all__ = ["reference_front", "rows", "run"]

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.optimizers import make
from detopt.optimizers.pareto import hypervolume, non_dominated, reference_point
from detopt.optimizers.unit_cube import EDGE, UnitCube
from detopt.pipeline import evaluate
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_tracker import PARAMETERS, Tracker, ratio, track_quality

FRONT = Path(__file__).resolve().parent.parent / "results" / "tracker_front.json"
SEED = 11
N_SAMPLES, N_TRACKS, N_JUDGE = 100_000, 10, 100  # tracks in each bin, of all samples and the best
STAGES = ((150, 161, 20, "strong"), (200, 30, N_JUDGE, "judge"))  # designs, generations, tracks
N_BATCH, N_KEPT = 200, 2_000
N_SEEDS, N_EVALUATIONS = 5, 300
BAR, REFERENCE = 0.98, "sampled"  # a front of 1e5 samples; the evolved one is a harder one beside
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # rounds and options
    "bayesian_pareto": (29, {"batch": 10, "n_initial": 20, "common": True}),
    "nsga2": (10, {"population": 28, "n_repeated": 2}),
    "random": (10, {"batch": 30}),
}
FIXED_DISK, SAGITTA_RADIUS, SAGITTA_STEP = 1.06, 0.42, 0.0168  # m; radius at a tangent of 1
DISK_GAP, BARREL_GAP = 0.10, 0.05  # m


def run(quick: bool) -> dict[str, Any]:
    """Shares of the reference hypervolumes that each method reaches, for all seeds."""
    torch.set_num_threads(1)
    problem = load("benchmark_tracker").build()
    assert isinstance(problem, Tracker)
    kept = reference_front(problem, quick=True) if quick else json.loads(FRONT.read_text())
    worst = torch.tensor(kept["reference"], dtype=torch.float64)
    volume = {name: _volume(kept[name], worst) for name in ("sampled", "objectives")}
    found: dict[str, list[dict[str, Any]]] = {}
    for method, (n_rounds, options) in METHODS.items():
        seeds = range(1 if quick else N_SEEDS)
        rounds = min(n_rounds, 3) if quick else n_rounds
        found[method] = [_search(problem, method, rounds, options, i) for i in seeds]
        for one in found[method]:
            reached = _volume(one.pop("objectives"), worst)
            one |= {name: reached / whole for name, whole in volume.items()}
            print(method, one, file=sys.stderr, flush=True)
    ratio = volume["objectives"] / volume["sampled"]
    return {"methods": found, "ratio": ratio, "n_samples": kept["n_samples"]}


def _volume(objectives: list[list[float]], worst: Tensor) -> float:
    return float(hypervolume(torch.tensor(objectives, dtype=torch.float64), worst))


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    what = f"hypervolume of the evolved front over that of {result['n_samples']} samples"
    table = [(what, "reported", f"{result['ratio']:.3f}", True)]
    fronts = {"sampled": f"front of {result['n_samples']} samples", "objectives": "evolved front"}
    for method, runs in result["methods"].items():
        main = method == next(iter(METHODS))
        for name, front in fronts.items():
            shares = [one[name] for one in runs]
            middle = statistics.median(shares)
            what = f"{method}: share of the hypervolume of the {front}, median of {len(runs)} "
            what += "seeds (not like for like with Geant4)"
            text = f"{100 * middle:.1f} % [{100 * min(shares):.1f}, {100 * max(shares):.1f}]"
            held = main and name == REFERENCE
            bar = f">= {100 * BAR:.0f} %" if held else "for comparison"
            table.append((what, bar, text, not held or middle >= BAR))
        designs, broken = (max(int(one[key]) for one in runs) for key in ("designs", "broken"))
        table.append((f"{method}: evaluations", "<= 300", str(designs), designs <= N_EVALUATIONS))
        table.append((f"{method}: designs outside of limits", "0", str(broken), broken == 0))
        cpu = max(one["cpu_s"] for one in runs)
        table.append((f"{method}: CPU time [s]", "reported", f"{cpu:.0f}", True))
    highest = max(one["objectives"] for runs in result["methods"].values() for one in runs)
    what = "largest share of the evolved front that any run reached"
    table.append((what, "<= 101 %", f"{100 * highest:.1f} %", highest <= 1.01))
    return table


def _search(
    problem: Tracker, method: str, n_rounds: int, options: dict[str, Any], seed: int
) -> dict[str, Any]:
    begin = time.process_time()
    optimizer: Any = make(method, problem.space, n_rounds, options | {"seed": seed}, problem)
    thetas: list[Tensor] = []
    values: list[list[float]] = []
    for _ in range(n_rounds):
        requests = optimizer.ask()
        evaluations = [evaluate(problem, request, Seed(seed)) for request in requests]
        optimizer.tell(evaluations)
        thetas += [request.theta for request in requests]
        values += [list(one.objectives.values()) for one in evaluations]
    chosen = torch.stack(thetas)[non_dominated(torch.tensor(values, dtype=torch.float64))]
    if hasattr(optimizer, "front"):  # what the method itself holds for the front counts too
        chosen = torch.cat([chosen, optimizer.front()])
    cpu_s = time.process_time() - begin
    numbers = [problem.space.design(theta).numbers() for theta in thetas]
    return {
        "objectives": qualities(problem, chosen, N_JUDGE, Seed("judge")).tolist(),
        "designs": len(thetas),
        "broken": sum(_broken(one) for one in numbers),
        "cpu_s": cpu_s,
    }


def _broken(design: Mapping[str, Any], tolerance: float = 1e-9) -> bool:
    """Whether a range or a distance is not kept; by plain numbers, not by the design space."""
    room = [design[name] - low for name, (_, low, _) in PARAMETERS.items()]
    room += [high - design[name] for name, (_, _, high) in PARAMETERS.items()]
    backward = [design["backward_1"], design["backward_2"], FIXED_DISK]
    forward = [design[f"forward_{which}"] for which in (1, 2, 3, "timing")]
    for disks in (backward, forward):
        room += [far - near - DISK_GAP for near, far in itertools.pairwise(disks)]
    sagitta = SAGITTA_RADIUS * math.tan(design["cone"]) + SAGITTA_STEP
    room.append(design["barrel"] - sagitta - BARREL_GAP)
    return any(one < -tolerance for one in room)


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
    """The front of quasi-random designs that keep the limits, and the one evolved from it.

    All samples are seen with few tracks; those that are near the front then, with many others.
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
    thetas, sampled = thetas[chosen][front], second[front]
    for stage in STAGES:
        population, generations, n_tracks, seed = stage
        if quick:
            population, generations, n_tracks = max(20, len(thetas)), 2, n_judge
        thetas = _evolved(problem, thetas, (population, generations, n_tracks), Seed(seed))
    return {
        "seed": SEED,
        "n_samples": n_samples,
        "reference": reference_point(sampled).tolist(),
        "sampled": sampled.tolist(),
        "objectives": qualities(problem, thetas, n_judge, Seed("judge")).tolist(),
        "designs": problem.space.design(thetas).numbers(),
    }


def _evolved(
    problem: Tracker, thetas: Float[Tensor, "n d"], plan: tuple[int, int, int], seed: Seed
) -> Float[Tensor, "k d"]:
    """All designs that none dominates, of an evolution that begins with the given ones."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as Box
    from pymoo.core.termination import NoTermination

    population, generations, n_tracks = plan
    cube, limits = UnitCube(problem.space), problem.space.limits
    box: Any = Box(  # type: ignore[abstract]
        n_var=cube.n,
        n_obj=3,
        n_ieq_constr=len(limits),
        xl=np.full(cube.n, EDGE),
        xu=np.full(cube.n, 1 - EDGE),
    )
    more = cube.sobol(max(population - len(thetas), 1), Seed(3))
    first = torch.cat([cube.unit(thetas), more]).numpy()
    search = NSGA2(pop_size=population, sampling=first)
    search.setup(box, seed=1, termination=NoTermination())
    best, known = thetas[:0], torch.empty(0, 3, dtype=torch.float64)
    for _ in range(generations):
        members: Any = search.ask()
        points = torch.as_tensor(np.stack([one.X for one in members]).astype(float))
        points = cube.theta(points.clamp(EDGE, 1 - EDGE))
        values = qualities(problem, points, n_tracks, seed)
        design = problem.space.design(points)
        excess = torch.stack([limit.excess(design) for limit in limits], dim=-1)
        for one, value, over in zip(members, values.numpy(), excess.numpy(), strict=True):
            one.F, one.G = value, over
            one.evaluated.update({"F", "G"})
        search.tell(infills=members)
        allowed = (excess <= 0).all(dim=1)
        best, known = torch.cat([best, points[allowed]]), torch.cat([known, values[allowed]])
        front = _front(known)
        best, known = best[front], known[front]
    return best


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
