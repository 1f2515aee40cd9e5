"""Electromagnetic and hadronic showers, spots, and the layers of calorimeters.

Depths that hold a share of a shower, and sums over layers, are compared with full simulation:
Geant4 11.4.0 libraries, substitute data (formula + xraylib), electromagnetic option 1; not
official Geant4 data; blocks of 60 radiation lengths and 4 m width; 1500, 200 and 20 electrons of
1, 10 and 100 GeV.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from detopt.errors import DomainError
from detopt.physics import materials
from detopt.physics._incomplete_gamma import lower_gamma, lower_gamma_quantile, smooth_floor
from detopt.physics.showers import (
    INDIVIDUAL,
    TAIL_GROWTH_PAPER,
    HadronShape,
    Layer,
    LongitudinalShape,
    Medium,
    PhotonTail,
    RadialShape,
    Stack,
    contained_fraction,
    containment_depth,
    deposit_in_layers,
    e_over_mip,
    em_fraction,
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
    lateral_containment,
    leakage,
    longitudinal_profile,
    mean_layer_energies,
    mean_shape,
    photon_tail,
    pion_response,
    radial_containment,
    radial_profile,
    radial_quantile,
    radial_shape,
    relative_depth,
    response,
    rossi_shape,
    sample_conversion_depth,
    sample_em_fraction,
    sample_hadron_layer_energies,
    sample_layer_energies,
    sample_shape,
    sample_spots,
    sampling_fraction,
    sampling_term,
    shape_fluctuations,
    shower_maximum,
    spot_count,
    stack_medium,
    stack_sampling_term,
)

IRON = homogeneous(materials.get("Fe"))
LEAD = homogeneous(materials.get("Pb"))
SAMPLING = Medium(0.0164, 0.0368, 0.0094, 70.0, cell_thickness=0.73, transition=0.35, sampling=True)
energies = st.floats(1.0, 500.0)


def float64(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def sandwich(passive="Pb", active="polystyrene", thick=4e-3, thin=8e-3, n=25):
    cell = [Layer(materials.get(passive), thick), Layer(materials.get(active), thin, active=True)]
    return Stack.of(cell * n)


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


# the incomplete gamma function, against scipy


@pytest.mark.parametrize("shape", [0.7, 4.2, 30.0])
@pytest.mark.parametrize("x", [0.05, 3.0, 40.0])
def test_incomplete_gamma_is_the_gamma_distribution(shape, x):
    value = lower_gamma(scalar(shape), scalar(x))
    assert value.item() == pytest.approx(stats.gamma.cdf(x, shape), rel=1e-12)


@pytest.mark.parametrize("shape", [0.7, 4.2, 30.0])
@pytest.mark.parametrize("x", [0.3, 3.0, 25.0])
def test_derivative_in_the_shape_is_the_logarithmic_moment(shape, x):
    # dP/da = E[(ln t - psi(a)) 1(t < x)], in s = ln t, where the integrand is smooth
    alpha = scalar(shape)
    (gradient,) = torch.autograd.grad(lower_gamma(alpha, scalar(x)), alpha)

    def integrand(s):
        density = math.exp(shape * s - math.exp(s) - math.lgamma(shape))
        return (s - torch.digamma(alpha).item()) * density

    expected, _ = quad(integrand, -60, math.log(x), epsabs=1e-13, limit=400)
    assert gradient.item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("shape", [1.1, 4.2, 30.0])
@pytest.mark.parametrize("share", [1e-6, 0.3, 0.999999])
def test_quantile_is_the_inverse(shape, share):
    depth = lower_gamma_quantile(scalar(shape), scalar(share))
    assert depth.item() == pytest.approx(stats.gamma.ppf(share, shape), rel=1e-8)


def test_smooth_floor_leaves_large_values_alone_and_keeps_a_slope_below():
    x = float64(-1.0, 0.9, 1.0, 2.0)
    floored = smooth_floor(x, 1.0, 0.5)
    (slope,) = torch.autograd.grad(floored.sum(), x)
    torch.testing.assert_close(floored[2:], x[2:])
    assert (slope > 0).all()
    assert floored.min() > 0.5


# longitudinal profile: reference values


def test_critical_energy_of_lead_is_7_36_mev():
    # 2.66 (6.37 g/cm2 * 82 / 207.2)^1.1, by hand
    lead = materials.get("Pb")
    value = gflash_critical_energy(lead.radiation_length, lead.density, lead.z_over_a)
    assert value.item() == pytest.approx(7.356e-3, rel=1e-3)


@pytest.mark.parametrize(("particle", "expected"), [("electron", 6.7048), ("photon", 7.7048)])
def test_textbook_maximum_in_lead_is_where_the_review_says(particle, expected):
    # ln(10 / 0.00743) -+ 0.5, by hand
    assert shower_maximum(10.0, 7.43e-3, particle).item() == pytest.approx(expected, abs=1e-4)


def test_textbook_shape_has_that_maximum():
    shape = rossi_shape(10.0, 7.43e-3, "photon")
    assert shape.alpha.item() == pytest.approx(1 + 0.5 * 7.7048, abs=1e-4)


def test_mean_shape_has_the_published_coefficients():
    # y = 1000, Z = 50: T = 6.9078 - 0.858; alpha = 0.21 + (0.492 + 0.0476) 6.9078
    shape = mean_shape(10.0, Medium(0.01, 0.02, 0.01, 50.0))
    assert shape.maximum.item() == pytest.approx(6.049755, abs=1e-6)
    assert shape.alpha.item() == pytest.approx(3.937425, abs=1e-6)


def test_single_showers_have_the_coefficients_of_geant4():
    # T = 6.9078 - 0.812; alpha = 0.81 + (0.458 + 2.26/50) 6.9078
    shape = mean_shape(10.0, Medium(0.01, 0.02, 0.01, 50.0), INDIVIDUAL)
    assert shape.maximum.item() == pytest.approx(6.095755, abs=1e-6)
    assert shape.alpha.item() == pytest.approx(4.285982, abs=1e-6)


def test_sampling_shifts_the_shape_as_published():
    plain, layered = Medium(0.01, 0.02, 0.01, 50.0), Medium(0.01, 0.02, 0.01, 50.0, 0.5, 0.3, True)
    homogeneous_shape, shape = (mean_shape(10.0, m, INDIVIDUAL) for m in (plain, layered))
    shift = shape.maximum - homogeneous_shape.maximum
    assert shift.item() == pytest.approx(-0.55 * 0.5 - 0.69 * 0.3)
    assert (shape.alpha - homogeneous_shape.alpha).item() == pytest.approx(-0.476 * 0.5)


@pytest.mark.parametrize(
    ("medium", "expected"),
    [
        # at ln y = 6.907755, by hand
        (Medium(0.01, 0.02, 0.01, 50.0), (0.1369156, 0.1865439, 0.546122)),
        (Medium(0.01, 0.02, 0.01, 50.0, 0.5, 0.3, True), (0.1630073, 0.2156508, 0.625122)),
    ],
)
def test_fluctuations_have_the_published_widths(medium, expected):
    spread = shape_fluctuations(10.0, medium)
    values = (spread.maximum.item(), spread.alpha.item(), spread.correlation.item())
    assert values == pytest.approx(expected, rel=1e-5)


FULL_SIMULATION = [
    # material, energy, depth that holds 95 % and 99 % [radiation lengths]
    ("Al", 1.0, 9.24, 12.67), ("Al", 10.0, 12.66, 16.60), ("Al", 100.0, 15.55, 19.76),
    ("Fe", 1.0, 11.13, 15.40), ("Fe", 10.0, 14.23, 18.56), ("Fe", 100.0, 17.09, 21.89),
    ("Cu", 1.0, 11.44, 15.87), ("Cu", 10.0, 14.69, 19.39), ("Cu", 100.0, 17.69, 22.20),
    ("W", 1.0, 13.65, 19.05), ("W", 10.0, 16.73, 22.11), ("W", 100.0, 19.78, 25.53),
    ("PbWO4", 1.0, 13.12, 18.25), ("PbWO4", 10.0, 16.19, 21.52), ("PbWO4", 100.0, 19.93, 25.38),
    ("Pb", 1.0, 13.53, 18.94), ("Pb", 10.0, 16.56, 22.07), ("Pb", 100.0, 19.84, 25.32),
    ("U", 1.0, 13.69, 18.95), ("U", 10.0, 16.45, 21.70), ("U", 100.0, 19.90, 25.40),
]  # fmt: skip


@pytest.mark.parametrize(("material", "energy", "depth", "_deep"), FULL_SIMULATION)
def test_the_gamma_profile_holds_95_per_cent_where_full_simulation_does(
    material, energy, depth, _deep
):
    shape = mean_shape(energy, homogeneous(materials.get(material)))
    assert containment_depth(0.95, shape).item() == pytest.approx(depth, abs=0.85)


@pytest.mark.parametrize(("material", "energy", "depth", "deep"), FULL_SIMULATION)
def test_the_photon_tail_leaks_as_full_simulation_does(material, energy, depth, deep):
    medium = homogeneous(materials.get(material))
    shape, tail = mean_shape(energy, medium), photon_tail(medium.atomic_number)
    assert leakage(depth, shape, tail).item() == pytest.approx(0.05, abs=0.0125)
    assert leakage(deep, shape, tail).item() == pytest.approx(0.01, abs=0.0035)


def test_the_tail_in_lead_falls_over_3_4_radiation_lengths():
    # Fabjan and Ludlam 1982: 3.4 +- 0.5 radiation lengths
    assert photon_tail(82.0).attenuation.item() == pytest.approx(3.4, abs=0.1)


# longitudinal profile: laws


@settings(deadline=None)
@given(energy=energies, depth=st.floats(0.1, 40.0))
def test_containment_is_the_integral_of_the_profile(energy, depth):
    shape = mean_shape(energy, LEAD)
    integral, _ = quad(lambda t: longitudinal_profile(t, shape).item(), 0, depth)
    assert contained_fraction(depth, shape).item() == pytest.approx(integral, abs=1e-8)


@settings(deadline=None)
@given(energy=energies)
def test_the_profile_peaks_at_its_maximum(energy):
    shape = mean_shape(energy, LEAD)
    near = [longitudinal_profile(shape.maximum + shift, shape) for shift in (-0.1, 0.0, 0.1)]
    assert near[0] < near[1] > near[2]


@settings(deadline=None)
@given(energy=energies, share=st.floats(0.01, 0.99))
def test_containment_depth_is_the_inverse_of_containment(energy, share):
    shape = mean_shape(energy, IRON)
    assert contained_fraction(containment_depth(share, shape), shape).item() == pytest.approx(share)


@settings(deadline=None)
@given(depth=st.floats(10.0, 40.0))
def test_a_tail_leaks_more_behind_the_maximum(depth):
    shape = mean_shape(10.0, LEAD)
    assert leakage(depth, shape, photon_tail(82.0)) > leakage(depth, shape)


def test_a_tail_of_no_weight_changes_nothing():
    shape = mean_shape(10.0, LEAD)
    torch.testing.assert_close(
        contained_fraction(9.0, shape, PhotonTail(0.0, 3.4)), contained_fraction(9.0, shape)
    )


def test_nothing_is_deposited_in_front_of_the_start():
    shape = mean_shape(10.0, LEAD)
    assert contained_fraction(-1.0, shape) == 0
    assert longitudinal_profile(-1.0, shape) == 0


def test_the_maximum_grows_by_ln_2_when_the_energy_doubles():
    rise = mean_shape(20.0, LEAD).maximum - mean_shape(10.0, LEAD).maximum
    assert rise.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("medium", [IRON, LEAD], ids=["iron", "lead"])
def test_sampled_showers_have_the_mean_profile(medium, rng):
    # the two published sets of coefficients are consistent with each other to 7 %
    depth = torch.arange(2.0, 16.0, 2.0, dtype=torch.float64)
    shapes = sample_shape(torch.full((20_000, 1), 10.0, dtype=torch.float64), medium, rng)
    ratio = longitudinal_profile(depth, shapes).mean(0) / longitudinal_profile(
        depth, mean_shape(10.0, medium)
    )
    assert ratio.numpy() == pytest.approx(1.0, abs=0.07)


def test_sampled_shapes_have_the_widths_and_correlation(rng):
    shapes = sample_shape(torch.full((100_000,), 100.0, dtype=torch.float64), LEAD, rng)
    spread = shape_fluctuations(100.0, LEAD)
    logs = torch.stack([shapes.maximum.log(), shapes.alpha.log()])
    torch.testing.assert_close(logs[0].std(), spread.maximum, rtol=0.02, atol=0)
    torch.testing.assert_close(logs[1].std(), spread.alpha, rtol=0.02, atol=0)
    torch.testing.assert_close(torch.corrcoef(logs)[0, 1], spread.correlation, rtol=0.02, atol=0)


@settings(deadline=None)
@given(energy=st.floats(1e-4, 1.0))
def test_the_poles_of_the_widths_are_floored(energy):
    spread = shape_fluctuations(energy, SAMPLING)
    assert 0 < spread.maximum <= 1
    assert 0 < spread.alpha <= 1
    shape = mean_shape(energy, SAMPLING)
    assert shape.maximum >= 0.5
    assert shape.alpha > 1


def test_photons_convert_after_nine_sevenths_of_a_radiation_length(rng):
    assert sample_conversion_depth((100_000,), rng).mean().item() == pytest.approx(9 / 7, rel=0.01)


# radial profile


def test_radial_shape_has_the_published_coefficients():
    # tau = 1, E = 10 GeV, Z = 50, by hand
    shape = radial_shape(1.0, 10.0, Medium(0.01, 0.02, 0.01, 50.0))
    log = math.log(10)
    tail = (0.659 - 0.1545) * (math.exp(-2.59 * 0.355) + math.exp((0.3585 + 0.0412 * log) * 0.355))
    u = (0.401 + 0.0935 - 1) / (1.313 - 0.0686 * log)
    assert shape.core.item() == pytest.approx(0.0251 + 0.00319 * log + 0.1162 - 0.01905)
    assert shape.tail.item() == pytest.approx(tail)
    assert shape.weight.item() == pytest.approx((2.632 - 0.047) * math.exp(u - math.exp(u)))


def test_sampling_changes_the_radii_as_published():
    plain, layered = Medium(0.01, 0.02, 0.01, 50.0), Medium(0.01, 0.02, 0.01, 50.0, 0.5, 0.3, True)
    before, after = (radial_shape(1.5, 10.0, medium) for medium in (plain, layered))
    fade = 0.5 * math.exp(-1.5)
    assert (after.core - before.core).item() == pytest.approx(-0.0203 * 0.3 + 0.0397 * fade)
    assert (after.tail - before.tail).item() == pytest.approx(-0.14 * 0.3 - 0.495 * fade)
    expected = 0.3 * (0.348 - 0.642 * 0.5 * math.exp(-0.25))
    assert (after.weight - before.weight).item() == pytest.approx(expected)


def test_the_two_published_growths_of_the_tail_differ_by_less_than_one_per_cent():
    first = radial_shape(2.0, 500.0, LEAD)
    second = radial_shape(2.0, 500.0, LEAD, TAIL_GROWTH_PAPER)
    assert second.tail.item() == pytest.approx(first.tail.item(), rel=0.01)


def test_ten_gev_in_iron_has_84_per_cent_within_a_moliere_radius():
    # 0.846 by an independent program with the coefficients of single showers
    assert lateral_containment(1.0, 10.0, IRON).item() == pytest.approx(0.846, abs=0.012)


def test_lateral_containment_agrees_with_quadrature():
    shape = mean_shape(10.0, IRON)

    def integrand(t):
        inside = radial_containment(1.0, radial_shape(t / shape.maximum, 10.0, IRON))
        return (longitudinal_profile(t, shape) * inside).item()

    expected, _ = quad(integrand, 0, 60, limit=200)
    assert lateral_containment(1.0, 10.0, IRON).item() == pytest.approx(expected, abs=1e-4)


@settings(deadline=None)
@given(radius=st.floats(0.01, 10.0), age=st.floats(0.1, 4.0))
def test_radial_containment_is_the_integral_of_the_profile(radius, age):
    shape = radial_shape(age, 10.0, LEAD)
    integral, _ = quad(lambda r: radial_profile(r, shape).item(), 0, radius, limit=200)
    assert radial_containment(radius, shape).item() == pytest.approx(integral, abs=1e-6)


@settings(deadline=None)
@given(share=st.floats(1e-6, 0.999), age=st.floats(0.1, 4.0))
def test_radial_quantile_is_the_inverse_of_containment(share, age):
    shape = radial_shape(age, 10.0, SAMPLING)
    assert radial_containment(radial_quantile(share, shape), shape).item() == pytest.approx(share)


@settings(deadline=None)
@given(age=st.floats(0.01, 10.0), energy=energies)
def test_radial_shape_stays_physical(age, energy):
    shape = radial_shape(age, energy, SAMPLING)
    assert shape.core > 0
    assert shape.tail > 0
    assert 0 < shape.weight < 1


def test_the_age_of_the_mean_shower_is_one_at_its_maximum():
    shape = mean_shape(10.0, LEAD)
    torch.testing.assert_close(relative_depth(shape.maximum, shape, shape).item(), 1.0)


# spots


@pytest.mark.parametrize(
    ("medium", "expected"),
    [
        (Medium(0.01, 0.02, 0.01, 50.0), 93 * math.log(50) * 10**0.876),
        (Medium(0.01, 0.02, 0.01, 50.0, 0.5, 0.3, True), 10.3 / 0.1 * 10**0.959),
    ],
)
def test_the_number_of_spots_is_the_published_one(medium, expected):
    assert spot_count(10.0, medium, 0.1).item() == pytest.approx(expected)


@pytest.mark.parametrize("medium", [LEAD, SAMPLING], ids=["homogeneous", "sampling"])
def test_spots_carry_the_energy_and_the_profile(medium, rng):
    spots = sample_spots(torch.full((400,), 10.0, dtype=torch.float64), medium, 500, rng)
    assert spots.energy.sum(-1).mean().item() == pytest.approx(10.0, rel=0.01)
    depth = spots.position[..., 2] / medium.radiation_length
    inside = torch.where(depth < 8.0, spots.energy, 0.0).sum(-1).mean() / 10
    single = sample_shape(torch.full((20_000,), 10.0, dtype=torch.float64), medium, rng)
    assert inside.item() == pytest.approx(contained_fraction(8.0, single).mean().item(), abs=0.02)


def test_spots_lie_around_the_axis_as_the_radial_profile_says(rng):
    spots = sample_spots(torch.full((400,), 10.0, dtype=torch.float64), IRON, 500, rng)
    radius = spots.position[..., :2].norm(dim=-1) / IRON.moliere_radius
    inside = torch.where(radius < 1, spots.energy, 0.0).sum() / spots.energy.sum()
    assert inside.item() == pytest.approx(lateral_containment(1.0, 10.0, IRON).item(), abs=0.015)
    torch.testing.assert_close(
        (spots.position[..., 0] > 0).double().mean().item(), 0.5, rtol=0, atol=0.01
    )


# stacks and layers


def test_four_millimetres_at_a_fraction_of_0_244_sample_to_10_9_per_cent():
    assert sampling_term(4e-3, 0.244).item() == pytest.approx(0.109, rel=5e-3)


def test_a_sandwich_samples_a_quarter_of_the_ionization():
    # 8 mm * 1.06 * 1.936 against 4 mm * 11.35 * 1.122 MeV/cm, by hand
    expected = 1.6418 / (1.6418 + 5.0939)
    assert sampling_fraction(sandwich()).item() == pytest.approx(expected, rel=3e-3)


def test_e_over_mip_is_that_of_gflash():
    # carbon and hydrogen by mass: Z = 5.61; lead 82
    assert e_over_mip(sandwich()).item() == pytest.approx(1 / (1 + 0.007 * (82 - 5.61)), rel=2e-3)


def test_the_stack_term_is_that_of_its_geometry():
    stack = sandwich()
    torch.testing.assert_close(
        stack_sampling_term(stack), sampling_term(8e-3, sampling_fraction(stack))
    )


def test_terms_add_in_quadrature():
    assert energy_resolution(4.0, 0.06, 0.16, 0.0).item() == pytest.approx(0.05)


def test_a_stack_of_one_material_is_that_material():
    stack = Stack.of([Layer(materials.get("Fe"), 0.01, active=True)] * 10)
    medium = stack_medium(stack)
    assert not medium.sampling
    assert medium.radiation_length.item() == pytest.approx(IRON.radiation_length)
    assert medium.critical_energy.item() == pytest.approx(IRON.critical_energy)
    assert medium.moliere_radius.item() == pytest.approx(IRON.moliere_radius)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("Pb", "polystyrene", 4e-3, 8e-3, 25), 0.1364),
        (("Pb", "polystyrene", 2e-3, 4e-3, 66), 0.1467),
        (("Fe", "polystyrene", 5e-3, 5e-3, 40), 0.1174),
        (("W", "Si", 1.4e-3, 0.3e-3, 90), 0.0234),
        (("Pb", "liquid_argon", 2e-3, 4e-3, 60), 0.1579),
    ],
)
def test_the_visible_share_is_within_15_per_cent_of_full_simulation(arguments, expected):
    stack = sandwich(*arguments)
    visible = mean_layer_energies(stack, 10.0)[..., 1::2].sum() / 10
    assert visible.item() == pytest.approx(expected, rel=0.15)


@settings(deadline=None)
@given(energy=energies, start=st.floats(0.0, 5.0))
def test_layers_hold_what_the_stack_contains(energy, start):
    stack = sandwich()
    shape = mean_shape(energy, stack_medium(stack))
    total = deposit_in_layers(stack, energy, shape, start).sum()
    contained = contained_fraction(stack.depth.sum() - start, shape)
    assert total.item() == pytest.approx(energy * contained.item())


def test_cutting_a_crystal_into_layers_changes_nothing():
    crystal = materials.get("PbWO4")
    whole = Stack.of([Layer(crystal, 0.1, True), Layer(crystal, 0.1, True)])
    cut = Stack.of([Layer(crystal, 0.025, True)] * 8)
    pairs = mean_layer_energies(cut, 10.0).unflatten(-1, (2, 4)).sum(-1)
    torch.testing.assert_close(pairs, mean_layer_energies(whole, 10.0))


def test_a_passive_layer_behind_an_active_one_opens_a_cell():
    lead, silicon = materials.get("Pb"), materials.get("Si")
    order = [lead, lead, silicon, silicon, lead, silicon, lead]
    stack = Stack.of([Layer(m, 1e-3, m is silicon) for m in order])
    assert stack.cells() == [0, 0, 0, 0, 1, 1, 2]
    assert stack.n_samples == 2


def test_sampled_layers_have_the_mean_of_the_mean_layers(rng):
    stack = sandwich()
    showers = sample_layer_energies(stack, torch.full((20_000,), 10.0, dtype=torch.float64), rng)
    visible = response(stack, showers).mean
    expected = mean_layer_energies(stack, 10.0)[1::2].sum()
    torch.testing.assert_close(visible, expected, rtol=0.01, atol=0)


def test_the_resolution_of_sampled_showers_is_that_of_the_geometry(rng):
    stack = sandwich(n=40)
    showers = sample_layer_energies(stack, torch.full((20_000,), 10.0, dtype=torch.float64), rng)
    expected = energy_resolution(10.0, stack_sampling_term(stack))
    assert response(stack, showers).resolution.item() == pytest.approx(expected.item(), rel=0.06)


def test_without_sampling_fluctuations_a_deep_stack_loses_nothing(rng):
    energy = torch.full((500,), 10.0, dtype=torch.float64)
    showers = sample_layer_energies(sandwich(n=80), energy, rng, stochastic=0.0)
    torch.testing.assert_close(showers.sum(-1), energy, rtol=1e-4, atol=0)


def test_photons_shower_deeper(rng):
    energy = torch.full((2_000,), 10.0, dtype=torch.float64)
    place = torch.arange(50, dtype=torch.float64)
    depth = {
        particle: (sample_layer_energies(sandwich(), energy, seeded(), particle) * place).sum(-1)
        for particle in ("electron", "photon")
    }
    assert depth["photon"].mean() > depth["electron"].mean()


def test_designs_are_a_batch_with_common_random_numbers():
    stack = sandwich()
    designs = stack.with_thickness(stack.thickness * torch.tensor([[1.0], [1.0], [1.2]]))
    energy = torch.full((30, 1), 10.0, dtype=torch.float64)
    showers = sample_layer_energies(designs, energy, seeded())
    assert showers.shape == (30, 3, 50)
    torch.testing.assert_close(showers[:, 0], showers[:, 1])
    assert response(designs, showers).resolution.shape == (3,)


def test_designs_of_a_medium_are_a_batch():
    stack, one = sandwich(), torch.ones((), dtype=torch.float64)
    cell = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    designs = stack.with_thickness(stack.thickness * cell.repeat(1, 25))
    alone = [stack_medium(stack.with_thickness(one)) for one in designs.thickness]
    media, energy = stack_medium(designs), 10 * torch.ones(4, 1, dtype=torch.float64)
    # as many spots as designs, so that a wrong axis would not be noticed by its length
    spots = sample_spots(energy, media, 3, seeded())
    single = [sample_spots(energy[:, 0], medium, 3, seeded()) for medium in alone]
    torch.testing.assert_close(spots.position, torch.stack([s.position for s in single], 1))
    torch.testing.assert_close(spots.energy, torch.stack([s.energy for s in single], 1))
    inside = torch.stack([lateral_containment(1.0, 10 * one, medium) for medium in alone])
    torch.testing.assert_close(lateral_containment(1.0, 10 * one, media), inside)


@pytest.mark.parametrize("weight", [1.0, 100.0])
def test_layers_in_front_of_a_photon_shower_have_finite_gradients(weight):
    energy = torch.full((20,), 10.0, dtype=torch.float64)

    def visible(thickness):
        stack = sandwich().with_thickness(thickness)
        return sample_layer_energies(stack, energy, seeded(), "photon")[:, 1::2].sum()

    leaf = sandwich().thickness.clone().requires_grad_()
    (slope,) = torch.autograd.grad(weight * visible(leaf), leaf)
    change = 1e-7 * torch.eye(len(leaf), dtype=torch.float64)[0]
    expected = (visible(leaf.detach() + change) - visible(leaf.detach() - change)) / 2e-7
    assert slope[0].item() == pytest.approx(weight * expected.item(), rel=1e-4)
    assert slope.isfinite().all()


def test_float32_agrees_with_float64():
    stack = sandwich()
    single = mean_layer_energies(stack.with_thickness(stack.thickness.float()), torch.tensor(10.0))
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), mean_layer_energies(stack, 10.0), rtol=1e-3, atol=1e-6
    )


# hadrons


def test_ten_gev_pions_in_iron_give_81_per_cent_of_the_electron_signal():
    # f = 1 - 10^-0.18 = 0.33931; f + (1 - f)/1.4 = 0.81123, by hand
    fraction = em_fraction(10.0)
    assert fraction.item() == pytest.approx(0.33931, abs=1e-5)
    assert pion_response(fraction, 1.4).item() == pytest.approx(0.81123, abs=1e-5)


def test_hadronic_coefficients_are_those_of_bock():
    # at 10 GeV, by hand
    shape = hadron_shape(10.0)
    values = (shape.alpha.item(), shape.em_rate.item(), shape.rate.item())
    assert values == pytest.approx((1.349413, 0.2198, 0.855329), abs=1e-6)


def test_hadronic_depths_are_those_of_the_rules():
    # 0.2 ln 100 + 0.7 and + 2.5 * 100^0.13, by hand
    assert hadron_shower_maximum(100.0).item() == pytest.approx(1.62103, abs=1e-5)
    assert hadron_containment_depth(100.0).item() == pytest.approx(6.17029, abs=1e-5)


def test_the_profile_and_the_rule_hold_95_per_cent_at_similar_depth():
    # depth from the face: one interaction length before the first interaction on average
    iron = materials.get("Fe")
    ratio = iron.nuclear_interaction_length / iron.radiation_length
    inside = hadron_contained_fraction(
        hadron_containment_depth(50.0) - 1, hadron_shape(50.0), ratio
    )
    assert inside.item() == pytest.approx(0.95, abs=0.03)


@settings(deadline=None)
@given(energy=st.floats(5.0, 300.0), depth=st.floats(0.1, 10.0))
def test_hadronic_containment_is_the_integral_of_the_profile(energy, depth):
    shape = hadron_shape(energy)
    integral, _ = quad(lambda x: hadron_profile(x, shape, 9.5).item(), 0, depth, limit=200)
    assert hadron_contained_fraction(depth, shape, 9.5).item() == pytest.approx(integral, abs=1e-6)
    assert hadron_leakage(depth, shape, 9.5).item() == pytest.approx(1 - integral, abs=1e-6)


@pytest.mark.parametrize("mean", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("spread", [0.05, 0.12, 0.2])
def test_fluctuated_fractions_have_mean_and_spread(mean, spread):
    def moment(power):
        def integrand(z):
            share = fluctuated_em_fraction(mean, spread, torch.tensor(z, dtype=torch.float64))
            return share.item() ** power * stats.norm.pdf(z)

        return quad(integrand, -9, 9, epsabs=1e-11)[0]

    assert moment(1) == pytest.approx(mean, abs=1e-8)
    assert math.sqrt(moment(2) - moment(1) ** 2) == pytest.approx(spread, rel=0.03)


@settings(deadline=None)
@given(energy=st.floats(1e-3, 1e4))
def test_the_electromagnetic_fraction_stays_between_0_and_1(energy):
    assert 0 <= em_fraction(energy) < 1
    assert em_fraction(2 * energy) >= em_fraction(energy)


def test_without_spread_the_fraction_is_its_mean_and_moves_with_it():
    mean, spread = float64(0.2, 0.5, 0.9), scalar(0.0)
    share = fluctuated_em_fraction(mean, spread, torch.tensor(1.5, dtype=torch.float64))
    torch.testing.assert_close(share, mean)
    by_mean, by_spread = torch.autograd.grad(share.sum(), (mean, spread))
    torch.testing.assert_close(by_mean, torch.ones_like(by_mean))
    assert by_spread.item() == pytest.approx(3 * 1.5)  # one normal of 1.5 for each share


@pytest.mark.parametrize("spread", [0.0, 0.12])
def test_a_shower_of_one_kind_alone_stays_so(spread):
    mean = float64(0.0, 1.0)
    share = fluctuated_em_fraction(mean, spread, torch.tensor([[-2.0], [2.0]], dtype=mean.dtype))
    torch.testing.assert_close(share, mean.expand(2, 2))
    assert torch.autograd.grad(share.sum(), mean)[0].isfinite().all()


def test_each_hadron_may_have_its_own_e_over_h():
    stack, ratios = sandwich(n=4), torch.linspace(1.0, 2.0, 8, dtype=torch.float64)
    energy, start = torch.full_like(ratios, 30.0), torch.zeros_like(ratios)
    arguments = stack, energy, torch.full_like(ratios, 0.5), start
    # as many showers as layers, so that a wrong axis would not be noticed by its length
    together = hadron_layer_energies(*arguments, ratios)
    alone = [hadron_layer_energies(*arguments, one)[0] for one in ratios]
    torch.testing.assert_close(together, torch.stack(alone))


def test_a_compensating_calorimeter_sees_pions_as_electrons():
    torch.testing.assert_close(pion_response(em_fraction(10.0), 1.0).item(), 1.0)


def test_a_deep_stack_contains_a_hadron():
    stack = sandwich("Fe", "polystyrene", 0.02, 0.005, 150)
    energy, none = torch.tensor([50.0]), torch.tensor([0.0])
    deposit = hadron_layer_energies(stack, energy, torch.tensor([0.5]), none, 1.0)
    assert deposit.sum().item() == pytest.approx(50.0, rel=1e-3)


def test_hadrons_start_where_they_interact():
    stack = sandwich("Fe", "polystyrene", 0.02, 0.005, 50)
    lengths = (stack.thickness / stack.column("nuclear_interaction_length")).cumsum(-1)
    start = lengths[39:40]  # behind twenty cells
    deposit = hadron_layer_energies(stack, torch.tensor([50.0]), torch.tensor([0.5]), start)
    assert deposit[0, :40].abs().max() < 1e-6
    assert deposit[0, 41] > 0


def test_sampled_pions_respond_as_their_mean_fraction_says(rng):
    stack = sandwich("Fe", "polystyrene", 0.02, 0.005, 150)
    energy = torch.full((5_000,), 50.0, dtype=torch.float64)
    pions = response(stack, sample_hadron_layer_energies(stack, energy, rng)).mean
    electrons = mean_layer_energies(stack, 50.0)[1::2].sum()
    expected = pion_response(em_fraction(50.0), 1.4)
    assert (pions / electrons).item() == pytest.approx(expected.item(), rel=0.01)


def test_the_same_seed_gives_the_same_showers():
    energy = torch.full((5,), 20.0, dtype=torch.float64)
    first, second = (sample_layer_energies(sandwich(), energy, seeded()) for _ in range(2))
    assert torch.equal(first, second)
    first, second = (sample_hadron_layer_energies(sandwich(), energy, seeded()) for _ in range(2))
    assert torch.equal(first, second)


# gradients


def profile_of(function):
    return lambda x, t, a: function(x, LongitudinalShape(t, a))


def medium_of(x0, rm, ec, z, cell, shift):
    return Medium(x0, rm, ec, z, cell, shift, sampling=True)


def slice_of(function):
    return lambda x, c, t, w: function(x, RadialShape(c, t, w))


SHOWER = (float64(3.0, 12.0), float64(6.0, 5.0), float64(4.0, 3.5))
SLICE = (float64(0.4), float64(0.1), float64(0.7), float64(0.6))
MEDIUM = tuple(scalar(v) for v in (1.6, 3.7, 0.0094, 70.0, 0.73, 0.35))
HADRON = (float64(1.5), float64(1.4), float64(0.22), float64(0.85))


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lower_gamma, (float64(0.7, 4.0), float64(0.5, 5.0))),
        (lower_gamma_quantile, (float64(1.7, 4.0), float64(0.3, 0.9))),
        (lambda x, z: gflash_critical_energy(x, 11.35, z), (scalar(0.0056), scalar(0.4))),
        (shower_maximum, (scalar(10.0), scalar(0.01))),
        (profile_of(longitudinal_profile), SHOWER),
        (profile_of(contained_fraction), SHOWER),
        (profile_of(leakage), SHOWER),
        (profile_of(containment_depth), (float64(0.3, 0.9), *SHOWER[1:])),
        (lambda t, a, w, x: leakage(9.0, LongitudinalShape(t, a), PhotonTail(w, x)),
         (scalar(6.0), scalar(4.0), scalar(0.08), scalar(3.4))),
        (lambda z: photon_tail(z).attenuation, (scalar(26.0),)),
        (lambda e: rossi_shape(e, 0.01).alpha, (scalar(10.0),)),
        (lambda e, *m: mean_shape(e, medium_of(*m)).alpha, (scalar(10.0), *MEDIUM)),
        (lambda e, *m: mean_shape(e, medium_of(*m)).maximum, (scalar(10.0), *MEDIUM)),
        (lambda e, *m: shape_fluctuations(e, medium_of(*m)).maximum, (scalar(10.0), *MEDIUM)),
        (lambda e: shape_fluctuations(e, SAMPLING).alpha, (float64(0.01, 0.1, 10.0),)),
        (lambda e, *m: sample_shape(e, medium_of(*m), seeded()).alpha,
         (float64(10.0, 0.5), *MEDIUM)),
        (lambda e: fluctuated_shape(e, SAMPLING, torch.ones(2, dtype=torch.float64)).maximum,
         (scalar(10.0),)),
        (lambda x, t, a: relative_depth(x, LongitudinalShape(t, a), mean_shape(5.0, LEAD)),
         SHOWER),
        (lambda a, e, *m: radial_shape(a, e, medium_of(*m)).tail,
         (scalar(1.2), scalar(10.0), *MEDIUM)),
        (lambda a, e, *m: radial_shape(a, e, medium_of(*m)).core,
         (scalar(1.2), scalar(10.0), *MEDIUM)),
        (lambda a, e, *m: radial_shape(a, e, medium_of(*m)).weight,
         (scalar(1.2), scalar(10.0), *MEDIUM)),
        (slice_of(radial_profile), SLICE),
        (slice_of(radial_containment), SLICE),
        (slice_of(radial_quantile), (float64(0.1, 0.9), *SLICE[1:])),
        (lambda r, e, *m: lateral_containment(r, e, medium_of(*m)),
         (scalar(1.0), scalar(10.0), *MEDIUM)),
        (lambda e: spot_count(e, SAMPLING), (scalar(10.0),)),
        (lambda e, *m: sample_spots(e, medium_of(*m), 3, seeded()).position,
         (float64(10.0, 5.0), *MEDIUM)),
        (lambda e, *m: sample_spots(e, medium_of(*m), 3, seeded()).energy,
         (float64(10.0, 5.0), *MEDIUM)),
        (lambda d, f: sampling_term(d, f), (scalar(4.0), scalar(0.2))),
        (energy_resolution, (scalar(4.0), scalar(0.1), scalar(0.2), scalar(0.01))),
        (em_fraction, (float64(0.5, 10.0), scalar(1.3), scalar(0.82))),
        (pion_response, (scalar(0.4), scalar(1.4))),
        (fluctuated_em_fraction, (scalar(0.4), scalar(0.12), float64(-1.0, 0.5))),
        (lambda e: sample_em_fraction(e, seeded()), (float64(10.0, 50.0),)),
        (lambda e: hadron_shape(e).alpha, (float64(2.0, 50.0),)),
        (lambda x, a, b, d: hadron_profile(x, HadronShape(a, b, d), 9.5), HADRON),
        (lambda x, a, b, d: hadron_contained_fraction(x, HadronShape(a, b, d), 9.5), HADRON),
        (lambda x, a, b, d: hadron_leakage(x, HadronShape(a, b, d), 9.5), HADRON),
        (hadron_shower_maximum, (scalar(10.0),)),
        (hadron_containment_depth, (scalar(10.0),)),
    ],
)  # fmt: skip
def test_gradient_matches_finite_differences(function, inputs):
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize(
    "function",
    [
        lambda stack: mean_layer_energies(stack, 10.0, photon_tail(70.0)),
        lambda stack: sample_layer_energies(stack, float64(10.0, 2.0), seeded(), "photon"),
        lambda stack: sample_hadron_layer_energies(stack, float64(20.0, 9.0), seeded()),
        lambda stack: (
            response(
                stack, sample_layer_energies(stack, torch.full((9,), 5.0).double(), seeded())
            ).resolution
        ),
        lambda stack: stack_medium(stack).moliere_radius,
        lambda stack: stack_medium(stack).cell_thickness,
        sampling_fraction,
        stack_sampling_term,
        e_over_mip,
    ],
)
def test_gradient_in_every_thickness_matches_finite_differences(function):
    stack = sandwich(n=4, thick=2e-2)
    thickness = stack.thickness.requires_grad_()

    def value(centimetres):
        return function(stack.with_thickness(centimetres / 100))

    assert torch.autograd.gradcheck(value, (thickness.detach() * 100).requires_grad_())


def test_second_derivatives_of_layer_energies_are_right():
    stack = sandwich(n=2, thick=2e-2)

    def visible(centimetres):
        return mean_layer_energies(stack.with_thickness(centimetres / 100), 10.0)[1::2].sum()

    thickness = (stack.thickness * 100).requires_grad_()
    assert torch.autograd.gradgradcheck(visible, thickness)


def test_gradients_of_many_designs_can_be_vectorized():
    stack = sandwich(n=2)
    designs = stack.thickness * torch.tensor([[1.0], [1.3]], dtype=torch.float64)

    def visible(thickness):
        return mean_layer_energies(stack.with_thickness(thickness), 10.0)[1::2].sum()

    together = torch.func.vmap(torch.func.grad(visible))(designs)
    apart = torch.stack([torch.func.grad(visible)(design) for design in designs])
    torch.testing.assert_close(together, apart)


def test_gradient_reaches_designs_in_a_batch():
    stack = sandwich()
    thickness = stack.thickness.expand(3, -1).clone().requires_grad_()
    energy = torch.full((20, 1), 10.0, dtype=torch.float64)
    sample_layer_energies(stack.with_thickness(thickness), energy, seeded()).sum().backward()
    assert thickness.grad.isfinite().all()
    assert (thickness.grad != 0).any(-1).all()


# refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gflash_critical_energy(0.0, 1.0, 0.5), "`radiation_length` must be > 0"),
        (lambda: shower_maximum(10.0, 0.01, "muon"), "'muon' starts no electromagnetic"),
        (lambda: shower_maximum(0.0, 0.01), "`energy` must be > 0"),
        (lambda: rossi_shape(1.0, 0.01, beta=0.0), "`beta` must be > 0"),
        (lambda: mean_shape(-1.0, LEAD), "`energy` must be > 0"),
        (lambda: shape_fluctuations(0.0, LEAD), "`energy` must be > 0"),
        (lambda: photon_tail(0.0), "`atomic_number` must be > 0"),
        (lambda: containment_depth(1.0, mean_shape(1.0, LEAD)), "`fraction` must lie between"),
        (lambda: radial_shape(1.0, 0.0, LEAD), "`energy` must be > 0"),
        (lambda: spot_count(0.0, LEAD), "`energy` must be > 0"),
        (lambda: sample_spots(torch.ones(1), LEAD, 0, seeded()), "`n_spots` must be at least"),
        (lambda: Stack.of([]), "at least one layer"),
        (lambda: Stack.of([Layer(materials.get("Pb"), 0.0)]), "`thickness` must be > 0"),
        (lambda: sample_layer_energies(sandwich(), torch.ones(1), seeded(), "muon"), "'muon'"),
        (lambda: sampling_term(0.0, 0.2), "`active_thickness` must be > 0"),
        (lambda: stack_sampling_term(Stack.of([Layer(materials.get("Pb"), 1.0)])), "one kind"),
        (lambda: energy_resolution(0.0, 0.1), "`energy` must be > 0"),
        (lambda: em_fraction(0.0), "`energy` must be > 0"),
        (lambda: pion_response(0.5, 0.0), "`e_over_h` must be > 0"),
        (lambda: sample_em_fraction(torch.ones(1), seeded(), 0.5), "`spread` must lie"),
        (lambda: hadron_shape(0.0), "`energy` must be > 0"),
        (lambda: hadron_shower_maximum(0.0), "`energy` must be > 0"),
        (lambda: hadron_containment_depth(0.0), "`energy` must be > 0"),
        (lambda: sample_hadron_layer_energies(sandwich(), torch.ones(1), seeded(), 0.0), "> 0"),
    ],
)
def test_values_outside_the_domain_are_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()


@pytest.mark.parametrize(
    ("function", "x"), [(lower_gamma, (0.5, 5.0)), (lower_gamma_quantile, (0.3, 0.9))]
)
def test_incomplete_gamma_has_forward_derivatives(function, x):
    arguments = (float64(1.7, 4.0).requires_grad_(), float64(*x).requires_grad_())
    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True, atol=1e-6)


def test_leakage_has_forward_derivatives():
    """A derivative along all parameters of a design at once."""

    def lost(depth):
        return leakage(depth, rossi_shape(10.0, 0.01))

    depth = float64(12.0, 20.0)
    _, forward = torch.func.jvp(lost, (depth,), (torch.ones_like(depth),))
    backward = torch.func.vmap(torch.func.grad(lost))(depth)
    torch.testing.assert_close(forward, backward)
