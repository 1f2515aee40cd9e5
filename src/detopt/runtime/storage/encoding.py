"""Nested values with tensors as bytes, exactly, and without pickle.

The tensors lie in a safetensors file, whose metadata holds the rest as JSON. Reading such bytes
makes numbers, texts, lists and tensors and never runs code, so they may come from anywhere.
"""

__all__ = ["Value", "decode", "digest_of", "encode", "plain"]

import hashlib
import json
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from detopt.errors import CheckpointError

Value = Any  # None, bool, int, float, str, Tensor, and lists, tuples and dicts of them
KEY = "detopt"  # of the metadata
UNREADABLE = (
    SafetensorError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OverflowError,
    RecursionError,
)


def encode(value: Value) -> bytes:
    """Bytes that `decode` reads; equal values give equal bytes.

    Args:
        value: None, booleans, integers, floats (infinities and NaN too), texts, tensors, and
            lists, tuples and dicts of them; keys of dicts are integers or texts.

    Raises:
        TypeError: The value holds something else.
    """
    tensors: dict[str, Tensor] = {}
    structure = _flatten(value, tensors)
    text = json.dumps(structure, separators=(",", ":"))
    return safetensors.torch.save(tensors, metadata={KEY: text})


def decode(data: bytes) -> Value:
    """The value that was encoded.

    Raises:
        CheckpointError: The bytes are none that `encode` gives.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _restore(json.loads(header["__metadata__"][KEY]), tensors)
    except UNREADABLE as error:
        raise CheckpointError(f"Stored data cannot be read: {error}.") from error


def digest_of(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def plain(text: str) -> str:
    """A text that every database holds; what a program printed may have other signs.

    PostgreSQL refuses NUL, and UTF-8 has no halves of surrogate pairs.
    """
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _flatten(value: Value, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return {"int": str(value)}  # of any size
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, list | tuple):
        items = [_flatten(item, tensors) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict) and all(type(key) in {int, str} for key in value):
        return {"dict": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    raise TypeError(f"Cannot store a {type(value).__name__}.")


def _restore(structure: Any, tensors: dict[str, Tensor]) -> Value:
    if isinstance(structure, list):
        return [_restore(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    match kind:
        case "int":
            return int(content)
        case "float":
            return float.fromhex(content)
        case "tensor":
            return tensors[content]
        case "tuple":
            return tuple(_restore(item, tensors) for item in content)
        case "dict":
            return {key: _restore(item, tensors) for key, item in content}
    raise ValueError(f"`{kind}` is no kind of value")
