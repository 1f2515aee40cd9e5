"""Tracks that meet a volume, against points along them, and muons with a wrong hit."""

import dataclasses

import pytest
import torch

from detopt.reconstruction import (
    LineFit,
    crosses_volume,
    learned_image,
    likelihood_image,
    poca_image,
    stays_near,
)
from detopt.reconstruction.volume_crossing import meets_box

LOW, HIGH = (-0.4, 0.1, 0.2), (0.3, 0.5, 1.1)  # m
FAR = -9999.0  # m; what some files write for a hit that was lost


@pytest.fixture
def muons(record, box):
    """Muons through iron."""
    return record(torch.full(box.shape, 1e-3, dtype=torch.float64), box, 300, spread=0.5)


def spoilt(muons, chosen):
    """The same with a wrong hit in the lowest plane."""
    hits = muons.hits.clone()
    hits[:, -1, chosen] = FAR
    return dataclasses.replace(muons, hits=hits)


def test_lines_meet_a_box_where_one_of_their_points_is_inside(rng):
    position, slope = (scale * torch.randn(2, 3000, generator=rng).double() for scale in (0.5, 1))
    slope[:, :10] = 0.0
    unused = torch.ones(3000, dtype=torch.float64)
    lines = LineFit(position, slope, unused, unused, unused)
    heights = torch.linspace(LOW[2], HIGH[2], 4001, dtype=torch.float64)
    x, y = position.unsqueeze(-1) + slope.unsqueeze(-1) * (heights - 0.7)
    inside = (x >= LOW[0]) & (x <= HIGH[0]) & (y >= LOW[1]) & (y <= HIGH[1])
    found = meets_box(lines, 0.7, LOW, HIGH)
    assert 500 < int(found.sum()) < 2500
    assert bool(found[inside.any(-1)].all())
    assert int((found != inside.any(-1)).sum()) <= 3  # corners cut between two points


def test_muon_with_one_wrong_hit_crosses_but_does_not_stay_near(muons, box):
    tracks = spoilt(muons, [4, 7]).tracks(0.0)
    good = muons.tracks(0.0)
    assert bool(stays_near(good, box).all())
    torch.testing.assert_close(crosses_volume(tracks, box), crosses_volume(good, box))
    assert (~stays_near(tracks, box)).nonzero().squeeze(-1).tolist() == [4, 7]


@pytest.mark.parametrize("make", [poca_image, likelihood_image, learned_image])
def test_image_without_muons_astray_is_that_without_the_wrong_hits(muons, box, make):
    wrong = torch.zeros(300, dtype=torch.bool)
    wrong[::9] = True
    tracks = spoilt(muons, wrong).tracks(0.0)
    found = make(tracks.select(stays_near(tracks, box)), box)
    expected = make(muons.select(~wrong).tracks(0.0), box)
    torch.testing.assert_close(found.values, expected.values)
