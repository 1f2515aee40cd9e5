"""Batched fits against closed forms, pyhf and differences; what they refuse."""

import numpy as np
import pyhf
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from detopt.errors import DomainError, NotFoundError
from detopt.inference.fits import fit, minimize
from detopt.inference.histfactory import (
    Channel,
    HistoSys,
    NormFactor,
    NormSys,
    Sample,
    ShapeFactor,
    ShapeSys,
    histfactory_model,
)
from detopt.inference.workspaces import to_workspace

# pyhf's check of the schema uses an interface that jsonschema will drop
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


SIGNAL, BACKGROUND, UNCERTAINTY = tensor(12.0, 11.0), tensor(50.0, 52.0), tensor(3.0, 7.0)


def model_of(signal, background, uncertainty):
    samples = (
        Sample("signal", signal, (NormFactor("mu"),)),
        Sample(
            "background",
            background,
            (
                ShapeSys("uncertainty", uncertainty),
                HistoSys("shape", 0.9 * background, background * tensor(1.1, 1.0)),
                NormSys("rate", tensor(0.95)[0], tensor(1.04)[0]),
            ),
        ),
    )
    return histfactory_model([Channel("region", samples)]).with_bounds("mu", -5.0, 10.0)


def rosenbrock(point, a):
    return (a - point[..., 0]) ** 2 + 100 * (point[..., 1] - point[..., 0] ** 2) ** 2


def bowl(point, a):
    return ((point - a) ** 2).sum(-1) + (point**4).sum(-1) + point[..., 0] * point[..., 1]


def test_minimum_of_a_curved_valley_is_found_from_far_for_each_member():
    a = tensor(1.0, 0.5, -1.5)
    start = tensor([-1.2, 1.0], [4.0, -3.0], [0.0, 8.0])
    found = minimize(rosenbrock, start, a)
    torch.testing.assert_close(found.parameters, torch.stack([a, a**2], dim=-1))
    assert found.value.abs().max() < 1e-15


def test_bound_holds_and_the_others_are_minimal_on_it():
    def function(point):
        x, y = point.unbind(-1)
        return (x - 3) ** 2 + (y - 2) ** 2 + x * y / 2

    low, high = tensor(-10.0, -10.0), tensor(1.0, 10.0)
    found = minimize(function, tensor(0.0, 0.0), bounds=(low, high))
    torch.testing.assert_close(found.parameters, tensor(1.0, 1.75))  # 2 (y - 2) + 1/2 = 0
    assert found.free.tolist() == [False, True]
    assert found.uncertainty().tolist() == pytest.approx([0.0, 0.5**0.5])


def test_fixed_parameters_stay_and_pass_their_gradient_on():
    def function(point):
        x, y = point.unbind(-1)
        return (x - 3) ** 2 + (y - 2 * x) ** 2

    start = tensor(0.5, 0.0).requires_grad_()
    found = minimize(function, start, fixed=torch.tensor([True, False]))
    torch.testing.assert_close(found.parameters.detach(), tensor(0.5, 1.0))
    (gradient,) = torch.autograd.grad(found.parameters[1], start, retain_graph=True)
    torch.testing.assert_close(gradient, tensor(2.0, 0.0))
    (gradient,) = torch.autograd.grad(found.value, start)
    torch.testing.assert_close(gradient, tensor(-5.0, 0.0))


def test_no_graph_is_made_without_inputs_that_need_it():
    found = minimize(bowl, tensor(1.0, 1.0), tensor(0.3, 0.4))
    assert not found.parameters.requires_grad
    assert not found.value.requires_grad


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_minimum_and_value_have_the_derivatives_of_differences(check):
    def outputs(a):
        found = minimize(bowl, torch.zeros(2, 2, dtype=torch.float64), a)
        return found.parameters, found.value

    assert check(outputs, tensor([0.3, 0.4], [2.0, -1.0]).requires_grad_(), atol=1e-6)


def test_profiled_fit_has_the_derivatives_of_differences():
    def outputs(signal, background, uncertainty, counts, strength):
        model = model_of(signal, background, uncertainty)
        found = fit(model, model.data(counts), {"mu": strength})
        return found.value, found.parameters

    inputs = (SIGNAL, BACKGROUND, UNCERTAINTY, tensor(55.0, 47.0), tensor(1.3)[0])
    assert gradcheck(outputs, [item.clone().requires_grad_() for item in inputs], fast_mode=True)


