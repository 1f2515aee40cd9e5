"""Images by PoCA, angle statistics and binned clustering, beside slow direct versions."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from detopt.errors import DomainError
from detopt.reconstruction import (
    Grid,
    LineFit,
    MuonTracks,
    angle_statistics_image,
    binned_clustering_image,
    learned_image,
    likelihood_image,
    poca_image,
)
from detopt.reconstruction.angle_statistics import alike
from detopt.reconstruction.images import voxel_quantiles, voxel_sums
from detopt.reconstruction.muon_paths import chords, path_lengths, path_moments
from detopt.reconstruction.poca_imaging import located

IRON = 1.2e-3  # rad2/m at 3 GeV


@pytest.fixture
def tracks(record, box):
    """Tracks through a dense block in thin matter."""
    density = torch.full(box.shape, 1e-6, dtype=torch.float64)
    density[1:3, 1:3, 1:3] = IRON
    return record(density, box, 3000, steep=0.3).tracks(0.0)


def test_quantiles_are_those_of_each_voxel(rng):
    voxels = torch.randint(7, (200,), generator=rng)
    members = torch.randint(50, (200,), generator=rng)
    values = torch.randn(50, generator=rng, dtype=torch.float64)
    for share in (0.0, 0.3, 0.5, 1.0):
        found, counts = voxel_quantiles(voxels, members, values, share, 9)
        for j in range(9):
            mine = values[members[voxels == j]].numpy()
            expected = np.quantile(mine, share) if len(mine) else 0.0
            assert found[j].item() == pytest.approx(expected, abs=1e-12)
            assert counts[j].item() == len(mine)


def test_weights_count_like_copies(rng):
    voxels = torch.randint(5, (60,), generator=rng)
    values = torch.randn(60, generator=rng, dtype=torch.float64)
    copies = torch.randint(1, 4, (60,), generator=rng)
    members = torch.arange(60)
    found, counts = voxel_quantiles(voxels, members, values, 0.37, 6, copies.double())
    for j in range(5):
        mine = values[voxels == j].repeat_interleave(copies[voxels == j]).numpy()
        assert found[j].item() == np.quantile(mine, 0.37, method="inverted_cdf")
        assert counts[j].item() == int((voxels == j).sum())
    assert found[5].item() == 0.0


def test_quantiles_of_nothing_are_zero():
    nothing = torch.zeros(0, dtype=torch.int64)
    none, _ = voxel_quantiles(nothing, nothing, torch.zeros(0), 0.5, 3, torch.zeros(0))
    assert none.tolist() == [0.0] * 3
    found, counts = voxel_quantiles(nothing, nothing, torch.zeros(0), 0.5, 3)
    assert found.tolist() == [0.0] * 3
    assert counts.tolist() == [0] * 3
    with pytest.raises(DomainError, match="share"):
        voxel_quantiles(nothing, nothing, torch.zeros(0), 1.5, 3)


def test_sums_have_a_gradient():
    values = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    voxels = torch.tensor([2, 0, 2])
    assert voxel_sums(voxels, values, 4).tolist() == [2.0, 0.0, 5.0, 0.0]
    assert torch.autograd.gradcheck(lambda v: voxel_sums(voxels, v, 4), values)


def test_density_of_one_voxel_is_the_scattering_over_the_path(record):
    grid = Grid((-0.2, -0.2, -0.2), (0.4, 0.4, 0.4), (1, 1, 1))
    muons = record(
        torch.full((1, 1, 1), IRON, dtype=torch.float64), grid, 4000, steep=1e-9, spread=0.3
    )
    found = poca_image(muons.tracks(0.0), grid)
    # a point falls outside now and then, where angle and offset go apart
    assert found.values.item() / 1e4 == pytest.approx(IRON, rel=0.15)
    assert found.values.item() / 1e4 < IRON * 1.05


def test_path_is_that_of_the_chords(tracks, box):
    origin, way = chords(tracks, box)
    inside = path_lengths(tracks, box).sum()
    reach = (origin[:, :2].abs() < 0.2).all(-1) & ((origin + way)[:, :2].abs() < 0.2).all(-1)
    assert inside >= way[reach].norm(dim=-1).sum() * (1 - 1e-5)
    assert inside <= way.norm(dim=-1).sum()


def test_moments_of_the_lever_arm_are_integrals(box):
    origin = torch.tensor([[-0.15, -0.05, -0.2]], dtype=torch.float64)
    way = torch.tensor([[0.25, 0.13, 0.4]], dtype=torch.float64)
    voxel, moments = path_moments(origin, way, 0.07, box)
    unit = way / way.norm()
    steps = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000 * way.norm()
    points = origin.T + unit.T * steps
    lever = (0.07 - points[2]) / unit[0, 2]
    cell, _ = box.find(points)
    for order in range(3):
        expected = torch.bincount(cell, lever**order, minlength=64) * (steps[1] - steps[0])
        found = voxel_sums(voxel[0], moments[order, 0], 64)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_chord_that_enters_through_a_side_has_the_right_lever_arm(box):
    origin = torch.tensor([[-0.3, 0.05, -0.2]], dtype=torch.float64)
    way = torch.tensor([[0.4, 0.0, 0.4]], dtype=torch.float64)
    voxel, moments = path_moments(origin, way, 0.0, box)
    kept = moments[0, 0] > 1e-9
    lever = moments[1, 0][kept] / moments[0, 0][kept]
    heights = box.centers(2)[voxel[0][kept] % 4]
    torch.testing.assert_close(lever, -heights * math.sqrt(2), rtol=0, atol=0.02 * math.sqrt(2))


def test_moments_have_a_gradient(box):
    origin = torch.tensor([[-0.33, -0.04, -0.2]], dtype=torch.float64, requires_grad=True)
    way = torch.tensor([[0.25, 0.13, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: path_moments(a, b, 0.07, box)[1], (origin, way))


def test_angle_score_is_the_rms_of_the_points_in_a_voxel(tracks, box):
    found = poca_image(tracks, box, "angle")
    poca = tracks.closest_approach()
    cell, inside = located(tracks, poca, box)
    scaled = poca.angle_squared.sqrt() * tracks.beta_momentum * 1e3
    for j in (0, 21, 42):
        mine = scaled[inside & (cell == j)]
        expected = mine.square().mean().sqrt().item() if len(mine) else 0.0
        assert found.values.reshape(-1)[j].item() == pytest.approx(expected, rel=1e-9)
        assert found.counts.reshape(-1)[j].item() == len(mine)


def near_both(tracks, middle, distance):
    """Whether both tracks of a muon pass a point closely, from the cross product."""
    near = torch.ones(len(tracks), dtype=torch.bool)
    for fit in (tracks.above, tracks.below):
        way = torch.stack([*fit.slope, torch.ones(len(tracks), dtype=torch.float64)])
        start = torch.stack([*fit.position, torch.zeros(len(tracks), dtype=torch.float64)])
        apart = torch.linalg.cross(middle[:, None] - start, way, dim=0).norm(dim=0)
        near &= apart / way.norm(dim=0) <= distance
    return near


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 3), (2, 2, 1)])
def test_angle_statistics_take_voxels_near_both_tracks(tracks, box, place):
    found = angle_statistics_image(tracks, box, share=0.4, distance=0.06, depth=math.inf)
    scores = tracks.closest_approach().angle_squared.sqrt() * tracks.beta_momentum * 1e3
    middle = torch.stack([box.centers(axis)[n] for axis, n in enumerate(place)])
    near = near_both(tracks, middle, 0.06)
    assert found.counts[place].item() == int(near.sum())
    expected = scores[near].quantile(0.4).item()
    assert found.values[place].item() == pytest.approx(expected, rel=1e-9)


def inclined(slopes):
    """Straight muons through the middle of the box."""
    slope = torch.tensor([slopes, [0.0] * len(slopes)], dtype=torch.float64)
    ones = torch.ones(len(slopes), dtype=torch.float64)
    line = LineFit(torch.zeros_like(slope), slope, ones, 1e-8 * ones, 1e-8 * ones)
    return MuonTracks(line, line, 0.0, 3.0 * ones)


def test_steep_muons_have_a_group_of_their_own(box):
    gentle = [0.0, 0.1, -0.3, 0.5]
    alone = alike(inclined(gentle), box, 0.05)
    assert [group.tolist() for group in alone] == [[0, 1, 2, 3]]
    mixed = alike(inclined([*gentle, 50.0, 6.0, 60.0]), box, 0.05)
    assert [group.tolist() for group in mixed] == [[0, 1, 2, 3], [5], [4, 6]]


def test_muons_that_miss_the_box_have_no_group(box):
    tracks = inclined([0.0, 0.1, 500.0])
    aside = torch.tensor([[0.0, 0.6, 200.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    missing = dataclasses.replace(tracks.above, position=aside)
    assert [g.tolist() for g in alike(dataclasses.replace(tracks, below=missing), box, 0.05)] == [
        [0]
    ]
    nowhere = dataclasses.replace(missing, position=aside + 9.0)
    image = angle_statistics_image(dataclasses.replace(tracks, below=nowhere), box)
    assert image.counts.sum().item() == 0
    assert image.values.abs().max().item() == 0.0


def test_steep_muons_do_not_change_what_the_others_count(tracks, box):
    steep = inclined([3.0, 30.0, 3000.0])
    fits = [
        LineFit(*(torch.cat([getattr(f, n.name), getattr(steep.above, n.name)], -1) for n in parts))
        for f in (tracks.above, tracks.below)
        for parts in [dataclasses.fields(f)]
    ]
    momentum = torch.cat([tracks.momentum, steep.momentum])
    both = MuonTracks(fits[0], fits[1], 0.0, momentum)
    counts = angle_statistics_image(both, box).counts
    for place in ((0, 0, 0), (0, 1, 2), (3, 2, 1), (1, 1, 1)):
        middle = torch.stack([box.centers(axis)[n] for axis, n in enumerate(place)])
        assert counts[place].item() == int(near_both(both, middle, 0.05).sum())
    assert angle_statistics_image(steep, box).counts.sum().item() > 0


def test_narrow_voxels_around_a_muon_are_all_found(tracks):
    grid = Grid((-0.2, -0.2, -0.2), (0.02, 0.01, 0.1), (20, 40, 4))  # reach of 2.5 and 5 voxels
    found = angle_statistics_image(tracks, grid)
    for place in ((0, 39, 0), (11, 17, 2), (5, 30, 3)):
        middle = torch.stack([grid.centers(axis)[n] for axis, n in enumerate(place)])
        assert found.counts[place].item() == int(near_both(tracks, middle, 0.05).sum())


@pytest.mark.parametrize("depth", [0.03, 0.2])
def test_angle_statistics_count_muons_by_the_height_of_their_scattering(tracks, box, depth):
    found = angle_statistics_image(tracks, box, distance=0.06, depth=depth)
    poca = tracks.closest_approach()
    middle = torch.stack([box.centers(axis)[n] for axis, n in enumerate((1, 2, 2))])
    near = near_both(tracks, middle, 0.06)
    apart = (poca.height - middle[2])[near]
    weights = 1 / (1 + apart.square() / (depth**2 + poca.height_variance[near]))
    scores = (poca.angle_squared.sqrt() * tracks.beta_momentum * 1e3)[near]
    value = found.values[1, 2, 2].item()
    below = weights[scores < value * (1 - 1e-12)].sum() / weights.sum()
    reached = weights[scores <= value * (1 + 1e-12)].sum() / weights.sum()
    assert below.item() - 1e-6 <= 0.5 <= reached.item() + 1e-6


def test_shadows_of_a_block_fade_where_the_height_of_scattering_counts(tracks, box):
    near = angle_statistics_image(tracks, box).values
    far = angle_statistics_image(tracks, box, depth=math.inf).values
    ratios = [v[1:3, 1:3, 0].mean() / v[1:3, 1:3, 1:3].mean() for v in (near, far)]
    assert ratios[0] < 0.9 * ratios[1]


def test_clustering_is_the_quantile_over_pairs(tracks, box):
    found = binned_clustering_image(tracks, box, most=9, share=0.7)
    poca = tracks.closest_approach()
    cell, inside = located(tracks, poca, box)
    strength = poca.angle_squared.sqrt() * tracks.beta_momentum / 3.0
    for flat in (21, 22, 41):
        mine = (inside & (cell == flat)).nonzero().squeeze(-1)
        mine = mine[strength[mine].argsort(descending=True)][:9]
        points = torch.stack([*poca.position, poca.height])[:, mine]
        pairs = [
            (strength[mine[a]] * strength[mine[b]] / (points[:, a] - points[:, b]).norm()).log()
            for a in range(len(mine))
            for b in range(a)
        ]
        expected = torch.stack(pairs).quantile(0.7).item()
        assert found.values.reshape(-1)[flat].item() == pytest.approx(expected, rel=1e-9)


def test_voxels_with_too_few_points_get_a_low_score(tracks, box):
    found = binned_clustering_image(tracks, box, least=40, most=60)
    empty = found.counts == 0
    assert bool(empty.any())
    low = found.values[~empty].quantile(0.05)
    torch.testing.assert_close(found.values[empty], low.expand(int(empty.sum())))
    none = binned_clustering_image(tracks, box, most=4000, least=4000)
    assert none.values.abs().max().item() == 0.0


@pytest.mark.parametrize(
    "make",
    [poca_image, angle_statistics_image, binned_clustering_image],
)
def test_block_is_brighter_than_what_surrounds_it(tracks, box, make):
    values = make(tracks, box).values
    block = values[1:3, 1:3, 1:3].mean()
    rest = torch.cat([values[0].reshape(-1), values[3].reshape(-1)]).mean()
    assert block > rest


@pytest.mark.parametrize("make", [poca_image, angle_statistics_image, binned_clustering_image])
def test_image_does_not_depend_on_the_order_of_muons(record, box, make):
    muons = record(torch.full(box.shape, 1e-4, dtype=torch.float64), box, 500)
    flipped = muons.select(torch.arange(500).flip(0))
    expected = make(muons.tracks(0.0), box).values
    found = make(flipped.tracks(0.0), box).values
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_wrong_options_are_refused(tracks, box):
    with pytest.raises(DomainError, match="score"):
        poca_image(tracks, box, "magic")
    with pytest.raises(DomainError, match="distance"):
        angle_statistics_image(tracks, box, distance=0.0)
    with pytest.raises(DomainError, match="depth"):
        angle_statistics_image(tracks, box, depth=-1.0)
    with pytest.raises(DomainError, match="share"):
        binned_clustering_image(tracks, box, share=-0.1)
    with pytest.raises(DomainError, match="least"):
        binned_clustering_image(tracks, box, least=1)


@pytest.mark.parametrize(
    "make",
    [poca_image, angle_statistics_image, binned_clustering_image, likelihood_image, learned_image],
)
def test_image_does_not_depend_on_where_the_map_has_its_origin(record, box, make):
    density = torch.full(box.shape, 1e-6, dtype=torch.float64)
    density[1:3, 1:3, 1:3] = IRON
    muons = record(density, box, 300)
    origin = (500_000.0, 4_500_000.0, 2_000.0)  # m; a place in UTM coordinates
    aside = torch.tensor(origin[:2], dtype=torch.float64)[:, None, None]
    far = dataclasses.replace(muons, hits=muons.hits + aside, heights=muons.heights + origin[2])
    there = Grid(tuple(a + b for a, b in zip(box.low, origin, strict=True)), box.voxel, box.shape)
    near = make(muons.tracks(0.0), box)
    moved = make(far.tracks(origin[2]), there)
    assert moved.grid == there
    assert moved.counts.sum() == near.counts.sum()
    torch.testing.assert_close(moved.values, near.values, rtol=1e-3, atol=1e-3)
