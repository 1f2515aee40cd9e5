"""Terrain: paths through it, files of the user, cavities that fit into it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import ConfigError, DomainError
from detopt.usecases.muon_absorption import Config
from detopt.usecases.muon_absorption.cavities import CavityPrior
from detopt.usecases.muon_absorption.space import design_space, view
from detopt.usecases.muon_absorption.targets import load_terrain, make_target
from detopt.usecases.muon_absorption.telescope import place_telescopes
from detopt.usecases.muon_absorption.terrain import Terrain

DOUBLE = torch.float64
LOW, HIGH = (-100.0, -80.0, -10.0), (100.0, 80.0, 60.0)


def slope(a=0.2, b=-0.1, top=20.0):
    """An inclined plane z = top + a x + b y, whose paths are known."""
    x, y = torch.linspace(-100, 100, 21), torch.linspace(-80, 80, 17)
    height = top + a * x[:, None] + b * y
    return Terrain(LOW, HIGH, height.to(DOUBLE), None, 2.5, "standard_rock")


def block():
    voxels = torch.zeros(20, 16, 7, dtype=DOUBLE)
    voxels[5:15, 4:12, 1:4] = 2.0
    return Terrain(LOW, HIGH, None, voxels, 2.65, "standard_rock")


def unit(*vector):
    return torch.nn.functional.normalize(torch.tensor(vector, dtype=DOUBLE), dim=-1)


@given(st.floats(0.1, 6.2), st.floats(0.05, 0.6))
def test_path_in_an_inclined_plane_is_that_to_the_surface(azimuth, elevation):
    origin = torch.tensor([3.0, -7.0, 0.0], dtype=DOUBLE)
    level = math.cos(elevation)
    ray = unit(level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation))
    under = 20 + 0.2 * 3 + 0.1 * 7
    closing = math.sin(elevation) - 0.2 * ray[0].item() + 0.1 * ray[1].item()
    inside = [
        (side - o) / r if r > 0 else math.inf
        for o, r, side in zip(origin.tolist(), ray.tolist(), HIGH, strict=True)
    ] + [
        (side - o) / r if r < 0 else math.inf
        for o, r, side in zip(origin.tolist(), ray.tolist(), LOW, strict=True)
    ]
    expected = min([*inside, under / closing if closing > 0 else math.inf])
    found = slope().grammage(origin, ray, 200).item()
    assert found == pytest.approx(250 * expected, rel=1e-6, abs=1e-6)


def test_path_through_voxels_is_exact():
    ray = unit(1.0, 0.0, 0.0)
    origin = torch.tensor([-90.0, 5.0, 10.0], dtype=DOUBLE)
    assert block().grammage(origin, ray, 10).item() == pytest.approx(100 * 2.0 * 100)


def test_target_is_what_stands_out():
    low, high = block().target
    assert low == pytest.approx((-50.0, -40.0, -10.0))
    assert high == pytest.approx((50.0, 40.0, 30.0))


def test_cover_is_the_distance_to_the_surface_of_a_plane():
    place = torch.tensor([[0.0, 0.0, 10.0]], dtype=DOUBLE)
    expected = 10 / math.sqrt(1 + 0.2**2 + 0.1**2)
    assert slope().cover(place).item() == pytest.approx(expected)


def test_cover_in_voxels_is_the_distance_to_the_nearest_air():
    place = torch.tensor(
        [
            [0.0, 0.0, 22.0],  # under the top, at 30 m
            [-47.0, 0.0, 12.0],  # behind a wall, at -50 m
            [0.0, 37.5, 5.0],  # behind another one, at 40 m
            [-49.0, -38.0, 12.0],  # behind two
            [-53.0, 0.0, 12.0],  # in the air
        ],
        dtype=DOUBLE,
    )
    cover = block().cover(place)
    torch.testing.assert_close(cover, torch.tensor([8.0, 3.0, 2.5, 1.0, 0.0], dtype=DOUBLE))
    voxels = block().voxels.clone()
    voxels[9:11, 7:9, 2] = 0.0  # a void that is known, from 10 to 20 m
    hollow = Terrain(LOW, HIGH, None, voxels, 2.65, "standard_rock")
    places = torch.tensor([[0.0, 0.0, 24.0], [0.0, 0.0, 15.0]], dtype=DOUBLE)
    torch.testing.assert_close(hollow.cover(places), torch.tensor([4.0, 0.0], dtype=DOUBLE))


def test_cavities_of_a_building_lie_within_its_walls(rng):
    target = make_target(Config(target="building"))
    drawn = CavityPrior(target, 1.5, 4)(500, rng, DOUBLE)
    way = torch.nn.functional.normalize(torch.randn(200, 3, generator=rng, dtype=DOUBLE), dim=-1)
    surface = drawn.center[:, None] + drawn.radius[:, None, None] * way
    x, y, z = surface.unbind(-1)
    from_middle = torch.maximum(x.abs() - 15, y.abs() - 10)  # m; the lowest step is 30 x 20 m
    step = (z / 3).floor()  # each is 3 m high and 2 m narrower on every side
    outside = (from_middle + 2 * step > 0) | (z > 15)
    assert not bool(outside.any())


def test_sector_weights_share_a_place(rng):
    place = 50 * torch.randn(100, 3, generator=rng, dtype=DOUBLE)
    for weights, n in zip(block().sector_weights(place, (4, 3, 1)), (4, 3, 1), strict=True):
        assert weights.shape == (100, n)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(100, dtype=DOUBLE))


@pytest.mark.parametrize("terrain", [slope(), block()], ids=["elevation", "voxels"])
def test_path_has_the_right_gradient(terrain):
    origin = torch.tensor([[-71.0, 3.1, 4.3]], dtype=DOUBLE, requires_grad=True)
    ray = unit([0.9, 0.13, 0.11], [0.8, -0.2, 0.05]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda o, d: terrain.grammage(o, torch.nn.functional.normalize(d, dim=-1), 37),
        (origin, ray),
    )


@pytest.mark.parametrize("name", ["hill", "volcano", "building"])
def test_cavities_of_generated_targets_are_covered(name, rng):
    target = make_target(Config(target=name))
    drawn = CavityPrior(target, 1.5, 4)(500, rng, DOUBLE)
    assert bool(
        (target.terrain.cover(drawn.center) >= 1.5 * drawn.radius - 1e-9).double().mean() > 0.98
    )
    assert bool((drawn.radius >= target.radius[0]).all())
    assert bool((drawn.radius <= target.radius[1]).all())


@pytest.mark.parametrize("name", ["b.csv", "B.CSV"])
def test_files_of_one_hill_are_the_same_terrain(tmp_path, name):
    plane = slope()
    height = plane.height.numpy()
    np.savez(tmp_path / "a.npz", elevation=height, low=LOW[:2], high=HIGH[:2])
    x, y = np.meshgrid(np.linspace(-100, 100, 21), np.linspace(-80, 80, 17), indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), height.ravel()], axis=1)
    shuffled = points[np.random.default_rng(0).permutation(len(points))]
    np.savetxt(tmp_path / name, shuffled, delimiter=",", header="x,y,z", fmt="%.12g")
    first = load_terrain(tmp_path / "a.npz", 2.5, "standard_rock")
    second = load_terrain(tmp_path / name, 2.5, "standard_rock")
    torch.testing.assert_close(first.height + first.origin[2], plane.height)
    torch.testing.assert_close(second.height, first.height, rtol=0, atol=1e-9)
    assert first.low == pytest.approx(second.low)


def test_voxels_come_from_a_file(tmp_path):
    voxels = block().voxels.numpy()
    np.savez(tmp_path / "v.npz", density=voxels, low=LOW, high=HIGH)
    found = load_terrain(tmp_path / "v.npz", 2.0, "standard_rock")
    torch.testing.assert_close(found.voxels, block().voxels)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_layer_of_voxels_is_as_many_that_are_equal(tmp_path, axis, rng):
    layer = block().voxels.numpy().take([8], axis)
    for name, n in (("one", 1), ("many", 6)):
        np.savez(tmp_path / name, density=layer.repeat(n, axis), low=LOW, high=HIGH)
    one, many = (
        load_terrain(tmp_path / f"{name}.npz", 2.0, "standard_rock") for name in ("one", "many")
    )
    place = torch.tensor([70.0, 60.0, 20.0]) * torch.rand(50, 3, generator=rng, dtype=DOUBLE)
    torch.testing.assert_close(one.ground(*place.T[:2]), many.ground(*place.T[:2]))
    torch.testing.assert_close(one.cover(place), many.cover(place))
    rays = unit([0.8, 0.5, 0.1], [-0.3, 0.9, 0.2])
    found = [terrain.grammage(place[:, None], rays.expand(50, 2, 3), 64) for terrain in (one, many)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("shape", ["wall", "peak", "edge"])
def test_a_single_row_of_nodes_is_a_target_with_a_width(shape):
    height = torch.zeros(21, 21, dtype=DOUBLE)
    height[{"wall": 10, "peak": 10, "edge": 0}[shape], 10 if shape == "peak" else slice(5, 16)] = 20
    low, high = (-100.0, -100.0, -4.0), (100.0, 100.0, 24.0)
    terrain = Terrain(low, high, height, None, 2.65, "standard_rock")
    (left, _, _), (right, _, _) = terrain.target
    assert right - left == pytest.approx(5.0 if shape == "edge" else 10.0)
    mass = terrain.sector_masses((3, 3, 2))
    assert bool((mass >= 0).all())
    assert float(mass.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"low": [0, 0], "high": [1, 1]}, "`elevation` or `density`"),
        ({"elevation": np.zeros((3, 3))}, "lacks low, high"),
        ({"elevation": np.zeros((3, 3)), "low": [0] * 3, "high": [1] * 3}, "2 axes"),
        ({"elevation": np.full((3, 3), np.nan), "low": [0, 0], "high": [1, 1]}, "not finite"),
        ({"density": -np.ones((3, 3, 3)), "low": [0] * 3, "high": [1] * 3}, "Densities"),
        (
            {"density": np.full((3, 3, 3), 2650), "low": [0] * 3, "high": [1] * 3},
            r"2650\. Divide kg/m3",
        ),
        ({"elevation": [[0.0, 5], [-9999, 7]], "low": [0, 0], "high": [1, 1]}, "fill the gaps"),
        ({"elevation": [[0.0, 5], [1e20, 7]], "low": [0, 0], "high": [1, 1]}, "fill the gaps"),
        ({"elevation": np.zeros((3, 3)), "low": 0, "high": 1}, r"shapes \(3, 3\), \(\) and \(\)"),
        ({"elevation": np.zeros((3, 3)), "low": [0, 0], "high": [np.inf, 1]}, "both finite"),
        ({"elevation": np.zeros((0, 3)), "low": [0, 0], "high": [1, 1]}, r"\(0, 3\)"),
        ({"elevation": np.zeros((3, 3)), "low": ["a", "b"], "high": [1, 1]}, "real numbers"),
    ],
)
def test_unusable_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        load_terrain(tmp_path / "t.npz", 2.65, "standard_rock")


def test_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", elevation=np.eye(9), low=[0, 0], high=[1, 1])
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_terrain(tmp_path / "t.npz", 2.65, "standard_rock")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(9))
    with pytest.raises(ConfigError, match=r"single array.*`low` and `high`"):
        load_terrain(tmp_path / "t.npy", 2.65, "standard_rock")


@pytest.mark.parametrize(
    ("header", "order"), [("x,y,z", "xyz"), ("y,x,z", "yxz"), ("# Z, X, Y", "zxy"), ("", "xyz")]
)
def test_columns_of_points_are_found_by_name(tmp_path, header, order):
    x, y = np.meshgrid(np.linspace(-9, 9, 4), np.linspace(-5, 5, 3), indexing="ij")
    columns = {"x": x, "y": y, "z": x + 2 * y + 19}
    points = np.stack([columns[name].ravel() for name in order], axis=1)
    np.savetxt(tmp_path / "t.csv", points, delimiter=",", header=header, comments="")
    found = load_terrain(tmp_path / "t.csv", 2.65, "standard_rock")
    torch.testing.assert_close(found.height, torch.from_numpy(columns["z"]))
    assert found.high[:2] == pytest.approx((9.0, 5.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("x,y,z\n", "no points"),
        ("easting,northing,z\n0,0,1\n", "got easting, northing, z"),
        ("x,y,z,density\n0,0,1,2\n", "got x, y, z, density"),
        ("0,0,1,2\n", "got 4"),
        ("x,y,z\n0,0,1\n0,1,1\n1,0,-9999\n1,1,1\n", "fill the gaps"),
        ("x,y,z\n0,0,1\n0,1,1\n1,0,1\n", "no full grid"),
        ("x,y\n0,0\n1,1\n", "3 columns"),
        ("x,y,z\n0,0,1\n0,1,1\n0,5,1\n1,0,1\n1,1,1\n1,5,1\n", "evenly spaced"),
        ("x,y,z\na,b,c\n", "cannot be read"),
        ("x,y,z\n0,0,1\n0,1,1\n0,1,2\n1,1,1\n", "4 points at 3 places"),
        ("x,y,z\n0,0,1\n0,1,1\n1,0,1\n1,1,1\n", "flat"),
        ("14.1,40.8,1\n14.1,40.9,400\n14.2,40.8,1\n14.2,40.9,1\n", "degrees"),
    ],
)
def test_unusable_points_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_terrain(tmp_path / "t.csv", 2.65, "standard_rock")


def test_a_place_is_that_of_the_users_map(tmp_path):
    height = slope().height.numpy() + 2_000.0
    np.savez(tmp_path / "t.npz", elevation=height, low=(5e5, 4.51e6), high=(5.002e5, 4.5103e6))
    terrain = load_terrain(tmp_path / "t.npz", 2.5, "standard_rock")
    assert terrain.low[:2] == pytest.approx((-100.0, -150.0))
    assert float(terrain.height.min()) == 0.0
    low, high = (terrain.on_map(*corner) for corner in (terrain.low, terrain.high))
    assert low[:2] == (5e5, 4.51e6)
    assert high[:2] == (5.002e5, 4.5103e6)
    assert terrain.on_map(0.0, 0.0, float(terrain.height.max()))[2] == pytest.approx(height.max())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_terrain(tmp_path / "none.npz", 2.65, "standard_rock")


def test_terrain_without_matter_is_refused():
    with pytest.raises(DomainError, match="either `height` or `voxels`"):
        Terrain(LOW, HIGH, None, None, 2.65, "standard_rock")
    with pytest.raises(DomainError, match="`density`"):
        Terrain(LOW, HIGH, torch.zeros(3, 3), None, 0.0, "standard_rock")
    with pytest.raises(DomainError, match="`density`"):
        Terrain(LOW, HIGH, torch.zeros(3, 3), None, 2650.0, "standard_rock")


def test_cavities_that_do_not_fit_are_refused():
    target = make_target(Config(radius=(60.0, 80.0)))
    with pytest.raises(ConfigError, match="do not fit"):
        CavityPrior(target, 1.5, 4)


@pytest.mark.parametrize("name", ["hill", "volcano", "building"])
def test_sectors_share_the_mass_of_the_target(name):
    terrain = make_target(Config(target=name)).terrain
    mass = terrain.sector_masses((4, 4, 3))
    assert mass.shape == (48,)
    assert float(mass.sum()) == pytest.approx(1.0)
    levels = mass.reshape(4, 4, 3).sum(dim=(0, 1))
    assert levels[0] > levels[2]  # less rock at the top
    corners = mass.reshape(4, 4, 3)[::3, ::3, 2]
    assert float(corners.max()) < 0.005  # nothing above the corners


def test_one_layer_of_voxels_has_the_masses_of_its_densities():
    voxels = torch.ones(2, 2, 2, dtype=torch.float64)
    voxels[1] = 3.0
    terrain = Terrain((-1.0, -1.0, 0.0), (1.0, 1.0, 2.0), None, voxels, 1.0, "standard_rock")
    mass = terrain.sector_masses((2, 1, 1))
    # hat functions 1 - u and u over u in [0, 1], with the densities 1 and 3 on the halves
    assert mass.tolist() == pytest.approx([(3 / 8 + 3 / 8) / 2, (1 / 8 + 9 / 8) / 2], abs=1e-3)


def test_flat_terrain_is_refused():
    terrain = Terrain((-1.0, -1.0, 0.0), (1.0, 1.0, 2.0), torch.ones(3, 3), None, 1.0, "water")
    with pytest.raises(DomainError, match="flat"):
        _ = terrain.target


@pytest.mark.parametrize(("scale", "drawn"), [(1.0, 10.0), (0.1, 1.0)], ids=["hill", "building"])
def test_telescopes_near_a_small_target_are_drawn_as_large_as_they_are(tmp_path, scale, drawn):
    x = torch.linspace(-400, 400, 41)
    height = scale * 60 * torch.exp(-(x[:, None].square() + x.square()) / 2 / 90**2)
    corners = {"low": [-400 * scale] * 2, "high": [400 * scale] * 2}
    np.savez(tmp_path / "a.npz", elevation=height.numpy(), **corners)
    config = Config(terrain=tmp_path / "a.npz", radius=(0.5, 1.0))
    target = make_target(config)
    design = design_space(config, target).start
    (box,) = [box for box in view(config, target, design).boxes if box.label == "telescopes"]
    side = place_telescopes(config, target.terrain, design).side.item()
    assert box.size[0] == pytest.approx(drawn * side, rel=1e-5)
