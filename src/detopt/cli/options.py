"""Options that commands share, and how `-o key=value` is read."""

__all__ = ["Debug", "Json", "Options", "Settings", "read_options", "repeat_lists", "split_options"]

from typing import Annotated, Any

import typer
import yaml

from detopt.errors import ConfigError
from detopt.runtime import StudyConfig

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")]
Options = Annotated[
    list[str],
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="Option of the use case, such as n_muons=500 or reach='40 cm'; "
        "`method=NAME` and `method.KEY=VALUE` go to the optimizer",
    ),
]
Settings = dict[str, Any]
PAIRS = {"-o", "--option"}
LISTS = {*PAIRS, "--free", "--freeze", "--prefer", "--track"}
FLAGS = {"--json", "--debug", "--gradients", "--spot", "--force"}
COMMAND_AND_ARGUMENT = 2


def read_options(pairs: list[str]) -> dict[str, Any]:
    """Values of KEY=VALUE texts, read as YAML: numbers, lists, null, texts.

    Raises:
        ConfigError: A pair has no `=`, or its value is no YAML.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"An option must read KEY=VALUE, got {pair!r}.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"Cannot read the value of `{key}`: {text!r}.") from error
        options[key.strip()] = text if isinstance(value, dict) else value
    return options


def split_options(options: dict[str, Any], fields: set[str]) -> Settings:
    """Settings of a study from options of use case and method together."""
    settings: Settings = {"options": {}, "method_options": {}}
    for key, value in options.items():
        if key.startswith("method."):
            settings["method_options"][key.removeprefix("method.")] = value
        elif key not in fields and key in StudyConfig.model_fields and key != "options":
            settings[key] = value
        else:
            settings["options"][key] = value
    if not settings["method_options"]:
        del settings["method_options"]
    return settings


def repeat_lists(arguments: list[str]) -> list[str]:
    """Let one `-o` or `--freeze` take several values: `-o a=1 b=2` is `-o a=1 -o b=2`.

    Values go on until the next option. The first word that follows a command is always its
    argument, so `run --freeze size muon_scanner` still names the use case; with `--parent` it needs
    none, and stands before the lists if there is one.
    """
    expanded: list[str] = []
    given = {word.partition("=")[0] for word in arguments}
    named = int("--parent" in given)  # words that are no options: the command, its argument
    option: str | None = None  # the list that a word may continue
    taken = False  # whether that list has its first value
    for before, word in zip(["", *arguments], arguments, strict=False):
        if option is not None and not word.startswith("-"):
            is_pair = option in PAIRS and "=" in word
            if not taken or is_pair or (option not in PAIRS and named >= COMMAND_AND_ARGUMENT):
                expanded += [word] if not taken else [option, word]
                taken = True
                continue
        name, separator, _ = word.partition("=")
        if name in LISTS and (not separator or name != "--prefer"):  # a run may follow --prefer=
            option, taken = name, bool(separator)
        else:
            is_value = before.startswith("-") and before not in FLAGS and "=" not in before
            named += 0 if word.startswith("-") or is_value else 1
            option = None
        expanded.append(word)
    return expanded
