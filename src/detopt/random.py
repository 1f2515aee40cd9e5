"""Randomness as an argument: generators derived from a key, never global state.

A draw depends only on the key, such as (study seed, round, chunk): not on what was drawn before,
the number of workers or an interruption.

>>> Seed(7).child("round", 3).generator().initial_seed() == Seed(7, "round", 3).number
True
"""

__all__ = ["Seed"]

import hashlib

import torch


class Seed:
    """A position in the tree of all random streams of a study.

    Args:
        key: Integers and texts that name the stream, the study's seed first.
    """

    __slots__ = ("key",)

    def __init__(self, *key: "int | str") -> None:
        self.key = key

    def child(self, *key: "int | str") -> "Seed":
        """The stream below this one that `key` names."""
        return Seed(*self.key, *key)

    @property
    def number(self) -> int:
        """A 63-bit integer that is well mixed: neighbouring keys give unrelated streams."""
        digest = hashlib.blake2b(repr(self.key).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def generator(self, device: str | torch.device = "cpu") -> torch.Generator:
        """A fresh generator at the start of this stream."""
        return torch.Generator(device=device).manual_seed(self.number)

    def __repr__(self) -> str:
        return f"Seed({', '.join(map(repr, self.key))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)
