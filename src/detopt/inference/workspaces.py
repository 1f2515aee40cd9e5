"""Workspaces: binned likelihoods as JSON files of the pyhf format, version 1.0.0.

A workspace has channels of samples with modifiers, the observed counts, and measurements that name
a parameter of interest and set parameters. Files that other programs published are read, and those
that are written here are read by other programs.

References:
    L. Heinrich et al., J. Open Source Softw. 6 (2021) 2823.
    ATLAS Collaboration, ATL-PHYS-PUB-2019-029 (2019): published likelihoods.
"""

__all__ = ["Workspace", "parse_workspace", "read_workspace", "to_workspace", "write_workspace"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference._workspace_schema import (
    ChannelRecord,
    MeasurementConfig,
    MeasurementRecord,
    ObservationRecord,
    channel_of,
    lengths_of,
    record_of,
    settings_of,
    settings_record,
)
from detopt.inference.histfactory import HistFactoryModel, histfactory_model

VERSION = "1.0.0"


class Workspace(BaseModel):
    """Channels, observations and measurements, as a JSON file holds them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[ChannelRecord, ...] = Field(min_length=1)
    observations: tuple[ObservationRecord, ...] = Field(min_length=1)
    measurements: tuple[MeasurementRecord, ...] = Field(min_length=1)
    version: str = VERSION

    def measurement(self, name: str | None = None) -> MeasurementRecord:
        """The measurement of that name, or the first one.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name is None:
            return self.measurements[0]
        for measurement in self.measurements:
            if measurement.name == name:
                return measurement
        known = ", ".join(measurement.name for measurement in self.measurements)
        raise NotFoundError(f"No measurement `{name}`. There are: {known}.")

    def model(
        self,
        measurement: str | None = None,
        *,
        interest: str | None = None,
        norm_code: str = "4",
        shape_code: str = "4p",
        allow_negative: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> HistFactoryModel:
        """The likelihood of a measurement.

        Args:
            measurement: Its name; by default the first one.
            interest: Parameter of interest, instead of the measurement's.
            norm_code: Interpolation of factors.
            shape_code: Interpolation of shapes.
            allow_negative: Whether samples may have bins below zero.
            dtype: Precision of the templates.

        Raises:
            ConfigError: Names clash, lengths differ, or there is no parameter of interest.
            DomainError: A template is negative; channel, sample and bin are named.
            NotFoundError: There is no such measurement or parameter of interest.
        """
        config = self.measurement(measurement).config
        name = config.poi if interest is None else interest
        if not name:
            raise ConfigError("The measurement has no parameter of interest. Give `interest`.")
        used = {m.name for c in self.channels for s in c.samples for m in s.modifiers}
        # the format allows settings of parameters that no modifier uses
        settings = {p.name: settings_of(p) for p in config.parameters if p.name in used}
        return histfactory_model(
            [channel_of(channel, dtype) for channel in self.channels],
            name,
            settings,
            norm_code=norm_code,
            shape_code=shape_code,
            allow_negative=allow_negative,
        )

    def counts(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, " bins"]:
        """Observed counts of all channels, in the order of the model."""
        found = {observation.name: observation.data for observation in self.observations}
        names = sorted(channel.name for channel in self.channels)
        return torch.tensor([value for name in names for value in found[name]], dtype=dtype)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return self.model_dump(mode="json", exclude_unset=True) | {"version": self.version}


def parse_workspace(data: Mapping[str, Any]) -> Workspace:
    """The workspace in plain lists and numbers.

    Raises:
        ConfigError: Something is missing, unknown, of the wrong type or of the wrong length; the
            message names channel, sample and bin.
    """
    try:
        workspace = Workspace.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, data)) from error
    if workspace.version != VERSION:
        raise ConfigError(f"The workspace has version {workspace.version}, not {VERSION}.")
    _check(workspace)
    return workspace


