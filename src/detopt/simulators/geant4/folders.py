"""The folders of data that Geant4 reads: the official ones, or a substitute that says so."""

__all__ = [
    "FOLDERS",
    "MARKER",
    "VARIABLE",
    "DataSet",
    "chosen_folder",
    "default_folder",
    "find_data",
    "open_data",
]

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from detopt.errors import ConfigError, NotFoundError

VARIABLE = "GEANT4_DATA_DIR"
MARKER = "SUBSTITUTE"  # file of a substitute
GEANT4 = "11.4.0"
FOLDERS = (  # of this version
    "G4NDL4.7.1",
    "G4EMLOW8.8",
    "PhotonEvaporation6.1.2",
    "RadioactiveDecay6.1.2",
    "G4PARTICLEXS4.2",
    "G4PII1.3",
    "RealSurface2.2",
    "G4SAIDDATA2.0",
    "G4ABLA3.3",
    "G4INCL1.3",
    "G4ENSDFSTATE3.0",
    "G4CHANNELING2.0",
)
OFFICIAL = (  # files that no substitute has
    "G4EMLOW8.8/fluor/binding.dat",
    "G4PARTICLEXS4.2/neutron/inel1",
)
HOW = (
    "Set GEANT4_DATA_DIR to the folder of the official data, or write a small electromagnetic "
    "substitute with `detopt geant4-data --substitute`."
)


@dataclass(frozen=True)
class DataSet:
    """A folder of data, and what results made with it must say.

    Attributes:
        folder: Where it lies.
        version: Of the Geant4 that it is for.
        official: Whether it holds the official data.
        digest: SHA-256 of the contents of a substitute, or of the names and sizes of the official
            files.
    """

    folder: Path
    version: str
    official: bool
    digest: str

    @property
    def origin(self) -> str:
        """What the data are, in words."""
        if self.official:
            return f"Geant4 {self.version}, official data"
        return f"Geant4 {self.version} libraries, substitute data (formula + xraylib)"

    def label(self, physics: str, libraries: str = "") -> str:
        """What every result made with it says.

        Args:
            physics: Name of the physics list.
            libraries: Version of the libraries; by default that of the data.
        """
        origin = self.origin.replace(self.version, libraries or self.version, 1)
        if self.official:
            return f"{origin}, {physics}"
        return f"{origin}, electromagnetic {physics}; not official Geant4 data"


def default_folder() -> Path:
    """Where a substitute is written and found unless somebody says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "detopt" / f"geant4-{GEANT4}-substitute"


def chosen_folder(folder: str | Path | None = None) -> Path:
    """The folder where data are read and written, whether it is there or not.

    Args:
        folder: The folder, where `~` is the home folder; by default that of the variable
            `GEANT4_DATA_DIR`, and where this is not set or empty, `default_folder()`.

    Raises:
        NotFoundError: It begins with the home folder of somebody who has none.
    """
    given = folder or os.environ.get(VARIABLE)
    if not given:
        return default_folder()
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise NotFoundError(f"There is no folder {given}: {error} Give its full path.") from error


def find_data(folder: str | Path | None = None) -> DataSet:
    """The data set in a folder.

    Args:
        folder: The folder; by default that of `chosen_folder`, where
            `detopt geant4-data --substitute` writes.

    Raises:
        NotFoundError: There is no such folder, or it lacks a part.
        ConfigError: It is neither official nor a whole substitute.
    """
    chosen = chosen_folder(folder)
    if chosen == default_folder() and not chosen.is_dir():
        raise NotFoundError(f"There are no data for Geant4. {HOW}")
    return _open_once(chosen.resolve())


@functools.cache
def _open_once(folder: Path) -> DataSet:
    """The data set in a folder, whose contents are read once."""
    return open_data(folder)


def open_data(folder: Path) -> DataSet:
    """The data set in this folder, checked.

    Raises:
        NotFoundError: There is no such folder, or it lacks a part.
        ConfigError: A substitute was changed after it was written, or official data are mixed with
            it or incomplete.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {folder} with data for Geant4. {HOW}")
    missing = [name for name in FOLDERS if not (folder / name).is_dir()]
    if missing:
        raise NotFoundError(
            f"The data for Geant4 {GEANT4} in {folder} lack the folder `{missing[0]}`. {HOW}"
        )
    if (folder / MARKER).exists():
        return _substitute(folder)
    lost = [name for name in OFFICIAL if not (folder / name).is_file()]
    if lost:
        raise ConfigError(
            f"The folder {folder} holds neither the official data of Geant4 {GEANT4} (there is no "
            f"`{lost[0]}`) nor a substitute of ours. {HOW}"
        )
    return DataSet(folder.resolve(), GEANT4, official=True, digest=_listing(folder))


def _substitute(folder: Path) -> DataSet:
    try:
        marker = json.loads((folder / MARKER).read_text())
        expected, version = str(marker["sha256"]), str(marker["geant4"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The file {folder / MARKER} is damaged. Write the substitute anew in an empty folder."
        ) from error
    found = digest(folder)
    if found != expected:
        raise ConfigError(
            f"The substitute data in {folder} were changed after they were written (SHA-256 "
            f"{found[:12]}, not {expected[:12]}). Write them anew in an empty folder; never mix "
            "them with official data."
        )
    return DataSet(folder.resolve(), version, official=False, digest=found)


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files but the marker."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MARKER:
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _listing(folder: Path) -> str:
    """SHA-256 of the names and sizes of all files in the known folders."""
    total = hashlib.sha256()
    for name in FOLDERS:
        for path in sorted(path for path in (folder / name).rglob("*") if path.is_file()):
            total.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    return total.hexdigest()
