"""The table that is looked up by the bits of a number, against the function in it."""

import math

import pytest
import torch

from detopt.physics import energy_loss
from detopt.physics._octaves import OctaveTable, chained


def power(exponent):
    return OctaveTable.of(lambda x: x**exponent, torch.device("cpu"))


@pytest.mark.parametrize("exponent", [-0.8, 0.57, 1.77])
def test_powers_are_exact_to_single_precision(exponent):
    x = torch.logspace(-12, 12, 10_001, dtype=torch.float64).float()
    torch.testing.assert_close(
        power(exponent)(x).double(), x.double() ** exponent, rtol=1e-6, atol=0
    )


def test_a_parabola_has_its_slope_and_curvature():
    x = torch.tensor([0.3, 1.0, 77.0], requires_grad=True)
    (slope,) = torch.autograd.grad(power(2.0)(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(slope, 2 * x)
    torch.testing.assert_close(curvature, torch.full_like(x, 2.0), rtol=1e-3, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_transforms_give_the_derivatives_of_autograd():
    table, x = power(0.57), torch.tensor([[0.3, 1.1], [4.0, 9.0]])
    expected = 0.57 * x**-0.43
    each = torch.func.vmap(torch.func.vmap(torch.func.grad(table)))(x)
    torch.testing.assert_close(each, expected, rtol=1e-4, atol=0)
    _, along = torch.func.jvp(table, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(along, expected, rtol=1e-4, atol=0)


def test_the_edges_of_the_domain_are_kept():
    root = power(0.5)(torch.tensor([0.0, -1.0, math.nan]))
    assert root[0] == 0.0
    assert root[1:].isnan().all()


def test_many_numbers_equal_few():
    x = torch.rand(200_001) + 0.1
    torch.testing.assert_close(power(0.5)(x)[-7:], power(0.5)(x[-7:]), rtol=0, atol=0)


@pytest.mark.parametrize("function", [energy_loss.stopping_power, energy_loss.csda_range])
@pytest.mark.parametrize("particle", ["muon", "proton", "electron"])
def test_single_precision_agrees_with_double(function, particle):
    energy = torch.logspace(-3, 2, 5_001, dtype=torch.float64).float()
    single = function(particle, "water", energy)
    double = function(particle, "water", energy.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=0)


def test_a_particle_that_stops_has_no_energy_and_no_gradient_in_single_precision():
    path = torch.tensor([0.01, 1.0], requires_grad=True)
    left = energy_loss.residual_energy("proton", "water", torch.tensor(0.1), path)
    (slope,) = torch.autograd.grad(left.sum(), path)
    assert left[0] > 0.09
    assert slope[0] < 0
    assert (left[1], slope[1]) == (0.0, 0.0)


def test_many_losses_in_one_layer_are_those_of_few():
    energy, path = torch.tensor(1.0), torch.tensor(3e-4, requires_grad=True)
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    many = energy_loss.sample_loss("muon", "Si", energy, path, noise)
    few = energy_loss.sample_loss("muon", "Si", energy, path, noise[:500])
    torch.testing.assert_close(many[:500], few, rtol=2e-4, atol=0)
    (slope,) = torch.autograd.grad(many[:500].sum(), path, retain_graph=True)
    (expected,) = torch.autograd.grad(few.sum(), path)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_table_of_a_table_has_the_value_and_slopes_of_both():
    inner, outer = power(1.77), power(0.57)

    def both(x, shift):
        return chained(x, inner, shift, 2.0, outer)

    x, shift = torch.rand(70_000) + 1.0, 0.1 * torch.rand(70_000)
    expected = (x.double() ** 1.77 - 2.0 * shift.double()) ** 0.57
    torch.testing.assert_close(both(x, shift).double(), expected, rtol=3e-6, atol=0)
    few = both(x[:7].requires_grad_(), shift[:7])
    torch.testing.assert_close(few, both(x, shift)[:7], rtol=0, atol=0)

    by_x, by_shift = torch.func.vmap(torch.func.grad(both, (0, 1)))(x[:7], shift[:7])
    slope = 0.57 * (x[:7] ** 1.77 - 2 * shift[:7]) ** -0.43
    torch.testing.assert_close(by_x, slope * 1.77 * x[:7] ** 0.77, rtol=1e-4, atol=0)
    torch.testing.assert_close(by_shift, -2 * slope, rtol=1e-4, atol=0)
    ones = torch.ones(7)
    _, along = torch.func.jvp(both, (x[:7], shift[:7]), (ones, ones))
    torch.testing.assert_close(along, by_x + by_shift, rtol=1e-4, atol=0)
    mapped = torch.func.vmap(both, in_dims=(0, None))(x[:7], shift[0])
    torch.testing.assert_close(mapped, both(x[:7], shift[:1].expand(7)))
