"""Events in ROOT trees: columns of plain trees, and particles of the summary trees of GENIE."""

__all__ = ["Columns", "read_gst", "read_tree"]

import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError, NotFoundError, SimulationError
from detopt.optional import require
from detopt.simulators.sources.particles import Particles
from detopt.simulators.sources.reading import opened

BEAM = 4  # status of a particle that comes in, as in HepMC
FINAL = 1
FOUR = ("E", "px", "py", "pz")
PLACE = ("vtxt", "vtxx", "vtxy", "vtxz")  # s and m, as GENIE writes them
LABELS = ("tgt", "cc", "nc", "qel", "mec", "res", "dis", "coh")


@dataclass(frozen=True)
class Columns:
    """Numbers of events, by name.

    Attributes:
        values: One number, or an array of one shape, for each event.
        weight: Weight of each event.
    """

    values: Mapping[str, Float[Tensor, "n_events ..."]]
    weight: Float[Tensor, " n_events"]

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return len(self.weight)

    def select(self, index: Int[Tensor, " m"]) -> "Columns":
        """The events with these numbers, in this order."""
        return Columns({name: one[index] for name, one in self.values.items()}, self.weight[index])

    def to(self, dtype: torch.dtype) -> "Columns":
        """The same in `dtype`."""
        return Columns(
            {name: one.to(dtype) for name, one in self.values.items()}, self.weight.to(dtype)
        )

    def __getitem__(self, name: str) -> Float[Tensor, "n_events ..."]:
        return self.values[name]

    def __len__(self) -> int:
        return self.n_events


def read_tree(
    path: str | Path,
    tree: str,
    branches: Mapping[str, float] | Sequence[str],
    weight: str | None = None,
    n_events: int | None = None,
) -> Columns:
    """Branches of any ROOT tree (or RNTuple), one entry an event.

    Args:
        path: ROOT file.
        tree: Name of the tree in it.
        branches: Names, or names with the factor that brings each to GeV, m or s.
        weight: Branch of the weights, or None for 1.
        n_events: Read no more than so many, or None for all.

    Raises:
        MissingExtraError: The package `uproot` is not installed.
        NotFoundError: There is no such file, tree or branch.
        SimulationError: The file is empty or damaged, a branch has no number or arrays of
            different lengths, or a number is not finite.
    """
    factors = dict(branches) if isinstance(branches, Mapping) else dict.fromkeys(branches, 1.0)
    with _tree(path, tree) as content:
        names = [*factors, *([weight] if weight else [])]
        _check_branches(content, names, path, tree)
        arrays = content.arrays(names, entry_stop=n_events)
        columns = {name: _column(arrays, name) for name in names}
        values = {name: columns[name] * factor for name, factor in factors.items()}
        n = content.num_entries if n_events is None else min(n_events, content.num_entries)
        weights = columns[weight] if weight else torch.ones(n, dtype=torch.float64)
        if weights.shape != (n,):
            raise DomainError(f"the branch `{weight}` must have one number an event.")
        return Columns(values, weights)


