"""What determines the numbers of a study, as digests."""

__all__ = ["fingerprint", "problem_digest", "shared_digest"]

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detopt import usecases
from detopt.errors import ConfigError
from detopt.runtime.config import StudyConfig, path_options
from detopt.runtime.digests import code_digest

NO_MATTER = {  # for the result
    "compute_budget",
    "workers",
    "executor",
    "executor_options",
    "share",
    "trackers",
    "tracker_options",
}
LINEAGE = ("free", "parent", "merged")  # left out where empty, as in runs without them


def fingerprint(config: StudyConfig) -> str:
    """What determines the result: all but the number of workers, and files by what they hold."""
    data = config.model_dump(mode="json", exclude=NO_MATTER)
    for key in LINEAGE:
        if not data[key]:
            del data[key]
    if config.parent is not None:
        data["parent"] = config.parent.digest
    return _digest(_by_content(config.use_case, data))


def problem_digest(use_case: str, options: Mapping[str, Any]) -> str:
    """SHA-256 of what a problem is made of: use case, all its options, and files by content.

    What is free or frozen, and where the search starts, do not belong to it.

    Args:
        use_case: Name of a use case, or path of its file.
        options: Those that differ from the defaults.

    Raises:
        ConfigError: An option is unknown or unusable, or an input file cannot be read.
    """
    full = usecases.load(use_case).configure(options).model_dump(mode="json")
    return _digest(_by_content(use_case, {"use_case": use_case, "options": full}))


def shared_digest(use_case: str, options: Mapping[str, Any]) -> str:
    """SHA-256 of a problem and of the code behind it: with it, evaluations are the same bits."""
    module = usecases.load(use_case).module
    code = code_digest(module.__file__ or "")
    return _digest({"problem": problem_digest(use_case, options), "code": code})


def _by_content(use_case: str, data: dict[str, Any]) -> dict[str, Any]:
    if Path(use_case).suffix == ".py":
        data["use_case"] = _content(use_case)
    for key in path_options(use_case):
        if data["options"].get(key) is not None:
            data["options"][key] = _content(data["options"][key])
    return data


def _content(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"Cannot read the input file {path}: {error.strerror}.") from error


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(_flat(data))).encode()).hexdigest()


def _flat(data: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(data, dict):
        return [item for key in data for item in _flat(data[key], f"{prefix}.{key}")]
    return [(prefix, repr(data))]
