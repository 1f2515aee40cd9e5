"""Where to evaluate next: the maximum of an acquisition function over allowed designs."""

__all__ = ["maximize", "propose"]

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Limit
from detopt.optimizers.gaussian_process import EXTRA, PURPOSE, Outcomes
from detopt.optimizers.isolation import isolated
from detopt.optimizers.unit_cube import EDGE, UnitCube
from detopt.optional import require
from detopt.random import Seed

N_SAMPLES, N_SAMPLES_SEVERAL = 64, 32  # of the posterior, for one objective and for several
N_SPREAD = 256  # raw candidates over the whole space
N_NEAR = 32  # raw candidates around each anchor and width
WIDTHS = (0.1, 0.01)  # of the clouds around the anchors, in units of the cube
N_STARTS, N_STARTS_LIMITED = 6, 3  # best raw candidates that climb
MAX_STEPS = 60  # of a climb
SWEEPS = 3  # over the neighbors of the levels

Acquisition = Callable[[Float[Tensor, "b 1 n"]], Float[Tensor, " b"]]


def propose(
    outcomes: Outcomes,
    cube: UnitCube,
    n_points: int,
    anchors: Float[Tensor, "a n"],
    reference: Float[Tensor, " m"] | None,
    seed: Seed,
) -> Float[Tensor, "n_points n"]:
    """The designs that promise most, one after the other, each with the ones before it pending.

    One objective is judged by the noisy expected improvement, several by the noisy expected
    growth of the hypervolume, both in logarithms and weighted with the probability that the
    constraints hold.

    Args:
        outcomes: The model.
        cube: Coordinates.
        n_points: Designs wanted.
        anchors: Allowed points near which the search is finer.
        reference: Worst values that count, for several objectives, in the model's own units.
        seed: Of samples and candidates.

    References:
        S. Ament et al., arXiv:2310.20708. S. Daulton et al., arXiv:2105.08195.
    """
    found: list[Tensor] = []
    with isolated(seed):
        acquisition = _acquisition(outcomes, reference, seed)
    for i in range(n_points):
        own = seed.child(i)
        with isolated(own):
            if found:
                acquisition.set_X_pending(cube.features(torch.stack(found)))

            def value(unit: Tensor) -> Tensor:
                gain: Tensor = acquisition(cube.features(unit))
                return gain

            found.append(maximize(value, cube, anchors, own))
    return torch.stack(found)


def _acquisition(outcomes: Outcomes, reference: Tensor | None, seed: Seed) -> Any:
    single = require("botorch.acquisition.logei", extra=EXTRA, purpose=PURPOSE)
    several = require("botorch.acquisition.multi_objective.logei", extra=EXTRA, purpose=PURPOSE)
    objectives = require("botorch.acquisition.objective", extra=EXTRA, purpose=PURPOSE)
    many = require("botorch.acquisition.multi_objective", extra=EXTRA, purpose=PURPOSE)
    sampling = require("botorch.sampling", extra=EXTRA, purpose=PURPOSE)
    n = outcomes.n_objectives
    n_samples = N_SAMPLES if reference is None else N_SAMPLES_SEVERAL
    sampler = sampling.SobolQMCNormalSampler(torch.Size([n_samples]), seed=seed.number % 2**31)
    constraints = [_excess(n + i, bound) for i, bound in enumerate(outcomes.bounds)] or None
    if reference is None:
        return single.qLogNoisyExpectedImprovement(
            outcomes.model,
            outcomes.features,
            sampler,
            objectives.GenericMCObjective(lambda samples, X=None: -samples[..., 0]),  # noqa: ARG005
            constraints=constraints,
        )
    worst = -(reference - outcomes.center[:n]) / outcomes.scale[:n]
    # The package would compile a kernel for this very processor on first use: a minute of waiting,
    # and other bits on another machine. Its Python version gives the same on all.
    several._load_attempted = True
    return several.qLogNoisyExpectedHypervolumeImprovement(
        outcomes.model,
        worst.tolist(),
        outcomes.features,
        sampler,
        many.WeightedMCMultiOutputObjective(
            -torch.ones(n, dtype=torch.float64), outcomes=list(range(n))
        ),
        constraints=constraints,
        prune_baseline=True,
    )


def _excess(column: int, bound: float) -> Callable[[Tensor], Tensor]:
    return lambda samples: samples[..., column] - bound


