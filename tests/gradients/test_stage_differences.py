"""Differences for one stage in a differentiable pipeline."""

import math

import pytest
import torch

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.errors import MethodError, NotFoundError
from detopt.gradients import Verdict, check_gradients, differentiate_stage
from detopt.pipeline import FunctionProblem


def design_of(**values):
    return Design({k: torch.tensor(v, dtype=torch.float64).requires_grad_() for k, v in
                   values.items()})  # fmt: skip


def opaque(design, rng):
    """What a foreign program would do: numbers in, numbers out."""
    a, b = design["a"].item(), design["b"].tolist()
    noise = torch.randn(5, generator=rng, dtype=torch.float64)
    return noise * math.exp(a) + b[0] * b[1]


def test_derivative_is_that_of_the_stage(rng):
    design = design_of(a=0.3, b=[2.0, 5.0])
    steps = {"a": 1e-4, "b": 1e-4}
    state = rng.get_state()
    found = differentiate_stage(opaque, design, steps, rng)
    rng.set_state(state)
    noise = torch.randn(5, generator=rng, dtype=torch.float64)
    a, b = torch.autograd.grad(found.square().sum(), [design["a"], design["b"]])
    value = noise * math.exp(0.3) + 10
    assert torch.allclose(found, value)
    assert a.item() == pytest.approx((2 * value * noise).sum().item() * math.exp(0.3), rel=1e-6)
    assert b.tolist() == pytest.approx([2 * value.sum().item() * 5, 2 * value.sum().item() * 2])


def test_generator_stands_where_one_call_leaves_it(rng):
    state = rng.get_state()
    differentiate_stage(opaque, design_of(a=0.3, b=[2.0, 5.0]), {"a": 0.1, "b": 0.1}, rng)
    after = torch.rand(3, generator=rng)
    rng.set_state(state)
    torch.randn(5, generator=rng, dtype=torch.float64)
    assert torch.equal(after, torch.rand(3, generator=rng))


def test_no_derivative_costs_one_call(rng):
    calls = []

    def spy(design, rng):
        calls.append(1)
        return opaque(design, rng)

    with torch.no_grad():
        differentiate_stage(spy, design_of(a=0.3, b=[2.0, 5.0]), {"a": 0.1, "b": 0.1}, rng)
    assert len(calls) == 1
    differentiate_stage(spy, design_of(a=0.3, b=[2.0, 5.0]), {"a": 0.1, "b": 0.1}, rng)
    assert len(calls) == 1 + 1 + 2 * 3


def test_stages_around_it_stay_pathwise():
    def values(design, n, rng):
        energy = design["a"].exp() * torch.rand(n, generator=rng, dtype=design["a"].dtype)

        def table(fixed, rng):  # a stage without derivative, differentiated alone
            return torch.as_tensor(math.sin(fixed["b"].item())).to(energy) + 0 * energy

        return (energy * differentiate_stage(table, design, {"b": 1e-3}, rng) - 1) ** 2

    space = DesignSpace([Continuous("a", 0.4, Real()), Continuous("b", 0.3, Real())])
    found = check_gradients(FunctionProblem(space, values), n_repeats=8)
    assert [check.verdict for check in found] == [Verdict.AGREES] * 2


@pytest.mark.parametrize("step", [0.0, -1.0, math.inf])
def test_impossible_step_is_refused(step, rng):
    with pytest.raises(MethodError, match="step of `a` must be > 0"):
        differentiate_stage(opaque, design_of(a=0.3, b=[2.0, 5.0]), {"a": step}, rng)


def test_missing_names_are_refused(rng):
    design = design_of(a=0.3, b=[2.0, 5.0])
    with pytest.raises(MethodError, match="must name the entries"):
        differentiate_stage(opaque, design, {}, rng)
    with pytest.raises(NotFoundError, match="no `c`"):
        differentiate_stage(opaque, design, {"c": 0.1}, rng)
