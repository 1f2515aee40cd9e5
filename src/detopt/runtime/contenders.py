"""Methods that are compared, and how a user writes them."""

__all__ = ["Contender", "read_contenders"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from detopt.errors import ConfigError, NotFoundError
from detopt.optimizers import METHODS

OPENING, CLOSING = "[{(", ")}]"


@dataclass(frozen=True)
class Contender:
    """A method with options.

    Args:
        method: Name of the optimizer.
        options: Its arguments, beside those that the use case recommends for it.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        if not self.options:
            return self.method
        return f"{self.method} ({', '.join(f'{k}={v}' for k, v in self.options.items())})"


def read_contenders(texts: Sequence[str]) -> list[Contender]:
    """The methods that texts such as `adam:learning_rate=0.05,max_norm=4;cma,random` name.

    A comma or a semicolon parts methods, and options of a method; a piece `KEY=VALUE` belongs to
    the method before it. Values are read as YAML.

    Raises:
        ConfigError: There is no method, an option has none, or one is named twice.
        NotFoundError: No such method.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for text in texts:
        for piece in _pieces(text):
            head, equals, _ = piece.partition("=")
            name, colon, option = piece.partition(":")
            if equals and ":" not in head:
                if not found:
                    raise ConfigError(f"The option {piece!r} has no method before it.")
                found[-1][1].update([_option(piece)])
                continue
            if name.strip() not in METHODS:
                raise NotFoundError(f"No method `{name.strip()}`. There are: {', '.join(METHODS)}.")
            found.append((name.strip(), dict([_option(option)] if colon else [])))
    contenders = [Contender(name, options) for name, options in found]
    labels = [contender.label for contender in contenders]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ConfigError(f"The method {twice} is named twice. Give one of the two other options.")
    if not contenders:
        raise ConfigError("No method to compare. Name some, such as `adam,cma`.")
    return contenders


def _pieces(text: str) -> Iterator[str]:
    """What commas and semicolons part, outside of brackets."""
    depth, piece = 0, ""
    for letter in text:
        depth += (letter in OPENING) - (letter in CLOSING)
        if letter in ",;" and depth == 0:
            if piece.strip():
                yield piece.strip()
            piece = ""
        else:
            piece += letter
    if piece.strip():
        yield piece.strip()


def _option(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"An option of a method must read KEY=VALUE, got {text!r}.")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"Cannot read the value of `{key.strip()}`: {value!r}.") from error
