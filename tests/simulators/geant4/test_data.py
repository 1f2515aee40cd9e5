"""Folders of data: the substitute, the official ones, and the command."""

import json

import numpy as np
import pytest

from detopt.cli.app import run_app
from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.physics import materials
from detopt.simulators.geant4 import (
    Box,
    Geant4,
    Primaries,
    StackSimulator,
    Volume,
    find_data,
    tables,
    write_substitute,
)
from detopt.simulators.geant4.folders import FOLDERS, MARKER, OFFICIAL, VARIABLE, open_data


def numbers(text, skip=0):
    return np.array(" ".join(text.splitlines()[skip:]).split(), dtype=float)


@pytest.fixture
def official(tmp_path):
    """What looks like the official data."""
    folder = tmp_path / "official"
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for name in OFFICIAL:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("data\n")
    return folder


@pytest.mark.parametrize(("number", "symbol"), [(6, "C"), (26, "Fe"), (82, "Pb")])
def test_the_bremsstrahlung_spectrum_gives_the_radiation_length(number, symbol):
    """At high energy the mean loss is E/X0: the integral of k dsigma/dk over k."""
    text = tables.bremsstrahlung(number)
    n_shares, n_energies = map(int, text.split("\n")[0].split()[1:])
    values = numbers(text, 1)
    shares, energies = values[:n_shares], np.exp(values[n_shares : n_shares + n_energies])
    table = values[n_shares + n_energies :].reshape(n_energies, n_shares)
    kinetic = energies[-1]  # 10 GeV
    loss = np.trapezoid(table[-1] * number**2, shares * kinetic)  # mb MeV, beta = 1
    medium = materials.get(symbol)
    atoms = 6.02214e23 / medium.mass_number * medium.density  # per cm3
    length = kinetic / (loss * 1e-27 * atoms)
    assert length == pytest.approx(medium.radiation_length * 100, rel=0.02)


def test_the_photoelectric_table_holds_the_evaluated_cross_section():
    """Lead at 100 keV: 1.78e3 barn by the XCOM tables of NIST."""
    pytest.importorskip("xraylib")
    points = numbers(tables.photoelectric(82).cross_section, 2).reshape(-1, 2)
    sigma = np.interp(0.1, points[:, 0], points[:, 1] / points[:, 0] ** 3)
    assert sigma == pytest.approx(1.78e3, rel=0.02)


def test_the_rayleigh_table_is_in_the_units_of_geant4():
    """At low energy the cross section of hydrogen is that of Thomson, 0.665 barn."""
    pytest.importorskip("xraylib")
    points = numbers(tables.rayleigh(1), 2).reshape(-1, 2)
    assert points[0, 1] / points[0, 0] ** 2 == pytest.approx(0.665e-22, rel=0.15)


def test_a_substitute_is_whole_small_and_says_what_it_is(substitute):
    assert not substitute.official
    assert {path.name for path in substitute.folder.iterdir()} == {*FOLDERS, MARKER}
    size = sum(path.stat().st_size for path in substitute.folder.rglob("*") if path.is_file())
    assert size < 8e6
    marker = json.loads((substitute.folder / MARKER).read_text())
    assert "not official" in marker["what"]
    assert len(substitute.digest) == 64
    assert write_substitute(substitute.folder) == substitute


def test_data_are_never_mixed(official):
    with pytest.raises(ConfigError, match="never mixed"):
        write_substitute(official)


def test_official_data_open_all_physics_lists(official, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(official))
    assert find_data().official
    assert Geant4(physics="FTFP_BERT").label == "Geant4 11.4.0, official data, FTFP_BERT"


def test_hadrons_need_a_hadronic_list_even_with_official_data(official):
    world = Volume("World", Box((1.0, 1.0, 1.0)), "Fe", active=True)
    with pytest.raises(DomainError, match=r"list `option1` does not describe.*option1-FTFP_BERT"):
        Geant4(data=official).run(world, Primaries.gun("pi+", 5.0, 2), 1)


def test_results_made_elsewhere_are_labelled_as_such(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (label,) = StackSimulator(lambda design: design).data_labels
    assert "this machine does not have" in label


def test_a_changed_substitute_is_refused(tmp_path, official):
    (official / MARKER).write_text(json.dumps({"sha256": "0", "geant4": "11.4.0"}))
    with pytest.raises(ConfigError, match="were changed after they were written"):
        open_data(official)
    (official / MARKER).write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        open_data(official)


def test_incomplete_data_are_refused(official):
    (official / OFFICIAL[0]).unlink()
    with pytest.raises(ConfigError, match="neither the official data"):
        open_data(official)
    (official / FOLDERS[0]).rmdir()
    with pytest.raises(NotFoundError, match=f"lack the folder `{FOLDERS[0]}`"):
        open_data(official)
    with pytest.raises(NotFoundError, match="There is no folder"):
        open_data(official / "elsewhere")


def test_without_data_the_error_says_how_to_get_them():
    with pytest.raises(NotFoundError, match="detopt geant4-data --substitute"):
        find_data()


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(NotFoundError, match="There are no data for Geant4"):
        find_data()


@pytest.mark.parametrize("by", ["variable", "argument"])
def test_the_home_folder_has_its_short_name(official, monkeypatch, by):
    monkeypatch.setenv("HOME", str(official.parent))
    short = f"~/{official.name}"
    if by == "variable":
        monkeypatch.setenv(VARIABLE, short)
    assert find_data(short if by == "argument" else None).folder == official.resolve()
    with pytest.raises(NotFoundError, match="There is no folder ~nobody-of-that-name/data"):
        find_data("~nobody-of-that-name/data")


def test_data_are_written_where_they_are_read(substitute, official, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "mine"
    monkeypatch.setenv(VARIABLE, str(folder))
    assert run_app(["geant4-data", "--substitute", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(folder.resolve())
    assert find_data().folder == folder.resolve()
    monkeypatch.setenv(VARIABLE, str(official))
    assert run_app(["geant4-data", "--substitute"]) == 2
    assert "never mixed" in capsys.readouterr().err


def test_the_command_shows_and_refuses(substitute, capsys):
    assert run_app(["geant4-data", "--show", "--json", str(substitute.folder)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sha256"] == substitute.digest
    assert shown["official"] is False
    assert run_app(["geant4-data", "--substitute", str(substitute.folder)]) == 0
    assert "substitute data" in capsys.readouterr().out
    assert run_app(["geant4-data", "--show"]) == 2
    assert run_app(["geant4-data", "--show", "--substitute"]) == 2
    assert "not both" in capsys.readouterr().err
