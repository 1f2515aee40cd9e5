"""The end-to-end surrogate: materials and thicknesses, limits, rows, and the same bits again."""

import dataclasses
import io

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit, Real
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.optimizers.discrete_features import DiscreteFeatures
from detopt.pipeline import FunctionProblem, Outcome, Summary, evaluate
from detopt.random import Seed

SMOOTH = DesignSpace([Continuous("a", 0.5, Real()), Continuous("b", 0.0, Real())])
MIXED = DesignSpace(
    [
        Categorical("metal", ("iron", "lead", "tungsten"), "iron"),
        Continuous("thickness", 1.0, Interval(0.2, 5.0)),
        Integer("layers", 3, 1, 6),
    ]
)
LEARN = {"training": {"n_steps": 150, "n_warm_steps": 50}}
SHORT = {"training": {"n_steps": 20, "n_warm_steps": 5, "batch": 64}, "batch": 4}


def bowl(design, n_events, rng):
    noise = 0.05 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    return (design["a"] - 1).square() + (design["b"] + 0.5).square() + noise


def calorimeter(design, n_events, rng):
    """Best with lead, 2.0 thick, and four layers."""
    noise = 0.05 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    offset = torch.tensor([1.0, 0.0, 0.6])[design["metal"].long()]
    best = torch.tensor([1.0, 2.0, 3.0])[design["metal"].long()]
    layers = (design["layers"] - 4).square() / 4
    return offset + (design["thickness"] - best).square() + layers + noise


def problem_of(space, function, n_events=100):
    return FunctionProblem(space, function, n_events=n_events, dtype=torch.float64)


def walk(optimizer, problem, n_rounds):
    seen = []
    for _ in range(n_rounds):
        requests = optimizer.ask()
        seen += requests
        optimizer.tell([evaluate(problem, request, Seed(3)) for request in requests])
    return seen


@dataclasses.dataclass(frozen=True)
class Showers(Summary):
    """True energy, and the signal."""

    energy: Float[Tensor, " n"]
    signal: Float[Tensor, " n"]


class Resolution(FunctionProblem):
    """Mean square of a signal's error, which falls with `a`, and a price."""

    def summarize(self, design, n_events, rng):
        energy = 1 + torch.rand(n_events, generator=rng, dtype=torch.float64)
        noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
        return Showers(energy, energy * (1 + noise * torch.exp(-design["a"]) / 2))

    def judge(self, summary, design):
        miss = (summary.signal - summary.energy).square().mean()
        return Outcome(miss + 0.1 * design["a"] + design["b"].square())


# --- what is found


def test_minimum_of_a_bowl_is_found():
    problem = problem_of(SMOOTH, bowl)
    optimizer = make("end_to_end_surrogate", SMOOTH, 6, {**LEARN, "seed": 1}, problem)
    walk(optimizer, problem, 6)
    assert optimizer.recommend().tolist() == pytest.approx([1.0, -0.5], abs=0.25)


def test_material_number_and_thickness_are_found():
    problem = problem_of(MIXED, calorimeter)
    optimizer = make("end_to_end_surrogate", MIXED, 8, {**LEARN, "seed": 2}, problem)
    walk(optimizer, problem, 8)
    best = MIXED.design(optimizer.recommend())
    assert int(best["metal"]) == 1
    assert int(best["layers"]) == 4
    assert float(best["thickness"]) == pytest.approx(2.0, abs=0.4)


def test_quantity_is_learned_given_the_truth():
    problem = Resolution(SMOOTH, bowl, n_events=400, dtype=torch.float64)
    options = {**LEARN, "target": "quantity", "given": ["energy"], "seed": 1, "batch": 4}
    optimizer = make("end_to_end_surrogate", SMOOTH, 3, options, problem)
    walk(optimizer, problem, 3)
    found = optimizer.predict(torch.tensor([[0.5, 0.0], [1.0, 0.0]], dtype=torch.float64))
    # mean square of the energy is 7/3, that of the noise exp(-2a)/4
    expected = [7 / 12 * torch.tensor(-2 * a).exp().item() + 0.1 * a for a in (0.5, 1.0)]
    assert found.tolist() == pytest.approx(expected, rel=0.25)
    assert float(optimizer.recommend()[0]) > 0.7  # 1.23 is exact


