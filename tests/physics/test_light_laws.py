"""Limits, conservation and scaling of light, and values worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.physics.light import (
    attenuation,
    bar_escape_fraction,
    bar_guided_fraction,
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

QUICK = settings(deadline=None, max_examples=50)
indices = st.floats(1.42, 2.2)
positive = st.floats(0.1, 10.0)


def assert_close(first, second, rtol=1e-9):
    torch.testing.assert_close(first, second, rtol=rtol, atol=0.0)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (bar_escape_fraction(1.58), 0.5 * (1 - math.sqrt(1 - 1 / 1.58**2))),
        (bar_guided_fraction(1.58), 0.5 - (1 - math.sqrt(1 - 1 / 1.58**2))),
        (fibre_trapped_fraction(1.59, 1.49), 0.5 * (1 - 1.49 / 1.59)),  # 3.1 % a side
        (fibre_trapped_fraction(1.59, 1.49, skew=True), 0.5 * (1 - (1.49 / 1.59) ** 2)),
    ],
    ids=["bar in air", "bar, coupled", "fibre, meridional", "fibre, skew"],
)
def test_share_to_one_end_is_that_worked_by_hand(share, expected):
    assert share.item() == pytest.approx(expected, rel=5e-3)


def test_polystyrene_bar_sends_eleven_and_twenty_seven_per_cent():
    assert bar_escape_fraction(1.58).item() == pytest.approx(0.1129, rel=5e-3)
    assert bar_guided_fraction(1.58).item() == pytest.approx(0.2742, rel=5e-3)


@QUICK
@given(index=indices)
def test_all_light_of_a_bar_leaves_by_its_six_faces(index):
    # through each of six faces the same escape cone; the rest stays, and is that of both ends
    trapped = 1 - 6 * bar_escape_fraction(index)
    guided_beyond_the_cone = 2 * (bar_guided_fraction(index) - bar_escape_fraction(index))
    assert_close(guided_beyond_the_cone, trapped)


@QUICK
@given(index=indices, cladding=st.floats(1.0, 1.41))
def test_skew_rays_add_light_in_the_ratio_of_the_indices(index, cladding):
    meridional = fibre_trapped_fraction(index, cladding)
    assert_close(
        fibre_trapped_fraction(index, cladding, skew=True), meridional * (1 + cladding / index)
    )


@QUICK
@given(distance=positive, length=positive, cosine=st.floats(0.3, 0.999))
def test_cone_loses_more_light_than_the_axis_and_less_than_its_edge(distance, length, cosine):
    middle = mean_transmission(distance, length, cosine)
    assert attenuation(distance / cosine, length) < middle < attenuation(distance, length)


@QUICK
@given(first=positive, second=positive, length=positive)
def test_attenuations_of_two_pieces_multiply(first, second, length):
    product = attenuation(first, length) * attenuation(second, length)
    assert_close(attenuation(first + second, length), product)


@QUICK
@given(distance=positive, factor=st.floats(1.1, 5.0), index=indices, cosine=st.floats(0.1, 0.95))
def test_time_and_reflections_are_proportional_to_the_distance(distance, factor, index, cosine):
    far = factor * distance
    assert_close(
        propagation_time(far, index, cosine), factor * propagation_time(distance, index, cosine)
    )
    assert_close(
        reflection_count(far, 0.01, cosine), factor * reflection_count(distance, 0.01, cosine)
    )


def test_light_along_a_metre_of_vacuum_takes_three_nanoseconds():
    assert propagation_time(1.0, 1.0, 1.0).item() == pytest.approx(1 / 0.299792458, rel=1e-9)
    assert reflection_count(1.0, 0.01, 1.0).item() == 0.0


@QUICK
@given(photons=positive, guided=st.floats(0.01, 1.0), first=st.floats(0, 9), second=st.floats(0, 9))
def test_losses_of_reflections_multiply(photons, guided, first, second):
    both = guided_photons(photons, guided, 1.0, 0.95, first + second)
    half = guided_photons(photons, guided, 1.0, 0.95, first)
    assert_close(both, half * 0.95**second)


@QUICK
@given(loss=st.floats(1e-3, 1.0), birks=st.floats(1.0, 50.0))
def test_lost_light_over_kept_light_is_proportional_to_the_loss(loss, birks):
    assert_close(1 / quenching(2 * loss, birks) - 1, 2 * (1 / quenching(loss, birks) - 1))


@QUICK
@given(deposit=st.floats(1e-4, 1e-1), loss=st.floats(1e-3, 1.0), light_yield=st.floats(1e5, 1e8))
def test_light_is_the_yield_times_deposit_and_quenching(deposit, loss, light_yield):
    # per deposit; never more than without quenching
    photons = scintillation_photons(deposit, loss, light_yield)
    assert_close(photons, deposit * light_yield * quenching(loss))
    assert photons < deposit * light_yield


@QUICK
@given(index=st.floats(1.05, 2.5))
def test_cherenkov_light_begins_at_the_threshold(index):
    threshold = cherenkov_threshold(index).item()
    assert threshold * index == pytest.approx(1.0)
    assert cherenkov_photons(0.01, threshold * 0.999, index).item() == 0.0
    assert cherenkov_photons(0.01, min(threshold * 1.001, 1.0), index).item() > 0.0


@QUICK
@given(photons=st.floats(1.0, 1e6), crosstalk=st.floats(0.0, 0.5))
def test_sensor_fires_no_more_cells_than_it_has(photons, crosstalk):
    fired = sensor_response(photons, 0.4, 3600.0, crosstalk)
    assert fired <= min(3600.0, 0.4 * photons / (1 - crosstalk)) * (1 + 1e-12)


@QUICK
@given(photons=st.floats(0.01, 1.0))
def test_sensor_is_linear_for_few_photons(photons):
    assert_close(
        sensor_response(photons, 0.4, 3600.0), torch.tensor(0.4 * photons).double(), rtol=1e-3
    )


@QUICK
@given(number=st.floats(1.0, 1e5), factor=st.floats(1.1, 100.0))
def test_resolutions_fall_with_the_number_of_photoelectrons(number, factor):
    assert_close(
        count_resolution(factor * number, 0.1),
        count_resolution(number, 0.1) / math.sqrt(factor),
    )
    assert_close(time_resolution(factor * number, 2.0), time_resolution(number, 2.0) / factor)


@QUICK
@given(jitter=st.floats(0.0, 1.0))
def test_jitter_adds_in_quadrature(jitter):
    both = time_resolution(10.0, 2.0, jitter)
    assert_close(both.square(), time_resolution(10.0, 2.0).square() + jitter**2)


def test_pulse_integrates_to_its_cumulative():
    time = torch.linspace(0.0, 30.0, 30_001, dtype=torch.float64)
    integral = torch.cumulative_trapezoid(pulse_density(time, 0.9, 2.1), time)
    torch.testing.assert_close(integral, pulse_cumulative(time[1:], 0.9, 2.1), rtol=1e-6, atol=1e-6)


@QUICK
@given(rise=st.floats(0.1, 1.0), decay=st.floats(1.5, 5.0))
def test_pulse_does_not_tell_rise_from_decay(rise, decay):
    time = torch.linspace(0.1, 10.0, 50, dtype=torch.float64)
    assert_close(pulse_density(time, rise, decay), pulse_density(time, decay, rise))


@QUICK
@given(number=st.floats(1.0, 50.0))
def test_first_photon_exists_with_the_probability_of_poisson(number):
    time = torch.linspace(0.0, 40.0, 20_001, dtype=torch.float64)
    chance = torch.trapezoid(first_photon_density(time, number, 0.9, 2.1), time)
    assert chance.item() == pytest.approx(-math.expm1(-number), abs=1e-4)


def test_emission_times_have_the_mean_and_variance_of_the_two_exponentials(rng):
    times = sample_emission_times((400_000,), 0.9, 2.1, rng)
    assert times.mean().item() == pytest.approx(0.9 + 2.1, rel=5e-3)
    assert times.var().item() == pytest.approx(0.9**2 + 2.1**2, rel=1e-2)


@pytest.mark.parametrize("mean", [2.0, 20.0, 200.0])
def test_counts_have_the_mean_and_variance_of_poisson(mean, rng):
    # (sqrt(m) + z/2)^2 - 1/4: mean m, variance m + 1/8
    counts = sample_counts(torch.full((400_000,), mean, dtype=torch.float64), rng)
    assert counts.mean().item() == pytest.approx(mean, rel=5e-3)
    assert counts.var().item() == pytest.approx(mean + 1 / 8, rel=1e-2)
