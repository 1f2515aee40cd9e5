"""Multiple scattering against the formula, published values and Molière theory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detopt.errors import DomainError
from detopt.physics.scattering import (
    collision_count,
    deflect,
    highland_angle,
    highland_variance,
    lynch_dahl_angle,
    scatter,
    scattering_covariance,
)

MUON = 0.1056583755  # GeV; Particle Data Group
LEAD, IRON, WATER = 0.005612, 0.01757, 0.3608  # m, radiation lengths; Particle Data Group


def muon_beta(momentum):
    return momentum / math.hypot(momentum, MUON)


def column(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("radiation_length", "momentum", "expected"),
    [
        (WATER, 3.0, 2.272e-3),
        (IRON, 3.0, 11.54e-3),
        (LEAD, 3.0, 21.24e-3),
        (WATER, 10.0, 0.681e-3),
        (IRON, 10.0, 3.459e-3),
        (LEAD, 10.0, 6.370e-3),
    ],
)
def test_muons_in_ten_centimetres_have_the_reference_angle(radiation_length, momentum, expected):
    # computed by hand from eq. 34.16 of the Review of Particle Physics, four digits
    angle = highland_angle(0.1, radiation_length, momentum, muon_beta(momentum))
    assert angle.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("thickness", "expected"), [(0.01, 1.1220e-3), (1.0, 1.3600e-2)])
def test_unit_momentum_has_the_angle_worked_by_hand(thickness, expected):
    angle = highland_angle(thickness * LEAD, LEAD, 1.0, 1.0)
    assert angle.item() == pytest.approx(expected, rel=1e-4)


def test_logarithm_contains_the_charge_and_velocity():
    # proton of 300 MeV/c in 1 cm of water: 10 % above the editions that leave beta out
    beta = 0.3 / math.hypot(0.3, 0.93827208943)
    angle = highland_angle(0.01, WATER, 0.3, beta).item()
    thickness = 0.01 / WATER
    older = 0.0136 / (beta * 0.3) * math.sqrt(thickness) * (1 + 0.038 * math.log(thickness))
    assert angle / older == pytest.approx(1.10, abs=0.005)


@settings(deadline=None)
@given(
    momentum=st.floats(0.1, 1e3),
    ratio=st.floats(0.1, 10.0),
    thickness=st.floats(1e-3, 100.0),
)
def test_angle_falls_as_one_over_momentum(momentum, ratio, thickness):
    near = highland_angle(thickness, 1.0, momentum, 1.0)
    far = highland_angle(thickness, 1.0, momentum * ratio, 1.0)
    torch.testing.assert_close(near, far * ratio)


def test_angle_grows_with_the_path():
    path = torch.logspace(-4, 1, 200, dtype=torch.float64)
    assert (highland_angle(path, LEAD, 3.0, 1.0).diff() > 0).all()


def test_opposite_charges_scatter_alike():
    torch.testing.assert_close(
        highland_angle(0.1, LEAD, 3.0, 0.9, charge=-2),
        highland_angle(0.1, LEAD, 3.0, 0.9, charge=2),
    )


@settings(deadline=None)
@given(cuts=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=30), beta=st.floats(0.2, 1.0))
def test_step_variances_add_up_to_the_slab(cuts, beta):
    steps = torch.tensor(cuts, dtype=torch.float64)
    total = highland_variance(steps, steps.sum(), 2.0, beta).sum()
    slab = highland_angle(steps.sum(), 1.0, 2.0, beta).square()
    torch.testing.assert_close(total, slab)


def test_step_of_no_thickness_does_not_scatter():
    step = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    variance = highland_variance(step, 1.0, 3.0, 1.0)
    variance.sum().backward()
    assert variance.item() == 0.0
    assert torch.isfinite(step.grad).all()


@pytest.mark.parametrize("n_steps", [1, 10, 100])
def test_sampled_spread_does_not_depend_on_the_steps(n_steps, rng):
    n_muons, path, momentum = 40_000, 0.1, 3.0
    beta, step, total = muon_beta(momentum), path / n_steps, path / LEAD
    width = highland_variance(total / n_steps, total, momentum, beta).sqrt()
    offset, angle = torch.zeros(2, n_muons, 2, dtype=torch.float64)
    for _ in range(n_steps):
        kick = scatter(step, width, rng, shape=(n_muons,))
        offset, angle = offset + angle * step + kick.offset, angle + kick.angle

    slab = highland_angle(path, LEAD, momentum, beta)
    rms_angle, rms_offset = angle.square().mean().sqrt(), offset.square().mean().sqrt()
    correlation = (angle * offset).mean() / (rms_angle * rms_offset)
    assert rms_angle.item() == pytest.approx(slab.item(), rel=0.01)
    assert rms_offset.item() == pytest.approx(path * slab.item() / 3**0.5, rel=0.01)
    assert correlation.item() == pytest.approx(3**0.5 / 2, rel=0.01)


def test_covariance_of_a_slab_is_that_of_many_thin_layers():
    # independent derivation: a layer at depth s moves the exit point by (x - s) times its kick
    path, angle, n_layers = 0.2, 0.01, 20_000
    lever = path - (torch.arange(n_layers, dtype=torch.float64) + 0.5) * path / n_layers
    lever = torch.stack([lever, torch.ones_like(lever)])
    expected = lever @ lever.mT * angle**2 / n_layers
    torch.testing.assert_close(scattering_covariance(path, angle), expected, rtol=1e-8, atol=0.0)


def test_deflections_have_the_covariance_of_the_slab():
    # the map is linear: its matrix times its transpose is the covariance, without sampling
    unit = torch.eye(2, dtype=torch.float64).unsqueeze(1).expand(2, 2, 2)
    kick = deflect(0.3, 0.02, unit)
    columns = torch.stack([kick.offset[:, 0], kick.angle[:, 0]])
    torch.testing.assert_close(columns @ columns.mT, scattering_covariance(0.3, 0.02))


def test_two_planes_scatter_independently(rng):
    kick = scatter(0.1, 0.01, rng, shape=(40_000,))
    correlation = torch.corrcoef(torch.cat([kick.offset, kick.angle], dim=1).mT)
    assert correlation[:2, [1, 3]].diagonal(1).abs().item() < 0.02
    assert correlation[0, 1].abs().item() < 0.02


def test_same_seed_gives_the_same_deflections():
    path = torch.full((5,), 0.1)
    first = scatter(path, 0.01, torch.Generator().manual_seed(3), shape=(4,))
    again = scatter(path, 0.01, torch.Generator().manual_seed(3), shape=(4,))
    assert first.offset.shape == (4, 5, 2)
    assert torch.equal(first.offset, again.offset)


def test_molière_tails_keep_the_central_width(rng):
    kick = scatter(0.1, 0.01, rng, shape=(200_000,), collisions=1e5)
    angles = kick.angle[:, 0].abs().sort().values[: round(0.98 * 200_000)]
    cut = stats.truncnorm(-2.3263, 2.3263).std()
    assert angles.square().mean().sqrt().item() == pytest.approx(0.01 * cut, rel=0.01)


def test_molière_tails_hold_far_more_than_a_gaussian(rng):
    kick = scatter(0.1, 0.01, rng, shape=(200_000,), collisions=1e5)
    beyond = (kick.angle.abs() > 0.04).double().mean().item()
    assert beyond > 20 * 2 * stats.norm.sf(4.0)


@pytest.mark.parametrize(
    ("path", "density", "number", "mass", "radiation_length"),
    [
        (0.015, 1.848, 4, 9.0121831, 0.3528),
        (0.1, 7.874, 26, 55.845, 0.01757),
        (0.1, 11.35, 82, 207.2, 0.005612),
    ],
    ids=["beryllium", "iron", "lead"],
)
def test_nuclear_and_highland_widths_agree(path, density, number, mass, radiation_length):
    # Lynch & Dahl fitted the Highland form to this one: 11 % or better
    nuclear = lynch_dahl_angle(path, density, number, mass, 3.0, muon_beta(3.0))
    highland = highland_angle(path, radiation_length, 3.0, muon_beta(3.0))
    assert nuclear.item() == pytest.approx(highland.item(), rel=0.08)


def test_collision_count_of_lead_follows_from_the_published_angles():
    # chi_c^2 = 0.157 * 82 * 83 * 113.5 / 207.2 = 585.31 MeV2/p2 with p = 3000 MeV, beta = 1;
    # chi_a^2 = 2.007e-5 * 82^(2/3) * (1 + 3.34 * 0.35806) = 8.3207e-4 MeV2/p2
    count = collision_count(0.1, 11.35, 82, 207.2, 3.0, 1.0)
    assert count.item() == pytest.approx(585.31 / 8.3207e-4, rel=1e-3)


def test_collisions_are_proportional_to_the_path():
    one = collision_count(0.01, 2.33, 14, 28.085, 1.0, 0.99)
    torch.testing.assert_close(collision_count(0.05, 2.33, 14, 28.085, 1.0, 0.99), 5 * one)


def test_nuclear_width_falls_as_one_over_momentum():
    near = lynch_dahl_angle(0.01, 2.33, 14, 28.085, 1.0, 0.9)
    torch.testing.assert_close(lynch_dahl_angle(0.01, 2.33, 14, 28.085, 4.0, 0.9), near / 4)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (highland_angle, ((0.1, 0.02), (0.0056,), (3.0, 1.0), (0.99, 0.9))),
        (highland_variance, ((0.0, 2.0), (3.0,), (3.0, 1.0), (0.99, 0.9))),
        (scattering_covariance, ((0.1, 0.02), (0.01, 0.02))),
        (lynch_dahl_angle, ((0.1,), (11.35,), (82.0,), (207.2,), (3.0, 0.5), (0.99, 0.9))),
        (collision_count, ((1e-5,), (11.35,), (82.0,), (207.2,), (3.0, 0.5), (0.99, 0.9))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_match_finite_differences(function, inputs):
    tensors = tuple(column(*values) for values in inputs)
    assert torch.autograd.gradcheck(function, tensors, eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("collisions", [None, 1e4], ids=["gaussian", "molière"])
def test_gradients_of_the_samples_match_finite_differences(collisions):
    def draw(path, angle):
        seeded = torch.Generator().manual_seed(1)
        kick = scatter(path, angle, seeded, shape=(3,), collisions=collisions)
        return kick.offset, kick.angle

    assert torch.autograd.gradcheck(draw, (column(0.1, 0.2), column(0.3, 0.4)))


def test_gradient_of_the_map_matches_finite_differences(rng):
    normals = torch.randn(3, 2, 2, 2, generator=rng, dtype=torch.float64, requires_grad=True)

    def outcome(path, angle, normals):
        kick = deflect(path, angle, normals)
        return kick.offset, kick.angle

    assert torch.autograd.gradcheck(outcome, (column(0.1, 0.2), column(0.3, 0.4), normals))


@pytest.mark.parametrize("function", [highland_angle, highland_variance])
def test_neutral_particles_are_refused(function):
    with pytest.raises(DomainError, match="neutral particles do not scatter"):
        function(0.1, 1.0, 1.0, 1.0, charge=0)


@pytest.mark.parametrize("function", [lynch_dahl_angle, collision_count])
def test_neutral_particles_are_refused_by_the_nuclear_formula(function):
    with pytest.raises(DomainError, match="neutral particles do not scatter"):
        function(0.1, 2.33, 14, 28.085, 1.0, 1.0, charge=0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0.0, 1.0, 1.0, 1.0), "path"), ((1.0, -1.0, 1.0, 1.0), "radiation_length")],
)
def test_numbers_that_are_not_positive_are_refused(arguments, name):
    with pytest.raises(DomainError, match=f"`{name}` must be > 0"):
        highland_angle(*arguments)


@pytest.mark.parametrize("function", [scattering_covariance, scatter])
def test_slab_without_length_is_refused(function, rng):
    extra = (rng,) if function is scatter else ()
    with pytest.raises(DomainError, match="`path` must be > 0"):
        function(0.0, 0.01, *extra)


def test_fraction_beyond_one_is_refused():
    with pytest.raises(DomainError, match="`fraction` must lie between 0 and 1"):
        lynch_dahl_angle(0.1, 2.33, 14, 28.085, 1.0, 1.0, fraction=1.0)
