"""`detopt reconstruct`: files, summary, refusals."""

import numpy as np
import pytest
import yaml

HEIGHTS = (0.5, 0.4, -0.4, -0.5)  # m


@pytest.fixture
def recorded(here):
    """A table of muons that are scattered at the middle of the volume, and its geometry."""
    rng = np.random.default_rng(0)
    n = 400
    start = rng.uniform(-0.05, 0.05, (2, n))
    above = rng.normal(0, 0.1, (2, n))
    below = above + rng.normal(0, 0.02, (2, n))
    names, columns = [], []
    for i, z in enumerate(HEIGHTS):
        slope = above if z > 0 else below
        for axis, name in enumerate("XY"):
            names.append(f"{name}{i}")
            columns.append(1e3 * (start[axis] + slope[axis] * z))
    names.append("p")
    columns.append(rng.uniform(2, 4, n))
    table = np.column_stack(columns)
    np.savetxt("hits.csv", table, delimiter=",", header=",".join(names), comments="")
    planes = [
        {
            "side": "above" if z > 0 else "below",
            "x": f"X{i}",
            "y": f"Y{i}",
            "z": z,
            "resolution": 1e-4,
        }
        for i, z in enumerate(HEIGHTS)
    ]
    volume = {"low": [-0.1, -0.1, -0.1], "high": [0.1, 0.1, 0.1], "voxel": "4 cm"}
    geometry = {
        "length_unit": "mm",
        "planes": planes,
        "momentum": {"column": "p", "unit": "GeV"},
        "volume": volume,
    }
    (here / "g.yaml").write_text(yaml.safe_dump(geometry))
    return "hits.csv", "--geometry", "g.yaml"


@pytest.mark.parametrize("method", ["poca", "asr", "bca", "mlem", "learned"])
def test_every_method_writes_its_files(detopt, recorded, here, method):
    answer = detopt("reconstruct", *recorded, "--method", method, "--out", "found", "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    assert document["n_muons"] == 400
    assert document["n_crossing"] == 400
    assert document["n_left_out"] == 0
    assert document["voxels"] == [5, 5, 5]
    assert document["momentum_known"]
    # all scatter at z = 0, within 5 cm of the axis
    assert max(abs(x) for x in document["largest"]["at_m"]) < 0.09
    for name in ("image.npz", "image.h5", "image.vti", "slices.png"):
        assert (here / "found" / name).stat().st_size > 500
    with np.load(here / "found" / "image.npz") as file:
        assert file["values"].shape == (5, 5, 5)
        assert np.isfinite(file["values"]).all()


def test_table_for_people_names_the_files(detopt, recorded):
    answer = detopt("reconstruct", *recorded, "--muons", "50", "--at", "0,0,0")
    assert answer.code == 0, answer.err
    assert "poca image of 50 muons" in answer.out
    assert "mrad2/cm" in answer.out
    assert "0 muons with one track far from the volume" in answer.out
    assert "image.vti" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "magic"), "No method `magic`"),
        (("--iterations", "5"), "takes no --iterations"),
        (("--share", "0.5"), "takes no --share"),
        (("--model", "a.safetensors"), "takes no --model"),
        (("--method", "learned", "--model", "a.safetensors"), "Cannot read the network"),
        (("--at", "1;2"), "Cannot read --at"),
        (("--out", "hits.csv"), "is a file"),
        (("--out", "hits.csv/image"), "Cannot make the folder"),
        (("--at", "9,0,0"), "outside the image"),
        (("--at", "nan,0,0"), "three finite numbers"),
    ],
)
def test_mistakes_are_named(detopt, recorded, arguments, message):
    answer = detopt("reconstruct", *recorded, *arguments)
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.parametrize("arguments", [("--at", "9,0,0"), ("--out", "hits.csv/image")])
def test_point_and_folder_are_checked_before_the_work(detopt, recorded, monkeypatch, arguments):
    def no_image(*_):
        raise AssertionError("an image was begun")

    monkeypatch.setattr("detopt.reconstruction.poca_image", no_image)
    assert detopt("reconstruct", *recorded, *arguments).code == 2


def spoil(text, *, every):
    """The table with a wrong hit in the last plane of some muons, far away."""
    header, *rows = text.splitlines()
    for i in range(0, len(rows), every):
        cells = rows[i].split(",")
        rows[i] = ",".join([*cells[:6], "-9999", "-9999", cells[8]])
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize("method", ["poca", "asr", "bca", "mlem", "learned"])
def test_wrong_unit_of_length_is_noticed(detopt, recorded, here, method):
    path = here / "g.yaml"
    path.write_text(path.read_text().replace("length_unit: mm", "length_unit: km"))
    answer = detopt("reconstruct", *recorded, "--method", method)
    assert answer.code == 2
    assert "No muon of 400 crosses the volume" in answer.err
    assert "Check `length_unit`, 'km'" in answer.err
    assert not (here / "image").exists()


@pytest.mark.parametrize("method", ["asr", "learned"])
def test_muons_with_a_hit_far_away_are_left_out(detopt, recorded, here, method):
    table = here / "hits.csv"
    table.write_text(spoil(table.read_text(), every=8))
    answer = detopt("reconstruct", *recorded, "--method", method, "--json")
    assert answer.code == 0, answer.err
    assert answer.document["n_muons"] == 400
    assert answer.document["n_left_out"] == 50
    assert answer.document["n_crossing"] == 350
    assert answer.document["largest"]["value"] < 1e3


def test_muons_without_a_track_are_counted(detopt, recorded, here):
    table = here / "hits.csv"
    names, first, *rows = table.read_text().splitlines()
    table.write_text("\n".join([names, ",," + first.split(",", 2)[2], *rows]) + "\n")
    answer = detopt("reconstruct", *recorded)
    assert "poca image of 399 muons" in answer.out
    assert "1 muons with fewer than two hits on a side" in answer.out


@pytest.mark.parametrize(("unit", "is_empty"), [("GeV", False), ("keV", True)])
def test_image_without_any_scattering_is_noticed(detopt, recorded, here, unit, is_empty):
    path = here / "g.yaml"
    path.write_text(path.read_text().replace("unit: GeV", f"unit: {unit}"))
    answer = detopt("reconstruct", *recorded)
    assert answer.code == 0
    assert ("No voxel has data" in answer.err) == is_empty


def test_table_without_a_good_muon_names_the_wrong_hits(detopt, recorded, here):
    table = here / "hits.csv"
    table.write_text(spoil(table.read_text(), every=1))
    answer = detopt("reconstruct", *recorded)
    assert answer.code == 2
    assert "of 400 one track does, and the other passes far from it" in answer.err


def test_files_are_replaced_only_when_asked(detopt, recorded):
    assert detopt("reconstruct", *recorded).code == 0
    again = detopt("reconstruct", *recorded)
    assert again.code == 2
    assert "exists. Add --force" in again.err
    assert detopt("reconstruct", *recorded, "--force").code == 0


def test_help_names_the_methods(detopt):
    answer = detopt("reconstruct", "--help")
    assert answer.code == 0
    assert "maximum" in answer.out
