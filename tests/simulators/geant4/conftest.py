"""One substitute set for all tests here, and one process of Geant4."""

import pytest

from detopt.simulators.geant4 import Geant4, close_pools, write_substitute
from detopt.simulators.geant4.folders import VARIABLE


@pytest.fixture(scope="session")
def substitute(tmp_path_factory):
    """A folder of substitute data, written once."""
    pytest.importorskip("xraylib", reason="substitute data are made with xraylib")
    return write_substitute(tmp_path_factory.mktemp("geant4") / "data")


@pytest.fixture(scope="session")
def geant4(substitute):
    """Geant4 on these data."""
    pytest.importorskip("calzone", reason="the wheel of calzone brings the libraries of Geant4")
    yield Geant4(data=substitute.folder)
    close_pools()


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    """Whatever the machine has is not found."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