def read_gst(path: str | Path, tree: str = "gst", n_events: int | None = None) -> Particles:
    """Neutrino interactions of GENIE, from the summary file that `gntpc -f gst` writes.

    In each event the neutrino comes first, with status 4, then the lepton that leaves the vertex
    and the hadrons that leave the nucleus, with status 1. Labels: `tgt`, the number of the target
    in the scheme of the PDG, and those of `cc`, `nc`, `qel`, `mec`, `res`, `dis` and `coh` that the
    file has, 1 or 0.

    Args:
        path: ROOT file.
        tree: Name of the tree in it.
        n_events: Read no more than so many, or None for all.

    Raises:
        MissingExtraError: The package `uproot` is not installed.
        NotFoundError: There is no such file, tree or branch.
        SimulationError: The file is empty or damaged.

    Note:
        A file without `fspl`, the number of the lepton, gets it from the neutrino and `cc`.
        The format holds no remnant of the nucleus, hence momentum is not conserved.

    References:
        C. Andreopoulos et al., arXiv:1510.05494.
    """
    neutrino, lepton = ("Ev", "pxv", "pyv", "pzv"), ("El", "pxl", "pyl", "pzl")
    hadrons = ("Ef", "pxf", "pyf", "pzf")
    with _tree(path, tree) as content:
        needed = ["neu", "tgt", *neutrino, *lepton, "pdgf", *hadrons]
        extra = [one for one in (*LABELS, "fspl", "wght", *PLACE) if one in content.keys()]  # noqa: SIM118
        if "fspl" not in extra:
            needed.append("cc")
        _check_branches(content, needed, path, tree)
        arrays = content.arrays(list(dict.fromkeys([*needed, *extra])), entry_stop=n_events)
        flat = {
            name: _column(arrays, name) for name in arrays.fields if name not in ("pdgf", *hadrons)
        }
        zero = torch.zeros_like(flat["neu"])
        counts, numbers = _lists(arrays, "pdgf")
        n = len(counts)
        event = np.concatenate([np.arange(n), np.arange(n), np.repeat(np.arange(n), counts)])
        order = np.argsort(event, kind="stable")
        pdg = np.concatenate([flat["neu"], _lepton(flat), numbers])
        state = np.concatenate([np.full(n, BEAM), np.full(len(pdg) - n, FINAL)])
        momentum = np.concatenate(
            [
                torch.stack([flat[name] for name in neutrino], 1),
                torch.stack([flat[name] for name in lepton], 1),
                np.stack([_lists(arrays, name)[1] for name in hadrons], 1),
            ]
        )
        place = torch.stack([flat.get(name, zero) for name in PLACE], 1).numpy()
        return Particles.of(
            pdg[order].astype(np.int64),
            state[order],
            momentum[order],
            place[event[order]],
            event[order],
            flat.get("wght", torch.ones_like(zero)),
            {name: flat[name] for name in LABELS if name in flat},
        )


@contextlib.contextmanager
def _tree(path: str | Path, tree: str) -> Iterator[Any]:
    package = require("uproot", extra="events", purpose="Reading ROOT files")
    with opened(path, "ROOT") as file, package.open(file) as content:
        if content.file.fEND > file.stat().st_size:
            raise SimulationError(
                f"The ROOT file {file} is incomplete: {file.stat().st_size} of "
                f"{content.file.fEND} bytes. Copy it again, or let its program close it."
            )
        known = [one.partition(";")[0] for one in content.keys()]  # noqa: SIM118 (no mapping)
        if tree not in known:
            raise NotFoundError(
                f"The ROOT file {file} has no tree {tree!r}. {_near(tree, dict.fromkeys(known))}"
            )
        if not hasattr(content[tree], "num_entries"):
            raise NotFoundError(f"{tree!r} in the ROOT file {file} is no tree.")
        if content[tree].num_entries == 0:
            raise SimulationError(f"The tree {tree!r} in the ROOT file {file} has no entry.")
        yield content[tree]


def _check_branches(content: Any, names: Sequence[str], path: str | Path, tree: str) -> None:
    known = content.keys()
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"The tree {tree!r} in {path} has no branch {name!r}. {_near(name, known)}"
            )


def _near(name: str, known: Any) -> str:
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower)]
    if near:
        return f"Did you mean {', '.join(near)}?"
    return f"There are: {', '.join(list(known)[:20]) or 'none'}."


def _column(arrays: Any, name: str) -> Tensor:
    """A branch with one number, or an array of one shape, in each entry."""
    try:
        values = arrays[name].to_numpy(allow_missing=False)
        column = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise DomainError(
            f"the branch `{name}` has the type {arrays[name].type}, not numbers of one shape for "
            "each event."
        ) from error
    if not bool(column.isfinite().all()):
        where = int((~column.reshape(len(column), -1).isfinite()).any(1).int().argmax())
        raise DomainError(f"the branch `{name}` is not finite in entry {where}.")
    return column


def _lists(arrays: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Length of each entry of a branch with lists, and all their numbers."""
    awkward = require("awkward", extra="events", purpose="Reading lists in ROOT files")
    lists = arrays[name]
    return awkward.num(lists).to_numpy(), awkward.flatten(lists).to_numpy().astype(np.float64)


def _lepton(flat: Mapping[str, Tensor]) -> Tensor:
    if "fspl" in flat:
        return flat["fspl"]
    neutrino = flat["neu"]
    return torch.where(flat["cc"] > 0, neutrino.sign() * (neutrino.abs() - 1), neutrino)
