"""Python numbers outside the domain of a formula are refused, whichever function gets them."""

import pytest
import torch

from detopt.errors import DomainError, NotFoundError
from detopt.physics import (
    kinematics,
    materials,
    moliere,
    particles,
    photons,
    scattering,
    showers,
    tracking,
)

LEAD = showers.homogeneous(materials.get("Pb"))
SHAPE = showers.mean_shape(10.0, LEAD)
SLICE = showers.radial_shape(1.0, 10.0, LEAD)
HADRON = showers.hadron_shape(50.0)
STACK = showers.Stack.of(
    [
        showers.Layer(materials.get("Pb"), 2e-3),
        showers.Layer(materials.get("polystyrene"), 4e-3, active=True),
    ]
)
ONE, PAIR = torch.ones(1, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
AT_REST = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
LAYERS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: showers.radial_profile(-0.1, SLICE), "`radius` must be >= 0, got -0.1"),
        (lambda: showers.radial_containment(-0.1, SLICE), "`radius` must be >= 0, got -0.1"),
        (lambda: showers.radial_quantile(1.5, SLICE), "`probability` must lie between 0 and 1"),
        (lambda: showers.radial_quantile(-0.5, SLICE), "`probability` must lie between 0 and 1"),
        (lambda: showers.radial_shape(1.0, 0.0, LEAD), "`energy` must be > 0"),
        (lambda: showers.relative_depth(-1.0, SHAPE, SHAPE), "`depth` must be >= 0, got -1.0"),
        (lambda: showers.lateral_containment(-1.0, 10.0, LEAD), "`radius` must be >= 0"),
        (lambda: showers.lateral_containment(1.0, -10.0, LEAD), "`energy` must be > 0"),
        (lambda: showers.fluctuated_shape(-1.0, LEAD, PAIR[0]), "`energy` must be > 0"),
        (lambda: showers.deposit_in_layers(STACK, -1.0, SHAPE), "`energy` must be > 0"),
        (lambda: showers.mean_layer_energies(STACK, 0.0), "`energy` must be > 0"),
        (lambda: showers.fluctuated_em_fraction(1.5, 0.1, ONE), "`fraction` must lie between"),
        (lambda: showers.fluctuated_em_fraction(0.5, -0.1, ONE), "`spread` must be >= 0"),
        (lambda: showers.hadron_profile(1.0, HADRON, 0.0), "`lengths_ratio` must be > 0"),
        (lambda: showers.hadron_profile(1.0, HADRON, 10.0, 1.5), "`weight` must lie between"),
        (lambda: showers.hadron_leakage(1.0, HADRON, -9.0), "`lengths_ratio` must be > 0"),
        (
            lambda: showers.hadron_contained_fraction(1.0, HADRON, 10.0, -0.1),
            "`weight` must lie between 0 and 1, got -0.1",
        ),
        (
            lambda: showers.hadron_layer_energies(STACK, ONE, ONE, ONE, 0.0),
            "`e_over_h` must be > 0, got 0.0",
        ),
        (lambda: showers.photon_tail(0.0), "`atomic_number` must be > 0"),
        (lambda: scattering.deflect(-0.1, 0.01, PAIR), "`path` must be >= 0, got -0.1"),
        (lambda: scattering.deflect(0.1, -0.01, PAIR), "`angle` must be >= 0, got -0.01"),
        (lambda: moliere.moliere_deviate(ONE, 5.0), "`collisions` must be >= 100, got 5.0"),
        (lambda: moliere.moliere_survival(ONE, 1.0), "`expansion` must be > 1, got 1.0"),
        (
            lambda: kinematics.sample_two_body_decay(AT_REST, -1.0, 0.1, torch.Generator()),
            "`first_mass` must be >= 0, got -1.0",
        ),
        (
            lambda: kinematics.two_body_decay(AT_REST, 0.1, -1.0, 0.0, 0.0),
            "`second_mass` must be >= 0, got -1.0",
        ),
        (
            lambda: tracking.fit_covariance(LAYERS, torch.eye(3, dtype=torch.float64), 3),
            "degree",
        ),
        (lambda: photons.shares("Pb", 0.0), "`energy` must be > 0"),
        (lambda: photons.interactions("Pb", -1.0), "`energy` must be > 0"),
    ],
)
def test_a_number_outside_the_domain_is_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()


@pytest.mark.parametrize("look_up", [particles.mass, particles.charge, particles.lifetime])
@pytest.mark.parametrize(
    ("particle", "message"),
    [("graviton", "No particle 'graviton'"), (999999, "No particle with PDG number 999999")],
)
def test_an_unknown_particle_is_refused(look_up, particle, message):
    with pytest.raises(NotFoundError, match=message):
        look_up(particle)


@pytest.mark.parametrize(
    "bad",
    [-0.1, float("nan")],
    ids=["negative", "not a number"],
)
def test_what_is_no_number_is_refused_like_a_negative_one(bad):
    with pytest.raises(DomainError, match="`radius` must be >= 0"):
        showers.radial_containment(bad, SLICE)


def test_a_decay_into_heavier_products_has_no_momentum():
    first, second = kinematics.two_body_decay(AT_REST, 1.0, 1.0, 0.0, 0.0)
    assert first.isnan().all()
    assert second.isnan().all()
