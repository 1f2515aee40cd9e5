r"""Observables in the JSON format of pyerrors, version 1.1, plain or compressed.

A file holds records; each is one observable (`Obs`), a list, an array, or a correlator (`Corr`)
whose matrices may be undefined at some times. Fluctuations and configuration numbers are kept, not
errors: these are computed after reading.

References:
    F. Joswig et al., Comput. Phys. Commun. 288 (2023) 108750, arXiv:2209.14371.
"""

__all__ = ["Archive", "Kind", "Record", "read_pyerrors_json", "write_pyerrors_json"]

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from detopt._version import __version__
from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import Observables
from detopt.inference.montecarlo_errors.samples import SEPARATOR, checked

FORMAT = "1.1"
MALFORMED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
)
GZIP_MAGIC = b"\x1f\x8b"

Kind = Literal["Obs", "List", "Array", "Corr"]


@dataclass(frozen=True)
class Record:
    """One entry of a file.

    Args:
        observables: The observables; of a correlator (n_defined, 1) or
            (n_defined, N, N), the defined times alone.
        kind: What it is to pyerrors.
        tags: A label for each observable, or empty.
        reweighted: Whether a reweighting was applied.
        defined: Of a correlator, which of all times are defined.
        label: Label of a whole correlator.
        plateau: First and last time of the plateau of a correlator.
    """

    observables: Observables
    kind: Kind = "Array"
    tags: tuple[Any, ...] = ()
    reweighted: bool = False
    defined: Bool[Tensor, " times"] | None = None
    label: str | None = None
    plateau: tuple[int, int] | None = None


@dataclass(frozen=True)
class Archive:
    """Contents of a file.

    Args:
        records: Its entries, in order.
        description: What was written about them: a text, or nested data.
        program: What wrote the file.
    """

    records: tuple[Record, ...]
    description: Any = ""
    program: str = ""


