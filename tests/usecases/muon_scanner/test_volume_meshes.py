"""Meshes and scenes: volumes of known solids, nesting, shares, refusals."""

import math

import pytest
import torch
import trimesh

from detopt.errors import ConfigError, DomainError, MissingExtraError
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.volumes import (
    Grid,
    MeshPart,
    blocks,
    load_scene,
    save_volumes,
    substance,
    voxelize,
)

GRID = Grid((-0.5, -0.5, -0.5), (0.05, 0.05, 0.05), (20, 20, 20))


def write(mesh, path):
    mesh.export(path)
    return path


@pytest.mark.parametrize("suffix", ["stl", "obj"])
def test_a_box_on_the_lattice_is_exact(tmp_path, suffix):
    path = write(trimesh.creation.box(extents=(0.4, 0.2, 0.6)), tmp_path / f"box.{suffix}")
    volumes = voxelize([MeshPart(path, "Fe")], GRID)
    inside = volumes.voxels[0] == 1
    assert inside.sum().item() == 8 * 4 * 12
    assert inside[6:14, 8:12, 4:16].all()


@pytest.mark.parametrize("n_samples", [1, 3])
def test_a_ball_has_its_volume(tmp_path, n_samples):
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.35)
    volumes = voxelize(
        [MeshPart(write(ball, tmp_path / "ball.stl"), "Pb")], GRID, n_samples=n_samples
    )
    lengths = torch.tensor(
        [
            0 if n == "air" else 1 / float(substance(m).radiation_length)
            for n, m in zip(volumes.names, volumes.materials, strict=True)
        ]
    )
    lead = lengths[volumes.voxels].sum().item() * 0.05**3 * 0.005612
    assert lead == pytest.approx(ball.volume, rel=0.03 if n_samples == 1 else 0.012)


def test_units_and_shift_of_a_file_are_applied(tmp_path):
    path = write(trimesh.creation.box(extents=(200, 200, 200)), tmp_path / "box.stl")  # mm
    volumes = voxelize([MeshPart(path, "Fe", 1e-3, (0.2, 0.0, 0.0))], GRID)
    assert volumes.voxels[0, 12:16, 8:12, 8:12].all()
    assert volumes.voxels.sum().item() == 64


def test_later_meshes_overwrite_so_shells_are_nested(tmp_path):
    outer = write(trimesh.creation.cylinder(radius=0.4, height=0.8), tmp_path / "outer.stl")
    inner = write(trimesh.creation.cylinder(radius=0.3, height=0.6), tmp_path / "inner.stl")
    parts = [MeshPart(outer, "steel"), MeshPart(inner, "water")]
    volumes = voxelize(parts, GRID)
    assert volumes.names == ("air", "steel", "water")
    share = volumes.fractions()
    assert share["water"] == pytest.approx(math.pi * 0.3**2 * 0.6, rel=0.04)
    assert share["steel"] + share["water"] == pytest.approx(math.pi * 0.4**2 * 0.8, rel=0.04)


def test_a_voxel_that_is_filled_in_part_is_a_mixture(tmp_path):
    path = write(trimesh.creation.box(extents=(0.45, 0.4, 0.4)), tmp_path / "box.stl")
    volumes = voxelize([MeshPart(path, "Fe")], GRID, n_samples=4)
    face = volumes.materials[int(volumes.voxels[0, 5, 10, 10])]
    assert substance(face).density == pytest.approx(7.874 / 2, rel=0.01)


def box(extents, center=(0.0, 0.0, 0.0)):
    return trimesh.creation.box(extents=extents).apply_translation(center)


def n_inside(mesh, path, **settings):
    return int(voxelize([MeshPart(write(mesh, path), "Fe")], GRID, **settings).voxels.sum())


def test_solids_that_overlap_are_joined(tmp_path):
    shifted = [box((0.4, 0.4, 0.4), (x, 0.0, 0.0)) for x in (-0.1, 0.1)]
    both = trimesh.util.concatenate(shifted)
    assert n_inside(both, tmp_path / "both.stl") == 12 * 8 * 8


def test_a_surface_that_faces_inwards_is_a_cavity(tmp_path):
    cavity = box((0.2, 0.2, 0.2))
    cavity.invert()
    hollow = trimesh.util.concatenate([box((0.4, 0.4, 0.4)), cavity])
    assert n_inside(hollow, tmp_path / "hollow.stl") == 8**3 - 4**3


