"""The command `detopt validate-surrogate`."""

__all__ = ["validate_surrogate"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zipfile import BadZipFile
from zlib import error as zlib_error

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from detopt.random import Seed
    from detopt.surrogates import ConditionalGenerator
    from detopt.surrogates.validation import Features, Validation

    Arrays = dict[str, Tensor]

MOST_ROWS = 20_000
DIFFERENCES = ("theta", "totals", "step", "given")


Model = Annotated[Path, typer.Argument(help="Surrogate, as `save_surrogate` wrote it")]
Reference = Annotated[
    Path,
    typer.Argument(
        help="Rows of the simulator that it did not learn from: an .npz with `conditions` and "
        "`rows`; for gradients also `theta`, `totals`, `step` and `given`"
    ),
]
Compared = Annotated[
    str, typer.Option(help="What is compared beside all columns: layers or columns")
]
Quantities = Annotated[list[str], typer.Option(help="Gradient to compare: response or resolution")]
Out = Annotated[Path, typer.Option(help="Folder of the results")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of a classifier, at most")]
Force = Annotated[bool, typer.Option("--force", help="Replace earlier results")]


def validate_surrogate(
    model: Model,
    reference: Reference,
    features: Compared = "layers",
    quantity: Quantities = [],  # noqa: B006
    out: Out = Path("validation"),
    steps: Steps = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers")] = 0,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Compare a surrogate with its simulator: classifiers, histograms, closure, gradients.

    Writes validation.json and validation.png.
    """
    from detopt.random import Seed
    from detopt.surrogates import load_surrogate
    from detopt.surrogates.validation import FEATURES

    if features not in FEATURES:
        raise ConfigError(f"--features must be one of {', '.join(FEATURES)}, got {features!r}.")
    if (out / "validation.json").exists() and not force:
        raise ConfigError(f"{str(out)!r} holds a validation. Add --force to replace it.")
    surrogate, facts = load_surrogate(model)
    arrays = _arrays(reference, surrogate, bool(quantity))
    found = _compare(surrogate, arrays, FEATURES[features], quantity, Seed(seed), steps)
    figure = _figure(surrogate, arrays, FEATURES[features], found, Seed(seed), facts)
    data = {"model": str(model), "facts": facts, **found.as_dict()}
    _write(out, data, figure)
    if json:
        output.document(data)
        return
    lines = [(what, f"{one}  [simulator: {floor}]" if floor else one)
             for what, one, floor in found.table()]  # fmt: skip
    title = f"{model.name}, {found.n_rows:,} rows; in brackets the simulator against itself"
    output.facts(title, [*lines, ("results", str(out))])


def _compare(
    surrogate: "ConditionalGenerator",
    arrays: "Arrays",
    features: "Features",
    quantities: list[str],
    seed: "Seed",
    n_steps: int,
) -> "Validation":
    from detopt.surrogates.gradient_score import Differences
    from detopt.surrogates.two_sample import CLASSIFIER
    from detopt.surrogates.validation import validate

    differences = None
    if quantities:
        differences = Differences(arrays["theta"], float(arrays["step"]), arrays["totals"])
    with output.counter("validating") as progress:
        return validate(
            surrogate,
            arrays["conditions"],
            arrays["rows"],
            seed,
            features,
            differences,
            quantities,
            arrays.get("given"),
            replace(CLASSIFIER, n_steps=n_steps),
            progress,
        )


def _figure(
    surrogate: "ConditionalGenerator",
    arrays: "Arrays",
    features: "Features",
    found: "Validation",
    seed: "Seed",
    facts: Mapping[str, Any],
) -> "Figure":
    import torch

    from detopt.reports.surrogate_figure import surrogate_figure

    conditions, rows = arrays["conditions"], arrays["rows"]
    with torch.no_grad():
        drawn = surrogate.sample(conditions, seed.child("figure").generator())
    real, fake = (features(conditions, one)[1] for one in (rows, drawn))
    return surrogate_figure(found, real, fake, str(facts.get("label", "")))


def _write(out: Path, data: Mapping[str, Any], figure: "Figure") -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    out.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(out / "validation.png"))
    (out / "validation.json").write_text(dumps(data, indent=1) + "\n")


def _arrays(path: Path, surrogate: "ConditionalGenerator", with_differences: bool) -> "Arrays":
    """What the file holds, checked; of the rows the first `MOST_ROWS`."""
    arrays = _read(path, ("conditions", "rows", *(DIFFERENCES if with_differences else ())))
    wrong = [name for name, one in arrays.items() if not bool(one.isfinite().all())]
    if wrong:
        raise ConfigError(
            f"{str(path)!r} has numbers that are not finite in {', '.join(wrong)}. Leave such "
            "showers out."
        )
    _refuse_tables(path, arrays, surrogate)
    if with_differences:
        _refuse_differences(path, arrays, surrogate)
    return arrays | {name: arrays[name][:MOST_ROWS] for name in ("conditions", "rows")}


def _read(path: Path, names: Sequence[str]) -> "Arrays":
    import numpy as np
    import torch

    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            found = {name: file[name] for name in names if name not in missing}
        numbers = {name: one.astype("f8", casting="same_kind") for name, one in found.items()}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib_error) as error:
        raise ConfigError(f"{str(path)!r} is no .npz file of numbers: {error}.") from error
    if missing:
        raise ConfigError(f"{str(path)!r} lacks {', '.join(missing)}.")
    return {name: torch.from_numpy(one) for name, one in numbers.items()}


def _refuse_tables(path: Path, arrays: "Arrays", surrogate: "ConditionalGenerator") -> None:
    """Refuse rows that are not those of the surrogate."""
    shapes = [tuple(arrays[name].shape) for name in ("conditions", "rows")]
    n = shapes[1][:1]
    if shapes != [(*n, surrogate.n_conditions), (*n, surrogate.n_columns)]:
        raise ConfigError(
            f"`conditions` and `rows` of {str(path)!r} must be tables of as many rows with the "
            f"{surrogate.n_conditions} conditions and {surrogate.n_columns} columns of the "
            f"surrogate, got {shapes[0]} and {shapes[1]}."
        )


def _refuse_differences(path: Path, arrays: "Arrays", surrogate: "ConditionalGenerator") -> None:
    """Refuse designs that are not those of the surrogate."""
    theta, totals, step, given = (tuple(arrays[name].shape) for name in DIFFERENCES)
    are_tables = (len(theta), len(given), arrays["step"].numel()) == (2, 1, 1)
    if not are_tables or theta[1] + given[0] != surrogate.n_conditions:
        raise ConfigError(
            f"`theta` of {str(path)!r} must be a table and `given` a list, with together the "
            f"{surrogate.n_conditions} conditions of the surrogate in a row, and `step` one "
            f"number; got {theta}, {given} and {step}."
        )
    if totals[:-1] != (*theta, 2) or totals[-1] < 2:
        raise ConfigError(
            f"`totals` of {str(path)!r} must be an array of {(*theta, 2)} times two or more "
            f"events, got {totals}."
        )
