"""Proposals from the front of a sample: known fronts, limits, constraints, mixed spaces."""

import math

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Interval, Limit
from detopt.optimizers.gaussian_process import fit
from detopt.optimizers.records import Records
from detopt.optimizers.sampled_front import propose_front
from detopt.optimizers.unit_cube import UnitCube
from detopt.pipeline import Evaluation, Request
from detopt.pipeline.evaluation import CONSTRAINT, OBJECTIVE
from detopt.random import Seed

PLANE = [Continuous(name, 0.2, Interval(0.0, 1.0)) for name in ("x", "y")]
WORST = torch.tensor([2.0, 2.0], dtype=torch.float64)


def outcome(space, theta):
    """Squared distances from (0, 0) and (1, 1), whose front is the diagonal."""
    design = space.design(theta)
    place = torch.stack([design["x"], design["y"]])
    wrong = 0.5 * design["glue"].double() if "glue" in design else 0.0
    return {
        "near": float(place.square().sum() + wrong),
        "far": float((1 - place).square().sum() + wrong),
    }


def model_of(space, constraint=None, n=30):
    cube, records = UnitCube(space), Records(space.n_free)
    told = []
    for theta in cube.theta(cube.sobol(n, Seed(1))):
        objectives = outcome(space, theta)
        terms = {OBJECTIVE + name: value for name, value in objectives.items()}
        if constraint:
            terms[CONSTRAINT + "c"] = constraint(space.design(theta))
        request = Request(theta, ("round", 0))
        told.append(
            Evaluation(request, sum(objectives.values()), math.nan, None, None, terms=terms)
        )
    records.add(told)
    rows = torch.ones(n, dtype=torch.bool)
    return fit(records, cube, Seed(0), single=False, rows=rows), cube, cube.unit(records.thetas)


def test_proposals_lie_along_the_front():
    space = DesignSpace(PLANE)
    model, cube, known = model_of(space)
    found = propose_front(model, cube, 6, known, WORST, Seed(2))
    assert (found[:, 0] - found[:, 1]).abs().max() < 0.1
    assert found[:, 0].max() - found[:, 0].min() > 0.4


def test_the_same_seed_gives_the_same_bits():
    model, cube, known = model_of(DesignSpace(PLANE))
    first, again, other = (
        propose_front(model, cube, 2, known, WORST, Seed(seed)) for seed in (2, 2, 3)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_proposals_keep_the_limits_and_reach_them():  # the front is bent where x + y >= 0.9
    space = DesignSpace(
        [Continuous(name, 0.6, Interval(0.0, 1.0)) for name in ("x", "y")],
        limits=[Limit("sum", lambda d: -d["x"] - d["y"], -0.9)],
    )
    model, cube, known = model_of(space)
    found = propose_front(model, cube, 8, known, WORST, Seed(2))
    assert all(space.allows(theta) for theta in cube.theta(found))
    assert float(found.sum(dim=1).min()) < 0.95


def test_proposals_keep_a_modelled_constraint():
    model, cube, known = model_of(DesignSpace(PLANE), lambda d: float(1.2 - d["x"] - d["y"]))
    found = propose_front(model, cube, 4, known, WORST, Seed(2))
    assert float(found.sum(dim=1).min()) > 1.15


def test_better_category_is_taken():
    space = DesignSpace([*PLANE, Categorical("glue", ("a", "b"), "b")])
    model, cube, known = model_of(space)
    found = propose_front(model, cube, 4, known, WORST, Seed(2))
    assert space.design(cube.theta(found))["glue"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("constraint", [lambda _: 1.0, lambda d: float(1.0 + d["x"])])
def test_hopeless_constraint_still_gives_proposals(constraint):
    model, cube, known = model_of(DesignSpace(PLANE), constraint)
    assert propose_front(model, cube, 3, known, WORST, Seed(2)).shape == (3, 2)
