"""Particles, and lists of events as sources: laws of drawing, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import ConfigError, DomainError
from detopt.simulators.geant4 import Primaries
from detopt.simulators.sources import EventList, Particles, WeightedPrimaries


def events(sizes, weights=None):
    """Photons of 1, 2, 3... GeV along z, so many in each event."""
    n = sum(sizes)
    energy = torch.arange(1.0, n + 1, dtype=torch.float64)
    momentum = torch.stack([energy, 0 * energy, 0 * energy, energy], 1)
    number = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = {"number": range(len(sizes))}
    return Particles.of(
        [22] * n,
        [1] * n,
        momentum,
        torch.zeros(n, 4),
        number,
        [1.0] * len(sizes) if weights is None else weights,
        {name: list(values) for name, values in labels.items()},
    )


def test_mass_and_kinetic_energy_of_a_muon():
    muon = Particles.of([13], [1], [[5.0, 3.0, 0.0, 3.9]], [[0.0] * 4], [0], [1.0])
    mass = math.sqrt(25.0 - 9.0 - 15.21)  # by hand
    assert muon.mass.item() == pytest.approx(mass)
    assert muon.kinetic_energy.item() == pytest.approx(5.0 - mass)


def test_kinetic_energy_follows_the_momentum():
    momentum = torch.tensor([[5.0, 3.0, 0.0, 3.9]], dtype=torch.float64, requires_grad=True)
    rest = [torch.tensor([one]) for one in (13, 1)]
    zero = torch.zeros(1, 4, dtype=torch.float64)

    def energy(momentum):
        one = torch.ones(1, dtype=torch.float64)
        return Particles(*rest, momentum, zero, torch.tensor([0]), one).kinetic_energy

    assert torch.autograd.gradcheck(energy, (momentum,))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_chosen_events_keep_their_particles(sizes, data):
    listed = events(sizes)
    index = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=8))
    chosen = listed.select(torch.tensor(index))
    assert chosen.n_events == len(index)
    torch.testing.assert_close(chosen.total, listed.total[index])
    assert chosen.labels["number"].tolist() == index


def test_without_replacement_each_event_comes_equally_often(rng):
    source = EventList(events([1, 2, 3, 1]), "without_replacement")
    drawn = source(10, rng, torch.float32)
    assert drawn.momentum.dtype == torch.float32
    counts = torch.bincount(drawn.labels["number"].long())
    assert counts.min() >= 2
    assert counts.max() <= 3


def test_draws_without_replacement_know_nothing_of_each_other():
    source = EventList(events([1] * 10), "without_replacement")
    pair = [source(5, torch.Generator().manual_seed(i), torch.float64) for i in range(2)]
    numbers = [set(one.labels["number"].tolist()) for one in pair]
    assert [len(one) for one in numbers] == [5, 5]
    assert numbers[0] & numbers[1]


def test_an_epoch_has_all_events_once_in_the_order_of_its_seed():
    source = EventList(events([1] * 7))
    orders = [
        torch.cat([block.labels["number"] for block in source.epoch(3, seed)]).tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == [float(one) for one in range(7)]


@pytest.mark.parametrize("draw", ["with_replacement", "without_replacement", "by_weight"])
def test_every_way_to_draw_has_the_mean_of_the_list(rng, draw):
    listed = events([1] * 5, weights=[1.0, 4.0, -2.0, 0.0, 0.5])
    n = 40_000
    drawn = EventList(listed, draw)(n, rng, torch.float64)
    values = drawn.weight * drawn.total[:, 0]
    expected = (listed.weight * listed.total[:, 0]).mean()
    error = values.std() / n**0.5
    assert abs(values.mean() - expected) < 4 * error


def test_by_weight_never_draws_what_has_weight_0(rng):
    source = EventList(events([1, 1, 1], weights=[0.0, 3.0, 0.0]), "by_weight")
    assert set(source(500, rng, torch.float64).labels["number"].tolist()) == {1.0}


def test_the_same_generator_gives_the_same_events():
    source = EventList(events([1, 2, 3]))
    first, second = (source(9, torch.Generator().manual_seed(4), torch.float64) for _ in range(2))
    torch.testing.assert_close(first.momentum, second.momentum, rtol=0, atol=0)


def test_particles_become_primaries_of_geant4():
    primaries = events([1, 2]).primaries()
    assert isinstance(primaries, Primaries)
    assert primaries.energy.tolist() == [1.0, 2.0, 3.0]
    assert primaries.event.tolist() == [0, 1, 1]
    chosen = EventList(primaries)(3, torch.Generator().manual_seed(1), torch.float64)
    assert chosen.n_events == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pdg": []}, "at least one"),
        ({"momentum": [[math.nan, 0.0, 0.0, 0.0]]}, "finite"),
        ({"momentum": [[-1.0, 0.0, 0.0, 0.0]]}, "must be >= 0 GeV"),
        ({"event": [1]}, "0, 1, 2"),
        ({"weight": [1.0, 1.0]}, "`weight` needs 1"),
        ({"labels": {"scale": [math.inf]}}, "`scale` must be finite"),
    ],
)
def test_particles_that_make_no_sense_are_refused(change, match):
    good = {
        "pdg": [22],
        "status": [1],
        "momentum": [[1.0, 0.0, 0.0, 1.0]],
        "vertex": [[0.0] * 4],
        "event": [0],
        "weight": [1.0],
    }
    with pytest.raises(DomainError, match=match):
        Particles.of(**{**good, **change})


def test_other_misuse_is_refused(rng):
    listed = events([1, 1])
    with pytest.raises(ConfigError, match="`draw` must be"):
        EventList(listed, "randomly")
    with pytest.raises(DomainError, match="All weights are 0"):
        EventList(events([1], weights=[0.0]), "by_weight")
    with pytest.raises(DomainError, match="`n_events` must be > 0, got 0"):
        EventList(listed)(0, rng, torch.float64)
    with pytest.raises(DomainError, match="`n_events` must be > 0, got 0"):
        next(EventList(listed).epoch(0, 1))
    with pytest.raises(DomainError, match="Event 0 has no such particle"):
        listed.where(torch.tensor([False, True]))
    with pytest.raises(DomainError, match="`time` needs 1"):
        WeightedPrimaries.weighted(Primaries.gun("e-", 1.0), torch.zeros(2), torch.ones(1))
