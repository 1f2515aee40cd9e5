"""`detopt train-imager`: a network that makes images of muons, from simulated scans."""

__all__ = ["train_imager"]

from pathlib import Path
from typing import Annotated

import typer

from detopt.cli import output
from detopt.cli.folders import make_folder
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError

SUFFIX = ".safetensors"


def train_imager(
    out: Annotated[Path, typer.Option(help="File to write to")] = Path("imager.safetensors"),
    steps: Annotated[
        int, typer.Option(min=1, help="Steps, each on four volumes; 1,000 take about 4 minutes")
    ] = 1_800,
    seed: Annotated[int, typer.Option(help="Seed of scans and starting weights")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Train the network of `reconstruct --method learned` on simulated volumes."""
    from detopt.reconstruction import save_network
    from detopt.usecases.muon_scanner.imaging.training import train_imager as train

    if out.suffix != SUFFIX:
        raise ConfigError(f"--out {str(out)!r} must end in {SUFFIX}.")
    if out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a folder. Name a file.")
    if out.exists() and not force:
        raise ConfigError(f"{str(out)!r} exists. Add --force to replace it.")
    make_folder(out.parent)
    with output.counter("training") as progress:
        trained = train(steps, seed, progress=progress)
    save_network(out, trained.network, trained.recipe)
    if json:
        output.document({"path": str(out), **trained.recipe})
        return
    output.facts(
        f"imaging network, {steps:,} steps",
        [
            ("file", str(out)),
            ("volumes", f"{trained.recipe['volumes']:,}"),
            ("error of ln(1 + scattering)", f"{trained.error:.3f} on held-out volumes"),
            ("spread of the truth", f"{trained.spread:.3f}"),
            ("CPU time", f"{trained.cpu_s:.0f} s"),
        ],
    )
