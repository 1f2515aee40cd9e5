"""The imaging network: its maps, laws, derivatives and files."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from detopt.errors import ConfigError
from detopt.reconstruction import (
    Grid,
    ImagingNetwork,
    LineFit,
    MuonTracks,
    learned_image,
    load_network,
    network_recipe,
    save_network,
)
from detopt.reconstruction.imaging_network import log_scattering, scattering_density
from detopt.reconstruction.muon_maps import voxel_maps
from detopt.reconstruction.muon_paths import path_lengths

IRON, WATER = 1.17e-3, 5.7e-5  # rad2/m at 3 GeV/c


@pytest.fixture
def network():
    """Random weights in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return ImagingNetwork(widths=(4, 6), n_hidden=8).double().requires_grad_(False)


@pytest.fixture
def block(box):
    """Iron in the middle of thin matter."""
    density = torch.full(box.shape, 1e-6, dtype=torch.float64)
    density[1:3, 1:3, 1:3] = IRON
    return density


def test_logarithm_is_that_of_water_and_inverts():
    assert log_scattering(torch.tensor(WATER)).item() == pytest.approx(0.6931, abs=1e-4)
    density = torch.logspace(-8, -2, 20, dtype=torch.float64)
    torch.testing.assert_close(scattering_density(log_scattering(density)), density)