@pytest.mark.parametrize("fixed", [None, 0.0, 1.5])
def test_fit_is_below_that_of_pyhf_and_at_the_same_place(fixed):
    model = model_of(SIGNAL, BACKGROUND, UNCERTAINTY)
    counts = tensor(51.0, 48.0)
    workspace = pyhf.Workspace(to_workspace(model, counts).as_dict())
    oracle = workspace.model()
    data = workspace.data(oracle)
    if fixed is None:
        point, twice = pyhf.infer.mle.fit(data, oracle, return_fitted_val=True)
    else:
        point, twice = pyhf.infer.mle.fixed_poi_fit(fixed, data, oracle, return_fitted_val=True)
    found = fit(model, model.data(counts), None if fixed is None else {"mu": fixed})
    assert 2 * found.value.item() <= twice + 1e-10
    assert 2 * found.value.item() == pytest.approx(twice, abs=1e-5)
    np.testing.assert_allclose(found.parameters, point, atol=2e-3)
    value = -oracle.logpdf(found.parameters.numpy(), data)[0]
    assert found.value.item() == pytest.approx(value, rel=1e-12)


def test_fit_of_a_counting_experiment_is_the_closed_form():
    samples = (
        Sample("signal", tensor(10.0), (NormFactor("mu"),)),
        Sample("background", tensor(20.0)),
    )
    model = histfactory_model([Channel("region", samples)])
    counts = tensor([35.0], [24.0], [12.0])
    found = fit(model, model.data(counts))
    torch.testing.assert_close(found.parameters[:, 0], tensor(1.5, 0.4, 0.0))
    torch.testing.assert_close(found.uncertainty()[:2, 0], tensor(35.0, 24.0).sqrt() / 10)


def test_members_of_a_batch_are_fitted_as_alone():
    counts = tensor([51.0, 48.0], [70.0, 66.0], [40.0, 60.0])
    model = model_of(SIGNAL, BACKGROUND, UNCERTAINTY)
    found = fit(model, model.data(counts))
    for i in range(3):
        single = fit(model, model.data(counts[i]))
        torch.testing.assert_close(found.parameters[i], single.parameters, rtol=1e-8, atol=1e-9)


def test_a_parameter_that_the_data_do_not_determine_is_named():
    samples = (
        Sample("signal", tensor(10.0, 5.0), (NormFactor("mu"),)),
        Sample("background", tensor(20.0, 20.0), (ShapeFactor("free"),)),
    )
    model = histfactory_model([Channel("region", samples)])
    with pytest.raises(
        DomainError, match=r"Hessian is singular.*`(mu|free\[.\])` is not determined"
    ):
        fit(model, model.data(tensor(31.0, 26.0)))


def test_a_fit_that_does_not_converge_names_member_and_parameter():
    start = tensor([1.0, 1.0], [-1.2, 1.0])
    with pytest.raises(
        DomainError, match=r"in 2 steps of member \[1\] of the batch: `(left|right)`"
    ):
        minimize(rosenbrock, start, tensor(1.0), names=("left", "right"), max_iterations=2)


def test_a_function_without_a_minimum_is_refused():
    with pytest.raises(DomainError, match="does not converge in 30 steps"):
        minimize(
            lambda point: ((1 + point**2).sqrt() - point).sum(-1), tensor(0.0), max_iterations=30
        )


def test_a_linear_function_is_refused():
    with pytest.raises(DomainError, match=r"`0` would still move|singular"):
        minimize(lambda point: point.sum(-1), tensor(0.0), max_iterations=5)


def test_a_start_without_a_value_is_refused():
    with pytest.raises(DomainError, match=r"is nan where the fit starts of member \[1\]"):
        minimize(lambda point: point.log().sum(-1), tensor([1.0], [-1.0]))


def test_an_unknown_parameter_to_fix_is_refused():
    model = model_of(SIGNAL, BACKGROUND, UNCERTAINTY)
    with pytest.raises(NotFoundError, match="No parameter `nu`"):
        fit(model, model.data(tensor(50.0, 50.0)), {"nu": 1.0})