def read_workspace(path: Path) -> Workspace:
    """The workspace in a JSON file.

    Raises:
        ConfigError: The file cannot be read, is no JSON or no workspace.
    """
    try:
        data = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read the workspace {path}: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"The workspace {path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"The workspace {path} must be a JSON object, got {type(data).__name__}.")
    try:
        return parse_workspace(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def write_workspace(workspace: Workspace, path: Path) -> None:
    """Writes a workspace as JSON."""
    Path(path).write_text(json.dumps(workspace.as_dict(), indent=2) + "\n")


def to_workspace(
    model: HistFactoryModel, counts: Float[Tensor, " bins"], measurement: str = "measurement"
) -> Workspace:
    """The workspace of a model and its observed counts; gradients are left behind.

    Args:
        model: One model, not a batch.
        counts: Observed counts, in the order of `model.layout.channels`.
        measurement: Name of the measurement.

    Raises:
        DomainError: The templates have batch dimensions, or the counts have the wrong length.

    Note:
        Interpolation codes are no part of the format: it means codes 4 and 4p.
    """
    if any(tensor.ndim > s for tensor, s in _with_dimensions(model)):
        raise DomainError("A workspace holds one model, got a batch. Pick a member of it.")
    model.data(counts)
    values = counts.detach().tolist()
    observations = tuple(
        ObservationRecord(name=name, data=tuple(values[model.layout.bins(name)]))
        for name in model.layout.channels
    )
    parameters = tuple(
        record for p in model.parameters if (record := settings_record(p)) is not None
    )
    config = MeasurementConfig(poi=model.interest, parameters=parameters)
    return Workspace(
        channels=tuple(record_of(channel) for channel in model.channels),
        observations=observations,
        measurements=(MeasurementRecord(name=measurement, config=config),),
        version=VERSION,
    )


def _with_dimensions(model: HistFactoryModel) -> list[tuple[Tensor, int]]:
    return list(zip(model.inputs(), (2, 3, 3, 3, 3, 1, 1, 1), strict=True))


def _check(workspace: Workspace) -> None:
    """Refuses observations that do not belong to the channels, and repeated names."""
    for what, names in (
        ("channel", [channel.name for channel in workspace.channels]),
        ("observation", [observation.name for observation in workspace.observations]),
        ("measurement", [measurement.name for measurement in workspace.measurements]),
    ):
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(f"There are several {what}s `{repeated[0]}`. Names must differ.")
    observed = {item.name: item.data for item in workspace.observations}
    for channel in workspace.channels:
        n_bins = len(channel.samples[0].data)
        if channel.name not in observed:
            raise ConfigError(f"Channel `{channel.name}` has no observation. Add one.")
        if len(observed[channel.name]) != n_bins:
            raise ConfigError(
                f"The observation of channel `{channel.name}` has "
                f"{len(observed[channel.name])} bins, its samples {n_bins}."
            )
        for sample in channel.samples:
            place = f"channel `{channel.name}`, sample `{sample.name}`"
            lengths = {place: len(sample.data)}
            for modifier in sample.modifiers:
                lengths.update(
                    (f"{place}, modifier `{modifier.name}`, {what}", length)
                    for what, length in lengths_of(modifier).items()
                )
            for what, length in lengths.items():
                if length != n_bins:
                    raise ConfigError(f"{what}: {length} bins, but the channel has {n_bins}.")
    for measurement in workspace.measurements:
        configured = [item.name for item in measurement.config.parameters]
        repeated = sorted({name for name in configured if configured.count(name) > 1})
        if repeated:
            raise ConfigError(
                f"Measurement `{measurement.name}` sets parameter `{repeated[0]}` twice."
            )


def _explain(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first mistake, with the names on the way to it."""
    item = error.errors()[0]
    got = "" if item["type"] == "missing" else f", got {_short(item['input'])}"
    return f"{_place(item['loc'], data)}: {item['msg']}{got}."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _place(location: Sequence[str | int], data: Any) -> str:
    """Where a mistake is: `channel SR, sample signal, data, bin 3`."""
    words: list[str] = []
    before = ""
    for key in location:
        if isinstance(key, str):
            if isinstance(data, Mapping) and (key in data or data.get("type") != key):
                words.append(key)
                data = data.get(key)
            before = key
            continue
        data = data[key] if isinstance(data, Sequence) and key < len(data) else None
        if isinstance(data, Mapping) and "name" in data:
            words[-1:] = [f"{before.removesuffix('s')} `{data['name']}`"]
        else:
            words.append(f"entry {key}" if isinstance(data, Mapping) else f"bin {key}")
    return ", ".join(words) or "The workspace"
