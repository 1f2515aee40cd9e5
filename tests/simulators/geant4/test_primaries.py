"""Particles that enter: guns, lists of events, and what is refused."""

import math

import pytest
import torch

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import ParticleGun, Primaries, simulate_stack

STACK = Stack.of([Layer(materials.get("PbWO4"), 0.2, active=True)])


def test_a_gun_repeats_its_particle():
    primaries = Primaries.gun("e-", [1.0, 2.0, 3.0], direction=(0.0, 3.0, 4.0))
    assert primaries.n_events == len(primaries) == 3
    assert primaries.pdg.tolist() == [11, 11, 11]
    torch.testing.assert_close(primaries.direction[2], torch.tensor([0.0, 0.6, 0.8]).double())
    torch.testing.assert_close(primaries.total_energy, torch.tensor([1.0, 2.0, 3.0]).double())


def test_an_event_may_have_several_particles(geant4):
    ahead, start = (0.0, 0.0, 1.0), (0.0, 0.0, -0.001)
    pair = Primaries.of([11, -11, 22], [0.3, 0.2, 0.5], [start] * 3, [ahead] * 3, [0, 0, 1])
    torch.testing.assert_close(pair.total_energy, torch.tensor([0.5, 0.5]).double())
    deposits = simulate_stack(STACK, pair, 3, geant4=geant4)
    assert deposits.energy.shape == (2, 1)
    assert bool((deposits.visible > 0.3).all())
    assert bool((deposits.visible < 0.52).all())


@pytest.mark.parametrize(
    ("spectrum", "mean"), [("uniform", 5.05), ("log_uniform", 9.9 / math.log(100))]
)
def test_spectra_have_their_mean(rng, spectrum, mean):
    gun = ParticleGun("photon", (0.1, 10.0), spectrum, spot=0.01)
    drawn = gun(20_000, rng, torch.float64)
    assert drawn.energy.mean().item() == pytest.approx(mean, rel=0.03)
    assert drawn.energy.min() >= 0.1
    assert drawn.energy.max() <= 10.0
    assert drawn.position[:, :2].std().item() == pytest.approx(0.01, rel=0.03)
    assert set(drawn.position[:, 2].tolist()) == {-0.001}


def test_the_same_generator_gives_the_same_particles():
    first, second = (
        ParticleGun("e-", (1.0, 9.0))(5, torch.Generator().manual_seed(3), torch.float64)
        for _ in range(2)
    )
    torch.testing.assert_close(first.energy, second.energy, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"particle": "elektron"}, NotFoundError, "elektron"),
        ({"energy": 0.0}, DomainError, "must be > 0 GeV"),
        ({"energy": math.nan}, DomainError, "must be > 0 GeV"),
        ({"energy": [1.0, 2.0], "n_events": 3}, DomainError, "2 energies for 3 events"),
        ({"n_events": 0}, DomainError, "0 events"),
        ({"direction": (0.0, 0.0, 0.0)}, DomainError, r"must not be \(0, 0, 0\)"),
        ({"position": (math.inf, 0.0, 0.0)}, DomainError, "must be finite"),
    ],
)
def test_impossible_guns_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        Primaries.gun(**({"particle": "e-", "energy": 1.0} | settings))


@pytest.mark.parametrize("events", [[1, 2], [0, 2], [1, 0]])
def test_events_are_counted_from_zero(events):
    with pytest.raises(DomainError, match="0, 1, 2 and so on"):
        Primaries.of([11, 11], [1.0, 1.0], [(0.0, 0.0, 0.0)] * 2, [(0.0, 0.0, 1.0)] * 2, events)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(DomainError, match="as many energies"):
        Primaries.of([11, 11], [1.0], [(0.0, 0.0, 0.0)] * 2, [(0.0, 0.0, 1.0)] * 2, [0, 1])


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"energy": (2.0, 1.0)}, DomainError, "in order"),
        ({"spot": -1.0}, DomainError, "`spot` must be >= 0"),
        ({"spectrum": "flat"}, ConfigError, "uniform or log_uniform"),
        ({"particle": 99999}, NotFoundError, "99999"),
    ],
)
def test_impossible_sources_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        ParticleGun(**({"particle": "e-", "energy": 1.0} | settings))
