"""Cold neutrons: kinematics, absorption, apertures in closed form and by rays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from detopt.errors import DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics.neutrons import (
    GaussianBeam,
    absorbed_fraction,
    absorbed_shares,
    absorption_coefficient,
    absorption_cross_section,
    aperture_background,
    aperture_survival,
    beam_divergence,
    beam_profile,
    beam_size,
    cumulative_transmission,
    gaussian_divergence,
    gaussian_source,
    gravity_drop,
    kl_divergence,
    material_absorption,
    neutron_energy,
    neutron_speed,
    sample_rays,
    through_apertures,
)

ANGSTROM = 1e-10
THERMAL = 2200e-9  # m/ns
MEV = 1e-12  # GeV
POSITIONS = torch.tensor([0.0, 2.0], dtype=torch.float64)
WIDTHS = torch.tensor([3e-3, 4e-3], dtype=torch.float64)


def reference_beam(positions=POSITIONS, widths=WIDTHS):
    return through_apertures(gaussian_source(5e-3, 10e-3), positions, widths)


def float64(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# reference values


def test_speed_and_energy_at_one_angstrom_are_those_of_the_tables():
    # 3956.034 m/s and 81.80421 meV, ILL Neutron Data Booklet
    assert neutron_speed(ANGSTROM).item() * 1e9 == pytest.approx(3956.034, rel=1e-6)
    assert neutron_energy(ANGSTROM).item() == pytest.approx(81.80421 * MEV, rel=1e-6)


def test_the_thermal_reference_speed_belongs_to_1_798_angstrom():
    assert neutron_speed(1.798 * ANGSTROM).item() == pytest.approx(THERMAL, rel=2e-4)


@pytest.mark.parametrize(
    ("nuclide", "barn"),
    [("H", 0.3326), ("He3", 5333.0), ("Li6", 940.0), ("B10", 3835.0), ("Cd", 2520.0)],
)
def test_cross_sections_are_those_of_sears(nuclide, barn):
    assert absorption_cross_section(nuclide) == pytest.approx(barn * 1e-28)


def test_helium_3_absorbs_7_4_per_cent_per_angstrom_atmosphere_and_centimetre():
    # ln-slope 0.0742 per (atm cm angstrom) at 20 degrees: textbook figure of gas detectors
    density = 101325 / (1.380649e-23 * 293.15)
    coefficient = absorption_coefficient(
        density, absorption_cross_section("He3"), neutron_speed(ANGSTROM)
    )
    assert coefficient.item() * 0.01 == pytest.approx(0.0742, rel=5e-3)


def test_one_millimetre_of_cadmium_is_black_to_thermal_neutrons():
    # Sigma = 0.04634 nuclei/(barn cm) * 2520 barn = 116.8 /cm
    coefficient = material_absorption(materials.get("Cd"), THERMAL)
    assert coefficient.item() / 100 == pytest.approx(116.8, rel=5e-3)
    assert absorbed_fraction(1e-3, coefficient).item() == pytest.approx(1 - 8.5e-6, abs=1e-6)


def test_boron_carbide_absorbs_as_its_boron_does():
    # 4 * 767 + 0.0035 barn in 55.255 g/mol, by hand
    material = materials.get("B4C")
    expected = material.density / 55.255 * 0.602214 * (4 * 767 + 0.0035)
    assert material_absorption(material, THERMAL).item() / 100 == pytest.approx(expected, rel=2e-3)


def test_a_neutron_of_1000_metres_per_second_falls_1_96_millimetres_in_20_metres():
    assert gravity_drop(20.0, 1e-6).item() == pytest.approx(9.80665 / 2 * 0.02**2)


def test_two_gaussian_apertures_give_the_reference_beam():
    # by scipy below, and one million rays elsewhere: 0.100309, 2.31336 mrad
    beam = reference_beam()
    assert beam.transmission.item() == pytest.approx(0.100108, rel=1e-5)
    assert beam_divergence(beam).item() == pytest.approx(2.31340e-3, rel=1e-5)


def test_transmission_agrees_with_quadrature():
    def survives(offset):  # integrated over the slope in closed form: a product of Gaussians
        # int N(s; 0, 10 mrad) exp(-(x + 2 s)^2 / 2 a^2) ds
        width = math.hypot(4e-3, 2 * 10e-3)
        second = 4e-3 / width * math.exp(-(offset**2) / (2 * width**2))
        return norm.pdf(offset, scale=5e-3) * math.exp(-(offset**2) / (2 * 3e-3**2)) * second

    expected, _ = quad(survives, -0.05, 0.05, epsabs=1e-12)
    assert reference_beam().transmission.item() == pytest.approx(expected, rel=1e-8)


def test_size_at_a_plane_agrees_with_rays(rng):
    rays = sample_rays(400_000, 5e-3, 10e-3, rng)
    weight = aperture_survival(rays, POSITIONS, WIDTHS)[-1]
    spread = (weight * (rays.offset + 5.0 * rays.slope) ** 2).sum() / weight.sum()
    beam = reference_beam()
    assert weight.mean().item() == pytest.approx(beam.transmission.item(), rel=0.01)
    assert spread.sqrt().item() == pytest.approx(beam_size(beam, 5.0).item(), rel=0.01)


def test_two_slits_give_a_triangle_of_half_width_2h_over_distance():
    # equal slits: offsets at the second slit and slopes within +- 2 h / L
    points = torch.linspace(-6e-3, 6e-3, 1201, dtype=torch.float64)
    slits = torch.full((2,), 1e-3, dtype=torch.float64)
    profile = beam_profile(points, POSITIONS, slits, 4.0, 1.0)
    # at twice the distance the beam reaches h + 2 h / L * L = 3 h
    assert points[profile > 0].max().item() == pytest.approx(3e-3, abs=2e-5)
    assert points[profile > profile.max() * 0.999].max().item() == pytest.approx(1e-3, abs=2e-5)


def test_sharp_profile_agrees_with_rays(rng):
    positions = torch.tensor([0.0, 1.5, 3.0], dtype=torch.float64)
    widths = torch.tensor([2e-3, 1e-3, 1.5e-3], dtype=torch.float64)
    rays = sample_rays(2_000_000, 1.0, 2e-3, rng)  # a broad source: uniform over the beam
    passed = aperture_survival(rays, positions, widths, edge="sharp")[-1]
    reached = rays.offset + 4.0 * rays.slope
    inside = (reached.abs() < 1e-3) & (passed > 0)
    density = norm.pdf(0.0)  # of offsets per metre, at the axis
    points = torch.linspace(-1e-3, 1e-3, 401, dtype=torch.float64)
    expected = beam_profile(points, positions, widths, 4.0, 2e-3).mean() * 2e-3 * density
    assert inside.double().mean().item() == pytest.approx(expected.item(), rel=0.1)


def test_divergence_of_binned_gaussians_is_the_closed_form():
    points = torch.linspace(-0.1, 0.1, 4001, dtype=torch.float64)
    narrow, wide = (torch.exp(-(points**2) / (2 * s**2)) for s in (5e-3, 8e-3))
    expected = gaussian_divergence(5e-3, 8e-3)
    torch.testing.assert_close(kl_divergence(narrow, wide), expected, rtol=1e-6, atol=0)


def test_background_is_the_solid_angle_of_the_detector():
    share = aperture_background(
        torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 1.0, 1.0
    )
    assert share.item() == pytest.approx((1 - 1 / math.sqrt(2)) / 2)


# laws


@settings(deadline=None)  # the first call of torch may be slow
@given(factor=st.floats(0.1, 10.0))
def test_absorption_follows_one_over_v(factor):
    cd = materials.get("Cd")
    slow, fast = material_absorption(cd, THERMAL), material_absorption(cd, factor * THERMAL)
    torch.testing.assert_close(slow, factor * fast)


@settings(deadline=None)  # the first call of torch may be slow
@given(wavelength=st.floats(1e-11, 1e-8))
def test_energy_is_half_the_mass_times_the_speed_squared(wavelength):
    mass = 0.93956542  # GeV
    beta = neutron_speed(wavelength) / 0.299792458
    torch.testing.assert_close(neutron_energy(wavelength), mass / 2 * beta**2, rtol=1e-7, atol=0)


def test_sheets_multiply():
    one, two = absorbed_fraction(1e-3, 100.0), absorbed_fraction(2e-3, 100.0)
    torch.testing.assert_close(1 - two, (1 - one) ** 2)


@settings(deadline=None)  # the first call of torch may be slow
@given(width=st.floats(1e-4, 1.0))
def test_an_aperture_never_adds_neutrons(width):
    more = torch.tensor([3e-3, 4e-3, width], dtype=torch.float64)
    places = torch.tensor([0.0, 2.0, 3.0], dtype=torch.float64)
    assert reference_beam(places, more).transmission < reference_beam().transmission


def test_a_wide_aperture_changes_nothing():
    source = gaussian_source(5e-3, 10e-3)
    beam = through_apertures(source, POSITIONS, torch.full_like(WIDTHS, 1e4))
    torch.testing.assert_close(beam.transmission, source.transmission)
    torch.testing.assert_close(beam_size(beam, 0.0).item(), 5e-3)


def test_the_order_of_thin_gaussian_apertures_does_not_matter():
    torch.testing.assert_close(
        reference_beam(POSITIONS.flip(0), WIDTHS.flip(0)).transmission,
        reference_beam().transmission,
    )


def test_what_is_absorbed_and_what_is_left_add_up_to_all():
    survival = cumulative_transmission(gaussian_source(5e-3, 10e-3), POSITIONS, WIDTHS)
    torch.testing.assert_close(
        absorbed_shares(survival).sum() + survival[-1], torch.ones((), dtype=torch.float64)
    )
    torch.testing.assert_close(survival[-1], reference_beam().transmission)


def test_the_soft_profile_tends_to_the_sharp_one():
    points = torch.linspace(-5e-3, 5e-3, 201, dtype=torch.float64)
    sharp = beam_profile(points, POSITIONS, WIDTHS, 4.0, 5e-3)
    errors = [
        (beam_profile(points, POSITIONS, WIDTHS, 4.0, 5e-3, s) - sharp).abs().max().item()
        for s in (1e-4, 1e-5, 1e-6)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 2e-4


def test_soft_edges_tend_to_sharp_ones(rng):
    rays = sample_rays(20_000, 5e-3, 10e-3, rng)
    sharp = aperture_survival(rays, POSITIONS, WIDTHS, edge="sharp").mean(-1)
    soft = aperture_survival(rays, POSITIONS, WIDTHS, edge="soft", softness=1e-7).mean(-1)
    torch.testing.assert_close(soft, sharp, rtol=1e-3, atol=0)


@settings(deadline=None)  # the first call of torch may be slow
@given(size=st.floats(1e-4, 1.0), target=st.floats(1e-4, 1.0))
def test_divergence_is_never_negative(size, target):
    assert gaussian_divergence(size, target) >= 0


def test_divergence_is_infinite_where_the_target_vanishes():
    assert kl_divergence(torch.ones(2), torch.tensor([1.0, 0.0])).isinf()


def test_background_falls_as_the_square_of_the_distance():
    absorbed, start = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    near, far = (aperture_background(absorbed, start, d, 0.01) for d in (10.0, 20.0))
    torch.testing.assert_close(near, 4 * far, rtol=1e-5, atol=0)


def test_the_same_seed_gives_the_same_rays():
    first, second = (
        sample_rays(10, 1.0, 1.0, torch.Generator().manual_seed(7)).slope for _ in range(2)
    )
    assert torch.equal(first, second)


# gradients


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        # in units near 1, so that the step of the finite differences fits
        (lambda x: neutron_speed(x * 1e-10) * 1e9 / 4000, float64(1.0, 4.0)),
        (lambda x: neutron_energy(x * 1e-10) / MEV, float64(1.0, 4.0)),
        (lambda x: gravity_drop(x, 1e-6), float64(1.0, 4.0)),
        (lambda x: absorption_coefficient(x * 1e25, 1e-25, x * 1e-6), float64(1.0, 4.0)),
        (lambda x: absorbed_fraction(x, 1.0), float64(0.1, 2.0)),
        (lambda x: material_absorption(materials.get("Al"), x * 1e-6), float64(0.5, 2.0)),
    ],
)
def test_gradient_of_absorption_matches_finite_differences(function, inputs):
    assert torch.autograd.gradcheck(function, (inputs,))


@pytest.mark.parametrize("quantity", ["transmission", "size", "divergence"])
def test_gradient_of_the_gaussian_beam_matches_finite_differences(quantity):
    def value(size, slope, positions, widths):
        beam = through_apertures(gaussian_source(size, slope), positions, widths)
        return {
            "transmission": beam.transmission,
            "size": beam_size(beam, 3.0),
            "divergence": beam_divergence(beam),
        }[quantity]

    # millimetres instead of metres, so that the step of the finite differences fits
    inputs = (float64(5.0), float64(10.0), float64(0.5, 2.0), float64(3.0, 4.0))
    assert torch.autograd.gradcheck(value, (inputs[0][0], inputs[1][0], *inputs[2:]))


@pytest.mark.parametrize("softness", [0.0, 0.3])
def test_gradient_of_the_profile_matches_finite_differences(softness):
    points = torch.tensor([-2.2, 0.1, 1.3], dtype=torch.float64)

    def value(positions, widths):
        return beam_profile(points, positions, widths, 4.0, 2.0, softness)

    assert torch.autograd.gradcheck(value, (float64(0.5, 2.0), float64(3.0, 4.0)))


@pytest.mark.parametrize("edge", ["gaussian", "soft"])
def test_gradient_through_rays_matches_finite_differences(edge):
    def value(size, positions, widths):
        rays = sample_rays(50, size, 10.0, torch.Generator().manual_seed(3))
        survival = aperture_survival(rays, positions, widths, edge, softness=2.0).mean(-1)
        return aperture_background(absorbed_shares(survival), positions, 9.0, 1.0)

    assert torch.autograd.gradcheck(value, (float64(5.0)[0], float64(0.5, 2.0), float64(3.0, 4.0)))


def test_gradient_of_divergences_matches_finite_differences():
    assert torch.autograd.gradcheck(gaussian_divergence, (float64(1.0, 2.0), float64(2.0, 1.5)))
    assert torch.autograd.gradcheck(kl_divergence, (float64(1.0, 2.0), float64(2.0, 1.5)))


def test_an_empty_bin_has_a_finite_gradient():
    beam = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    kl_divergence(beam, torch.ones(3, dtype=torch.float64)).backward()
    assert beam.grad.isfinite().all()


# refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neutron_speed(0.0), "`wavelength` must be > 0"),
        (lambda: neutron_energy(-1.0), "`wavelength` must be > 0"),
        (lambda: gravity_drop(1.0, 0.0), "`speed` must be > 0"),
        (lambda: absorption_coefficient(1.0, 1.0, 0.0), "`speed` must be > 0"),
        (lambda: material_absorption(materials.get("Al"), 0.0), "> 0"),
        (lambda: absorbed_fraction(-1.0, 1.0), "`thickness` must be > 0"),
        (lambda: gaussian_source(0.0, 1.0), "`size` must be > 0"),
        (lambda: gaussian_divergence(1.0, 0.0), "`target` must be > 0"),
        (lambda: beam_profile(WIDTHS, POSITIONS, WIDTHS, 4.0, 0.0), "`divergence` must be > 0"),
        (lambda: beam_profile(WIDTHS, POSITIONS, WIDTHS, 4.0, 1.0, -1.0), "`softness` must be >="),
        (lambda: sample_rays(1, 0.0, 1.0, torch.Generator()), "`size` must be > 0"),
        (lambda: aperture_background(WIDTHS, POSITIONS, 4.0, 0.0), "`radius` must be > 0"),
    ],
)
def test_values_outside_the_domain_are_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()


def test_an_unknown_nuclide_is_refused():
    with pytest.raises(NotFoundError, match="No absorption cross section of 'Xx'"):
        absorption_cross_section("Xx")


def test_an_unknown_edge_is_refused(rng):
    with pytest.raises(DomainError, match="`edge` must be"):
        aperture_survival(sample_rays(2, 1.0, 1.0, rng), POSITIONS, WIDTHS, edge="blunt")


def test_a_beam_holds_a_batch_of_designs():
    beam = reference_beam(POSITIONS.expand(5, 2), WIDTHS * torch.ones(5, 1, dtype=torch.float64))
    assert isinstance(beam, GaussianBeam)
    assert beam.transmission.shape == (5,)


@pytest.mark.parametrize("width", [1e-3, 1e-4, 1e-5])
def test_narrow_apertures_keep_their_optics_in_single_precision(width):
    found = []
    for dtype in (torch.float32, torch.float64):
        position, size = torch.tensor([5.0], dtype=dtype), torch.tensor([width], dtype=dtype)
        size.requires_grad_()
        source = gaussian_source(torch.tensor(0.02, dtype=dtype), torch.tensor(0.01, dtype=dtype))
        beam = through_apertures(source, position, size)
        behind = beam_size(beam, torch.tensor(10.0, dtype=dtype))
        (slope,) = torch.autograd.grad(beam.transmission + behind, size)
        assert behind.dtype == beam.transmission.dtype
        answers = [beam.transmission, behind, beam_divergence(beam), slope[0]]
        found.append(torch.stack([one.detach().double() for one in answers]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0.0)
