"""Digests of designs and of the code that runs: what two people must share to compare."""

__all__ = ["code_digest", "design_digest"]

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent  # of the package


def design_digest(design: Mapping[str, Any]) -> str:
    """SHA-256 of a design: of the names and of every bit of the numbers.

    Args:
        design: Tensors, or plain numbers and lists, by name, in base units.
    """
    values = {
        name: _hexadecimal(torch.as_tensor(value, dtype=torch.float64).tolist())
        for name, value in design.items()
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _hexadecimal(value: Any) -> Any:
    return [_hexadecimal(one) for one in value] if isinstance(value, list) else value.hex()


@functools.cache
def code_digest(use_case: str) -> str:
    """SHA-256 of the code behind a problem, and of the version of torch: they fix the last bit.

    Args:
        use_case: File of the use case's module, or of the first module of its folder.
    """
    found = hashlib.sha256(torch.__version__.encode())
    for root in (ROOT, *_modules(Path(use_case))):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            found.update(str(path.relative_to(root)).encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def _modules(path: Path) -> list[Path]:
    """What belongs to a use case that is not in this package."""
    if path.is_relative_to(ROOT):
        return []
    return [path.parent if path.name == "__init__.py" else path]