def read_pyerrors_json(path: Path | str) -> Archive:
    """Read a ``.json`` or ``.json.gz`` file of pyerrors.

    Args:
        path: The file; whether it is compressed is seen from its first bytes.

    Raises:
        DomainError: The file cannot be read or is no such document, or a record is of an unknown
            kind, or incomplete.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DomainError(
            f"Cannot read `{path}`: {error.strerror}. Give the path of a file of observables."
        ) from error
    try:
        text = gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
        document = json.loads(text)
        records = tuple(_record(entry) for entry in document["obsdata"])
    except DomainError as error:
        raise DomainError(f"{path}: {error}") from error
    except MALFORMED as error:
        raise DomainError(
            f"`{path}` is no file of observables of pyerrors ({type(error).__name__}: {error}). "
            "Write it with `pyerrors.input.json.dump_to_json`."
        ) from error
    return Archive(records, document.get("description", ""), document.get("program", ""))


def write_pyerrors_json(
    path: Path | str, records: Sequence[Record | Observables], description: str = ""
) -> None:
    """Write observables so that pyerrors can read them.

    Args:
        path: The file; it is compressed if its name ends in ``.gz``.
        records: What to write. Plain observables become an `Obs` if they are a scalar, a `List` if
            a vector, an `Array` otherwise.
        description: A text to go with them.

    Raises:
        DomainError: There is nothing to write, or a record does not have the shape of its kind.

    Note:
        Cut from any graph. The same observables give the same bytes: no name, host or date.
    """
    if not records:
        raise DomainError("There is nothing to write: give at least one `Observables`.")
    document = {
        "program": f"detopt {__version__}",
        "version": FORMAT,
        "who": "",
        "date": "",
        "host": "",
        "description": description,
        "obsdata": [_entry(_as_record(record)) for record in records],
    }
    raw = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    target = Path(path)
    target.write_bytes(gzip.compress(raw, mtime=0) if target.suffix == ".gz" else raw)


def _as_record(item: Record | Observables) -> Record:
    if isinstance(item, Record):
        return item
    kinds: tuple[Kind, ...] = ("Obs", "List", "Array")
    return Record(item, kinds[min(len(item.shape), 2)])


def _record(entry: Mapping[str, Any]) -> Record:
    kind = entry["type"]
    if kind not in {"Obs", "List", "Array", "Corr"}:
        raise DomainError(f"Unknown kind of record {kind!r}; known are Obs, List, Array and Corr.")
    shape = [int(n) for n in str(entry.get("layout", "1")).split(",") if n.strip()]
    observables = _observables(entry, [] if kind == "Obs" else shape)
    reweighted = bool(entry.get("reweighted", False))
    if kind != "Corr":
        _check_finite(observables)
        return Record(observables, kind, tuple(entry.get("tag", ())), reweighted)
    tag = entry.get("tag", [])
    tags, plateau = (tag["tag"], tag.get("prange")) if isinstance(tag, Mapping) else (tag, None)
    label = tags[-1] if tags and tags[-1] != "None" else None
    defined = ~torch.isnan(observables.value.flatten(1)).any(1)
    correlator = observables.linear(lambda x: x[defined])
    _check_finite(correlator)
    return Record(
        correlator,
        "Corr",
        tuple(tags[:-1]),
        reweighted,
        defined,
        label,
        None if plateau is None else (int(plateau[0]), int(plateau[1])),
    )


def _observables(entry: Mapping[str, Any], shape: list[int]) -> Observables:
    fluctuations, configurations = {}, {}
    for ensemble in entry.get("data", ()):
        for replica in ensemble["replica"]:
            name = _replica_name(ensemble["id"], replica["name"])
            rows = torch.tensor(replica["deltas"], dtype=torch.float64)
            if rows.ndim != 2:
                raise DomainError(
                    f"The fluctuations of `{name}` are no table. Give a row for each "
                    "configuration: its number, and one fluctuation of each observable."
                )
            columns = rows[:, 1:].T.contiguous().reshape(*shape, len(rows))
            fluctuations[name], configurations[name] = checked(
                name, columns, rows[:, 0].to(torch.int64)
            )
    covariances, gradients = {}, {}
    for source in entry.get("cdata", ()):
        gradient = torch.tensor(source["grad"], dtype=torch.float64)
        size = len(gradient)
        covariances[source["id"]] = torch.tensor(source["cov"], dtype=torch.float64).reshape(
            size, size
        )
        gradients[source["id"]] = gradient.T.contiguous().reshape(*shape, size)
    value = torch.tensor(entry["value"], dtype=torch.float64).reshape(shape)
    return Observables(value, fluctuations, configurations, covariances, gradients)


def _check_finite(observables: Observables) -> None:
    for name, tensor in {"value": observables.value, **observables.fluctuations}.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DomainError(f"A number of `{name}` is not finite. Repair it where it was made.")


def _replica_name(ensemble: str, replica: str) -> str:
    """Some writers leave the separator out."""
    rest = replica.removeprefix(ensemble)
    if rest == replica or not rest or rest.startswith(SEPARATOR):
        return replica
    return f"{ensemble}{SEPARATOR}{rest}"


def _entry(record: Record) -> dict[str, Any]:
    shape = record.observables.shape
    _check_shape(record, tuple(shape))
    observables = _with_undefined_times(record).detach()
    shape = observables.shape
    entry: dict[str, Any] = {
        "type": record.kind,
        "layout": ", ".join(map(str, shape)) if shape else "1",
    }
    tag = _tag(record)
    if tag:
        entry["tag"] = tag
    if record.reweighted:
        entry["reweighted"] = True
    entry["value"] = observables.value.flatten().tolist()
    if observables.fluctuations:
        entry["data"] = _data(observables)
    if observables.covariances:
        entry["cdata"] = [
            {
                "id": name,
                "layout": f"{len(covariance)}, {len(covariance)}",
                "cov": covariance.flatten().tolist(),
                "grad": observables.gradients[name].reshape(-1, len(covariance)).T.tolist(),
            }
            for name, covariance in observables.covariances.items()
        ]
    return entry


def _data(observables: Observables) -> list[dict[str, Any]]:
    data = []
    for ensemble, replica in observables.ensembles.items():
        written = []
        for name in replica:
            numbers = observables.configurations[name].tolist()
            columns = observables.fluctuations[name].reshape(-1, len(numbers)).T.tolist()
            rows = [[number, *row] for number, row in zip(numbers, columns, strict=True)]
            written.append({"name": name, "deltas": rows})
        data.append({"id": ensemble, "replica": written})
    return data


def _tag(record: Record) -> Any:
    if record.kind != "Corr":
        return list(record.tags)
    tag: dict[str, Any] = {"tag": [*record.tags, record.label or "None"]}
    if record.plateau is not None:
        tag["prange"] = list(record.plateau)
    return tag


def _check_shape(record: Record, shape: tuple[int, ...]) -> None:
    n = len(shape)
    fits = {
        "Obs": n == 0,
        "List": n == 1,
        "Array": n >= 1,
        "Corr": shape[1:] == (1,) or (n == 3 and shape[1] == shape[2]),
    }[record.kind]
    defined = record.defined
    counted = defined is None or (record.kind == "Corr" and int(defined.sum()) == shape[0])
    if not fits or not counted:
        raise DomainError(
            f"Observables of the shape {shape} cannot be written as `{record.kind}`. Obs: (), "
            "List: (n,), Array: any but (), Corr: (n_defined, 1) or (n_defined, N, N)."
        )


def _with_undefined_times(record: Record) -> Observables:
    """A correlator with NaN at the times that are not defined."""
    defined = record.defined
    if defined is None or bool(defined.all()):
        return record.observables

    def widened(tensor: Tensor) -> Tensor:
        full = tensor.new_full((len(defined), *tensor.shape[1:]), math.nan)
        full[defined] = tensor
        return full

    return record.observables.linear(widened)
