"""Image by a trained network, and the files that hold one."""

__all__ = ["learned_image", "load_network", "network_recipe", "save_network"]

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from detopt.errors import ConfigError
from detopt.reconstruction.images import ScatteringImage
from detopt.reconstruction.imaging_network import ImagingNetwork, scattering_density
from detopt.reconstruction.poca_imaging import DENSITY_UNIT
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

KEY = "detopt.imaging_network"  # of the JSON text in a file's header
SHIPPED = "data/imaging_network.safetensors"


def learned_image(
    tracks: MuonTracks, grid: Grid, network: ImagingNetwork | None = None
) -> ScatteringImage:
    """Scattering density that a frozen network expects, given the muons.

    Args:
        tracks: The muons.
        grid: The voxels.
        network: A trained network; the shipped one by default.

    Returns:
        Scattering density at 3 GeV/c [mrad2/cm]; its counts are crossings.

    Note:
        Differentiable in the tracks. Sound where the scan resembles those of the training:
        voxels of 1 to 10 cm, nearly cubic; 3 to 100 muons for each column of voxels; planes that
        span 10 cm or more on each side; a momentum of each muon, or the spectrum at sea level.
        Where data say little it tends to the mean of the training's volumes, as any prior does.
    """
    chosen = load_network() if network is None else network
    chosen = chosen.in_precision(tracks.momentum.dtype)
    maps = chosen.maps(tracks, torch.ones_like(tracks.momentum), grid)
    return ScatteringImage(
        grid,
        scattering_density(chosen.image(maps)) * DENSITY_UNIT,
        torch.expm1(maps[-1].detach()).round().long(),
        "scattering density at 3 GeV",
        "mrad2/cm",
    )


def save_network(path: Path, network: ImagingNetwork, recipe: Mapping[str, Any]) -> None:
    """Write a network to a safetensors file, whose header holds the rest as JSON.

    Args:
        path: The file.
        network: What is written.
        recipe: How it was trained: anything that JSON can hold.
    """
    text = json.dumps({"options": network.options, "recipe": dict(recipe)}, sort_keys=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={KEY: text})


def load_network(path: Path | None = None) -> ImagingNetwork:
    """A frozen network from a file of `save_network`, or the shipped one.

    Reading makes numbers and texts and never runs code.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    return _shipped() if path is None else _read(path)[0]


def network_recipe(path: Path | None = None) -> dict[str, Any]:
    """How the network of a file, or the shipped one, was trained.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    if path is not None:
        return _read(path)[1]
    with resources.as_file(resources.files("detopt.reconstruction") / SHIPPED) as shipped:
        return _read(shipped)[1]


@functools.cache
def _shipped() -> ImagingNetwork:
    with resources.as_file(resources.files("detopt.reconstruction") / SHIPPED) as path:
        return _read(path)[0]


def _read(path: Path) -> tuple[ImagingNetwork, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise ConfigError(
                    f"{path} holds no imaging network. `detopt train-imager` makes one."
                )
            described = json.loads(text)
            options = described["options"]
            network = ImagingNetwork(**{**options, "widths": tuple(options["widths"])})
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"Cannot read the network {path}: {error}") from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"The imaging network in {path} is damaged or of another version: {error}"
        ) from error
    return network.requires_grad_(False), described["recipe"]
