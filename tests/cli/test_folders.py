"""Folders of --out."""

import pytest

from detopt.cli.folders import make_folder
from detopt.errors import ConfigError


def test_folder_that_cannot_be_written_to_is_refused(here, monkeypatch):
    monkeypatch.setattr("detopt.cli.folders.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="Cannot write to the folder"):
        make_folder(here)


def test_folder_below_a_file_is_refused(here):
    (here / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot make the folder .* Name another"):
        make_folder(here / "file" / "image")


def test_folder_may_be_there(here):
    make_folder(here / "a" / "b")
    make_folder(here / "a" / "b")
    assert (here / "a" / "b").is_dir()
