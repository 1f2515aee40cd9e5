"""Laws of geometry, kinematics, fields, tracks and neutron beams, and values worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.physics import fields, geometry, kinematics, moliere, neutrons, tracking
from detopt.physics.beams import beam_emittance

QUICK = settings(deadline=None, max_examples=50)
ELECTRON_MASS, MUON_MASS = 0.51099895e-3, 0.1056583755  # GeV; CODATA 2018
coordinates = st.floats(-2.0, 2.0)
vectors = st.tuples(coordinates, coordinates, coordinates)
sizes = st.floats(0.1, 1.0)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


ORIGIN = tensor(0.0, 0.0, 0.0)
UP = tensor(0.0, 0.0, 1.0)


# geometry


@QUICK
@given(first=vectors, second=vectors, shift=vectors)
def test_overlaps_do_not_depend_on_order_or_place(first, second, shift):
    a, b, move = tensor(*first), tensor(*second), tensor(*shift)
    half, other = tensor(0.5, 0.7, 0.9), tensor(0.3, 0.2, 0.4)
    boxes = geometry.box_box_overlap(a, half, b, other)
    torch.testing.assert_close(geometry.box_box_overlap(b, other, a, half), boxes)
    torch.testing.assert_close(geometry.box_box_overlap(a + move, half, b + move, other), boxes)
    tubes = geometry.cylinder_cylinder_overlap(a, 0.5, 0.9, b, 0.3, 0.4)
    torch.testing.assert_close(geometry.cylinder_cylinder_overlap(b, 0.3, 0.4, a, 0.5, 0.9), tubes)
    mixed = geometry.box_cylinder_overlap(a, half, b, 0.3, 0.4)
    moved = geometry.box_cylinder_overlap(a + move, half, b + move, 0.3, 0.4)
    torch.testing.assert_close(moved, mixed)


@QUICK
@given(place=vectors, radius=sizes)
def test_cylinder_overlaps_a_box_if_the_inscribed_box_does_and_not_if_the_outer_does_not(
    place, radius
):
    half, center, length = tensor(0.5, 0.7, 0.9), tensor(*place), 0.4
    overlap = geometry.box_cylinder_overlap(ORIGIN, half, center, radius, length)
    inner = tensor(radius / math.sqrt(2), radius / math.sqrt(2), length)
    if geometry.box_box_overlap(ORIGIN, half, center, inner) > 0:
        assert overlap > 0
    if geometry.box_box_overlap(ORIGIN, half, center, tensor(radius, radius, length)) < 0:
        assert overlap < 0


@QUICK
@given(origin=vectors, factor=st.floats(0.1, 10.0))
def test_distances_to_a_plane_do_not_depend_on_the_length_of_its_normal(origin, factor):
    where, normal = tensor(*origin), tensor(0.3, -0.2, 0.9)
    distance = geometry.plane_distance(where, ORIGIN, normal)
    torch.testing.assert_close(geometry.plane_distance(where, ORIGIN, factor * normal), distance)
    along = geometry.plane_crossing(where, UP, ORIGIN, normal)
    assert geometry.plane_distance(where + along * UP, ORIGIN, normal).item() == pytest.approx(
        0.0, abs=1e-12
    )


@pytest.mark.parametrize(("distance", "expected"), [(0.0, 0.5), (0.01, 0.26894), (-0.03, 0.95257)])
def test_soft_edge_has_the_values_of_the_logistic_function(distance, expected):
    share = geometry.soft_inside(tensor(distance), 0.01)
    assert share.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("chord", "expected"), [(0.0, 0.0069315), (0.05, 0.0500672)])
def test_soft_path_has_the_values_worked_by_hand(chord, expected):
    # 0.01 ln(1 + exp(chord / 0.01))
    found = geometry.soft_path_length(tensor(1.0), tensor(1.0 + chord), 0.01)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@QUICK
@given(entry=coordinates, length=st.floats(0.0, 3.0), cut=coordinates)
def test_path_lengths_before_and_behind_a_cut_add_up(entry, length, cut):
    start, end = tensor(entry), tensor(entry + length)
    before = geometry.path_length(start, end, -math.inf, cut)
    behind = geometry.path_length(start, end, cut, math.inf)
    torch.testing.assert_close(before + behind, tensor(length))


def test_voxels_of_a_diagonal_have_the_lengths_worked_by_hand():
    index, length = geometry.voxel_segments(
        tensor(0.0, 0.0, 0.0), tensor(1.0, 1.0, 1.0), ORIGIN, tensor(2.0, 2.0, 2.0), (2, 2, 2)
    )
    crossed = {int(i): x.item() for i, x in zip(index, length, strict=True) if x > 1e-9}
    assert crossed == pytest.approx({0: math.sqrt(3), 7: math.sqrt(3)})


# kinematics


def test_invariants_of_a_muon_are_those_worked_by_hand():
    muon = tensor(math.hypot(3.0, MUON_MASS), 0.0, 0.0, 3.0)
    assert kinematics.invariant_mass(muon).item() == pytest.approx(MUON_MASS, rel=1e-10)
    electron = tensor(ELECTRON_MASS, 0.0, 0.0, 0.0)
    product = kinematics.minkowski_product(muon, electron)
    assert product.item() == pytest.approx(ELECTRON_MASS * muon[0].item(), rel=1e-12)


def test_compton_edge_of_caesium_is_477_kev():
    assert kinematics.compton_edge(661.657e-6).item() == pytest.approx(477.334e-6, rel=1e-5)


@QUICK
@given(energy=st.floats(1e-5, 1e-1), cosine=st.floats(-0.99, 0.99))
def test_compton_scattering_conserves_momentum_across(energy, cosine):
    scattered = kinematics.compton_energy(energy, cosine).item()
    angle = kinematics.compton_electron_angle(energy, cosine).item()
    total = energy + ELECTRON_MASS - scattered
    momentum = math.sqrt((total - ELECTRON_MASS) * (total + ELECTRON_MASS))
    across = scattered * math.sqrt(1 - cosine**2)
    assert momentum * math.sin(angle) == pytest.approx(across, rel=1e-6)


@QUICK
@given(beam=st.floats(10.0, 200.0), share=st.floats(0.01, 0.99))
def test_elastic_scattering_conserves_momentum_across(beam, share):
    top = kinematics.elastic_max_electron_energy(beam).item()
    electron = ELECTRON_MASS + share * (top - ELECTRON_MASS)
    angles = [
        kinematics.elastic_electron_angle(electron, beam).item(),
        kinematics.elastic_muon_angle(electron, beam).item(),
    ]
    muon = math.sqrt((beam + ELECTRON_MASS - electron) ** 2 - MUON_MASS**2)
    across = math.sqrt(electron**2 - ELECTRON_MASS**2) * math.sin(angles[0])
    assert muon * math.sin(angles[1]) == pytest.approx(across, rel=1e-9)


@QUICK
@given(first=st.floats(0.0, 1.0), second=st.floats(0.0, 1.0), extra=st.floats(0.01, 5.0))
def test_products_of_a_decay_share_the_mass_of_the_parent(first, second, extra):
    mass = first + second + extra
    momentum = kinematics.decay_momentum(mass, first, second).item()
    assert math.hypot(momentum, first) + math.hypot(momentum, second) == pytest.approx(mass)


@QUICK
@given(momentum=st.floats(1e-3, 1e3))
def test_velocity_is_momentum_over_energy(momentum):
    beta = kinematics.velocity(momentum, MUON_MASS).item()
    assert beta == pytest.approx(momentum / math.hypot(momentum, MUON_MASS))
    assert beta / math.sqrt((1 - beta) * (1 + beta)) == pytest.approx(
        momentum / MUON_MASS, rel=1e-6
    )


def test_pion_at_rest_decays_into_photons_of_half_its_mass():
    pion = tensor(0.1349768, 0.0, 0.0, 0.0)
    first, second = kinematics.two_body_decay(pion, 0.0, 0.0, 0.3, 1.0)
    torch.testing.assert_close(first[0], tensor(0.1349768 / 2)[0])
    torch.testing.assert_close(first + second, pion)


# fields and tracks


@QUICK
@given(momentum=st.floats(0.1, 100.0), field=st.floats(0.1, 5.0))
def test_bending_radius_is_proportional_to_momentum_over_field(momentum, field):
    radius = fields.bending_radius(momentum, field).item()
    assert radius == pytest.approx(momentum / (0.299792458 * field))
    assert fields.bending_radius(momentum, field, 2).item() == pytest.approx(radius / 2)


def test_field_integral_of_a_dipole_is_field_times_length():
    dipole = fields.UniformField(tensor(0.0, 1.5, 0.0))
    found = fields.field_integral(dipole, ORIGIN, tensor(0.0, 0.0, 2.0))
    torch.testing.assert_close(found, tensor(-3.0, 0.0, 0.0))  # z cross y = -x


@QUICK
@given(plane=st.floats(0.1, 1.0), charge=st.sampled_from([-1, 1]))
def test_helix_to_a_plane_and_back_returns_to_the_start(plane, charge):
    field, momentum = tensor(0.0, 1.0, 0.0), tensor(0.2, 0.1, 2.0)
    there, turned, _ = fields.helix_to_plane(
        ORIGIN, momentum, charge, field, tensor(0.0, 0.0, plane), UP
    )
    back, again, _ = fields.helix_to_plane(there, -turned, -charge, field, ORIGIN, UP)
    torch.testing.assert_close(back, ORIGIN, atol=1e-10, rtol=0.0)
    torch.testing.assert_close(-again, momentum)


@QUICK
@given(momentum=st.floats(0.5, 100.0), factor=st.floats(1.1, 4.0))
def test_gluckstern_resolution_scales_with_momentum_field_and_the_square_of_the_lever(
    momentum, factor
):
    one = tracking.gluckstern_resolution(10, 1.0, 1e-4, momentum, 2.0)
    for arguments, power in [
        ((1.0, 1e-4, factor * momentum, 2.0), 1),
        ((1.0, factor * 1e-4, momentum, 2.0), 1),
        ((1.0, 1e-4, momentum, factor * 2.0), -1),
        ((factor * 1.0, 1e-4, momentum, 2.0), -2),
    ]:
        other = tracking.gluckstern_resolution(10, *arguments)
        torch.testing.assert_close(other, one * factor**power)


@QUICK
@given(size=st.floats(1e-4, 1e-2), divergence=st.floats(1e-5, 1e-2))
def test_emittance_is_size_times_divergence_without_correlation(size, divergence):
    assert beam_emittance(size, divergence).item() == pytest.approx(size * divergence)
    tilted = beam_emittance(size, divergence, 0.6).item()
    assert tilted == pytest.approx(0.8 * size * divergence)


# scattering


def test_lynch_dahl_angle_of_one_centimetre_of_silicon_is_that_worked_by_hand():
    momentum = beta = 1.0
    grammage, number, mass, fraction = 2.329, 14, 28.085, 0.98
    square = 0.157 * number * (number + 1) * grammage / mass / (1000 * momentum) ** 2
    coulomb = number / 137.035999 / beta
    screening = 2.007e-5 * number ** (2 / 3) * (1 + 3.34 * coulomb**2) / (1000 * momentum) ** 2
    v = square / screening / (2 * (1 - fraction))
    expected = math.sqrt(square / (1 + fraction**2) * ((1 + v) / v * math.log1p(v) - 1))
    found = moliere.lynch_dahl_angle(0.01, 2.329, number, mass, momentum, beta)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@QUICK
@given(collisions=st.floats(100.0, 1e8))
def test_parameter_of_moliere_solves_its_equation(collisions):
    b = moliere.moliere_expansion(collisions)
    assert b > 1
    assert b - math.log(b) == pytest.approx(math.log(collisions / 1.167), rel=1e-3)


# neutrons


@QUICK
@given(speed=st.floats(1e-7, 1e-5), factor=st.floats(1.1, 5.0))
def test_slow_neutrons_are_absorbed_and_fall_more(speed, factor):
    slow, fast = (neutrons.absorption_coefficient(1e28, 1e-25, v) for v in (speed, factor * speed))
    torch.testing.assert_close(slow, factor * fast)
    slow, fast = (neutrons.gravity_drop(4.0, v) for v in (speed, factor * speed))
    torch.testing.assert_close(slow, factor**2 * fast)


@QUICK
@given(size=st.floats(1e-3, 1e-2), divergence=st.floats(1e-3, 1e-2), position=st.floats(0, 10))
def test_free_beam_widens_by_its_divergence(size, divergence, position):
    beam = neutrons.gaussian_source(size, divergence)
    assert neutrons.beam_divergence(beam).item() == pytest.approx(divergence)
    expected = math.hypot(size, divergence * position)
    assert neutrons.beam_size(beam, position).item() == pytest.approx(expected)


@QUICK
@given(width=st.floats(1e-3, 1e-2), factor=st.floats(1.1, 10.0))
def test_wider_apertures_pass_more_and_the_last_share_is_that_of_the_beam(width, factor):
    source, places = neutrons.gaussian_source(5e-3, 10e-3), tensor(0.0, 2.0)
    narrow, wide = (
        neutrons.cumulative_transmission(source, places, w * tensor(1.0, 1.0))
        for w in (width, factor * width)
    )
    assert (narrow < wide).all()
    assert narrow[1] < narrow[0]
    behind = neutrons.through_apertures(source, places, width * tensor(1.0, 1.0))
    torch.testing.assert_close(behind.transmission, narrow[-1])
    torch.testing.assert_close(neutrons.absorbed_shares(narrow).sum(), 1 - narrow[-1])


def test_gradient_of_the_cumulative_transmission_matches_finite_differences():
    def passed(places, widths):
        source = neutrons.gaussian_source(5e-3, 10e-3)
        return neutrons.cumulative_transmission(source, places, 1e-3 * widths)

    inputs = tensor(0.5, 2.0).requires_grad_(), tensor(3.0, 4.0).requires_grad_()
    assert torch.autograd.gradcheck(passed, inputs)


def test_background_of_one_aperture_is_its_solid_angle():
    # half of (1 - cos) of the disc that the detector is, seen from 2 m
    found = neutrons.aperture_background(tensor(0.3), tensor(2.0), 4.0, 0.05, 0.94)
    expected = 0.94 * 0.3 * 0.5 * (1 - 2 / math.hypot(2, 0.05))
    assert found.item() == pytest.approx(expected, rel=1e-9)


@QUICK
@given(shares=st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_divergence_of_a_beam_from_itself_vanishes_and_is_never_negative(shares):
    beam = tensor(*shares) / sum(shares)
    assert neutrons.kl_divergence(beam, beam).item() == pytest.approx(0.0, abs=1e-12)
    assert neutrons.kl_divergence(beam, tensor(1, 1, 1) / 3).item() >= -1e-12