def test_maps_are_sums_over_points_and_paths_for_each_crossing(record, box, block):
    tracks = record(block, box, 400, steep=0.1, spread=0.4, resolution=1e-6).tracks(0.0)
    poca = tracks.closest_approach()
    weight = torch.ones(400, dtype=torch.float64)
    ones = torch.ones(400, 1, dtype=torch.float64)
    points, paths, crossings = voxel_maps(tracks, poca, weight, ones, ones, box)
    number = crossings.expm1()
    expected = path_lengths(tracks, box).reshape(box.shape) / 0.1
    torch.testing.assert_close(number, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(paths * (number + 0.5), number)
    # every point inside, and known to a small part of a voxel, is counted once
    _, inside = box.find(torch.stack([*poca.position, poca.height]))
    sharp = poca.height_variance.sqrt() < 0.01
    total = (points * (number + 0.5)).sum().item()
    assert int((inside & sharp).sum()) * 0.97 < total < int((inside | ~sharp).sum()) * 1.03


def test_image_moves_with_the_volume(network, record, box, block):
    muons = record(block, box, 300)
    grid = Grid((0.8, -0.5, 1.8), box.voxel, box.shape)
    shift = torch.tensor([1.0, -0.3], dtype=torch.float64)
    moved = dataclasses.replace(
        muons, hits=muons.hits + shift[:, None, None], heights=muons.heights + 2.0
    )
    expected = learned_image(muons.tracks(0.0), box, network).values
    found = learned_image(moved.tracks(2.0), grid, network).values
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_order_of_muons_does_not_matter(network, record, box, block):
    muons = record(block, box, 300)
    flipped = muons.select(torch.arange(300).flip(0))
    expected = learned_image(muons.tracks(0.0), box, network).values
    torch.testing.assert_close(learned_image(flipped.tracks(0.0), box, network).values, expected)


def test_muons_without_weight_do_not_count(network, record, box, block):
    muons = record(block, box, 200)
    weight = torch.ones(200, dtype=torch.float64)
    weight[50:] = 0
    found = network(muons.tracks(0.0), weight, box)
    expected = network(muons.select(slice(0, 50)).tracks(0.0), weight[:50], box)
    torch.testing.assert_close(found, expected)


def test_several_volumes_are_imaged_as_one_by_one(network, record, box, block):
    scans = [record(block * scale, box, 100, seed=i).tracks(0.0) for i, scale in enumerate((1, 3))]

    def together(fits):
        return LineFit(
            *(
                torch.stack([getattr(fit, field.name) for fit in fits], dim=-2)
                for field in dataclasses.fields(LineFit)
            )
        )

    both = MuonTracks(
        together([t.above for t in scans]),
        together([t.below for t in scans]),
        0.0,
        torch.stack([t.momentum for t in scans]),
    )
    weight = torch.ones(2, 100, dtype=torch.float64)
    found = network(both, weight, box)
    for i, tracks in enumerate(scans):
        torch.testing.assert_close(found[i], network(tracks, weight[i], box))


def test_unknown_momenta_are_taken_to_be_those_of_the_training(network, record, box, block):
    muons = dataclasses.replace(record(block, box, 100), momentum=None)
    other = dataclasses.replace(muons, mean_momentum=7.0)
    first, second = (learned_image(m.tracks(0.0), box, network).values for m in (muons, other))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("way", range(3))
def test_derivative_in_the_hits_matches_differences(network, record, box, block, way):
    muons = record(block, box, 40, resolution=1e-4)
    weights = torch.linspace(-1, 1, box.n_voxels, dtype=torch.float64).reshape(box.shape)

    def summary(hits):
        tracks = dataclasses.replace(muons, hits=hits).tracks(0.0)
        return (learned_image(tracks, box, network).values * weights).sum()

    hits = muons.hits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(summary(hits), hits)
    rng = torch.Generator().manual_seed(way)
    direction = torch.randn(hits.shape, generator=rng, dtype=torch.float64)
    step = 1e-8  # m
    ends = [summary(muons.hits + sign * step * direction).item() for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    assert (slope * direction).sum().item() == pytest.approx(expected, rel=1e-4)


def test_derivative_in_the_weights_matches_differences(network, record, box, block):
    tracks = record(block, box, 12).tracks(0.0)
    weight = torch.full((12,), 0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: network(tracks, w, box)[1, 1], weight)


def test_weights_get_no_gradient_but_hits_do(record, box, block):
    muons = record(block, box, 50)
    hits = muons.hits.clone().requires_grad_()
    tracks = dataclasses.replace(muons, hits=hits).tracks(0.0)
    learned_image(tracks, box).values.max().backward()
    assert hits.grad is not None
    assert hits.grad.isfinite().all()
    assert not any(p.requires_grad for p in load_network().parameters())


def test_shipped_network_finds_iron(record, block):
    grid = Grid((-0.4, -0.4, -0.4), (0.1, 0.1, 0.1), (8, 8, 8))
    density = torch.full(grid.shape, 1e-6, dtype=torch.float64)
    density[3:5, 3:5, 3:5] = IRON
    muons = record(density, grid, 6000, resolution=1e-4, momenta=(2.0, 8.0))
    found = learned_image(muons.tracks(0.0), grid)
    iron = found.values[3:5, 3:5, 3:5] / 1e4
    assert iron.mean().item() == pytest.approx(IRON, rel=0.4)
    assert found.values[1].max() < 0.1 * iron.min() * 1e4
    assert int(found.counts[3:5, 3:5, 3:5].min()) > 20
    assert network_recipe()["held_out_error"] < 0.6 * network_recipe()["held_out_spread"]


def test_file_gives_the_same_network(network, tmp_path, record, box, block):
    path = tmp_path / "some" / "imager.safetensors"
    save_network(path, network, {"n_steps": 7})
    tracks = record(block, box, 100).tracks(0.0)
    again = load_network(path)
    assert network_recipe(path) == {"n_steps": 7}
    expected = learned_image(tracks, box, network).values
    assert torch.equal(learned_image(tracks, box, again).values, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the network"),
        (b"not a network", "Cannot read the network"),
        ({"a": torch.zeros(2)}, "holds no imaging network"),
    ],
)
def test_unusable_files_are_refused(tmp_path, content, message):
    path = tmp_path / "imager.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path)
    with pytest.raises(ConfigError, match=message):
        load_network(path)


def test_file_of_another_shape_is_refused(network, tmp_path):
    path = tmp_path / "imager.safetensors"
    network.options["widths"] = (4, 8)
    save_network(path, network, {})
    with pytest.raises(ConfigError, match="damaged or of another version"):
        load_network(path)


@pytest.mark.parametrize("shape", [(1, 4, 1), (2, 2, 2), (1, 1, 1)])
def test_grid_of_a_single_layer_has_an_image(record, box, block, shape):
    tracks = record(block, box, 50).tracks(0.0)
    size = tuple(0.4 / n for n in shape)
    image = learned_image(tracks, Grid(box.low, size, shape))
    assert image.values.shape == shape
    assert bool((image.values >= 0).all())