def maximize(
    acquisition: Acquisition, cube: UnitCube, anchors: Float[Tensor, "a n"], seed: Seed
) -> Float[Tensor, " n"]:
    """The allowed point with the highest acquisition that is found.

    The best of many raw candidates climb by quasi-Newton steps in the continuous coordinates, on
    spaces with limits by sequential quadratic programming with the limits as constraints; levels
    then try their neighbors. What ends outside the limits is drawn back.

    Args:
        acquisition: To be maximized; sees points with one design each.
        cube: Coordinates.
        anchors: Allowed points near which the search is finer.
        seed: Of the raw candidates.
    """
    raw = torch.cat([cube.sobol(N_SPREAD, seed), _around(cube, anchors, seed), anchors])
    starts = raw[_values(acquisition, raw).argsort(descending=True, stable=True)]
    starts = starts[: N_STARTS_LIMITED if cube.space.limits else N_STARTS]
    climbed = _climb(acquisition, cube, starts)
    points = torch.cat([starts, climbed])
    best = points[_values(acquisition, points).argmax()]
    for _ in range(SWEEPS):
        neighbors = cube.allowed(_neighbors(cube, best))
        if not len(neighbors):
            break
        points = torch.cat([best[None], neighbors])
        first = int(_values(acquisition, points).argmax())
        if first == 0:
            break
        points = torch.cat(
            [points[first : first + 1], _climb(acquisition, cube, points[first : first + 1])]
        )
        best = points[_values(acquisition, points).argmax()]
    return best


def _values(acquisition: Acquisition, points: Tensor) -> Tensor:
    with torch.no_grad():
        found = [acquisition(piece[:, None, :]) for piece in points.split(256)]
    return torch.cat(found).nan_to_num(nan=-torch.inf)


def _around(cube: UnitCube, anchors: Tensor, seed: Seed) -> Tensor:
    """Clouds around the anchors, some of whose levels are drawn anew."""
    rng = seed.child("around").generator()
    shape = (len(WIDTHS), len(anchors), N_NEAR, cube.n)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    fresh = torch.rand(shape, generator=rng, dtype=torch.float64)
    renewed = torch.rand(shape, generator=rng, dtype=torch.float64) < 1 / max(cube.n, 2)
    widths = torch.tensor(WIDTHS, dtype=torch.float64)[:, None, None, None]
    moved = (anchors[None, :, None] + widths * noise).clamp(EDGE, 1 - EDGE)
    moved = torch.where(cube.is_discrete, anchors[None, :, None], moved)
    moved = torch.where(cube.is_discrete & renewed, fresh, moved)
    return cube.allowed(cube.snap(moved.reshape(-1, cube.n)))


def _climb(acquisition: Acquisition, cube: UnitCube, starts: Tensor) -> Tensor:
    if bool(cube.is_discrete.all()):
        return starts
    generation = require("botorch.generation.gen", extra=EXTRA, purpose=PURPOSE)
    held = cube.is_discrete
    low = torch.where(held, starts, EDGE)[:, None, :]
    high = torch.where(held, starts, 1 - EDGE)[:, None, :]
    options = {"maxiter": MAX_STEPS}
    if not cube.space.limits:
        found, _ = generation.gen_candidates_scipy(
            starts[:, None, :], acquisition, low, high, options=options, use_parallel_mode=False
        )
        return cube.snap(found[:, 0].detach())
    climbed = []
    for i, start in enumerate(starts):
        found, _ = generation.gen_candidates_scipy(
            start[None, None, :],
            acquisition,
            low[i : i + 1],
            high[i : i + 1],
            nonlinear_inequality_constraints=_room(cube, start),
            options=options,
        )
        point = torch.where(held, start, found[0, 0].detach()).clamp(EDGE, 1 - EDGE)
        theta = cube.bring_in(cube.theta(point), cube.theta(start))
        climbed.append(torch.where(held, start, cube.unit(theta)))
    return cube.allowed(torch.stack(climbed))


def _room(cube: UnitCube, start: Tensor) -> list[tuple[Callable[[Tensor], Tensor], bool]]:
    """What each limit leaves, relative to its bound, or to its change over the cube if larger."""

    def left(limit: Limit) -> Callable[[Tensor], Tensor]:
        def room(unit: Tensor) -> Tensor:
            left = -limit.excess(cube.space.design(cube.theta(unit)))
            return left if left.requires_grad else left + 0 * unit.sum()  # without a slope

        leaf = start.detach().clone().requires_grad_()
        with torch.enable_grad():
            here = room(leaf)
        slope = float(torch.autograd.grad(here, leaf)[0].norm())
        scale = max(abs(limit.bound), slope) or 1.0
        return lambda unit: room(unit) / scale

    return [(left(limit), True) for limit in cube.space.limits]


def _neighbors(cube: UnitCube, point: Tensor) -> Tensor:
    """The points with one level changed: a whole number by one, a category to any other."""
    found = []
    for i, (levels, category) in enumerate(zip(cube.n_levels, cube.is_category, strict=True)):
        here = int(point[i] * levels)
        others = range(levels) if category else (here - 1, here + 1)
        for level in others:
            if levels and level != here and 0 <= level < levels:
                moved = point.clone()
                moved[i] = (level + 0.5) / levels
                found.append(moved)
    return torch.stack(found) if found else point.new_empty(0, cube.n)
