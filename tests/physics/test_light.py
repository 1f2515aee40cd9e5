"""Light: yields, trapping in bars and fibres against ray tracing, sensors, timing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expn

from detopt.errors import DomainError
from detopt.physics.light import (
    attenuation,
    bar_escape_fraction,
    bar_guided_fraction,
    cherenkov_angle,
    cherenkov_photons,
    cherenkov_threshold,
    count_resolution,
    fibre_trapped_fraction,
    first_photon_density,
    guided_photons,
    mean_transmission,
    propagation_time,
    pulse_cumulative,
    pulse_density,
    quenching,
    reflection_count,
    sample_counts,
    sample_emission_times,
    scintillation_photons,
    sensor_response,
    time_resolution,
)

N_RAYS = 4_000_000
indices = st.floats(1.42, 2.5)


def float64(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def directions(rng):
    """Isotropic unit vectors; the last component is along the axis."""
    vectors = torch.randn((N_RAYS, 3), generator=rng, dtype=torch.float64)
    return vectors / vectors.norm(dim=-1, keepdim=True)


# trapping, against rays that are tested at every surface they meet


@pytest.mark.parametrize("index", [1.45, 1.58, 1.8])
def test_escape_through_the_end_of_a_bar_agrees_with_rays(index, rng):
    ray = directions(rng)
    refracted = (1 - ray[:, 2] ** 2) * index**2 < 1  # Snell at the end face
    reflected = ((1 - ray[:, :2] ** 2) * index**2 > 1).all(-1)  # total at the four sides
    traced = (refracted & reflected).double().mean() / 2  # both ends
    assert bar_escape_fraction(index).item() == pytest.approx(traced.item(), rel=5e-3)


@pytest.mark.parametrize("index", [1.45, 1.58, 1.8])
def test_guiding_by_the_sides_of_a_bar_agrees_with_rays(index, rng):
    ray = directions(rng)
    reflected = ((1 - ray[:, :2] ** 2) * index**2 > 1).all(-1)
    traced = reflected.double().mean() / 2
    assert bar_guided_fraction(index).item() == pytest.approx(traced.item(), rel=5e-3)


@pytest.mark.parametrize(("core", "cladding"), [(1.59, 1.49), (1.59, 1.42)])
def test_trapping_in_a_fibre_with_skew_rays_agrees_with_rays(core, cladding, rng):
    ray = directions(rng)
    radius = torch.rand(N_RAYS, generator=rng, dtype=torch.float64).sqrt()  # even over the core
    across = ray[:, :2].norm(dim=-1)
    start = torch.stack([radius, torch.zeros_like(radius)], dim=-1)
    heading = ray[:, :2] / across[:, None]
    along = (start * heading).sum(-1)
    wall = start + heading * (torch.sqrt(along**2 + 1 - radius**2) - along)[:, None]
    incidence = across * (wall * heading).sum(-1)  # cosine to the normal, kept for ever
    trapped = core**2 * (1 - incidence**2) > cladding**2
    traced = trapped.double().mean() / 2
    fraction = fibre_trapped_fraction(core, cladding, skew=True)
    assert fraction.item() == pytest.approx(traced.item(), rel=5e-3)


@pytest.mark.parametrize(("core", "cladding"), [(1.59, 1.49), (1.59, 1.42)])
def test_trapping_of_meridional_rays_agrees_with_rays(core, cladding, rng):
    cosine = torch.rand(N_RAYS, generator=rng, dtype=torch.float64)
    traced = (core * cosine > cladding).double().mean() / 2
    assert fibre_trapped_fraction(core, cladding).item() == pytest.approx(traced.item(), rel=5e-3)


def test_a_single_clad_fibre_traps_the_published_share():
    # 3.1 % in the data sheets of polystyrene fibres with acrylic cladding, 5.4 % multi-clad
    assert fibre_trapped_fraction(1.59, 1.49).item() == pytest.approx(0.0314, rel=5e-3)
    assert fibre_trapped_fraction(1.59, 1.42).item() == pytest.approx(0.054, rel=2e-2)


# reference values


def test_cherenkov_light_is_370_photons_per_electronvolt_and_centimetre():
    # 369.8 sin^2 theta, Review of Particle Physics; 2 to 3 eV
    band = (1.23984198e-6 / 3, 1.23984198e-6 / 2)
    sine = torch.sin(cherenkov_angle(1.0, 1.33)) ** 2
    photons = cherenkov_photons(0.01, 1.0, 1.33, band)
    assert (photons / sine).item() == pytest.approx(369.8, rel=1e-3)


def test_cherenkov_angle_in_water_is_41_degrees():
    assert math.degrees(cherenkov_angle(1.0, 1.33).item()) == pytest.approx(41.25, abs=0.01)


def test_cherenkov_threshold_in_water_is_beta_0_752():
    assert cherenkov_threshold(1.33).item() == pytest.approx(0.7519, abs=1e-4)


def test_minimum_ionizing_particle_keeps_97_6_per_cent_of_its_light():
    # 1 / (1 + 0.0126 g/(MeV cm2) * 1.936 MeV cm2/g) in polystyrene, by hand
    assert quenching(1.936e-3).item() == pytest.approx(0.97619, rel=1e-4)


def test_one_centimetre_of_plastic_gives_twenty_thousand_photons():
    # 10 photons/keV, 2 MeV, by hand
    photons = scintillation_photons(2e-3, 1.936e-3, 1e7)
    assert photons.item() == pytest.approx(2e4 * 0.97619, rel=1e-4)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("cosine", [0.3, 0.774, 0.95])
def test_mean_transmission_is_a_difference_of_exponential_integrals(ratio, cosine):
    expected = (expn(2, ratio) - cosine * expn(2, ratio / cosine)) / (1 - cosine)
    assert mean_transmission(ratio, 1.0, cosine).item() == pytest.approx(expected, rel=1e-7)


def test_light_in_plastic_takes_5_3_nanoseconds_a_metre():
    assert propagation_time(1.0, 1.58, 1.0).item() == pytest.approx(5.270, abs=1e-3)


def test_reflections_are_counted_as_tracing_does():
    # 1 m at 45 degrees between sides 1 cm apart
    assert reflection_count(1.0, 0.01, math.sqrt(0.5)).item() == pytest.approx(100.0)


def test_the_chain_multiplies():
    assert guided_photons(1000.0, 0.1, 0.5, 0.9, 2.0).item() == pytest.approx(40.5)


def test_a_sensor_with_as_many_photons_as_cells_fires_63_per_cent():
    assert sensor_response(1000.0, 1.0, 1000.0).item() == pytest.approx(1000 * (1 - math.exp(-1)))


def test_crosstalk_of_ten_per_cent_costs_five_per_cent_of_resolution():
    assert count_resolution(100.0, 0.1).item() == pytest.approx(0.1 * math.sqrt(1.1))


def test_the_first_of_many_exponential_times_has_the_mean_tau_over_n():
    density = lambda t: first_photon_density(t, 500.0, 1e-6, 2.1).item()  # noqa: E731
    mean, _ = quad(lambda t: t * density(t), 0, 0.2, limit=200)
    square, _ = quad(lambda t: t**2 * density(t), 0, 0.2, limit=200)
    assert mean == pytest.approx(2.1 / 500, rel=1e-2)
    width = math.sqrt(square - mean**2)
    assert time_resolution(500.0, 2.1).item() == pytest.approx(width, rel=1e-2)


# laws


@settings(deadline=None)  # the first call of torch may be slow
@given(index=indices)
def test_all_light_of_a_bar_is_guided_or_lost_through_a_side(index):
    guided, cone = bar_guided_fraction(index), bar_escape_fraction(index)
    torch.testing.assert_close(2 * guided + 4 * cone, torch.ones((), dtype=torch.float64))


@settings(deadline=None)  # the first call of torch may be slow
@given(ratio=st.floats(0.5, 0.999))
def test_skew_rays_add_light(ratio):
    assert fibre_trapped_fraction(1.0, ratio, skew=True) > fibre_trapped_fraction(1.0, ratio)


@settings(deadline=None)  # the first call of torch may be slow
@given(beta=st.floats(0.01, 0.749))
def test_nothing_radiates_below_threshold(beta):
    assert cherenkov_photons(1.0, beta, 1.33) == 0
    assert cherenkov_angle(beta, 1.33) == 0


def test_cherenkov_light_grows_as_the_charge_squared():
    torch.testing.assert_close(
        cherenkov_photons(1.0, 0.9, 1.33, charge=2), 4 * cherenkov_photons(1.0, 0.9, 1.33)
    )


@settings(deadline=None)  # the first call of torch may be slow
@given(first=st.floats(0.0, 5.0), second=st.floats(0.0, 5.0))
def test_attenuation_multiplies_over_paths(first, second):
    torch.testing.assert_close(
        attenuation(first + second, 2.0), attenuation(first, 2.0) * attenuation(second, 2.0)
    )


def test_a_narrow_cone_attenuates_like_the_axis():
    torch.testing.assert_close(
        mean_transmission(1.0, 2.0, 0.999999), attenuation(1.0, 2.0), rtol=1e-5, atol=0
    )


def test_few_photons_are_counted_linearly():
    assert sensor_response(10.0, 0.4, 1e6).item() == pytest.approx(4.0, rel=1e-5)


def test_pulse_integrates_to_one():
    density = lambda t: pulse_density(t, 0.9, 2.1).item()  # noqa: E731
    assert quad(density, 0, 60)[0] == pytest.approx(1.0)
    assert quad(density, 0, 3)[0] == pytest.approx(pulse_cumulative(3.0, 0.9, 2.1).item())


def test_emission_times_follow_the_pulse(rng):
    times = sample_emission_times((200_000,), 0.9, 2.1, rng)
    assert times.mean().item() == pytest.approx(3.0, rel=0.01)
    early = (times < 2.0).double().mean()
    assert early.item() == pytest.approx(pulse_cumulative(2.0, 0.9, 2.1).item(), abs=4e-3)


@pytest.mark.parametrize("mean", [1.0, 10.0, 1000.0])
def test_smooth_counts_have_the_mean_and_variance_of_poisson(mean, rng):
    counts = sample_counts(torch.full((400_000,), mean, dtype=torch.float64), rng)
    assert counts.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(mean / 4e5))
    assert counts.var().item() == pytest.approx(mean + 0.125, rel=0.02)


def test_the_same_seed_gives_the_same_counts():
    first, second = (
        sample_counts(torch.ones(9), torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first, second)


# gradients


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (quenching, (float64(2.0), float64(0.1))),
        (scintillation_photons, (float64(2.0), float64(2.0), float64(3.0), float64(0.1))),
        (cherenkov_threshold, (float64(1.33),)),
        (cherenkov_angle, (float64(0.5, 0.9), float64(1.33, 1.5))),
        (lambda x, b, n: cherenkov_photons(x, b, n, (1.0, 2.0)),
         (float64(1.0), float64(0.5, 0.9), float64(1.33, 1.5))),
        (bar_escape_fraction, (float64(1.58),)),
        (bar_guided_fraction, (float64(1.58),)),
        (fibre_trapped_fraction, (float64(1.59), float64(1.49))),
        (lambda a, b: fibre_trapped_fraction(a, b, skew=True), (float64(1.59), float64(1.49))),
        (attenuation, (float64(1.0), float64(2.0))),
        (mean_transmission, (float64(1.0), float64(2.0), float64(0.7))),
        (reflection_count, (float64(1.0), float64(0.5), float64(0.7))),
        (guided_photons, (float64(9.0), float64(0.1), float64(0.5), float64(0.9), float64(2.0))),
        (propagation_time, (float64(1.0), float64(1.58), float64(0.7))),
        (sensor_response, (float64(1.0, 30.0), float64(0.4), float64(10.0))),
        (count_resolution, (float64(10.0),)),
        (pulse_density, (float64(1.5), float64(0.9), float64(2.1))),
        (pulse_cumulative, (float64(1.5), float64(0.9), float64(2.1))),
        (first_photon_density, (float64(0.5), float64(5.0), float64(0.9), float64(2.1))),
        (time_resolution, (float64(5.0), float64(2.1), float64(0.2))),
        (lambda m: sample_counts(m, torch.Generator().manual_seed(1)), (float64(2.0, 9.0),)),
        (lambda r, d: sample_emission_times((4,), r, d, torch.Generator().manual_seed(1)),
         (float64(0.9), float64(2.1))),
    ],
)  # fmt: skip
def test_gradient_matches_finite_differences(function, inputs):
    assert torch.autograd.gradcheck(function, inputs)


# refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quenching(0.0), "`stopping_power` must be > 0"),
        (lambda: quenching(1.0, -1.0), "`birks` must be >= 0"),
        (lambda: scintillation_photons(1.0, 1.0, 0.0), "`light_yield` must be > 0"),
        (lambda: cherenkov_threshold(1.0), "`index` must be > 1"),
        (lambda: cherenkov_angle(0.0, 1.3), "`beta` must be > 0"),
        (lambda: cherenkov_photons(1.0, 1.0, 1.3, (2.0, 1.0)), "`band` must hold"),
        (lambda: bar_escape_fraction(1.4), "cones of the sides"),
        (lambda: bar_guided_fraction(1.4), "cones of the sides"),
        (lambda: fibre_trapped_fraction(1.49, 1.59), "`cladding` must lie between"),
        (lambda: attenuation(1.0, 0.0), "`length` must be > 0"),
        (lambda: mean_transmission(1.0, 1.0, 1.0), "`cosine` must lie between"),
        (lambda: reflection_count(1.0, 0.0, 0.5), "`width` must be > 0"),
        (lambda: guided_photons(1.0, 1.0, reflectivity=0.0), "`reflectivity` must be > 0"),
        (lambda: propagation_time(1.0, 1.5, 0.0), "`cosine` must be > 0"),
        (lambda: sensor_response(1.0, 0.4, 0.0), "`n_cells` must be > 0"),
        (lambda: sensor_response(1.0, 0.4, 9.0, 1.0), "`crosstalk` must lie"),
        (lambda: count_resolution(0.0), "`photoelectrons` must be > 0"),
        (lambda: pulse_density(1.0, 2.0, 2.0), "must differ"),
        (lambda: pulse_cumulative(1.0, 0.0, 2.0), "`rise` must be > 0"),
        (lambda: first_photon_density(1.0, 1.0, 1.0, 0.0), "`decay` must be > 0"),
        (lambda: sample_emission_times((1,), 0.0, 1.0, torch.Generator()), "`rise` must be > 0"),
        (lambda: time_resolution(0.0, 1.0), "`photoelectrons` must be > 0"),
    ],
)
def test_values_outside_the_domain_are_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()


def test_gradient_below_threshold_is_zero_and_not_nan():
    beta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cherenkov_angle(beta, 1.33), beta)
    assert gradient == 0


@pytest.mark.parametrize("function", [cherenkov_angle, lambda b, n: cherenkov_photons(0.01, b, n)])
def test_a_particle_at_rest_has_no_light_and_no_slope(function):
    beta = float64(0.0, 0.3)
    light = function(beta, 1.5)
    assert (light == 0).all()
    assert (torch.autograd.grad(light.sum(), beta)[0] == 0).all()


def test_counts_without_light_follow_it_by_the_mean_slope():
    dark = float64(*100 * [0.0])
    counts = sample_counts(dark, torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad(counts.sum(), dark)
    torch.testing.assert_close(slope, torch.ones_like(slope))
    assert counts.mean().item() == pytest.approx(0.0, abs=0.2)
