"""Secrets of the environment, which go into no message, no file and no tracker."""

__all__ = ["hide"]

import os
import re
from collections.abc import Mapping
from typing import Any

SUSPECT = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
IN_URL = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
SHORTEST = 6  # letters; shorter ones occur by chance
HIDDEN = "***"


def hide(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """A text, or whatever holds texts, without the values of variables that are named as secrets.

    Args:
        value: A text, or a list or mapping of such; other things stay as they are.
        environment: Where secrets may be; the environment of the process by default.
    """
    known = os.environ if environment is None else environment
    found = {v for name, v in known.items() if SUSPECT.search(name) and len(v) >= SHORTEST}
    return _hide(value, sorted(found, key=len, reverse=True))


def _hide(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _hide(one, secrets) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(one, secrets) for one in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, HIDDEN)
    return IN_URL.sub(HIDDEN, value)
