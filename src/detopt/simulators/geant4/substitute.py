"""Writes the small electromagnetic substitute for the data of Geant4."""

__all__ = ["RECIPE", "write_substitute"]

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detopt.errors import ConfigError
from detopt.optional import require
from detopt.simulators.geant4 import tables
from detopt.simulators.geant4.folders import FOLDERS, GEANT4, MARKER, DataSet, digest, open_data

RECIPE = {
    "bremsstrahlung": "complete screening (Tsai 1974); the logarithms are limited by their value "
    "without screening, and by 0.3 from below",
    "photoelectric": "xraylib, one effective shell bound with 1 keV, no fluorescence, no Auger",
    "rayleigh": "xraylib",
    "photonuclear": "none up to 130 MeV; above, what Geant4 has without files",
    "nuclear levels": "none",
}


def write_substitute(folder: str | Path) -> DataSet:
    """Write a substitute: electrons, photons and muons above some MeV, no nuclear reactions.

    Args:
        folder: A new or empty folder; one with a whole substitute is left as it is.

    Raises:
        ConfigError: The folder holds something else.
        MissingExtraError: xraylib is not installed.

    Note:
        Good for geometry, comparisons of designs, showers of electrons and photons above about 10
        MeV and ionization. Not for hadronic showers, neutrons, fluorescence, photons of low energy
        and absolute calibration below a few per cent.
    """
    target = Path(folder).expanduser()
    if target.is_dir() and any(target.iterdir()):
        if not (target / MARKER).exists():
            raise ConfigError(
                f"The folder {target} is not empty. Substitute data are never mixed with others: "
                "name a new folder."
            )
        return open_data(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        work = Path(name) / "data"
        _write(work)
        if target.is_dir():
            target.rmdir()
        with contextlib.suppress(OSError):  # somebody else was faster
            work.rename(target)
    return open_data(target)


def _write(folder: Path) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for name, text in _files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    xraylib = require("xraylib", extra="geant4", purpose="Making substitute data for Geant4")
    marker = {
        "what": "not official Geant4 data; made by detopt from formulae and xraylib",
        "geant4": GEANT4,
        "recipe": RECIPE,
        "xraylib": xraylib.__version__,
        "sha256": digest(folder),
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def _files() -> Iterator[tuple[str, str]]:
    yield "G4ENSDFSTATE3.0/ENSDFSTATE.dat", ""
    for number in tables.ATOMIC_NUMBERS:
        yield f"G4EMLOW8.8/brem_SB/br{number}", tables.bremsstrahlung(number)
        yield f"G4PARTICLEXS4.2/gamma/inel{number}", tables.no_nuclear()
    for number in tables.MEASURED:
        files = tables.photoelectric(number)
        folder = "G4EMLOW8.8/epics2017"
        yield f"{folder}/phot/pe-cs-{number}.dat", files.cross_section
        yield f"{folder}/phot/pe-low-{number}.dat", files.low
        yield f"{folder}/phot/pe-high-{number}.dat", files.high
        yield f"{folder}/rayl/re-cs-{number}.dat", tables.rayleigh(number)
