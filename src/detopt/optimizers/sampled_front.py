"""Where to evaluate next for several objectives: the front of a sample of the posterior."""

__all__ = ["propose_front"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.optimizers.gaussian_process import EXTRA, PURPOSE, Outcomes
from detopt.optimizers.isolation import isolated
from detopt.optimizers.pareto import non_dominated
from detopt.optimizers.unit_cube import EDGE, UnitCube
from detopt.optional import require
from detopt.random import Seed

N_SPREAD = 512  # first candidates, over the whole space
N_GENERATIONS, N_CHILDREN = 60, 200
N_PARENTS = 200  # candidates that a generation keeps at most
WIDEST, NARROWEST = 0.2, 0.002  # of mutations, in units of the cube
CROSSED = 0.5  # share of children that also step from one parent to another

Function = Callable[[Float[Tensor, "k n"]], Float[Tensor, "k outcomes"]]


def propose_front(
    outcomes: Outcomes,
    cube: UnitCube,
    n_points: int,
    known: Float[Tensor, "k n"],
    reference: Float[Tensor, " m"],
    seed: Seed,
) -> Float[Tensor, "n_points n"]:
    """Designs of a sampled front that add most to the hypervolume, one after the other.

    A function of every outcome is drawn from the posterior (Thompson sampling). Candidates
    evolve towards the front of these functions, among the allowed designs that keep the sampled
    constraints. Then those are taken that dominate most of the volume which neither the known
    designs nor the ones taken before dominate, by the same functions.

    Args:
        outcomes: The model.
        cube: Coordinates.
        n_points: Designs wanted.
        known: Evaluated designs.
        reference: Worst values that count, in the objectives' own units.
        seed: Of the sample and of the evolution.

    References:
        E. Bradford, A. Schweidtmann and A. Lapkin, J. Glob. Optim. 71 (2018) 407. J. Wilson et
        al., arXiv:2011.04026 (samples as functions).
    """
    pathwise = require("botorch.sampling.pathwise", extra=EXTRA, purpose=PURPOSE)
    n = outcomes.n_objectives
    with isolated(seed.child("sample")), torch.no_grad():
        sample = pathwise.get_matheron_path_model(outcomes.model)

        def value(unit: Tensor) -> Tensor:
            found: Tensor = outcomes.center + outcomes.scale * sample(cube.features(unit))
            return found

        candidates = _evolve(value, cube, known, n, seed)
        while len(candidates) < n_points:  # hardly a front: any allowed designs
            more = cube.sobol(n_points, seed.child("more", len(candidates)))
            candidates = torch.cat([candidates, more])
        old = value(known)
        old = old[(old[:, n:] <= 0).all(dim=1), :n]
        chosen = _choose(value(candidates)[:, :n], old, n_points, reference)
        return candidates[chosen]


def _evolve(
    value: Function, cube: UnitCube, known: Tensor, n_objectives: int, seed: Seed
) -> Float[Tensor, "k n"]:
    rng = seed.child("evolution").generator()
    points = torch.cat([known, cube.sobol(N_SPREAD, seed.child("spread"))])
    values = value(points)
    for _ in range(N_GENERATIONS):
        fittest = _fittest(values, n_objectives)
        points, values = points[fittest], values[fittest]
        children = _children(points, cube, rng)
        if len(children):
            points, values = torch.cat([points, children]), torch.cat([values, value(children)])
    return points[_fittest(values, n_objectives)]


def _fittest(values: Float[Tensor, "k outcomes"], n_objectives: int) -> Tensor:
    """Indices of the front, thinned evenly; of the least violations where none is feasible."""
    violation = values[:, n_objectives:].clamp(min=0).sum(dim=1)
    good = (violation <= 0).nonzero().flatten()
    if not len(good):
        return violation.argsort(stable=True)[:N_PARENTS]
    front = good[non_dominated(values[good, :n_objectives])]
    if len(front) <= N_PARENTS:
        return front
    level = values[front, :n_objectives]
    extent = (level.amax(dim=0) - level.amin(dim=0)).clamp(min=1e-12)
    return front[_spread(level / extent)]


def _spread(places: Float[Tensor, "k m"]) -> Tensor:
    """Indices of points far from each other, the lowest in each direction among them."""
    chosen = list(dict.fromkeys(places.argmin(dim=0).tolist()))
    distance = torch.cdist(places, places[chosen]).amin(dim=1)
    while len(chosen) < N_PARENTS:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (places - places[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def _children(points: Float[Tensor, "k n"], cube: UnitCube, rng: Generator) -> Float[Tensor, "l n"]:
    """Allowed points near the given ones, at distances of all orders of magnitude."""
    n = (N_CHILDREN, cube.n)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    first, second = points[torch.randint(len(points), (2, N_CHILDREN), generator=rng)]
    step = torch.where(uniform(n[0], 1) < CROSSED, uniform(n[0], 1), 0.0) * (second - first)
    width = WIDEST * (NARROWEST / WIDEST) ** uniform(n[0], 1)
    noise = width * torch.randn(n, generator=rng, dtype=torch.float64)
    moved = uniform(*n) < uniform(n[0], 1).clamp(min=1 / cube.n)
    child = first + step + torch.where(moved, noise, 0.0)
    renewed = cube.is_discrete & (uniform(*n) < 1 / cube.n)
    child = torch.where(renewed, uniform(*n), child)
    return cube.allowed(cube.snap(child.clamp(EDGE, 1 - EDGE)))


def _choose(
    values: Float[Tensor, "k m"],
    known: Float[Tensor, "l m"],
    n_points: int,
    reference: Float[Tensor, " m"],
) -> list[int]:
    boxes = require(
        "botorch.utils.multi_objective.box_decompositions.non_dominated",
        extra=EXTRA,
        purpose=PURPOSE,
    )
    chosen: list[int] = []
    for _ in range(n_points):
        covered = -torch.cat([known, values[chosen]])
        low, high = boxes.FastNondominatedPartitioning(-reference, covered).get_hypercell_bounds()
        sides = (torch.minimum(-values[:, None], high) - low).clamp(min=0)
        growth = sides.prod(dim=-1).sum(dim=1)
        growth[chosen] = -1.0
        chosen.append(int(growth.argmax()))
    return chosen
