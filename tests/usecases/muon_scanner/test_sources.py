"""Muons and volumes: distributions, absolute rates, the ladle, files."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import integrate

from detopt.errors import ConfigError, NotFoundError
from detopt.physics.fluxes import guan_intensity
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.sources import BlockSource, CatalogueSource, MuonBeam, MuonSource
from detopt.usecases.muon_scanner.transport import Medium
from detopt.usecases.muon_scanner.volumes import (
    Grid,
    Volumes,
    blocks,
    ladle,
    load_volumes,
    save_volumes,
)

GRID = Grid((0.0, 0.0, 0.4), (0.1, 0.1, 0.1), (10, 10, 10))


def source(**settings):
    return MuonSource(MuonBeam(**settings), GRID)


def test_kept_muons_leave_through_the_bottom(rng):
    muons = source(margin=0.4).draw(4, 500, rng, torch.float64)
    bottom = muons.position + muons.slope * (0.4 - muons.height)
    assert bottom.min() >= 0
    assert bottom.max() <= 1


def test_every_scan_has_its_number_of_muons(rng):
    muons = source(margin=0.4).draw(7, 123, rng, torch.float32)
    assert muons.position.shape == (2, 7, 123)
    assert muons.momentum.dtype == torch.float32


def test_zenith_angles_follow_the_flux_through_a_horizontal_plane(rng):
    muons = source(crossing=False, momentum=5.0).draw(1, 200_000, rng, torch.float64)
    cosine = (1 + muons.slope.square().sum(0)).rsqrt()
    energy = math.hypot(5.0, 0.10566)
    lowest = math.cos(math.radians(70))

    def weight(c, power):
        return float(guan_intensity(energy, c)) * c ** (1 + power)

    norm, mean = (integrate.quad(weight, lowest, 1, args=(power,))[0] for power in (0, 1))
    assert cosine.mean().item() == pytest.approx(mean / norm, abs=1e-3)


def test_the_azimuth_is_uniform(rng):
    slope = source(crossing=False).draw(1, 100_000, rng, torch.float64).slope[:, 0]
    azimuth = torch.atan2(slope[1], slope[0])
    assert azimuth.cos().mean().abs().item() < 0.01
    assert (2 * azimuth).cos().mean().abs().item() < 0.01


def test_the_rate_is_flux_times_area_times_acceptance():
    everything, kept = source(crossing=False, margin=0.4), source(crossing=True, margin=0.4)
    assert everything.rate == pytest.approx(everything.beam.model.rate_per_area * 1.8**2)
    assert kept.rate == pytest.approx(everything.rate * kept.acceptance)


def test_the_rate_through_the_bottom_hardly_depends_on_a_wider_start():
    # muons that reach the bottom from far away are inclined and rare
    wide, wider = (source(margin=margin).rate for margin in (4.0, 5.0))
    assert wide == pytest.approx(wider, rel=0.02)
    # and without a limit it is the flux through a square metre
    assert wider == pytest.approx(source().beam.model.rate_per_area, rel=0.02)


def test_the_spectrum_is_drawn_if_no_momentum_is_given(rng):
    momentum = source(momentum=None, crossing=False).draw(1, 50_000, rng, torch.float64).momentum
    assert momentum.std() > 1
    assert momentum.min().item() >= math.sqrt(0.5**2 - 0.10566**2) - 1e-3


def test_the_ladle_is_the_published_one():
    volumes = ladle()
    names = np.array(volumes.materials)
    low = names[volumes.voxels[0].numpy()]  # filled up to z = 0.6 m
    assert volumes.target.tolist() == pytest.approx([0.6 + 0.1 * i for i in range(8)])
    assert (low[:, :, 0] == "steel").all()
    assert (low[0] == "steel").all()
    assert (low[:, -1] == "steel").all()
    assert (low[1:-1, 1:-1, 1] == "liquid_steel").all()
    assert (low[1:-1, 1:-1, 2] == "slag").all()
    assert (low[1:-1, 1:-1, 3:] == "air").all()
    full = names[volumes.voxels[-1].numpy()]  # z = 1.3 m: slag up to the rim
    assert (full[1:-1, 1:-1, 9] == "slag").all()


def test_scans_visit_all_volumes_alike(rng):
    scans = CatalogueSource(ladle(), Medium(GRID, ladle().materials), source(), 10)(
        16, rng, torch.float32
    )
    assert sorted(scans.target.tolist()) == sorted(2 * ladle().target.float().tolist())


def heights(n_scans, rng):
    volumes = ladle()
    catalogue = CatalogueSource(volumes, Medium(GRID, volumes.materials), source(), 2)
    return catalogue(n_scans, rng, torch.float64).target


def test_every_volume_of_a_long_catalogue_is_drawn(rng):
    seen = torch.cat([heights(3, rng) for _ in range(100)])
    counts = seen.unique(return_counts=True)[1]
    assert len(counts) == len(ladle())
    assert counts.min() > 15  # 37.5 expected, with a standard deviation of 4.8
    assert all(len(heights(5, rng).unique()) == 5 for _ in range(10))


def test_no_volume_is_favored_where_their_number_does_not_divide_the_scans(rng):
    counts = torch.stack([heights(12, rng).unique(return_counts=True)[1] for _ in range(50)])
    assert counts.unique().tolist() == [1, 2]
    assert (counts.double().mean(0) - 1.5).abs().max() < 0.3  # standard error 0.07


def test_equal_seeds_draw_equal_volumes():
    first, again, other = (heights(5, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_blocks_have_their_size_and_stay_inside(rng):
    volumes = blocks(Grid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (10, 10, 6)), 200, rng)
    assert ((volumes.voxels == 1).sum((1, 2, 3)) == 4 * 4 * 2).all()
    occupied = (volumes.voxels == 1).any(0)
    assert occupied.any((1, 2)).all()  # every place along x occurs


def test_block_sources_draw_fresh_volumes(rng):
    scans = BlockSource(Medium(GRID, ("water", "Pb")), (4, 4, 2), source(), 5)
    first, second = (scans(8, rng, torch.float32).voxels for _ in range(2))
    assert not torch.equal(first, second)


def test_volumes_survive_a_file(tmp_path):
    path = tmp_path / "ladle.npz"
    save_volumes(path, ladle())
    loaded = load_volumes(path)
    assert torch.equal(loaded.voxels, ladle().voxels)
    assert loaded.materials == ladle().materials
    assert loaded.grid.low == pytest.approx(GRID.low)
    torch.testing.assert_close(loaded.target, ladle().target)


def write(path, **changes):
    arrays = {
        "materials": np.array(["water", "Pb"]),
        "voxels": np.zeros((2, 2, 2), dtype=int),
        **{f"{axis}_edges": np.array([0.0, 0.1, 0.2]) for axis in "xyz"},
    }
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"voxels": np.zeros((0, 2, 2), dtype=int)}, "empty"),
        ({"voxels": np.zeros((2, 2, 2))}, "whole numbers"),
        ({"voxels": np.full((2, 2, 2), 7)}, "refers to material 7"),
        ({"voxels": np.zeros((3, 2, 2), dtype=int)}, "the grid"),
        ({"x_edges": np.array([0.0, 0.1, 0.3])}, "equal steps"),
        ({"x_edges": np.array(["a", "b", "c"])}, "`x_edges` .* finite real numbers"),
        ({"x_edges": np.array([0.0, 0.1, np.inf])}, "`x_edges` .* finite real numbers"),
        ({"y_edges": None}, "lacks y_edges"),
        ({"target": np.zeros(5)}, "as many targets"),
        ({"target": np.array(["full"])}, "`target` .* finite real numbers"),
        ({"target": np.array([np.nan])}, "`target` .* finite real numbers"),
        ({"radiation_lengths": np.full((2, 2, 2), 1 + 2j)}, "must be real numbers"),
    ],
)
def test_bad_volume_files_are_refused(tmp_path, changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_volumes(write(tmp_path / "volume.npz", **changes))


def test_an_unknown_material_in_a_file_is_refused(tmp_path):
    path = write(tmp_path / "volume.npz", materials=np.array(["water", "unobtainium"]))
    with pytest.raises(NotFoundError, match="unobtainium"):
        load_volumes(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "volume.npz"
    path.write_text("nothing")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_volumes(path)


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = write(tmp_path / "volume.npz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="Cannot read"):
        load_volumes(path)


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / "volume.npy"
    np.save(path, np.zeros((2, 2, 2), dtype=int))
    with pytest.raises(ConfigError, match="one array without a name"):
        load_volumes(path)


@pytest.mark.parametrize("target", [None, torch.ones(8, dtype=torch.float64)])
def test_a_ladle_needs_different_fill_heights(tmp_path, target):
    path = tmp_path / "ladle.npz"
    save_volumes(path, dataclasses.replace(ladle(), target=target))
    with pytest.raises(ConfigError, match="two different values of `target`"):
        build(Config(task="ladle", volume=path))


def test_a_volume_needs_voxels():
    with pytest.raises(ConfigError, match="empty"):
        Volumes(GRID, ("air",), torch.zeros(0, 10, 10, 10, dtype=torch.int64))
