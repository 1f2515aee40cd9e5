"""The records of a workspace file, and what they are in a model."""

__all__ = [
    "ChannelRecord",
    "MeasurementConfig",
    "MeasurementRecord",
    "ObservationRecord",
    "ParameterRecord",
    "channel_of",
    "lengths_of",
    "record_of",
    "settings_of",
    "settings_record",
]

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.inference._parameter_table import Parameter
from detopt.inference._templates import (
    Channel,
    HistoSys,
    Luminosity,
    Modifier,
    NormFactor,
    NormSys,
    ParameterSettings,
    Sample,
    ShapeFactor,
    ShapeSys,
    StatError,
)

Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1)]


class Record(BaseModel):
    """A part of a workspace: nothing but what the format says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FactorRecord(Record):
    """A modifier without data."""

    name: str
    type: Literal["normfactor", "shapefactor", "lumi"]
    data: None


class NormSysData(Record):
    """Factors at -1 and 1."""

    lo: Number
    hi: Number


class NormSysRecord(Record):
    """A systematic factor."""

    name: str
    type: Literal["normsys"]
    data: NormSysData


class HistoSysData(Record):
    """Templates at -1 and 1."""

    lo_data: Numbers
    hi_data: Numbers


class HistoSysRecord(Record):
    """A systematic variation of the shape."""

    name: str
    type: Literal["histosys"]
    data: HistoSysData


class BinRecord(Record):
    """A modifier with an absolute uncertainty for each bin."""

    name: str
    type: Literal["shapesys", "staterror"]
    data: Numbers


ModifierRecord = Annotated[
    FactorRecord | NormSysRecord | HistoSysRecord | BinRecord, Field(discriminator="type")
]


class SampleRecord(Record):
    """Nominal template of a process with its modifiers."""

    name: str
    data: Numbers
    modifiers: tuple[ModifierRecord, ...]


class ChannelRecord(Record):
    """A region."""

    name: str
    samples: tuple[SampleRecord, ...] = Field(min_length=1)


class ObservationRecord(Record):
    """Observed counts of a channel."""

    name: str
    data: Numbers


class ParameterRecord(Record):
    """What replaces the defaults of a parameter."""

    name: str
    inits: Numbers | None = None
    bounds: tuple[tuple[Number, Number], ...] | None = None
    auxdata: Numbers | None = None
    factors: Numbers | None = None
    sigmas: Numbers | None = None
    fixed: bool | None = None


class MeasurementConfig(Record):
    """Parameter of interest, and settings of parameters."""

    poi: str
    parameters: tuple[ParameterRecord, ...]


class MeasurementRecord(Record):
    """A measurement."""

    name: str
    config: MeasurementConfig


def settings_of(record: ParameterRecord) -> ParameterSettings:
    """Settings of a parameter."""
    return ParameterSettings(
        start=record.inits,
        bounds=record.bounds,
        auxiliary=record.auxdata,
        width=record.sigmas,
        rate=record.factors,
        fixed=record.fixed,
    )


def settings_record(parameter: Parameter) -> ParameterRecord | None:
    """What a file must say of a parameter that its modifiers do not say, or None."""
    if parameter.kinds & {ShapeSys, StatError}:
        return None
    auxiliary, width = parameter.auxiliary, parameter.width
    said: dict[str, object] = {"inits": parameter.start, "bounds": parameter.bounds}
    if auxiliary is not None and width is not None:
        said["auxdata"] = tuple(auxiliary.detach().tolist())
        if Luminosity in parameter.kinds:
            said["sigmas"] = tuple(width.detach().tolist())
    if len(set(parameter.fixed)) == 1:
        said["fixed"] = parameter.fixed[0]
    return ParameterRecord.model_validate({"name": parameter.name, **said})


def lengths_of(
    record: FactorRecord | NormSysRecord | HistoSysRecord | BinRecord,
) -> dict[str, int]:
    """Number of bins of each list of a modifier."""
    match record:
        case HistoSysRecord():
            return {"lo_data": len(record.data.lo_data), "hi_data": len(record.data.hi_data)}
        case BinRecord():
            return {"data": len(record.data)}
    return {}


def channel_of(record: ChannelRecord, dtype: torch.dtype) -> Channel:
    """Channel with tensors."""
    return Channel(
        record.name,
        tuple(
            Sample(
                sample.name,
                torch.tensor(sample.data, dtype=dtype),
                tuple(_modifier(modifier, dtype) for modifier in sample.modifiers),
            )
            for sample in record.samples
        ),
    )


def _modifier(
    record: FactorRecord | NormSysRecord | HistoSysRecord | BinRecord, dtype: torch.dtype
) -> Modifier:
    def tensor(value: float | tuple[float, ...]) -> Tensor:
        return torch.tensor(value, dtype=dtype)

    match record:
        case NormSysRecord():
            return NormSys(record.name, tensor(record.data.lo), tensor(record.data.hi))
        case HistoSysRecord():
            return HistoSys(record.name, tensor(record.data.lo_data), tensor(record.data.hi_data))
        case BinRecord():
            made = ShapeSys if record.type == "shapesys" else StatError
            return made(record.name, tensor(record.data))
    match record.type:
        case "normfactor":
            return NormFactor(record.name)
        case "shapefactor":
            return ShapeFactor(record.name)
        case "lumi":
            return Luminosity(record.name)


def record_of(channel: Channel) -> ChannelRecord:
    """Record of a channel."""
    samples = [
        {
            "name": sample.name,
            "data": sample.counts.detach().tolist(),
            "modifiers": [_record(modifier) for modifier in sample.modifiers],
        }
        for sample in channel.samples
    ]
    return ChannelRecord.model_validate({"name": channel.name, "samples": samples})


def _record(modifier: Modifier) -> dict[str, object]:
    kinds = {
        NormFactor: "normfactor",
        Luminosity: "lumi",
        ShapeFactor: "shapefactor",
        NormSys: "normsys",
        HistoSys: "histosys",
        ShapeSys: "shapesys",
        StatError: "staterror",
    }
    data: object = None
    match modifier:
        case NormSys():
            data = {"lo": float(modifier.low), "hi": float(modifier.high)}
        case HistoSys():
            low, high = modifier.low.detach().tolist(), modifier.high.detach().tolist()
            data = {"lo_data": low, "hi_data": high}
        case ShapeSys() | StatError():
            data = modifier.uncertainty.detach().tolist()
    return {"name": modifier.name, "type": kinds[type(modifier)], "data": data}