# --- laws


def test_no_evaluated_design_breaks_a_limit():
    limit = Limit("length", lambda design: design["thickness"] * design["layers"], 8.0, "")
    space = DesignSpace(MIXED.parameters, limits=[limit])
    problem = problem_of(space, calorimeter)
    optimizer = make("end_to_end_surrogate", space, 4, {**SHORT, "seed": 1}, problem)
    requests = walk(optimizer, problem, 4)
    assert len(requests) == 3 * 5 + 13
    assert all(space.allows(request.theta) for request in requests)
    for request in requests:
        space.check(space.design(request.theta))


@pytest.mark.parametrize("options", [{}, {"target": "quantity", "given": ["energy"]}])
def test_stored_state_goes_on_to_the_same_bits(options):
    problem = Resolution(SMOOTH, bowl, n_events=50, dtype=torch.float64)
    whole, first, second = (
        make("end_to_end_surrogate", SMOOTH, 4, {**SHORT, **options}, problem) for _ in range(3)
    )
    walk(whole, problem, 3)
    walk(first, problem, 2)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    walk(second, problem, 1)
    assert torch.equal(whole.recommend(), second.recommend())
    assert all(
        torch.equal(one.theta, other.theta)
        for one, other in zip(whole.ask(), second.ask(), strict=True)
    )


def test_features_of_choices_and_numbers():
    features = DiscreteFeatures(MIXED)
    theta = MIXED.theta(MIXED.start)
    found = features.of(theta[None])[0]
    assert found[:3].tolist() == [1.0, 0.0, 0.0]
    assert found[3] == theta[3]
    assert found[4] == 3.0
    neighbors = features.neighbors(theta, 99, torch.Generator().manual_seed(1))
    designs = [MIXED.design(one) for one in neighbors]
    assert sorted((int(d["metal"]), int(d["layers"])) for d in designs) == [
        (0, 2), (0, 4), (1, 3), (2, 3)]  # fmt: skip
    assert len(features.neighbors(theta, 2, torch.Generator().manual_seed(1))) == 2


# --- gradient


@pytest.mark.parametrize("options", [{}, {"target": "quantity", "given": ["energy"]}])
def test_surrogate_has_the_derivative_of_finite_differences(options):
    problem = Resolution(SMOOTH, bowl, n_events=50, dtype=torch.float64)
    optimizer = make("end_to_end_surrogate", SMOOTH, 4, {**SHORT, **options}, problem)
    walk(optimizer, problem, 1)
    at = torch.tensor([[0.4, 0.1], [0.6, -0.1]], dtype=torch.float64, requires_grad=True)
    tolerance = {"eps": 1e-3, "atol": 2e-2} if options else {}  # single precision
    assert torch.autograd.gradcheck(optimizer.predict, at, **tolerance)


# --- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "`radius` must be > 0"),
        ({"batch": 0}, "`batch` must be a whole number >= 1"),
        ({"target": "cost"}, "`target` must be one of objective, quantity"),
        ({"generator": "wavelet"}, "`generator` must be one of flow"),
        ({"target": "quantity"}, "needs `problem`"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(MethodError, match=message):
        make("end_to_end_surrogate", SMOOTH, 3, options)


def test_fields_that_are_not_there_are_refused():
    problem = Resolution(SMOOTH, bowl, n_events=50, dtype=torch.float64)
    for given, message in (
        (["truth"], "no field truth"),
        (["energy", "signal"], "nothing is left"),
    ):
        options = {**SHORT, "target": "quantity", "given": given}
        with pytest.raises(MethodError, match=message):
            walk(make("end_to_end_surrogate", SMOOTH, 3, options, problem), problem, 1)
    with pytest.raises(MethodError, match="no surrogate before the first round"):
        make("end_to_end_surrogate", SMOOTH, 3).predict(torch.zeros(1, 2).double())
