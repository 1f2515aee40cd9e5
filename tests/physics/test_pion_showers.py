"""Showers of charged pions in stacks: response, containment, resolution, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics import materials
from detopt.physics.hadronic_showers import (
    em_fraction,
    hadron_contained_fraction,
    hadron_containment_depth,
    hadron_shape,
    pion_response,
)
from detopt.physics.pion_showers import pion_energy_scale, sample_pion_showers
from detopt.physics.shower_stacks import Layer, Stack
from detopt.physics.tuned_sampling import sample_started_showers, sample_tuned_showers

IRON, PLASTIC = materials.get("iron"), materials.get("polystyrene")


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def sampling_stack(n, thickness=0.025):
    cell = [Layer(IRON, thickness), Layer(PLASTIC, 0.005, active=True)]
    stack = Stack.of(cell * n)
    return stack.with_thickness(stack.thickness.double())


def energies(value, n=2_000):
    return torch.full((n,), float(value), dtype=torch.float64)


def lengths(stack):
    return float((stack.thickness / stack.column("nuclear_interaction_length")).sum())


def resolution(energy, **options):
    visible = sample_pion_showers(sampling_stack(80), energies(energy), rng(), **options)[:, 1::2]
    total = visible.sum(1)
    return float(total.std() / total.mean())


# --- values


@pytest.mark.parametrize(("number", "expected"), [(26.0, 1.0), (82.0, 1.3), (6.0, 1.0)])
def test_scale_of_the_share_is_that_of_iron_and_lead(number, expected):  # Gabriel et al.
    assert float(pion_energy_scale(number)) == pytest.approx(expected)


@pytest.mark.parametrize(("energy", "e_over_h"), [(50.0, 1.4), (50.0, 1.0), (200.0, 1.8)])
def test_response_is_that_of_the_formula(energy, e_over_h):
    stack = sampling_stack(80)
    pion = sample_pion_showers(stack, energies(energy), rng(), e_over_h)[:, 1::2].sum(1)
    electron = sample_tuned_showers(stack, energies(energy, 500), rng())[:, 1::2].sum(1)
    expected = float(pion_response(em_fraction(energy), e_over_h))
    assert float(pion.mean() / electron.mean()) == pytest.approx(expected, rel=0.015)


def test_95_per_cent_are_contained_where_measured():  # Fabjan and Ludlam: 10 %
    energy = 50.0
    needed = float(hadron_containment_depth(energy))
    n_layers = round(80 * needed / lengths(sampling_stack(80)))
    whole, part = (
        sample_pion_showers(sampling_stack(n), energies(energy), rng(), 1.0).sum(1).mean()
        for n in (100, n_layers)
    )
    assert float(part / whole) == pytest.approx(0.95, abs=0.03)


# --- laws


def test_energy_is_conserved_in_a_deep_compensating_stack():
    total = sample_pion_showers(sampling_stack(90), energies(20.0), rng(), 1.0, sampling=0.0)
    assert float(total.sum(1).mean()) == pytest.approx(20.0, rel=0.005)


def contained(depth, energy):
    """Mean share of the hadronic part: the profile behind an exponential start, integrated."""
    start = torch.linspace(0, depth, 2_001, dtype=torch.float64)
    shape = hadron_shape(torch.tensor(energy, dtype=torch.float64))
    behind = hadron_contained_fraction(depth - start, shape, 10.0, 0.0)
    return float(torch.trapezoid(torch.exp(-start) * behind, start))


@pytest.mark.parametrize("energy", [10.0, 100.0])
def test_mean_containment_follows_the_interaction_lengths(energy):
    found, expected = [], []
    for n_layers in (16, 50):  # e/h = 1 and 2 differ by half of the hadronic part
        stack = sampling_stack(n_layers)
        one, two = (
            sample_pion_showers(stack, energies(energy, 1_500), rng(), e_over_h, sampling=0.0)
            for e_over_h in (1.0, 2.0)
        )
        found.append(float((one - two).sum(1).mean()))
        expected.append(contained(lengths(stack), energy))
    assert found[0] / found[1] == pytest.approx(expected[0] / expected[1], rel=0.05)


def test_pions_that_do_not_interact_ionize():
    stack = sampling_stack(2)
    found = sample_pion_showers(stack, energies(50.0), rng())
    median = found.median(0).values
    torch.testing.assert_close(median, stack.ionization, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("energy", [10.0, 40.0, 160.0])
def test_resolution_is_the_stochastic_terms_of_both_parts_if_compensating(energy):
    stack = sampling_stack(80)
    electron = sample_tuned_showers(stack, energies(energy, 500), rng())[:, 1::2].sum(1)
    fraction = float(em_fraction(energy))
    hadronic = 0.09**2 * 1e3 * float(stack.ionization[:2].sum()) / energy
    electromagnetic = float(electron.var() / electron.mean() ** 2)
    expected = ((1 - fraction) * hadronic + fraction * electromagnetic) ** 0.5
    assert resolution(energy, e_over_h=1.0) == pytest.approx(expected, rel=0.1)


def test_constant_term_is_the_share_s_fluctuation_times_the_lack_of_compensation():
    energy, e_over_h, spread = 1e4, 1.6, 0.12  # the stochastic term is small
    fraction = float(em_fraction(energy))
    expected = spread * (1 - 1 / e_over_h) / float(pion_response(fraction, e_over_h))
    found = resolution(energy, e_over_h=e_over_h, spread=spread, sampling=0.0)
    leakage = resolution(energy, e_over_h=1.0, sampling=0.0)
    assert (found**2 - leakage**2) ** 0.5 == pytest.approx(expected, rel=0.1)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 300.0), st.integers(1, 40), st.sampled_from([1.0, 1.4]))
def test_layers_get_positive_finite_energies(energy, n_layers, e_over_h):
    found = sample_pion_showers(sampling_stack(n_layers), energies(energy, 50), rng(), e_over_h)
    assert bool((found.isfinite() & (found >= 0)).all())


def test_started_showers_at_the_front_are_those_of_electrons():
    stack = sampling_stack(20)
    started = sample_started_showers(stack, energies(5.0, 50), energies(0.0, 50), rng())
    torch.testing.assert_close(started, sample_tuned_showers(stack, energies(5.0, 50), rng()))


# --- gradient


def test_gradient_matches_finite_differences():
    stack = sampling_stack(6, thickness=0.05)

    def layers(thickness, energy):
        return sample_pion_showers(stack.with_thickness(thickness), energy, rng(3))

    thickness = stack.thickness.clone().requires_grad_()
    energy = torch.tensor([5.0, 20.0, 80.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layers, (thickness, energy), eps=1e-7, atol=1e-4, rtol=1e-4)


def test_gradient_of_the_mean_visible_energy_matches_finite_differences():
    stack, step = sampling_stack(30), 1e-6

    def visible(thickness):
        one = stack.with_thickness(thickness)
        return sample_pion_showers(one, energies(30.0, 300), rng())[:, 1::2].sum(1).mean()

    leaf = stack.thickness.clone().requires_grad_()
    (slope,) = torch.autograd.grad(visible(leaf), leaf)
    for layer in (0, 11, 59):
        change = torch.zeros_like(stack.thickness)
        change[layer] = step
        sides = [visible(stack.thickness + sign * change) for sign in (1, -1)]
        difference = float(sides[0] - sides[1]) / (2 * step)
        assert float(slope[layer]) == pytest.approx(difference, rel=1e-3)


@pytest.mark.parametrize("options", [{"spread": 0.0}, {"sampling": 0.0}])
def test_gradient_without_one_kind_of_fluctuation_matches_finite_differences(options):
    stack, step = sampling_stack(10), 1e-6

    def visible(energy):
        return sample_pion_showers(stack, energy, rng(), **options)[:, 1::2].sum()

    leaf = energies(20.0, 20).requires_grad_()
    (slope,) = torch.autograd.grad(visible(leaf), leaf)
    sides = [visible(leaf.detach() + sign * step) for sign in (1, -1)]
    assert float(slope.sum()) == pytest.approx(float(sides[0] - sides[1]) / (2 * step), rel=1e-5)


# --- refusals


@pytest.mark.parametrize(
    "options", [{"e_over_h": 0.0}, {"e_over_h": -1.4}, {"sampling": -0.1}, {"spread": -0.1}]
)
def test_value_out_of_range_is_refused(options):
    with pytest.raises(DomainError, match=next(iter(options))):
        sample_pion_showers(sampling_stack(2), energies(5.0, 3), rng(), **options)


@pytest.mark.parametrize("absent", [[2], [3], [2, 3]])
def test_pions_pass_layers_of_no_thickness(absent):
    stack = sampling_stack(8)
    found = []
    for thickness in (0.0, 1e-6):
        filled = stack.thickness.clone()
        filled[absent] = thickness
        filled.requires_grad_()
        layers = sample_pion_showers(stack.with_thickness(filled), energies(20.0, 20), rng())
        (slope,) = torch.autograd.grad(layers.sum(), filled)
        assert bool(slope.isfinite().all())
        found.append(layers.detach())
    torch.testing.assert_close(found[0], found[1], rtol=5e-3, atol=5e-3)
