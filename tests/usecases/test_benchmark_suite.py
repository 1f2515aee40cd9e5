"""The L-GSO benchmarks against the values that define them."""

import pytest
import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline import evaluate
from detopt.pipeline.evaluation import Request, summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.benchmark_rosenbrock import rosenbrock


def start_value(name, n_events, **options):
    problem = load(name).build(options)
    _, outcome = summarize_design(problem, problem.space.start, Seed(1), n_events)
    return float(outcome.objective)


@pytest.mark.parametrize(("dimensions", "start"), [(10, 45.0), (100, 9.0)])
def test_rosenbrock_starts_where_the_reference_says(dimensions, start):  # arXiv:2002.04632, code
    measured = start_value("benchmark_rosenbrock", 300_000, dimensions=dimensions)
    assert measured == pytest.approx(start, abs=0.05)


def test_rosenbrock_has_its_minimum_at_ones():
    p = torch.ones(10, dtype=torch.float64, requires_grad=True)
    value = rosenbrock(p)
    (slope,) = torch.autograd.grad(value, p)
    assert float(value.detach()) == 0.0
    assert slope.abs().max() == 0.0
    assert rosenbrock(p.detach() + 0.1) > 0


def test_rosenbrock_has_the_noise_of_the_reference():  # 6.6 / sqrt(3000)
    problem = load("benchmark_rosenbrock").build()
    answer = evaluate(problem, Request(problem.space.theta(problem.space.start), ("a",)), Seed(0))
    assert answer.std_error == pytest.approx(0.12, rel=0.2)


def test_only_ten_of_a_hundred_directions_matter():
    simulation = load("benchmark_rosenbrock").build({"dimensions": 100}).function
    psi = torch.randn(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blind = psi - simulation.columns @ (simulation.columns.T @ psi)
    torch.testing.assert_close(simulation.intrinsic(psi), simulation.intrinsic(psi + 3 * blind))


def test_hump_40_starts_above_its_minimum():
    assert -0.7 < start_value("benchmark_hump_40", 100_000) < -0.3


def test_hump_40_is_the_hump_behind_a_map():
    problem = load("benchmark_hump_40").build()
    plane = load("hump").build()
    psi = torch.linspace(-1, 1, 40, dtype=torch.float64)
    expected = plane.function(
        problem.function.plane_design(psi), 500, torch.Generator().manual_seed(3)
    )
    found = problem.function(Design({"psi": psi}), 500, torch.Generator().manual_seed(3))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("table", "n_free"), [("seeded", 91), ("diabetes", 73)])
def test_network_weights_have_the_size_of_the_reference(table, n_free):
    if table == "diabetes":
        pytest.importorskip("sklearn")
    problem = load("benchmark_network_weights").build({"table": table})
    assert problem.space.n_free == n_free


def test_least_squares_of_the_diabetes_table_is_that_of_the_reference():
    pytest.importorskip("sklearn")
    table = load("benchmark_network_weights").build({"table": "diabetes"}).function
    ones = torch.ones(len(table.target), 1, dtype=torch.float64)
    matrix = torch.cat([table.features, ones], dim=1)
    matrix = matrix / matrix.norm(dim=0)
    solution = torch.linalg.lstsq(matrix, table.target[:, None], driver="gelsd").solution
    residual = (matrix @ solution)[:, 0] - table.target
    ratio = float(residual.square().mean() / (table.target - table.target.mean()).square().mean())
    assert ratio == pytest.approx(2859.7 / 5929.9, rel=1e-4)  # both in the reference's unit


@pytest.mark.parametrize(
    ("name", "options", "budget", "level"),
    [
        ("benchmark_rosenbrock", {"dimensions": 10}, 90, 3.0),
        ("hump", {}, 60, -0.70),
        ("benchmark_network_weights", {}, 150, 0.8),
    ],
)
def test_the_local_surrogate_needs_few_calls(name, options, budget, level):
    problem = load(name).build(options)
    optimizer = make("local_surrogate", problem.space, 100, {"seed": 31})
    calls = 0
    while calls < budget:
        answers = [evaluate(problem, request, Seed(31)) for request in optimizer.ask()]
        optimizer.tell(answers)
        calls += len(answers)
    design = problem.space.design(optimizer.recommend())
    _, outcome = summarize_design(problem, design, Seed(7), 50_000)
    assert float(outcome.objective) < level
