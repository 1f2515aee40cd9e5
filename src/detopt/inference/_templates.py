"""What a binned model is made of: channels of samples with modifiers, as plain tensors."""

__all__ = [
    "Channel",
    "HistoSys",
    "Luminosity",
    "Modifier",
    "NormFactor",
    "NormSys",
    "ParameterSettings",
    "Sample",
    "ShapeFactor",
    "ShapeSys",
    "StatError",
    "check_names",
]

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError


@dataclass(frozen=True)
class NormFactor:
    """A free factor that scales samples, such as a signal strength."""

    name: str


@dataclass(frozen=True)
class Luminosity:
    """A factor with a Gaussian auxiliary measurement, whose settings the parameter needs."""

    name: str = "lumi"


@dataclass(frozen=True)
class NormSys:
    r"""A systematic factor on a sample.

    Args:
        name: Nuisance parameter.
        low: Factor at :math:`\alpha = -1`, > 0.
        high: Factor at :math:`\alpha = 1`, > 0.
    """

    name: str
    low: Float[Tensor, "*#batch"]
    high: Float[Tensor, "*#batch"]


@dataclass(frozen=True)
class HistoSys:
    r"""A systematic variation of the shape of a sample.

    Args:
        name: Nuisance parameter.
        low: Template at :math:`\alpha = -1`.
        high: Template at :math:`\alpha = 1`.
    """

    name: str
    low: Float[Tensor, "*#batch bins"]
    high: Float[Tensor, "*#batch bins"]


@dataclass(frozen=True)
class ShapeSys:
    """A factor for each bin of a sample, known from an auxiliary count.

    Args:
        name: Nuisance parameters.
        uncertainty: Absolute uncertainty of each bin; 0 where the factor is fixed.
    """

    name: str
    uncertainty: Float[Tensor, "*#batch bins"]


@dataclass(frozen=True)
class StatError:
    """A factor for each bin of all samples that share it: their Monte Carlo statistics.

    Args:
        name: Nuisance parameters, common to the samples of a channel.
        uncertainty: Absolute uncertainty of each bin of this sample.
    """

    name: str
    uncertainty: Float[Tensor, "*#batch bins"]


@dataclass(frozen=True)
class ShapeFactor:
    """A free factor for each bin."""

    name: str


Modifier = NormFactor | Luminosity | NormSys | HistoSys | ShapeSys | StatError | ShapeFactor


@dataclass(frozen=True)
class Sample:
    """Expected counts of one process in one channel.

    Args:
        name: Process.
        counts: Nominal template.
        modifiers: What the parameters do to it.
    """

    name: str
    counts: Float[Tensor, "*#batch bins"]
    modifiers: tuple[Modifier, ...] = ()


@dataclass(frozen=True)
class Channel:
    """A histogram that is measured: a region of selection.

    Args:
        name: Region.
        samples: Processes that contribute.
    """

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ParameterSettings:
    """What replaces the defaults of a parameter, or of each of its entries.

    Args:
        start: Values that a fit starts from, and that a fixed parameter has.
        bounds: Lowest and highest value.
        auxiliary: What the auxiliary measurement gave.
        width: Standard deviation of a Gaussian auxiliary measurement, > 0.
        rate: Expected auxiliary counts at 1 of a shape systematic, > 0.
        fixed: Whether fits leave it where it is.
    """

    start: tuple[float, ...] | None = None
    bounds: tuple[tuple[float, float], ...] | None = None
    auxiliary: tuple[float, ...] | None = None
    width: tuple[float, ...] | None = None
    rate: tuple[float, ...] | None = None
    fixed: bool | None = None


def check_names(channels: Sequence[Channel]) -> None:
    """Refuses channels or samples of the same name, or none."""
    if not channels:
        raise ConfigError("A model needs at least one channel.")
    names = [channel.name for channel in channels]
    if len(set(names)) != len(names):
        raise ConfigError(f"Channel names must differ, got {', '.join(names)}.")
    for channel in channels:
        samples = [sample.name for sample in channel.samples]
        if not samples or len(set(samples)) != len(samples):
            raise ConfigError(
                f"Channel `{channel.name}` must have samples of different names, got "
                f"{', '.join(samples) or 'none'}."
            )
