"""The lattice analysis beside its exact answer."""

import pytest
import torch

from detopt.design import Design
from detopt.inference.montecarlo_errors import FixedWindow, gamma_method
from detopt.random import Seed
from detopt.usecases import lattice_analysis as lattice
from detopt.usecases import load


@pytest.fixture
def case():
    return load("lattice_analysis")


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def test_masses_and_their_errors_are_exact(rng):
    """Mean square of the pulls of the plateau, for the slowest chain."""
    spacing, n = lattice.SPACINGS["fine"], 20_000
    mass = (lattice.MASS + lattice.SLOPE * spacing**2) * spacing / lattice.HBARC
    pulls = []
    for _ in range(30):
        plateau = lattice.plateau(lattice.pilot("fine", n, number(4.0), rng))
        analysis = gamma_method(plateau, FixedWindow(100))
        pulls.append((analysis.value - mass) / analysis.error)
    mean_square = torch.stack(pulls).square().mean().item()
    assert mean_square == pytest.approx(1, abs=3 * (2 / 30) ** 0.5)


def test_long_pilots_expect_the_exact_error(case):
    config = case.configure({"n_pilot": 20_000})
    share, sources = number([0.2, 0.3, 0.5]), number(4.0)
    design = Design({"share": share, "sources": sources})
    with torch.no_grad():
        found = lattice.build(config).function(design, 8, Seed("lattice").generator())
    exact = lattice.exact_error(config, share, sources).item()
    spread = (found.std() / len(found) ** 0.5).item()
    assert found.mean().item() == pytest.approx(exact, abs=3 * spread)


def test_the_best_share_is_the_minimum(case):
    config, sources = case.configure({}), number(3.0)
    best = lattice.best_share(sources).requires_grad_()
    least = lattice.exact_error(config, best, sources)
    (slope,) = torch.autograd.grad(least, best)
    # at the minimum over a fixed sum all slopes are equal
    torch.testing.assert_close(slope, slope.mean().expand(3), rtol=1e-10, atol=0)


def test_optimization_comes_close_to_the_exact_optimum(case):
    """From pilots alone; each step with fresh ones."""
    problem, config = case.build({}), case.configure({})
    theta = problem.space.theta(problem.space.start).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.4)
    for step in range(16):
        optimizer.zero_grad()
        design = problem.space.design(theta)
        problem.function(design, 1, Seed("pilots", step).generator()).mean().backward()
        optimizer.step()
    final = problem.space.design(theta.detach())
    reached = lattice.exact_error(config, final["share"], final["sources"]).item()
    sources = torch.linspace(1, 30, 291, dtype=torch.float64)
    optimum = lattice.exact_error(config, lattice.best_share(sources), sources).min().item()
    start = problem.space.start
    begin = lattice.exact_error(config, start["share"], start["sources"]).item()
    assert optimum <= reached < optimum + 0.1 * (begin - optimum)
