"""Surrogates in files: the weights as safetensors, and what they belong to as JSON beside them."""

__all__ = ["KINDS", "load_surrogate", "save_surrogate"]

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from detopt.errors import CheckpointError, ConfigError, MethodError
from detopt.surrogates.adversarial import CramerGAN, WassersteinGAN
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.diffusion import ConditionalDiffusion
from detopt.surrogates.flow import ConditionalFlow
from detopt.surrogates.regression import ConditionalRegression
from detopt.surrogates.row_maps import EnergyShares, RowMap
from detopt.surrogates.training import Training
from detopt.surrogates.variational import ConditionalVAE

KINDS: Mapping[str, type[ConditionalGenerator]] = {
    "flow": ConditionalFlow,
    "vae": ConditionalVAE,
    "cramer_gan": CramerGAN,
    "wasserstein_gan": WassersteinGAN,
    "diffusion": ConditionalDiffusion,
    "regression": ConditionalRegression,
}
ROW_MAPS: Mapping[str, type[RowMap]] = {"energy_shares": EnergyShares}
SUFFIX, FORMAT = ".safetensors", 1
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def save_surrogate(
    model: ConditionalGenerator, path: Path | str, facts: Mapping[str, Any] | None = None
) -> Path:
    """Write a fitted surrogate.

    Args:
        model: The surrogate.
        path: A file that ends in `.safetensors`; another one beside it ends in `.json`.
        facts: What should be known of it, such as the label of the data: numbers and texts.

    Returns:
        The file with the weights.

    Raises:
        ConfigError: The file has another ending.
        MethodError: There was no fit yet, or the kind is not one of `KINDS`.
    """
    path = _path(path)
    kinds = {kind: name for name, kind in KINDS.items()}
    if type(model) not in kinds or not model.fitted:
        raise MethodError(f"Only a fitted surrogate is stored, and only {', '.join(KINDS)}.")
    state = model.state_dict()
    network = {f"network.{name}": one for name, one in state.pop("network").items()}
    options = model.options
    options |= {
        "dtype": str(model.dtype).removeprefix("torch."),
        "training": dataclasses.asdict(model.training),
        "row_map": _row_map_options(model.row_map),
    }
    about = {
        "format": FORMAT,
        "kind": kinds[type(model)],
        "options": options,
        "facts": dict(facts or {}),
    }
    text = json.dumps(about, indent=1) + "\n"
    save_file({k: v.contiguous() for k, v in (network | state).items()}, path)
    path.with_suffix(".json").write_text(text)
    return path


def load_surrogate(path: Path | str) -> tuple[ConditionalGenerator, dict[str, Any]]:
    """A stored surrogate, and what is known of it.

    Args:
        path: The file with the weights; that with the rest lies beside it.

    Raises:
        ConfigError: The file has another ending.
        CheckpointError: A file is missing, damaged, or of another version.
    """
    path = _path(path)
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"{path.with_suffix('.json')} has format {about['format']}, and {FORMAT} is known."
            )
        options = dict(about["options"])
        options |= {
            "dtype": DTYPES[options["dtype"]],
            "training": Training(**options["training"]),
            "row_map": _row_map(options["row_map"]),
        }
        if "hidden" in options:
            options["hidden"] = tuple(options["hidden"])
        model = KINDS[about["kind"]](**options)
        tensors = load_file(path)
        weights = {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith("network.")}
        rest = {k: v for k, v in tensors.items() if not k.startswith("network.")}
        model.load_state_dict(rest | {"network": weights})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} and its JSON hold no usable surrogate: {error}.") from error
    return model, dict(about["facts"])


def _path(path: Path | str) -> Path:
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{str(path)!r} must end in {SUFFIX}.")
    return path


def _row_map_options(row_map: RowMap | None) -> dict[str, Any] | None:
    if row_map is None:
        return None
    names = {kind: name for name, kind in ROW_MAPS.items()}
    if not (type(row_map) in names and isinstance(row_map, EnergyShares)):
        raise MethodError(f"Only these row maps are stored: {', '.join(ROW_MAPS)}.")
    return {"kind": names[type(row_map)], **dataclasses.asdict(row_map)}


def _row_map(options: dict[str, Any] | None) -> RowMap | None:
    if options is None:
        return None
    settings = dict(options)
    return ROW_MAPS[settings.pop("kind")](**settings)
