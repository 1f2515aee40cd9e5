"""`detopt train-imager`: its file, what it prints, refusals."""

import pytest

from detopt.reconstruction import load_network, network_recipe
from detopt.usecases.muon_scanner.imaging import training


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch):
    monkeypatch.setattr(training, "HELD_OUT", 1)


def test_file_holds_a_network_and_its_recipe(detopt, here):
    answer = detopt("train-imager", "--steps", "2", "--seed", "4", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["n_steps"] == 2
    assert answer.document["seed"] == 4
    path = here / "imager.safetensors"
    assert network_recipe(path)["volumes"] == 8
    assert load_network(path).options == load_network().options


def test_table_for_people_tells_the_error(detopt, here):
    answer = detopt("train-imager", "--steps", "1", "--out", "mine.safetensors")
    assert answer.code == 0, answer.err
    assert "held-out volumes" in answer.out
    again = detopt("train-imager", "--steps", "1", "--out", "mine.safetensors")
    assert again.code == 2
    assert "Add --force" in again.err


def test_folder_is_made_before_the_training(detopt, here, monkeypatch):
    def no_training(*_, **__):
        raise AssertionError("the training was begun")

    monkeypatch.setattr(training, "train_imager", no_training)
    (here / "file").write_text("")
    answer = detopt("train-imager", "--out", "file/imager.safetensors")
    assert answer.code == 2
    assert "Cannot make the folder 'file' of --out" in answer.err


def test_missing_folders_are_made(detopt, here):
    answer = detopt("train-imager", "--steps", "1", "--out", "new/one/imager.safetensors")
    assert answer.code == 0, answer.err
    assert (here / "new" / "one" / "imager.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--out", "imager.pt"), "must end in .safetensors"), (("--steps", "0"), "steps")],
)
def test_wrong_arguments_are_refused(detopt, here, arguments, message):
    answer = detopt("train-imager", *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_folder_in_place_of_the_file_is_named(detopt, here):
    (here / "mine.safetensors").mkdir()
    answer = detopt("train-imager", "--out", "mine.safetensors", "--force")
    assert answer.code == 2
    assert "is a folder. Name a file." in answer.err
