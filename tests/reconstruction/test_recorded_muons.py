"""Recorded hits: the table, the geometry, tracks, and what is refused."""

import math

import numpy as np
import pytest
import torch
import yaml

from detopt.errors import ConfigError
from detopt.reconstruction import RecordedMuons, load_geometry, read_muons

MUON = 0.1056583755  # GeV
PLANES = [("above", 500), ("above", 400), ("below", -400), ("below", -500)]  # mm
TRUE = {  # x, y at z = 0 [mm] and slopes of three muons
    "X": ([10.0, -20.0, 30.0], [0.1, 0.0, -0.2]),
    "Y": ([0.0, 5.0, -5.0], [0.0, 0.3, 0.1]),
}


def described(**changes):
    """A geometry as plain data."""
    planes = [
        {"side": side, "x": f"X{i}", "y": f"Y{i}", "z": f"{z} mm", "resolution": "0.1 mm"}
        for i, (side, z) in enumerate(PLANES)
    ]
    volume = {"low": [-0.1, -0.1, -0.3], "high": [0.1, 0.1, 0.3], "voxel": "5 cm"}
    momentum = {"column": "p", "unit": "MeV"}
    data = {"length_unit": "mm", "planes": planes, "momentum": momentum, "volume": volume}
    return {**data, **changes}


@pytest.fixture
def geometry(tmp_path):
    """Writes a geometry and reads it."""

    def make(**changes):
        path = tmp_path / "geometry.yaml"
        path.write_text(yaml.safe_dump(described(**changes)))
        return load_geometry(path)

    return make


@pytest.fixture
def table(tmp_path):
    """Writes the table of the three muons, with cells replaced by (row, column)."""

    def make(replaced=None, columns=None):
        names = [f"{axis}{i}" for i in range(4) for axis in "XY"] + ["p"]
        rows = []
        for muon in range(3):
            row = {"p": "3000"}
            for i, (_, z) in enumerate(PLANES):
                for axis, (start, slope) in TRUE.items():
                    row[f"{axis}{i}"] = f"{start[muon] + slope[muon] * z:.4f}"
            rows.append(row)
        for (muon, name), text in (replaced or {}).items():
            rows[muon][name] = text
        names = names if columns is None else columns
        lines = [",".join(names)] + [",".join(row[name] for name in names) for row in rows]
        path = tmp_path / "hits.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


def test_tracks_are_those_that_the_hits_lie_on(table, geometry):
    muons = read_muons(table(), geometry())
    tracks = muons.tracks(0.0)
    for fit in (tracks.above, tracks.below):
        for row, axis in enumerate("XY"):
            start, slope = (torch.tensor(v, dtype=torch.float64) for v in TRUE[axis])
            torch.testing.assert_close(fit.position[row], start / 1e3, rtol=0, atol=2e-7)
            torch.testing.assert_close(fit.slope[row], slope, rtol=0, atol=2e-6)
    assert muons.momentum.tolist() == [3.0] * 3
    assert len(muons) == 3


@pytest.mark.parametrize(
    ("kind", "momentum"),
    [
        ("momentum", 3.0),
        ("total_energy", math.sqrt(9 - MUON**2)),
        ("kinetic_energy", math.sqrt((3 + MUON) ** 2 - MUON**2)),
    ],
)
def test_momentum_follows_from_what_the_column_holds(table, geometry, kind, momentum):
    described = geometry(momentum={"column": "p", "unit": "MeV", "kind": kind})
    assert read_muons(table(), described).momentum[0].item() == pytest.approx(momentum, rel=1e-9)


def test_momentum_that_is_not_known_is_replaced_by_the_mean(table, geometry):
    muons = read_muons(table(), geometry(momentum=None, mean_momentum="4 GeV"))
    tracks = muons.tracks(0.0)
    assert muons.momentum is None
    assert not tracks.momentum_known
    assert tracks.momentum.tolist() == [4.0] * 3


def test_angles_are_scaled_by_beta_times_momentum(table, geometry):
    tracks = read_muons(table(), geometry()).tracks(0.0)
    expected = 9 / math.sqrt(9 + MUON**2)
    assert tracks.beta_momentum[0].item() == pytest.approx(expected, rel=1e-9)
    assert tracks.secant[0].item() == pytest.approx(math.sqrt(1.01), rel=1e-5)


