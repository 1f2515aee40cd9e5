"""The command `detopt validate-surrogate`."""

__all__ = ["validate_surrogate"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

MOST_ROWS = 20_000
DIFFERENCES = ("theta", "totals", "step", "given")


def validate_surrogate(
    model: Annotated[Path, typer.Argument(help="Surrogate, as `save_surrogate` wrote it")],
    reference: Annotated[
        Path,
        typer.Argument(
            help="Rows of the simulator that it did not learn from: an .npz with `conditions` and "
            "`rows`; for gradients also `theta`, `totals`, `step` and `given`"
        ),
    ],
    features: Annotated[
        str, typer.Option(help="What is compared beside all columns: layers or columns")
    ] = "layers",
    quantity: Annotated[
        list[str], typer.Option(help="Gradient to compare: response or resolution")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder of the results")] = Path("validation"),
    steps: Annotated[int, typer.Option(min=1, help="Steps of a classifier, at most")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier results")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Compare a surrogate with its simulator: classifiers, histograms, closure, gradients.

    Writes validation.json and validation.png.
    """
    from dataclasses import replace
    from json import dumps

    import torch
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from detopt.random import Seed
    from detopt.reports.surrogate_figure import surrogate_figure
    from detopt.surrogates import load_surrogate
    from detopt.surrogates.gradient_score import Differences
    from detopt.surrogates.two_sample import CLASSIFIER
    from detopt.surrogates.validation import FEATURES, validate

    if features not in FEATURES:
        raise ConfigError(f"--features must be one of {', '.join(FEATURES)}, got {features!r}.")
    if (out / "validation.json").exists() and not force:
        raise ConfigError(f"{str(out)!r} holds a validation. Add --force to replace it.")
    surrogate, facts = load_surrogate(model)
    arrays = _arrays(reference, bool(quantity))
    conditions, rows = arrays["conditions"][:MOST_ROWS], arrays["rows"][:MOST_ROWS]
    differences = None
    if quantity:
        differences = Differences(arrays["theta"], float(arrays["step"]), arrays["totals"])
    with output.counter("validating") as progress:
        found = validate(
            surrogate,
            conditions,
            rows,
            Seed(seed),
            FEATURES[features],
            differences,
            quantity,
            arrays.get("given"),
            replace(CLASSIFIER, n_steps=steps),
            progress,
        )
    with torch.no_grad():
        drawn = surrogate.sample(conditions, Seed(seed).child("figure").generator())
    real, fake = (FEATURES[features](conditions, one)[1] for one in (rows, drawn))
    out.mkdir(parents=True, exist_ok=True)
    figure = surrogate_figure(found, real, fake, str(facts.get("label", "")))
    FigureCanvasAgg(figure).print_png(str(out / "validation.png"))
    data = {"model": str(model), "facts": facts, **found.as_dict()}
    (out / "validation.json").write_text(dumps(data, indent=1) + "\n")
    if json:
        output.document(data)
        return
    lines = [(what, f"{one}  [simulator: {floor}]" if floor else one)
             for what, one, floor in found.table()]  # fmt: skip
    title = f"{model.name}, {found.n_rows:,} rows; in brackets the simulator against itself"
    output.facts(title, [*lines, ("results", str(out))])


def _arrays(path: Path, with_differences: bool) -> "dict[str, Tensor]":
    """What the file holds, checked."""
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{str(path)!r} is no .npz file of numbers: {error}.") from error
    needed = ("conditions", "rows", *(DIFFERENCES if with_differences else ()))
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ConfigError(f"{str(path)!r} lacks {', '.join(missing)}.")
    found = {name: one.double() for name, one in arrays.items()}
    if found["conditions"].ndim != 2 or found["rows"].ndim != 2:
        raise ConfigError(f"`conditions` and `rows` of {str(path)!r} must be tables.")
    return found
