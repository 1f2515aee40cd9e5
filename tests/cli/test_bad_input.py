"""What cannot be done is refused: one clear line, exit code 2, nothing written or overwritten."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from detopt.cli import main
from detopt.usecases.muon_scanner.volumes import ladle, save_volumes

FILES = {
    "no_yaml.yaml": "use_case: [",
    "no_mapping.yaml": "- hump",
    "no_use_case.yaml": "rounds: 3",
    "misspelt.yaml": "use_case: hump\nruonds: 3",
    "misspelt_option.yaml": "use_case: hump\noptions: {varaint: code}",
    "broken.py": "1 / 0",
    "no_case.py": "x = 1",
}
COMMANDS = [
    # commands and names
    ("nonsense", "No such command"),
    ("run", "Name a use case"),
    ("run hump --ruonds 3", "No such option"),
    ("run hump --rounds many", "--rounds"),
    ("run hump --rounds 0", "rounds"),
    ("run hump --seed -1", "seed"),
    ("run hump --workers 0", "workers"),
    ("run hump --events 0", "events"),
    ("run nothing", "No use case `nothing`"),
    ("run nothing.py", "does not exist"),
    ("run broken.py", "ZeroDivisionError"),
    ("run no_case.py", "no use case"),
    ("run hump --method nothing", "No method `nothing`"),
    ("run hump --freeze nothing", "No parameter or group `nothing`"),
    ("run hump --freeze a --freeze b", "frozen"),
    ("run hump --method lbfgsb -o method.learning_rate=1", "learning_rate"),
    ("run hump -o method.estimator=nothing", "No gradient estimator `nothing`"),
    ("check nothing", "No use case"),
    ("check hump --gradients --estimator nothing", "No gradient estimator"),
    ("check hump --gradients --repeats 2", "n_repeats"),
    ("check hump --gradients --freeze nothing", "No parameter or group"),
    ("show nothing", "No run `nothing`"),
    ("resume nothing", "No run `nothing`"),
    ("report nothing", "No run `nothing`"),
    ("show empty", "holds no run"),
    ("resume empty", "holds no run"),
    ("report empty", "holds no run"),
    ("new 1telescope", "identifier"),
    ("new class", "identifier"),
    # study files
    ("run missing.yaml", "Cannot read the study missing.yaml"),
    ("run no_yaml.yaml", "no YAML"),
    ("run no_mapping.yaml", "must be a mapping"),
    ("run no_use_case.yaml", "use_case"),
    ("run misspelt.yaml", "ruonds"),
    ("run misspelt_option.yaml", "Did you mean `variant`"),
    # options of the scanner
    ("run muon_scanner -o bugdet=6", "Did you mean `budget`"),
    ("run muon_scanner -o budget=-1", "budget"),
    ("run muon_scanner -o budget", "KEY=VALUE"),
    ("run muon_scanner -o budget=[", "Cannot read the value of `budget`"),
    ("run muon_scanner -o reach=3kg", "wrong dimension"),
    ("run muon_scanner -o reach=3parsnips", "Cannot read the quantity"),
    ("run muon_scanner -o momentum=5m", "wrong dimension"),
    ("run muon_scanner -o task=image -o block=unobtainium", "No material 'unobtainium'"),
    ("run muon_scanner -o upper_z=[1.48,1.47,1.46,1.0]", "inside the volume"),
    ("run muon_scanner -o lower_z=[0.5,0.34,0.33,0.32]", "inside the volume"),
    ("run muon_scanner -o upper_z=[1.9,1.47,1.46,1.45]", "out of reach"),
    ("run muon_scanner -o upper_z=[1.48,1.47]", "4 heights"),
    ("run muon_scanner -o free=[nothing]", "nothing"),
    ("run muon_scanner -o volume=missing.npz", "Cannot read the volume file"),
    ("run muon_scanner -o volume=text.npz", "Cannot read the volume file"),
    ("run muon_scanner -o volume=empty.npz", "empty"),
    ("run muon_scanner -o volume=unknown.npz", "No material 'unobtainium'"),
    ("run muon_scanner -o volume=lacking.npz", "lacks voxels"),
    ("run muon_scanner -o volume=uneven.npz", "equal steps"),
    ("run muon_scanner -o volume=single.npz", "two different values of `target`"),
    ("check muon_scanner -o volume=empty.npz", "empty"),
    ("check hump -o varaint=code --gradients", "Did you mean `variant`"),
]


@pytest.fixture
def bad_files(here):
    """Inputs that cannot be used, and an empty folder."""
    for name, text in FILES.items():
        (here / name).write_text(text)
    (here / "text.npz").write_text("no archive")
    (here / "empty").mkdir()
    save_volumes(here / "good.npz", ladle())
    with np.load(here / "good.npz") as file:
        good = dict(file)
    changes = {
        "empty": {"voxels": good["voxels"][:0]},
        "unknown": {"materials": np.array(["air", "steel", "unobtainium", "slag"])},
        "uneven": {"z_edges": good["z_edges"] ** 2},
        "single": {"voxels": good["voxels"][0], "target": good["target"][:1]},
    }
    for name, change in changes.items():
        np.savez(here / f"{name}.npz", **{**good, **change})
    np.savez(here / "lacking.npz", **{k: v for k, v in good.items() if k != "voxels"})


@pytest.mark.parametrize(("command", "reason"), COMMANDS, ids=[c for c, _ in COMMANDS])
@pytest.mark.usefixtures("bad_files")
def test_bad_input_is_refused_in_one_line(detopt, here, command, reason):
    before = files(here)
    answer = detopt(*command.split())
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("Error: ")
    assert answer.err.count("\n") == 1
    assert reason in answer.err
    assert files(here) == before
    assert not (here / "runs").exists()


def files(folder):
    """Every file below a folder, with what it holds; what Python caches does not count."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def test_a_run_overwrites_no_other(detopt, done):
    before = files(done)
    answer = detopt("run", "hump", "--rounds", 1, "--out", done)
    assert answer.code == 2
    assert "already holds a run" in answer.err
    assert files(done) == before