def test_muon_with_a_lost_hit_is_kept_where_two_are_left(tmp_path, table, geometry):
    assert len(read_muons(table({(1, "X0"): ""}), geometry())) == 2  # one is left above
    planes = [
        *described()["planes"],
        {"side": "above", "x": "X4", "y": "Y4", "z": "60 cm", "resolution": "1 mm"},
    ]
    path = table({(1, "X1"): "nan"})
    names, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{names},X4,Y4", *(f"{row},0,0" for row in rows)]))
    assert len(read_muons(path, geometry(planes=planes))) == 3


def test_muons_without_a_track_are_counted(table, geometry):
    assert read_muons(table(), geometry()).n_left_out == 0
    muons = read_muons(table({(1, "X0"): "", (2, "Y3"): ""}), geometry())
    assert (len(muons), muons.n_left_out) == (1, 2)
    assert muons.select(slice(0, 1)).n_left_out == 2


@pytest.mark.parametrize("extra", ["7,", ",7"])
def test_table_with_more_cells_than_names_is_refused(table, geometry, extra):
    # such as the row numbers that R writes without a name, or decimal commas
    path = table()
    names, *rows = path.read_text().splitlines()
    widened = [extra + row if extra.endswith(",") else row + extra for row in rows]
    path.write_text("\n".join([names, *widened]) + "\n")
    with pytest.raises(ConfigError, match=r"Line 2 .* has 10 cells, the header has 9.*commas"):
        read_muons(path, geometry())


def test_header_and_lines_may_be_comments(table, geometry):
    path = table()
    names, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"# {names}", rows[0], "# a pause, of an hour", "", *rows[1:]]))
    assert len(read_muons(path, geometry())) == 3
    path.write_text(path.read_text().replace("3000", "", 1))  # read line by line then
    with pytest.raises(ConfigError, match="1 values of the column `p`"):
        read_muons(path, geometry())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: "", "is empty"),
        (lambda text: text.replace(",", ";"), "Separate cells by commas"),
        (lambda text: text.split("\n", 1)[1], "The first line must name the columns"),
        (lambda text: text.replace("p\n", "X1\n", 1), "several columns `X1`"),
        (lambda text: text.replace("p\n", "\udcb5\n", 1), "no text in UTF-8"),
    ],
)
def test_tables_of_another_kind_are_named(table, geometry, spoil, message):
    path = table()
    path.write_bytes(spoil(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=message):
        read_muons(path, geometry(momentum=None))


def test_tracks_do_not_depend_on_where_the_map_has_its_origin(table, geometry):
    muons = read_muons(table(), geometry())
    origin = torch.tensor([500_000.0, 4_500_000.0], dtype=torch.float64)[:, None, None]
    near, far = (
        RecordedMuons(hits, muons.heights, muons.resolution, muons.is_above).tracks(0.0)
        for hits in (muons.hits, muons.hits + origin)
    )
    for here, there in ((near.above, far.above), (near.below, far.below)):
        torch.testing.assert_close(here.slope, there.slope, rtol=0, atol=1e-7)
        moved = there.position - origin[:, 0]
        torch.testing.assert_close(here.position, moved, rtol=0, atol=1e-7)


def test_heights_may_come_from_a_column(table, geometry, tmp_path):
    path = table()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",Z0"] + [line + ",500" for line in lines[1:]]) + "\n")
    planes = described()["planes"]
    del planes[0]["z"]
    planes[0]["z_column"] = "Z0"
    assert read_muons(path, geometry(planes=planes)).heights[0].item() == pytest.approx(0.5)
    path.write_text(
        "\n".join([lines[0] + ",Z0"] + [f"{line},{i}" for i, line in enumerate(lines[1:])]) + "\n"
    )
    with pytest.raises(ConfigError, match="must be horizontal"):
        read_muons(path, geometry(planes=planes))


def test_first_muons_alone_can_be_read(table, geometry):
    assert len(read_muons(table(), geometry(), n_muons=2)) == 2


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({(1, "Y2"): "here"}, "Line 3 .*'here' in the column `Y2` is no number"),
        ({(2, "p"): "-5"}, "1 values of the column `p`"),
        ({(2, "p"): "inf"}, "1 values of the column `p` .* are no momentum, such as inf GeV"),
        ({(0, "p"): "1e200"}, "1 values of the column `p` .* are no momentum, such as 1e"),
        ({(i, "X0"): "" for i in range(3)}, "No muon"),
    ],
)
def test_mistakes_in_the_table_are_named(table, geometry, replaced, message):
    with pytest.raises(ConfigError, match=message):
        read_muons(table(replaced), geometry())


