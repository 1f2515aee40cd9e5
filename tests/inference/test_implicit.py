"""Derivatives of roots and minima against closed forms and against differences."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from detopt.errors import DomainError
from detopt.inference.implicit import attach_minimum, attach_root


def cube(x, a):
    return x**3 + x - a


def cube_root(a):
    """Root of x^3 + x = a by bisection-free Newton steps, without a graph."""
    with torch.no_grad():
        x = a.detach().clone()
        for _ in range(60):
            x = x - cube(x, a) / (3 * x**2 + 1)
    return attach_root(cube, x, a)


def quartic_member(x, a, b):
    form = torch.einsum("...i,ij,...j->...", x, b, x)
    return (x**4).sum(-1) / 4 + form / 2 - (a * x).sum(-1)


def lowest(a, b):
    with torch.no_grad():
        x = torch.zeros_like(a)
        for _ in range(60):
            slope = x**3 + x @ b - a
            x = x - torch.linalg.solve(3 * torch.diag_embed(x**2) + b, slope)
    return attach_minimum(quartic_member, x, a, b)


def inputs():
    a = torch.tensor([[0.3, -1.0], [2.0, 0.4], [-0.7, 1.1]], dtype=torch.float64)
    b = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    return a.requires_grad_(), b.requires_grad_()


def test_derivative_of_a_root_is_the_closed_form():
    a = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    x = cube_root(a)
    (found,) = torch.autograd.grad(x.sum(), a)
    torch.testing.assert_close(found, 1 / (3 * x.detach() ** 2 + 1), rtol=1e-12, atol=0)


def test_second_derivative_of_a_root_is_the_closed_form():
    a = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    x = cube_root(a)
    (first,) = torch.autograd.grad(x.sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a)
    expected = -6 * x.detach() / (3 * x.detach() ** 2 + 1) ** 3
    torch.testing.assert_close(second, expected, rtol=1e-10, atol=0)


def test_value_is_not_changed():
    solution = torch.tensor([0.25], dtype=torch.float64)
    a = torch.tensor([0.265625], dtype=torch.float64, requires_grad=True)
    assert torch.equal(attach_root(cube, solution, a), solution)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_minimum_has_the_gradient_of_differences(check):
    def symmetric(a, b):
        return lowest(a, (b + b.mT) / 2)

    assert check(symmetric, inputs(), atol=1e-6)


def test_gradients_of_several_cotangents_come_at_once():
    a, b = inputs()
    x = lowest(a, b)
    cotangents = torch.eye(6, dtype=torch.float64).reshape(6, 3, 2)
    (batched,) = torch.autograd.grad(x, a, cotangents, is_grads_batched=True, retain_graph=True)
    single = torch.stack(
        [torch.autograd.grad(x, a, one, retain_graph=True)[0] for one in cotangents]
    )
    torch.testing.assert_close(batched, single)


def test_nothing_is_attached_without_inputs_that_need_it():
    solution = torch.ones(2, dtype=torch.float64)
    assert not attach_root(cube, solution, 2 * solution).requires_grad


def test_a_point_that_is_no_root_is_refused():
    a = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    x = cube_root(a.detach()).detach()
    x[1, 0] += 0.01
    with pytest.raises(DomainError, match=r"Entry 0 of the solution of member \[1\]"):
        attach_root(cube, x, a).sum().backward()


def test_a_singular_jacobian_is_refused():
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    total = torch.tensor([0.5, 0.5], dtype=torch.float64)

    def sums(x, a):
        return torch.stack([x.sum(-1) - a[0], 2 * x.sum(-1) - 2 * a[1]], dim=-1)

    with pytest.raises(DomainError, match="singular: entry"):
        attach_root(sums, total, a).sum().backward()


def test_a_residual_without_the_solution_is_refused():
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(DomainError, match="does not depend"):
        attach_root(lambda x, a: (a - a.detach()).detach(), a.detach(), a).sum().backward()
