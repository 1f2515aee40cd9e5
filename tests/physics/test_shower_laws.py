"""Scaling laws of showers, and values worked by hand from the formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.physics import materials
from detopt.physics.sampling_showers import sharing_weight
from detopt.physics.shower_stacks import sum_cells
from detopt.physics.showers import (
    HadronShape,
    Layer,
    Stack,
    contained_fraction,
    deposit_in_layers,
    e_over_mip,
    energy_resolution,
    fluctuated_em_fraction,
    fluctuated_shape,
    gflash_critical_energy,
    hadron_contained_fraction,
    hadron_containment_depth,
    hadron_layer_energies,
    hadron_leakage,
    hadron_profile,
    hadron_shape,
    hadron_shower_maximum,
    homogeneous,
    leakage,
    mean_layer_energies,
    mean_shape,
    photon_tail,
    radial_containment,
    radial_profile,
    radial_quantile,
    radial_shape,
    relative_depth,
    rossi_shape,
    sample_conversion_depth,
    sample_em_fraction,
    sampling_fraction,
    shower_maximum,
    spot_count,
    stack_medium,
)

QUICK = settings(deadline=None, max_examples=40)
LEAD, IRON = homogeneous(materials.get("Pb")), homogeneous(materials.get("Fe"))
energies = st.floats(1.0, 100.0)


def stack(passive=2e-3, active=4e-3, n_cells=30):
    cell = [
        Layer(materials.get("Pb"), passive),
        Layer(materials.get("polystyrene"), active, active=True),
    ]
    return Stack.of(cell * n_cells)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@QUICK
@given(energy=energies, factor=st.floats(1.1, 5.0))
def test_maximum_deepens_with_the_logarithm_of_the_energy(energy, factor):
    shift = shower_maximum(factor * energy, 0.01) - shower_maximum(energy, 0.01)
    assert shift.item() == pytest.approx(math.log(factor))
    hadrons = hadron_shower_maximum(factor * energy) - hadron_shower_maximum(energy)
    assert hadrons.item() == pytest.approx(0.2 * math.log(factor))


@QUICK
@given(energy=energies)
def test_photons_shower_one_radiation_length_deeper(energy):
    gap = shower_maximum(energy, 0.01, "photon") - shower_maximum(energy, 0.01)
    assert gap.item() == pytest.approx(1.0)


@QUICK
@given(energy=energies, beta=st.floats(0.3, 0.8))
def test_textbook_shape_has_its_maximum_where_the_formula_says(energy, beta):
    shape = rossi_shape(energy, 0.01, beta=beta)
    assert ((shape.alpha - 1) / shape.beta).item() == pytest.approx(
        shower_maximum(energy, 0.01).item()
    )


@QUICK
@given(length=st.floats(1e-3, 1e-1), density=st.floats(1.0, 20.0))
def test_critical_energy_of_gflash_is_a_power_of_the_radiation_length(length, density):
    near, far = (gflash_critical_energy(x, density, 0.4) for x in (length, 2 * length))
    assert (far / near).item() == pytest.approx(2**1.1)


@QUICK
@given(energy=energies)
def test_spots_grow_with_the_published_power_of_the_energy(energy):
    near, far = (spot_count(e, LEAD) for e in (energy, 2 * energy))
    assert (far / near).item() == pytest.approx(2**0.876)


@QUICK
@given(energy=energies)
def test_shape_without_fluctuation_is_the_mean_one_of_single_showers(energy):
    single = fluctuated_shape(energy, LEAD, tensor(0.0, 0.0))
    other = fluctuated_shape(energy, LEAD, tensor(0.5, -0.5))
    # ln T moves with z1 + z2 in equal parts up to c+ and c-, so the two differ
    assert single.maximum.item() != pytest.approx(other.maximum.item(), rel=1e-3)
    opposite = fluctuated_shape(energy, LEAD, tensor(-0.5, 0.5))
    torch.testing.assert_close(other.maximum * opposite.maximum, single.maximum**2)


def test_ten_gev_shape_in_lead_is_that_worked_by_hand():
    lead = materials.get("Pb")
    critical = gflash_critical_energy(lead.radiation_length, lead.density, lead.z_over_a)
    y = 10.0 / critical.item()
    shape = mean_shape(10.0, LEAD)
    assert shape.maximum.item() == pytest.approx(math.log(y) - 0.858, rel=1e-6)
    alpha = 0.21 + (0.492 + 2.38 / 82) * math.log(y)
    assert shape.alpha.item() == pytest.approx(alpha, rel=1e-6)


def test_conversion_depths_are_exponential_with_nine_sevenths(rng):
    depth = sample_conversion_depth((400_000,), rng)
    assert depth.mean().item() == pytest.approx(9 / 7, rel=5e-3)
    assert (depth > 9 / 7 * math.log(2)).double().mean().item() == pytest.approx(0.5, abs=4e-3)


@QUICK
@given(depth=st.floats(0.0, 30.0), energy=energies)
def test_what_is_not_contained_leaks(depth, energy):
    shape, tail = mean_shape(energy, IRON), photon_tail(26)
    for photons in (None, tail):
        total = contained_fraction(depth, shape, photons) + leakage(depth, shape, photons)
        assert total.item() == pytest.approx(1.0)
    assert leakage(depth, shape, tail) >= leakage(depth, shape) - 0.02


@QUICK
@given(depth=st.floats(0.1, 30.0), energy=energies)
def test_age_of_the_mean_shower_is_one_at_its_maximum(depth, energy):
    shape = mean_shape(energy, LEAD)
    age = relative_depth(depth, shape, shape)
    assert age.item() == pytest.approx(depth / shape.maximum.item())


@QUICK
@given(age=st.floats(0.2, 3.0), energy=energies, share=st.floats(0.01, 0.99))
def test_radius_of_a_share_holds_that_share(age, energy, share):
    shape = radial_shape(age, energy, LEAD)
    radius = radial_quantile(share, shape)
    assert radial_containment(radius, shape).item() == pytest.approx(share, rel=1e-9)


def test_radial_profile_at_the_medians_is_that_worked_by_hand():
    shape = radial_shape(1.0, 10.0, LEAD)
    core, tail, weight = (x.item() for x in (shape.core, shape.tail, shape.weight))
    radius = 0.3
    parts = [2 * radius * r**2 / (radius**2 + r**2) ** 2 for r in (core, tail)]
    expected = weight * parts[0] + (1 - weight) * parts[1]
    assert radial_profile(radius, shape).item() == pytest.approx(expected)


@QUICK
@given(radius=st.floats(0.05, 5.0))
def test_radial_profile_is_the_slope_of_the_containment(radius):
    shape = radial_shape(1.0, 10.0, LEAD)
    where = tensor(radius).requires_grad_()
    (slope,) = torch.autograd.grad(radial_containment(where, shape).sum(), where)
    torch.testing.assert_close(slope, radial_profile(where.detach(), shape))


@QUICK
@given(depth=st.floats(0.01, 8.0), energy=st.floats(10.0, 200.0), weight=st.floats(0.0, 1.0))
def test_hadron_profile_is_the_slope_of_what_is_contained(depth, energy, weight):
    shape = hadron_shape(energy)
    where = tensor(depth).requires_grad_()
    inside = hadron_contained_fraction(where, shape, 9.6, weight)
    (slope,) = torch.autograd.grad(inside.sum(), where)
    torch.testing.assert_close(slope, hadron_profile(where.detach(), shape, 9.6, weight))
    assert (inside + hadron_leakage(where, shape, 9.6, weight)).item() == pytest.approx(1.0)


@QUICK
@given(energy=st.floats(10.0, 200.0))
def test_hadron_showers_of_higher_energy_are_longer(energy):
    low, high = (hadron_shape(e) for e in (energy, 2 * energy))
    assert isinstance(low, HadronShape)
    assert hadron_leakage(5.0, low, 9.6) < hadron_leakage(5.0, high, 9.6)
    assert hadron_containment_depth(energy) < hadron_containment_depth(2 * energy)


def test_em_fraction_without_spread_is_its_mean():
    share = fluctuated_em_fraction(0.6, 1e-6, tensor(-2.0, 0.0, 2.0))
    torch.testing.assert_close(share, tensor(0.6, 0.6, 0.6), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("energy", [20.0, 100.0])
def test_drawn_em_fractions_have_the_mean_and_spread_of_the_model(energy, rng):
    share = sample_em_fraction(torch.full((200_000,), energy, dtype=torch.float64), rng, 0.1)
    # Groom: 1 - (E/1 GeV)^(0.82 - 1)
    assert share.mean().item() == pytest.approx(1 - energy**-0.18, rel=5e-3)
    assert share.std().item() == pytest.approx(0.1, rel=0.03)


def test_hadrons_without_em_share_count_less_by_e_over_h():
    layers, energy = stack(), tensor(50.0)
    none, start = tensor(0.0), tensor(0.2)
    full = hadron_layer_energies(layers, energy, none, start, 1.0)
    less = hadron_layer_energies(layers, energy, none, start, 1.5)
    torch.testing.assert_close(less, full / 1.5)


def test_hadrons_leave_nothing_before_their_first_interaction():
    layers = stack()
    late = hadron_layer_energies(layers, tensor(50.0), tensor(0.5), tensor(100.0))
    assert late.abs().max().item() == 0.0


def test_gradient_of_the_hadronic_layers_matches_finite_differences():
    layers = stack(passive=2e-2, n_cells=2)

    def energies_in(thickness, fraction, ratio):
        changed = layers.with_thickness(thickness)
        return hadron_layer_energies(changed, tensor(50.0), fraction, tensor(0.01), ratio)

    inputs = [
        layers.thickness.clone().requires_grad_(),
        tensor(0.5).requires_grad_(),
        tensor(1.4).requires_grad_(),
    ]
    assert torch.autograd.gradcheck(energies_in, inputs, eps=1e-7, atol=1e-5)


def test_gradient_of_the_deposits_matches_finite_differences():
    layers, shape = stack(n_cells=3), mean_shape(5.0, LEAD)

    def energies_in(thickness, energy, start):
        return deposit_in_layers(layers.with_thickness(thickness), energy, shape, start)

    inputs = [
        layers.thickness.clone().requires_grad_(),
        tensor(5.0).squeeze().requires_grad_(),
        tensor(0.3).squeeze().requires_grad_(),
    ]
    assert torch.autograd.gradcheck(energies_in, inputs, eps=1e-8, atol=1e-3)


@QUICK
@given(energy=energies)
def test_deep_stack_holds_all_energy(energy):
    layers = stack(passive=1e-2, n_cells=60)
    total = mean_layer_energies(layers, energy).sum()
    assert total.item() == pytest.approx(energy, rel=1e-4)


def test_average_medium_of_a_stack_has_the_mean_radiation_length_of_its_layers():
    # depths add in radiation lengths: thickness / X0, by hand for lead and polystyrene
    layers = stack(n_cells=1)
    lead, plastic = materials.get("Pb"), materials.get("polystyrene")
    depth = 2e-3 / lead.radiation_length + 4e-3 / plastic.radiation_length
    assert layers.depth.sum().item() == pytest.approx(depth)
    medium, twice = stack_medium(layers), stack_medium(stack(n_cells=2))
    torch.testing.assert_close(medium.critical_energy, twice.critical_energy)


def test_sampling_fraction_of_a_cell_is_that_worked_by_hand():
    lead, plastic = materials.get("Pb"), materials.get("polystyrene")
    passive = lead.minimum_ionization * lead.density * 2e-3
    active = plastic.minimum_ionization * plastic.density * 4e-3
    expected = active / (active + passive)
    assert sampling_fraction(stack()).item() == pytest.approx(expected, rel=1e-6)


def test_electrons_count_less_than_muons_where_the_absorber_is_heavy():
    heavy = e_over_mip(stack()).item()
    light = e_over_mip(
        Stack.of(
            [
                Layer(materials.get("Al"), 2e-3),
                Layer(materials.get("polystyrene"), 4e-3, active=True),
            ]
            * 30
        )
    ).item()
    assert heavy < light < 1.05


@QUICK
@given(energy=energies, stochastic=st.floats(0.01, 1.0), constant=st.floats(0.0, 0.05))
def test_terms_of_the_resolution_add_in_quadrature(energy, stochastic, constant):
    resolution = energy_resolution(energy, stochastic, 0.2, constant).item()
    expected = math.hypot(stochastic / math.sqrt(energy), 0.2 / energy, constant)
    assert resolution == pytest.approx(expected)


def test_sum_over_a_cell_stands_in_each_of_its_layers():
    # a cell is a run of passive layers and the active ones behind it
    layers = stack(n_cells=2)
    sums = sum_cells(layers, tensor(1.0, 2.0, 3.0, 4.0))
    torch.testing.assert_close(sums, tensor(3.0, 3.0, 7.0, 7.0))


def test_gradient_of_the_sum_over_cells_matches_finite_differences():
    values = tensor(1.0, 2.0, 3.0, 4.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: sum_cells(stack(n_cells=2), v**2), (values,))


@pytest.mark.parametrize("active", [0.001, 0.01, 0.1])
@pytest.mark.parametrize(("absorber", "sensor"), [("Fe", "PbWO4"), ("Be", "Pb"), ("Pb", "Be")])
def test_cells_of_any_materials_share_their_energy_in_positive_parts(absorber, sensor, active):
    layers = [
        Layer(materials.get(absorber), 0.01),
        Layer(materials.get(sensor), torch.tensor(active, dtype=torch.float64), active=True),
    ]
    stack = Stack.of(layers * 3)
    weights = sharing_weight(stack)
    assert bool((weights > 0).all())
    share = (stack.depth * weights)[..., 1] / (stack.depth * weights)[..., :2].sum(-1)
    ionized = float(sampling_fraction(stack))
    expected = ionized * float(e_over_mip(stack)) if absorber == "Pb" else ionized
    assert 0 < float(share) < 1
    if absorber == "Pb":  # the definition of e/mip
        assert float(share) == pytest.approx(expected)
    else:  # the light absorber is short of energy
        assert float(share) > expected


def test_thin_layers_of_a_heavy_sensor_see_e_over_mip_times_their_ionization():
    layers = [Layer(materials.get("Fe"), 0.01), Layer(materials.get("PbWO4"), 1e-6, active=True)]
    stack = Stack.of(layers)
    parts = stack.depth * sharing_weight(stack)
    share = parts[..., 1] / parts.sum(-1)
    expected = e_over_mip(stack) * sampling_fraction(stack)
    torch.testing.assert_close(share, expected, rtol=1e-3, atol=0)