def test_missing_columns_and_files_are_named(table, geometry, tmp_path):
    with pytest.raises(ConfigError, match=r"no column `X0`, `p`\. It has: Y0"):
        read_muons(table(columns=["Y0", "X1", "Y1", "X2", "Y2", "X3", "Y3"]), geometry())
    with pytest.raises(ConfigError, match="Cannot read the table"):
        read_muons(tmp_path / "none.csv", geometry())
    empty = tmp_path / "empty.csv"
    empty.write_text(table().read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="holds no muon"):
        read_muons(empty, geometry())


def test_line_of_another_length_is_named(table, geometry):
    path = table({(0, "X0"): ""})
    path.write_text(path.read_text() + "1,2,3\n")
    with pytest.raises(ConfigError, match=r"Line 5 .* has 3 cells, the header has 9"):
        read_muons(path, geometry())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planes": described()["planes"][:3]}, "below the volume there is 1"),
        ({"length_unit": "GeV"}, "length_unit|dimension|unit"),
        ({"volume": {"low": [0, 0, 0], "high": [1, 1, 1], "voxel": 0.3}}, "3.333 voxels"),
        ({"volume": {"low": [0, 0, 0], "high": [0, 1, 1], "voxel": 0.1}}, "low < high"),
        ({"volume": {"low": [0, 0, 0], "high": [9, 9, 9], "voxel": 0.01}}, "choose larger"),
        ({"length_unit": "foo"}, "`length_unit` must be a unit such as mm, got 'foo'.$"),
        ({"momentum": {"column": "p", "unit": "m"}}, "`momentum.unit` must be a unit such as MeV"),
        ({"planes": [*described()["planes"][:3], {**described()["planes"][3], "y": "Y2"}]}, "`Y2`"),
        ({"typo": 1}, "typo"),
        ({"planes": [{**described()["planes"][0], "z_column": "Z"}] * 4}, "either `z`"),
    ],
)
def test_mistakes_in_the_geometry_are_named(geometry, changes, message):
    with pytest.raises(ConfigError, match=message):
        geometry(**changes)


def test_geometry_that_is_no_mapping_or_is_missing_is_refused(tmp_path):
    path = tmp_path / "geometry.yaml"
    with pytest.raises(ConfigError, match="Cannot read"):
        load_geometry(path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load_geometry(path)
    path.write_text("a: [\n")
    with pytest.raises(ConfigError, match="no YAML"):
        load_geometry(path)


def test_planes_on_the_wrong_side_are_refused(table, geometry):
    volume = {"low": [-0.1, -0.1, 0.3], "high": [0.1, 0.1, 0.6], "voxel": 0.05}
    with pytest.raises(ConfigError, match="said to be above the volume"):
        read_muons(table(), geometry(volume=volume))


def test_planes_at_one_height_are_refused():
    heights = torch.tensor([0.5, 0.5, -0.4, -0.5], dtype=torch.float64)
    with pytest.raises(ConfigError, match="different heights"):
        RecordedMuons(
            hits=torch.zeros(2, 4, 1, dtype=torch.float64),
            heights=heights,
            resolution=torch.full((4,), 1e-4, dtype=torch.float64),
            is_above=heights > 0,
        )


def test_hits_have_a_gradient_through_the_tracks(table, geometry):
    muons = read_muons(table(), geometry())
    hits = muons.hits.clone().requires_grad_()

    def angle(values):
        moved = RecordedMuons(
            values, muons.heights, muons.resolution, muons.is_above, muons.momentum
        )
        return moved.tracks(0.0).above.slope

    assert torch.autograd.gradcheck(angle, hits, eps=1e-6)


def test_grid_finds_the_voxel_of_a_point():
    from detopt.reconstruction import Grid

    grid = Grid((-1.0, 0.0, 2.0), (0.5, 1.0, 0.25), (4, 3, 2))
    cell, inside = grid.find(torch.tensor([[-0.9, 0.9, 5.0], [0.1, 2.9, 1.0], [2.1, 2.4, 2.1]]))
    assert inside.tolist() == [True, True, False]
    assert cell.tolist() == [0, np.ravel_multi_index((3, 2, 1), grid.shape), 0]
    assert grid.centers(2).tolist() == [2.125, 2.375]
    assert grid.n_voxels == 24
