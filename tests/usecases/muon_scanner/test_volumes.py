"""Volumes: materials of one's own, radiation lengths, files, sparse and nested ones."""

import math

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import ConfigError, DomainError
from detopt.physics import energy_loss, materials
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import (
    Grid,
    Volumes,
    blocks,
    from_radiation_lengths,
    insert,
    load_volumes,
    loose,
    of_radiation_length,
    save_volumes,
    substance,
)

GRID = Grid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (4, 3, 2))


def test_a_loose_material_scatters_and_weighs_by_its_share():
    half, steel, air = loose("steel", 0.5), materials.get("steel"), materials.get("air")
    assert half.density == pytest.approx((steel.density + air.density) / 2)
    inverse = (1 / steel.radiation_length + 1 / air.radiation_length) / 2
    assert 1 / half.radiation_length == pytest.approx(inverse, rel=3e-3)  # alloy: tabulated length


@pytest.mark.parametrize("filling", [0.0, 1.0, -0.5, 2.0])
def test_a_share_that_is_none_is_refused(filling):
    with pytest.raises(DomainError, match="between 0 and 1"):
        loose("steel", filling)


@settings(deadline=None)
@given(st.floats(math.log(0.0032), math.log(300.0)))
def test_any_radiation_length_is_met(logarithm):
    length = math.exp(logarithm)
    found = substance(of_radiation_length(length)).radiation_length
    assert found == pytest.approx(length, rel=0.006)


@pytest.mark.parametrize("name", ["air", "water", "concrete", "Al", "Fe", "Pb", "U"])
def test_a_length_of_the_ladder_is_that_material(name):
    assert of_radiation_length(materials.get(name).radiation_length) == name


@pytest.mark.parametrize(
    ("name", "within"), [("steel", 0.01), ("granite", 0.07), ("Cu", 0.08), ("W", 0.13)]
)
def test_the_energy_loss_is_near_that_of_real_matter(name, within):
    real = materials.get(name)
    found = substance(of_radiation_length(real.radiation_length))
    losses = [
        float(energy_loss.stopping_power("muon", m, torch.tensor(3.0))) * m.density
        for m in (real, found)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=within)


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan, 0.002])
def test_an_impossible_radiation_length_is_refused(length):
    with pytest.raises(ConfigError, match="adiation length"):
        from_radiation_lengths(GRID, torch.full((1, 4, 3, 2), length, dtype=torch.float64))


def test_voxels_of_radiation_lengths_scatter_as_highland_says(rng):
    length = 0.031  # m, of no shipped material
    lengths = torch.full((1, 1, 1, 1), length, dtype=torch.float64)
    grid = Grid((0.0, 0.0, 0.0), (9.0, 9.0, 0.1), (1, 1, 1))
    volumes = from_radiation_lengths(grid, lengths)
    n = 50_000
    start = torch.full((2, 1, n), 4.5, dtype=torch.float64)
    muons = Muons(start, 0 * start, torch.full((1, n), 5.0, dtype=torch.float64), 0.1)
    medium = Medium(grid, volumes.materials, energy_loss=False)
    after, _ = propagate(muons, volumes.voxels, medium, rng)
    beta = 5.0 / math.hypot(5.0, 0.10566)
    thickness = 0.1 / length
    width = 0.0136 / (5.0 * beta) * math.sqrt(thickness)
    width *= 1 + 0.038 * math.log(thickness / beta**2)
    assert after.slope.square().mean().sqrt().item() == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_volumes_survive_both_kinds_of_file(tmp_path, rng, suffix):
    volumes = blocks(GRID, 3, rng, size=(2, 1, 1))
    path = tmp_path / f"volume{suffix}"
    save_volumes(path, volumes)
    loaded = load_volumes(path)
    assert loaded.materials == volumes.materials
    assert torch.equal(loaded.voxels, volumes.voxels)
    assert loaded.grid.voxel == pytest.approx(GRID.voxel)


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_materials_of_ones_own_are_kept_as_radiation_lengths(tmp_path, suffix):
    volumes = Volumes(GRID, ("air", loose("steel", 0.3)), torch.ones(1, 4, 3, 2).long())
    path = tmp_path / f"volume{suffix}"
    save_volumes(path, volumes)
    found = load_volumes(path)
    lengths = found.radiation_lengths()[found.voxels]
    torch.testing.assert_close(
        lengths, volumes.radiation_lengths()[volumes.voxels], rtol=6e-3, atol=0
    )


