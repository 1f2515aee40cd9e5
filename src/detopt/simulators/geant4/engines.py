"""The packages that bring the libraries of Geant4."""

__all__ = ["ENGINES", "EnginePackage", "get_engine"]

import importlib.util
from dataclasses import dataclass

from detopt.errors import ConfigError, MissingExtraError


@dataclass(frozen=True)
class EnginePackage:
    """A package with the libraries of Geant4.

    Attributes:
        name: Of the package.
        module: What is imported, in the process of Geant4 alone.
        file: The file beside this one that drives it, without its ending.
        version: Of its libraries.
        extra: Which installs it.
    """

    name: str
    module: str
    file: str
    version: str
    extra: str

    def require(self) -> None:
        """Say so if the package is missing, without importing it.

        Raises:
            MissingExtraError: It is not installed.
        """
        if importlib.util.find_spec(self.module) is None:
            raise MissingExtraError(
                f"Geant4 needs `{self.name}`. Install it with `pip install detopt[{self.extra}]`."
            )


ENGINES = {
    one.name: one
    for one in (
        EnginePackage("calzone", "calzone", "calzone_engine", "11.4.0", "geant4"),
        EnginePackage("geant4-pybind", "geant4_pybind", "pybind_engine", "11.4.1", "geant4-pybind"),
    )
}


def get_engine(name: str) -> EnginePackage:
    """The package of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in ENGINES:
        raise ConfigError(f"`engine` must be {' or '.join(ENGINES)}, got {name!r}.")
    return ENGINES[name]
