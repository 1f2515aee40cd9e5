"""Use cases: one module or folder each, found by name.

A use case is a module with a docstring, a pydantic `Config` and `build(config) -> Problem`; it may
say with `RECOMMENDED` which settings of a study suit it, with a function `recommended_for(options)`
which ones suit it with certain options, and with `CHECK_EVENTS` how many events an evaluation of
the gradient check needs. Modules of this package are found by their
name, installed ones by the entry-point group `detopt.usecases`, and a file by its path.
"""

__all__ = ["UseCase", "load", "names"]

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from detopt.errors import ConfigError, DetoptError, NotFoundError
from detopt.pipeline import Problem

ENTRY_POINTS = "detopt.usecases"


@dataclass(frozen=True)
class UseCase:
    """A design problem that can be built from options.

    Args:
        name: Name, or path of its file.
        module: Where it is defined.
        config: Its options.
        recommended: Settings of a study that suit it.
        check_events: Events in an evaluation of the gradient check, or None for the problem's own.
    """

    name: str
    module: ModuleType
    config: type[BaseModel]
    recommended: Mapping[str, Any] = field(default_factory=dict)
    check_events: int | None = None

    def recommended_for(self, options: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Settings of a study that suit it with these options, which need not be checked."""
        own = getattr(self.module, "recommended_for", None)
        if own is None or not isinstance(options, Mapping):
            return self.recommended
        return {**self.recommended, **own(options)}

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.module.__doc__ or "").strip().partition("\n")[0]

    def configure(self, options: Mapping[str, Any] | None = None) -> BaseModel:
        """Checked options.

        Raises:
            ConfigError: An option is unknown or unusable; says which and why.
        """
        try:
            return self.config(**dict(options or {}))
        except ValidationError as error:
            raise ConfigError(_explain(self.name, self.config, error)) from error

    def build(self, options: Mapping[str, Any] | None = None) -> Problem:
        """The design problem with these options."""
        problem = self.module.build(self.configure(options))
        assert isinstance(problem, Problem)
        return problem


def names() -> list[str]:
    """All use cases of the package and of installed plug-ins, sorted."""
    own = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    plugged = [point.name for point in entry_points(group=ENTRY_POINTS)]
    return sorted({*own, *plugged})


def load(name: str) -> UseCase:
    """The use case called `name`, or the one in the file `name`.

    Raises:
        NotFoundError: There is none.
        ConfigError: The module is not a use case.
    """
    module = _module(name)
    config = getattr(module, "Config", None)
    build = getattr(module, "build", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel) and callable(build)):
        raise ConfigError(
            f"`{name}` is no use case: it needs a pydantic class `Config` and a function "
            "`build(config)`. `detopt new` writes an example."
        )
    return UseCase(
        name,
        module,
        config,
        getattr(module, "RECOMMENDED", {}),
        getattr(module, "CHECK_EVENTS", None),
    )


def _module(name: str) -> ModuleType:
    path = Path(name)
    if path.suffix == ".py":
        return _from_file(path)
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return importlib.import_module(f"{__name__}.{name}")
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            loaded = point.load()
            assert isinstance(loaded, ModuleType)
            return loaded
    if path.with_suffix(".py").is_file():
        return _from_file(path.with_suffix(".py"))
    raise NotFoundError(f"No use case `{name}`. There are: {', '.join(names())}.")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"No use case: the file {path} does not exist.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    qualified = f"detopt_usecase_{path.stem}_{digest}"  # its classes must be the same every time
    if qualified in sys.modules:
        return sys.modules[qualified]
    spec = importlib.util.spec_from_file_location(qualified, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"Cannot import the use case {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except DetoptError:
        del sys.modules[qualified]
        raise
    except Exception as error:  # whatever a user's file raises
        del sys.modules[qualified]
        raise ConfigError(f"The use case {path} cannot be imported: {error!r}.") from error
    return module


def _explain(name: str, config: type[BaseModel], error: ValidationError) -> str:
    """Pydantic's complaints in one sentence each."""
    import difflib

    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "options"
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, list(config.model_fields), n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            known = ", ".join(config.model_fields)
            lines.append(f"`{key}` is no option of {name}.{hint} There are: {known}.")
        else:
            message = item["msg"].removeprefix("Value error, ").removesuffix(".")
            known_already = not item["loc"] or repr(item["input"]) in message
            got = "" if known_already else f", got {item['input']!r}"
            lines.append(f"`{key}`: {message}{got}.")
    return " ".join(lines)
