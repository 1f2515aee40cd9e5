"""Event files: values and units of each format, and what is refused."""

import gzip
import importlib

import pytest
import torch

from detopt.errors import MissingExtraError, NotFoundError, SimulationError
from detopt.simulators.geant4 import Primaries
from detopt.simulators.sources import (
    read_gst,
    read_hepmc,
    read_lhe,
    read_mcpl,
    read_tree,
)

READERS = {
    "mcpl": read_mcpl,
    "hepmc": read_hepmc,
    "lhe": read_lhe,
    "root": lambda path: read_tree(path, "hits", ["charge"]),
}


def real(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_mcpl_comes_in_gev_metres_and_seconds(mcpl_file):
    listed = read_mcpl(mcpl_file)
    assert listed.pdg.tolist() == [11, 22, 2112]
    assert listed.event.tolist() == [0, 1, 2]
    torch.testing.assert_close(listed.energy, real(1.0, 0.02, 2.5e-11))
    torch.testing.assert_close(listed.position[0], real(0.01, 0.02, -0.03))
    torch.testing.assert_close(listed.direction[0], real(0.0, 0.6, 0.8))
    torch.testing.assert_close(listed.time, real(5e-4, 0.0, 3e-3))
    torch.testing.assert_close(listed.weight, real(2.0, 1.0, 0.25))


def test_particles_of_mcpl_are_primaries_of_geant4(mcpl_file):
    listed = read_mcpl(mcpl_file)
    assert isinstance(listed, Primaries)
    torch.testing.assert_close(listed.total_energy, listed.energy)


def test_hepmc_comes_in_gev_metres_and_seconds(hepmc_file):
    events = read_hepmc(hepmc_file)
    assert events.n_events == 2
    assert sorted(events.pdg[events.event == 0].tolist()) == [-13, -11, 11, 13, 23]
    assert events.weight.tolist() == [1.5, -1.0]
    final = events.final
    assert final.pdg.tolist() == [13, -13, 13, -13]
    torch.testing.assert_close(final.total, real(*[(91.188, 0.0, 0.0, 0.0)] * 2))
    torch.testing.assert_close(final.vertex[0], real(1e-11, 0.0, 0.0, 3e-3))
    assert final.mass[0].item() == pytest.approx(0.1057, rel=1e-2)


def test_lhe_keeps_weights_and_process(lhe_file):
    events = read_lhe(lhe_file)
    assert events.status.tolist() == [-1, -1, 1, 1] * 2
    assert events.weight.tolist() == [0.5, 2.0]
    assert events.labels["process"].tolist() == [17.0, 17.0]
    torch.testing.assert_close(events.final.total[1], real(91.2, 0.0, 0.0, 0.0))


def test_branches_of_a_tree_take_their_factors(root_file):
    columns = read_tree(root_file, "hits", {"energy_mev": 1e-3, "place": 1.0}, weight="weight")
    torch.testing.assert_close(columns["energy_mev"], real(0.01, 0.02, 0.03))
    assert columns["place"].shape == (3, 3)
    assert columns.weight.tolist() == [1.0, 2.0, 3.0]
    assert len(columns.select(torch.tensor([2, 0]))) == 2


def test_gst_gives_neutrino_lepton_and_hadrons(root_file):
    events = read_gst(root_file)
    assert events.pdg.tolist() == [14, 13, 2212, -12, -12, 2112, 211]
    assert events.status.tolist() == [4, 1, 1, 4, 1, 1, 1]
    assert events.event.tolist() == [0, 0, 0, 1, 1, 1, 1]
    torch.testing.assert_close(events.momentum[6], real(0.5, 0.3, 0.0, 0.2))
    torch.testing.assert_close(events.vertex[:, 3], real(5.0, 5.0, 5.0, 6.0, 6.0, 6.0, 6.0))
    assert events.labels["tgt"].tolist() == [1000180400.0, 1000060120.0]
    assert events.weight.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("content", "match"), [(b"", "is empty"), (b"\x00\x01no events here" * 20, "")]
)
def test_an_empty_or_foreign_file_is_named(tmp_path, kind, content, match):
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(content)
    with pytest.raises(SimulationError, match=rf"broken\.{kind}.*{match}"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_is_named_with_its_neighbours(tmp_path, kind):
    (tmp_path / f"events1.{kind}").touch()
    with pytest.raises(NotFoundError, match=rf"Did you mean events1\.{kind}"):
        READERS[kind](tmp_path / f"events.{kind}")


@pytest.mark.parametrize("kind", READERS)
def test_half_a_file_is_refused(request, kind):
    path = request.getfixturevalue(f"{kind}_file")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10 if kind == "root" else len(whole) - 60])
    with pytest.raises(SimulationError, match=path.name):
        READERS[kind](path)


@pytest.mark.parametrize("kind", ["hepmc", "lhe", "mcpl"])
def test_compressed_files_and_first_events(request, kind):
    path = request.getfixturevalue(f"{kind}_file")
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert READERS[kind](packed).n_events == READERS[kind](path).n_events
    reader = {"hepmc": read_hepmc, "lhe": read_lhe, "mcpl": read_mcpl}[kind]
    assert reader(packed, n_events=1).n_events == 1


@pytest.mark.parametrize(
    ("tree", "branches", "error", "match"),
    [
        ("hit", ["charge"], NotFoundError, "Did you mean hits"),
        ("hits", ["Charge_"], NotFoundError, "Did you mean charge"),
        ("hits", ["lists"], SimulationError, "`lists` has the type"),
        ("nothing", ["energy"], SimulationError, "has no entry"),
    ],
)
def test_trees_and_branches_that_are_not_there(root_file, tree, branches, error, match):
    with pytest.raises(error, match=match):
        read_tree(root_file, tree, branches)


def test_a_missing_package_names_its_extra(monkeypatch, lhe_file):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"detopt\[events\]"):
        read_lhe(lhe_file)
