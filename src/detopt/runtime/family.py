"""The family of a run: where it comes from, and what others made of the same designs.

Runs belong together by the digests of their designs: a child starts from the digest that its parent
found. They are looked for in the store of the run, and in the folders beside its own.
"""

__all__ = ["Family", "Member", "family"]

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from detopt.errors import DetoptError
from detopt.runtime.config import StudyConfig, load_study
from detopt.runtime.digests import design_digest
from detopt.runtime.origin import origins
from detopt.runtime.result import FILE, load_result
from detopt.runtime.sources import STUDY
from detopt.runtime.storage import Lineage, Link, Store
from detopt.runtime.store import RunStore


@dataclass(frozen=True)
class Member:
    """A run among its relatives.

    Args:
        name: Of the run.
        place: Its folder, or the URL of the database that has it.
        status: `running`, `interrupted` or `finished`; `missing` where only its design is known.
        created: When it began [s since 1970].
        machines: Where its loop was.
        links: The designs it is made from, and its own.
        frees: What it freed, as its user said; empty for what the use case frees.
        freezes: What it froze.
        takes: Of a merge: the parameters that come from each part.
        objective: Of its final design, with the 95 % interval.
    """

    name: str
    place: str
    status: str
    created: float | None
    machines: Sequence[str]
    links: Sequence[Link]
    frees: Sequence[str] = ()
    freezes: Sequence[str] = ()
    takes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    objective: Mapping[str, float | None] | None = None

    @property
    def design(self) -> str | None:
        """Digest of the final design."""
        return next((link.design for link in self.links if link.role == "final"), None)

    @property
    def parent(self) -> Link | None:
        """The run that it starts from."""
        return next((link for link in self.links if link.role == "parent"), None)

    @property
    def change(self) -> str:
        """What it did to the design of its parent, in a few words."""
        parts = [link.name for link in self.links if link.role == "part"]
        if parts:
            taken = [
                f"{', '.join(self.takes.get(name, ())) or 'nothing'} from {name}" for name in parts
            ]
            return f"merges {'; '.join(taken)}"
        if self.parent is None:
            return ""
        frees = f"frees {', '.join(self.frees) or 'what the use case frees'}"
        return f"{frees}, freezes {', '.join(self.freezes)}" if self.freezes else frees

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        parent = self.parent
        return {
            "run": self.name,
            "place": self.place,
            "status": self.status,
            "created": self.created,
            "machines": list(self.machines),
            "design": self.design,
            "parent": None if parent is None else {"run": parent.name, "design": parent.design},
            "parts": [
                {"run": x.name, "design": x.design, "taken": list(self.takes.get(x.name, ()))}
                for x in self.links
                if x.role == "part"
            ],
            "change": self.change,
            "free": list(self.frees),
            "freeze": list(self.freezes),
            "objective": None if self.objective is None else dict(self.objective),
        }


@dataclass(frozen=True)
class Family:
    """A run with what was made from it."""

    member: Member
    children: Sequence["Family"] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.member.as_dict() | {"children": [child.as_dict() for child in self.children]}

    def members(self, depth: int = 0) -> Iterator[tuple[int, Member]]:
        """All runs of the family with their generation, parents first."""
        yield depth, self.member
        for child in self.children:
            yield from child.members(depth + 1)


@runtime_checkable
class _Relatives(Protocol):
    def found(self, link: Link) -> Member | None:
        """The run that found a design."""

    def children(self, design: str) -> list[Member]:
        """The runs that start from a design."""


def family(folder: Path) -> Family:
    """The run in a folder and all its relatives, from the first ancestor that is known.

    Raises:
        CheckpointError: The folder holds no run, or it is damaged.
    """
    with contextlib.closing(RunStore(folder)) as run:
        own = _of_folder(folder, run)
        places: list[_Relatives] = [_Folders(folder)]
        if not run.is_private:
            places.insert(0, _Shared(run.store))
        root = _root(own, places)
        return _tree(root, places, own, set())


def _root(member: Member, places: Sequence[_Relatives]) -> Member:
    seen = {member.name}
    while (link := member.parent) is not None:
        above = next((m for place in places if (m := place.found(link)) is not None), None)
        if above is None or above.name in seen:
            return Member(link.name, "", "missing", None, (), (Link("final", *_plain(link)),))
        seen.add(above.name)
        member = above
    return member


def _plain(link: Link) -> tuple[str, str]:
    return link.design, link.name


def _tree(member: Member, places: Sequence[_Relatives], own: Member, seen: set[str]) -> Family:
    seen.add(member.name)
    if member.design is None:
        return Family(member)
    found = {m.name: m for place in reversed(places) for m in place.children(member.design)}
    if own.parent is not None and own.parent.design == member.design:
        found[own.name] = own
    children = sorted(found.values(), key=lambda m: (m.created or 0.0, m.name))
    return Family(
        member, [_tree(child, places, own, seen) for child in children if child.name not in seen]
    )


class _Shared:
    """Runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store, self._lineage = store, Lineage(store.database)

    def found(self, link: Link) -> Member | None:
        names = self._lineage.runs(link.design, "final")
        return self._member(link.name if link.name in names else names[0]) if names else None

    def children(self, design: str) -> list[Member]:
        return [self._member(name) for name in self._lineage.runs(design, "parent")]

    def _member(self, name: str) -> Member:
        run = self._store.run(name)
        config = StudyConfig.model_validate(self._store.study(run.study_id).config)
        digest = self._store.artifacts(name).get(FILE)
        result = None if digest is None else json.loads(self._store.blobs.get(digest))
        return _member(name, self._store.database.url, self._store, config, result)


class _Folders:
    """Runs in the folders beside a run's own."""

    def __init__(self, folder: Path) -> None:
        beside = sorted(folder.resolve().parent.glob(f"*/{STUDY}"))
        self._texts = {path.parent: path.read_text(errors="replace") for path in beside}

    def found(self, link: Link) -> Member | None:
        for folder in sorted(self._texts, key=lambda one: one.name != link.name):
            with contextlib.suppress(DetoptError, KeyError, TypeError, ValueError):
                if design_digest(load_result(folder)["design"]["final"]) == link.design:
                    return self._member(folder)
        return None

    def children(self, design: str) -> list[Member]:
        some = [folder for folder, text in self._texts.items() if design in text]
        found = (self._member(folder) for folder in some)
        return [m for m in found if m and m.parent is not None and m.parent.design == design]

    def _member(self, folder: Path) -> Member | None:
        try:
            with contextlib.closing(RunStore(folder)) as run:
                return _of_folder(folder, run)
        except DetoptError:  # a neighbour that is damaged is no reason to fail
            return None


def _of_folder(folder: Path, run: RunStore) -> Member:
    config = load_study(folder / STUDY, complete=True)
    result = load_result(folder) if (folder / FILE).is_file() else None
    return _member(run.id, str(folder), run.store, config, result)


def _member(
    name: str, place: str, store: Store, config: StudyConfig, result: Mapping[str, Any] | None
) -> Member:
    run = store.run(name)
    links = origins(config)
    if result is not None:
        links.append(Link("final", design_digest(result["design"]["final"]), name))
    return Member(
        name=name,
        place=place,
        status=run.status,
        created=run.created,
        machines=Lineage(store.database).machines(name),
        links=links,
        frees=config.free,
        freezes=config.freeze,
        takes={part.run: part.taken for part in config.merged},
        objective=None if result is None else result["objective"]["final"],
    )
