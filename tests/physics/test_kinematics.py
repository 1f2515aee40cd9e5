"""Four-vectors, boosts and decays against invariants and published momenta."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics.kinematics import (
    boost,
    decay_momentum,
    four_momentum,
    invariant_mass,
    kinetic_energy,
    minkowski_product,
    momentum_of,
    rest_frame_velocity,
    sample_two_body_decay,
    two_body_decay,
    velocity,
)

EXACT = {"rtol": 1e-10, "atol": 1e-12}
components = st.floats(-5.0, 5.0)
vectors = st.lists(components, min_size=3, max_size=3)


def column(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


def shorter_than_light(values):
    return 0.9 * vector(values) / 9.0


def test_three_four_five_particle_has_the_velocity_worked_by_hand():
    assert velocity(3.0, 4.0).item() == pytest.approx(0.6, rel=1e-15)
    assert kinetic_energy(3.0, 4.0).item() == pytest.approx(1.0, rel=1e-15)
    assert momentum_of(1.0, 4.0).item() == pytest.approx(3.0, rel=1e-15)
    energy = four_momentum(vector([0.0, 0.0, 3.0]), 4.0)[0]
    assert energy.item() == pytest.approx(5.0, rel=1e-15)


def test_slow_proton_keeps_the_classical_energy():
    # T = p^2/2m up to (p/m)^2/4: the difference E - m would have lost eight digits
    assert kinetic_energy(1e-6, 0.938).item() == pytest.approx(1e-12 / 2 / 0.938, rel=1e-11)


@settings(deadline=None)
@given(kinetic=st.floats(1e-6, 1e4), mass=st.floats(1e-4, 10.0))
def test_momentum_and_kinetic_energy_invert_each_other(kinetic, mass):
    momentum = momentum_of(kinetic, mass)
    torch.testing.assert_close(kinetic_energy(momentum, mass), vector(kinetic), **EXACT)


@settings(deadline=None)
@given(momentum=vectors, mass=st.floats(0.1, 10.0))
def test_four_momentum_lies_on_its_mass_shell(momentum, mass):
    particle = four_momentum(vector(momentum), mass)
    torch.testing.assert_close(invariant_mass(particle), vector(mass), **EXACT)
    torch.testing.assert_close(minkowski_product(particle, particle), vector(mass**2), **EXACT)


def test_boost_along_z_is_the_textbook_one():
    # gamma = 5/3 for beta = 0.8: (5, 0, 0, 3) -> gamma (5 + 2.4), gamma (3 + 4)
    moved = boost(vector([5.0, 1.0, 2.0, 3.0]), vector([0.0, 0.0, 0.8]))
    torch.testing.assert_close(moved, vector([37 / 3, 1.0, 2.0, 35 / 3]), **EXACT)


@settings(deadline=None)
@given(first=vectors, second=vectors, beta=vectors)
def test_boosts_keep_invariant_products(first, second, beta):
    one, two = four_momentum(vector(first), 1.0), four_momentum(vector(second), 0.2)
    frame = shorter_than_light(beta)
    torch.testing.assert_close(
        minkowski_product(boost(one, frame), boost(two, frame)),
        minkowski_product(one, two),
        rtol=1e-10,
        atol=1e-10,
    )


@settings(deadline=None)
@given(momentum=vectors, beta=vectors)
def test_opposite_boost_undoes_a_boost(momentum, beta):
    particle, frame = four_momentum(vector(momentum), 0.5), shorter_than_light(beta)
    back = boost(boost(particle, frame), -frame)
    torch.testing.assert_close(back, particle, rtol=1e-10, atol=1e-10)


@settings(deadline=None)
@given(momentum=vectors)
def test_boost_into_the_rest_frame_leaves_the_mass(momentum):
    particle = four_momentum(vector(momentum), 0.7)
    at_rest = boost(particle, -rest_frame_velocity(particle))
    torch.testing.assert_close(at_rest, vector([0.7, 0.0, 0.0, 0.0]), rtol=1e-10, atol=1e-10)


def test_parallel_velocities_add_as_einstein_says():
    particle = boost(four_momentum(vector([0.0, 0.0, 3.0]), 4.0), vector([0.0, 0.0, 0.5]))
    assert rest_frame_velocity(particle)[2].item() == pytest.approx(1.1 / 1.3, rel=1e-12)


@pytest.mark.parametrize(
    ("masses", "expected"),
    [
        ((0.13957039, 0.1056583755, 0.0), 0.029792),  # pi -> mu nu
        ((0.497611, 0.13957039, 0.13957039), 0.206),  # K0S -> pi pi
        ((1.115683, 0.93827209, 0.13957039), 0.101),  # Lambda -> p pi
    ],
    ids=["pion", "kaon", "lambda"],
)
def test_decay_momenta_are_those_of_the_particle_listings(masses, expected):
    assert decay_momentum(*masses).item() == pytest.approx(expected, rel=5e-3)


def test_massless_products_share_the_mass():
    assert decay_momentum(0.1349768, 0.0, 0.0).item() == pytest.approx(0.0674884, rel=1e-14)


@settings(deadline=None)
@given(momentum=vectors, cosine=st.floats(-1.0, 1.0), phi=st.floats(0.0, 6.3))
def test_decays_conserve_four_momentum_and_masses(momentum, cosine, phi):
    parent = four_momentum(vector(momentum), 1.115683)
    first, second = two_body_decay(parent, 0.93827209, 0.13957039, cosine, phi)
    torch.testing.assert_close(first + second, parent, rtol=1e-10, atol=1e-10)
    masses = torch.stack([invariant_mass(first), invariant_mass(second)])
    torch.testing.assert_close(masses, vector([0.93827209, 0.13957039]), rtol=1e-10, atol=0.0)


def test_sampled_decays_are_isotropic_in_the_rest_frame(rng):
    parent = four_momentum(vector([0.0, 0.0, 10.0]), 0.1349768).expand(40_000, 4)
    first, _ = sample_two_body_decay(parent, 0.0, 0.0, rng)
    # two photons of a moving neutral pion have a flat energy spectrum (1 +- beta) E/2
    share = first[:, 0] / parent[:, 0]
    assert share.mean().item() == pytest.approx(0.5, abs=5e-3)
    assert share.std().item() == pytest.approx(velocity(10.0, 0.1349768).item() / 12**0.5, rel=0.01)


def test_same_seed_gives_the_same_decays():
    parent = four_momentum(torch.ones(5, 3), 1.0)
    first, again = (
        sample_two_body_decay(parent, 0.1, 0.2, torch.Generator().manual_seed(1))[0]
        for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (velocity, (column(0.3, 2.0), column(0.1, 0.9))),
        (kinetic_energy, (column(0.3, 2.0), column(0.1, 0.9))),
        (momentum_of, (column(0.3, 2.0), column(0.1, 0.9))),
        (four_momentum, (column([0.3, 0.1, 2.0], [1.0, 0.0, 0.1]), column(0.1, 0.9))),
        (minkowski_product, (column(3.0, 1.0, 0.0, 2.0), column(2.0, 0.5, 0.1, 0.3))),
        (invariant_mass, (column(3.0, 1.0, 0.0, 2.0),)),
        (rest_frame_velocity, (column(3.0, 1.0, 0.0, 2.0),)),
        (boost, (column(3.0, 1.0, 0.0, 2.0), column(0.1, -0.3, 0.5))),
        (decay_momentum, (column(1.0, 2.0), column(0.3, 0.2), column(0.1, 0.5))),
        (
            two_body_decay,
            (column(3.0, 1.0, 0.1, 2.0), column(0.3), column(0.1), column(0.4), column(1.0)),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_match_finite_differences(function, inputs):
    assert torch.autograd.gradcheck(function, inputs)


def test_gradient_of_the_sampled_decay_matches_finite_differences():
    def draw(parent):
        return sample_two_body_decay(parent, 0.1, 0.2, torch.Generator().manual_seed(1))

    parents = column([3.0, 1.0, 0.1, 2.0], [2.0, 0.2, 0.1, 0.5])
    assert torch.autograd.gradcheck(draw, (parents,))


@pytest.mark.parametrize(
    ("function", "name"),
    [(velocity, "momentum"), (kinetic_energy, "momentum"), (momentum_of, "energy")],
)
def test_particles_that_stand_still_are_refused(function, name):
    with pytest.raises(DomainError, match=f"`{name}` must be > 0"):
        function(0.0, 0.1)


def test_negative_mass_is_refused():
    with pytest.raises(DomainError, match="`mass` must be >= 0"):
        four_momentum(vector([0.0, 0.0, 1.0]), -1.0)


def test_decay_below_threshold_is_refused():
    with pytest.raises(DomainError, match="The decay is not allowed"):
        decay_momentum(0.1, 0.1, 0.2)


@pytest.mark.parametrize("cosine", [-1.1, math.nan])
def test_impossible_cosine_is_refused(cosine):
    with pytest.raises(DomainError, match="`cos_theta` must lie between -1 and 1"):
        two_body_decay(vector([3.0, 0.0, 0.0, 1.0]), 0.1, 0.1, cosine, 0.0)


def test_sampled_decay_into_a_negative_mass_is_refused(rng):
    with pytest.raises(DomainError, match="`mass` must be >= 0"):
        four_momentum(vector([[0.0, 0.0, 1.0]]), -0.1)