def test_a_mesh_turned_inside_out_is_as_full(tmp_path):
    inverted = box((0.4, 0.4, 0.4))
    inverted.invert()
    assert n_inside(inverted, tmp_path / "inverted.stl") == 8**3


def turned(mesh):
    """The mesh with its first face turned."""
    faces = mesh.faces.copy()
    faces[0] = faces[0, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces)


def test_a_solid_with_a_turned_face_is_as_full(tmp_path):
    assert n_inside(turned(box((0.4, 0.4, 0.4))), tmp_path / "turned.stl") == 8**3


def test_several_solids_with_a_turned_face_are_refused(tmp_path):
    shifted = [box((0.4, 0.4, 0.4), (x, 0.0, 0.0)) for x in (-0.1, 0.1)]
    with pytest.raises(ConfigError, match="do not agree on their outside"):
        n_inside(turned(trimesh.util.concatenate(shifted)), tmp_path / "turned.stl")


@pytest.mark.parametrize(
    "mesh",
    [box((400, 400, 400), (500, 0, 0)), box((0.0004, 0.0004, 0.0004))],
    ids=["in millimetres", "scaled down twice"],
)
def test_a_mesh_that_fills_no_voxel_is_refused(tmp_path, mesh):
    with pytest.raises(ConfigError, match="Check `scale` and `shift`"):
        n_inside(mesh, tmp_path / "box.stl")


def test_an_open_mesh_is_refused(tmp_path):
    box = trimesh.creation.box()
    open_box = trimesh.Trimesh(box.vertices, box.faces[:-1])
    with pytest.raises(ConfigError, match="not closed"):
        voxelize([MeshPart(write(open_box, tmp_path / "open.stl"), "Fe")], GRID)


def test_a_missing_mesh_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the mesh"):
        voxelize([MeshPart(tmp_path / "none.stl", "Fe")], GRID)


@pytest.mark.parametrize("suffix", ["3mf", "glb", "off", "ply"])
def test_a_file_that_is_no_mesh_is_refused(tmp_path, suffix):
    path = tmp_path / f"mesh.{suffix}"
    path.write_text("nothing")
    with pytest.raises(ConfigError, match="Cannot read the mesh"):
        voxelize([MeshPart(path, "Fe")], GRID)


def test_a_kind_of_mesh_that_needs_another_package_names_it(tmp_path, monkeypatch):
    def load(*args, **settings):
        raise ImportError("missing `pip install pycollada`")

    monkeypatch.setattr(trimesh, "load", load)
    with pytest.raises(MissingExtraError, match="pip install pycollada"):
        voxelize([MeshPart(tmp_path / "mesh.dae", "Fe")], GRID)


def test_samples_must_be_positive(tmp_path):
    with pytest.raises(DomainError, match="n_samples"):
        voxelize([], GRID, n_samples=0)


def scene(tmp_path, text):
    path = tmp_path / "scene.yaml"
    path.write_text(text)
    return path


GOOD = """
low: [-0.5, -50 cm, -0.5]
high: [0.5, 0.5, 0.5]
voxel: 10 cm
background: water
meshes:
  - {file: box.stl, material: steel, scale: 0.001}
volumes:
  - {file: inner.npz}
"""


def test_a_scene_joins_meshes_and_arrays(tmp_path, rng):
    write(trimesh.creation.box(extents=(600, 600, 600)), tmp_path / "box.stl")
    inner = blocks(Grid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (2, 2, 2)), 1, rng, size=(2, 2, 2))
    save_volumes(tmp_path / "inner.npz", inner)
    volumes = load_scene(scene(tmp_path, GOOD))
    assert volumes.grid.shape == (10, 10, 10)
    assert {name: round(1000 * share) for name, share in volumes.fractions().items()} == {
        "water": 784,
        "steel": 208,
        "Pb": 8,
    }
    problem = build(Config(task="image", volume=tmp_path / "scene.yaml", n_muons=10))
    assert problem.source.volumes.names == volumes.names


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("voxel: 10 cm", "voxel: 30 cm"), "must divide"),
        (("voxel: 10 cm", ""), "`voxel`"),
        (("background", "backgrund"), "`backgrund`"),
        (("low:", "low: ["), "Cannot read the scene"),
    ],
)
def test_bad_scenes_are_refused(tmp_path, change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_scene(scene(tmp_path, GOOD.replace(*change)))


def test_a_scene_that_is_a_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="names and values"):
        load_scene(scene(tmp_path, "- 1"))