def test_a_run_overwrites_no_file_of_another_origin(detopt, here):
    (here / "mine").mkdir()
    (here / "mine" / "report.html").write_text("precious")
    answer = detopt("run", "hump", "--rounds", 1, "--out", "mine")
    assert answer.code == 2
    assert files(here / "mine") == {"report.html": b"precious"}


def test_a_folder_that_cannot_be_made_is_refused(detopt, here):
    (here / "file").write_text("")
    answer = detopt("run", "hump", "--rounds", 1, "--out", "file/run")
    assert answer.code == 2
    assert "Cannot make the folder" in answer.err


def test_new_overwrites_no_file(detopt, here):
    (here / "mine.py").write_text("precious")
    answer = detopt("new", "mine")
    assert answer.code == 2
    assert (here / "mine.py").read_text() == "precious"


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def _garble(path):
    path.write_bytes(b"garbage" * 1_000)


def _remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [_truncate, _flip, _garble, _remove])
def test_a_damaged_checkpoint_is_refused(detopt, done, damage):
    connection = sqlite3.connect(done / "study.sqlite")
    query = "SELECT state FROM checkpoint ORDER BY number DESC"
    ((state,), *_) = connection.execute(query).fetchall()
    connection.close()
    damage(done / "blobs" / state[:2] / state)
    before = files(done)
    answer = detopt("resume", "done")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert state in answer.err
    assert files(done) == before


@pytest.mark.parametrize("damage", [_truncate, _garble])
@pytest.mark.parametrize("command", ["show", "resume", "report"])
def test_a_damaged_database_is_refused(detopt, done, command, damage):
    damage(done / "study.sqlite")
    before = files(done)
    answer = detopt(command, "done")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "study.sqlite" in answer.err
    assert files(done) == before


def test_a_run_whose_study_was_edited_does_not_go_on(detopt, done):
    path = done / "study.yaml"
    path.write_text(path.read_text().replace("rounds: 3", "rounds: 4"))
    answer = detopt("resume", "done")
    assert answer.code == 2
    assert "was changed" in answer.err


def test_debug_shows_the_traceback():
    command = [sys.executable, "-c", "from detopt.cli import main; main()", "run", "nothing"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_an_error_of_our_own_is_not_hidden(monkeypatch):
    def fail(*arguments, **named):
        raise RuntimeError("a defect")

    monkeypatch.setattr("detopt.usecases.names", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["list"])