def test_an_hdf5_file_of_radiation_lengths_makes_an_image_task(tmp_path):
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file["radiation_lengths"] = np.full((5, 5, 4), 0.36)
        for axis, n in zip("xyz", (5, 5, 4), strict=True):
            file[f"{axis}_edges"] = np.linspace(0, n / 5, n + 1)
    problem = build(Config(task="image", volume=path, n_muons=10, upper_z=None))
    assert problem.source.volumes.voxels.shape == (1, 5, 5, 4)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [({}, "lacks materials"), ({"radiation_lengths": np.array(["a"])}, "must be real numbers")],
)
def test_bad_hdf5_files_are_refused(tmp_path, arrays, complaint):
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            file[key] = values.astype("S")
        for axis in "xyz":
            file[f"{axis}_edges"] = np.array([0.0, 1.0])
    with pytest.raises(ConfigError, match=complaint):
        load_volumes(path)


def test_a_text_is_no_hdf5_file(tmp_path):
    path = tmp_path / "volume.h5"
    path.write_text("nothing")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_volumes(path)


def test_a_link_to_a_missing_hdf5_file_is_refused(tmp_path):
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file["voxels"] = h5py.ExternalLink("nowhere.h5", "/voxels")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_volumes(path)


def test_numbers_of_any_byte_order_are_read(tmp_path):
    path = tmp_path / "volume.npz"
    edges = np.array([0, 1, 2], dtype=">f4")
    np.savez(
        path,
        radiation_lengths=np.full((2, 2, 2), 0.361, dtype=">f8"),
        **{f"{axis}_edges": edges for axis in "xyz"},
    )
    assert load_volumes(path).names == ("water",)


def test_a_sparse_volume_fills_what_is_listed():
    volumes = Volumes.sparse(GRID, "air", {"Pb": [(0, 0, 0), (3, 2, 1)], "Fe": [(1, 1, 1)]})
    assert volumes.names == ("air", "Pb", "Fe")
    assert (volumes.voxels == 1).nonzero()[:, 1:].tolist() == [[0, 0, 0], [3, 2, 1]]
    assert volumes.fractions()["Fe"] == pytest.approx(1 / 24)


@pytest.mark.parametrize(
    ("filled", "complaint"),
    [
        ({"Pb": [(4, 0, 0)]}, "outside"),
        ({"Pb": [(0, 0, 0), (0, 0, 0)]}, "twice"),
        ({"Pb": [(0, 0, 0)], "Fe": [(0, 0, 0)]}, "twice"),
    ],
)
def test_sparse_voxels_that_cannot_be_are_refused(filled, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Volumes.sparse(GRID, "air", filled)


def test_a_nested_volume_overwrites_what_is_around_at_its_own_resolution():
    outer = Volumes(GRID, ("water",), torch.zeros(1, *GRID.shape).long())
    fine = Grid((0.1, 0.1, 0.0), (0.05, 0.05, 0.1), (2, 2, 1))
    inner = Volumes(fine, ("Pb", "air"), torch.tensor([[[[0], [1]], [[1], [0]]]]))
    nested = insert(outer, inner)
    assert nested.grid.shape == (8, 6, 2)
    assert nested.names == ("water", "Pb", "air")
    expected = torch.zeros(8, 6, 2, dtype=torch.int64)
    expected[2:4, 2:4, 0] = torch.tensor([[1, 2], [2, 1]])
    assert torch.equal(nested.voxels[0], expected)


def test_several_volumes_go_into_one_and_keep_their_targets(rng):
    outer = Volumes(GRID, ("water",), torch.zeros(1, *GRID.shape).long())
    small = Grid((0.0, 0.0, 0.0), GRID.voxel, (1, 1, 1))
    voxels = torch.arange(2).reshape(2, 1, 1, 1)
    inner = Volumes(small, ("Fe", "Pb"), voxels, torch.tensor([1.0, 2.0], dtype=torch.float64))
    nested = insert(outer, inner)
    assert nested.target.tolist() == [1.0, 2.0]
    assert [nested.names[i] for i in nested.voxels[:, 0, 0, 0].tolist()] == ["Fe", "Pb"]


def test_an_inner_volume_that_sticks_out_is_refused():
    outer = Volumes(GRID, ("water",), torch.zeros(1, *GRID.shape).long())
    with pytest.raises(ConfigError, match="out of the outer"):
        insert(
            outer,
            Volumes(
                Grid((0.3, 0.0, 0.0), GRID.voxel, (2, 1, 1)),
                ("Fe",),
                torch.zeros(1, 2, 1, 1).long(),
            ),
        )


def test_two_volumes_do_not_go_into_three(rng):
    two, three = (blocks(GRID, n, rng, size=(1, 1, 1)) for n in (2, 3))
    with pytest.raises(ConfigError, match="Cannot put 2"):
        insert(three, two)
