"""One substitute set for all tests here, and one process of Geant4 for each engine."""

import importlib.util

import pytest

from detopt.simulators.geant4 import Geant4, close_pools, write_substitute
from detopt.simulators.geant4.engines import ENGINES
from detopt.simulators.geant4.folders import VARIABLE


@pytest.fixture(scope="session")
def substitute(tmp_path_factory):
    """A folder of substitute data, written once."""
    pytest.importorskip("xraylib", reason="substitute data are made with xraylib")
    return write_substitute(tmp_path_factory.mktemp("geant4") / "data")


@pytest.fixture(scope="session", params=ENGINES)
def geant4(request, substitute):
    """Geant4 on these data, through each package that is installed."""
    if importlib.util.find_spec(ENGINES[request.param].module) is None:  # imported nowhere here
        pytest.skip(f"{request.param}, which brings the libraries of Geant4, is not installed")
    yield Geant4(data=substitute.folder, engine=request.param)
    close_pools()


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    """Whatever the machine has is not found."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
