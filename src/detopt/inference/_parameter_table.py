"""The parameters of a binned model: their order, starts, bounds and auxiliary measurements."""

__all__ = ["Layout", "Parameter", "join", "parameter_table"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError
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

ORDER = (HistoSys, Luminosity, NormFactor, NormSys, ShapeFactor, ShapeSys, StatError)
MIN_FACTOR = 1e-10  # lowest value of a factor that an auxiliary measurement constrains


@dataclass(frozen=True)
class Layout:
    """Where channels, samples and bins lie in the tensors of a model."""

    channels: tuple[str, ...]
    samples: tuple[str, ...]
    n_bins: tuple[int, ...]

    def bins(self, channel: str) -> slice:
        """Bins of a channel among all bins."""
        index = self.channels.index(channel)
        first = sum(self.n_bins[:index])
        return slice(first, first + self.n_bins[index])

    def bin_name(self, position: int) -> str:
        """Channel and number of a bin, for messages."""
        for channel, n_bins in zip(self.channels, self.n_bins, strict=True):
            if position < n_bins:
                return f"bin {position} of channel `{channel}`"
            position -= n_bins
        raise IndexError(position)


@dataclass(frozen=True)
class Parameter:
    """A parameter, or one for each of several bins.

    Args:
        name: As the modifiers call it.
        kinds: Types of its modifiers.
        start: Suggested values.
        bounds: Lowest and highest values.
        fixed: Which of its entries fits leave where they are.
        scalar: Whether it is one number rather than one a bin.
        auxiliary: Nominal auxiliary measurements, or None where there are none.
        width: Their standard deviations, where they are Gaussian.
        rate: Expected auxiliary counts at 1, where they are of Poisson.
    """

    name: str
    kinds: frozenset[type]
    start: tuple[float, ...]
    bounds: tuple[tuple[float, float], ...]
    fixed: tuple[bool, ...]
    scalar: bool
    auxiliary: Float[Tensor, "*batch n"] | None = None
    width: Float[Tensor, "*batch n"] | None = None
    rate: Float[Tensor, "*batch n"] | None = None

    @property
    def labels(self) -> list[str]:
        """A name for each entry."""
        if self.scalar:
            return [self.name]
        return [f"{self.name}[{i}]" for i in range(len(self.start))]


Use = tuple[Channel, Sample, Modifier]


def join(pieces: Sequence[Tensor]) -> Tensor:
    """Tensors side by side along the last dimension, each repeated over the batch of the others."""
    batch = torch.broadcast_shapes(*[piece.shape[:-1] for piece in pieces])
    return torch.cat([piece.expand(*batch, piece.shape[-1]) for piece in pieces], dim=-1)


def parameter_table(
    channels: Sequence[Channel], settings: Mapping[str, ParameterSettings]
) -> list[Parameter]:
    """The parameters of sorted channels, in the order of HistFactory programs.

    Raises:
        ConfigError: A name stands for two things, or a setting does not fit.
        DomainError: An uncertainty is negative or not finite.
    """
    uses: dict[tuple[type, str], list[Use]] = {}
    for channel in channels:
        for sample in sorted(channel.samples, key=lambda item: item.name):
            for modifier in sorted(sample.modifiers, key=lambda item: item.name):
                key = (type(modifier), modifier.name)
                uses.setdefault(key, []).append((channel, sample, modifier))
    staterrors = sorted(name for kind, name in uses if kind is StatError)
    keys = [key for kind in ORDER[:-1] for key in uses if key[0] is kind]
    table: dict[str, Parameter] = {}
    for key in [*keys, *((StatError, name) for name in staterrors)]:
        made = _parameter(key[1], uses[key])
        known = table.get(made.name)
        if known is None:
            table[made.name] = made
        elif not known.kinds | made.kinds <= {HistoSys, NormSys}:
            kinds = " and ".join(kind.__name__ for kind in (*known.kinds, *made.kinds))
            raise ConfigError(f"`{made.name}` names a {kinds}. Give each a name of its own.")
        else:
            table[made.name] = replace(known, kinds=known.kinds | made.kinds)
    for name in settings:
        if name not in table:
            raise ConfigError(f"No parameter `{name}` to set. There are: {', '.join(table)}.")
    return [_configure(item, settings.get(item.name)) for item in table.values()]


def _parameter(name: str, uses: Sequence[Use]) -> Parameter:
    channel, sample, modifier = uses[0]
    kinds = frozenset({type(modifier)})
    n_bins = sample.counts.shape[-1]
    one = torch.ones(1, dtype=sample.counts.dtype, device=sample.counts.device)
    match modifier:
        case NormFactor():
            return Parameter(name, kinds, (1.0,), ((0.0, 10.0),), (False,), True)
        case ShapeFactor():
            for other, owner, _ in uses:
                if owner.counts.shape[-1] > n_bins:
                    raise ConfigError(
                        f"Shape factor `{name}` has {n_bins} entries from channel "
                        f"`{channel.name}`, too few for the {owner.counts.shape[-1]} bins of "
                        f"`{other.name}`. Give channels of different width different factors."
                    )
            bounds = ((0.0, 10.0),) * n_bins
            return Parameter(name, kinds, (1.0,) * n_bins, bounds, (False,) * n_bins, False)
        case NormSys() | HistoSys():
            return Parameter(
                name, kinds, (0.0,), ((-5.0, 5.0),), (False,), True, auxiliary=0 * one, width=one
            )
        case Luminosity():
            return Parameter(name, kinds, (), (), (False,), True, auxiliary=one, width=one)
        case ShapeSys():
            return _shape_systematic(name, uses)
        case StatError():
            return _statistical(name, uses)


def _shape_systematic(name: str, uses: Sequence[Use]) -> Parameter:
    """One auxiliary count for each bin, as large as the relative uncertainty demands."""
    channel, sample, modifier = uses[0]
    assert isinstance(modifier, ShapeSys)
    if len(uses) > 1:
        places = ", ".join(f"`{sample.name}` in `{channel.name}`" for channel, sample, _ in uses)
        raise ConfigError(f"Shape systematic `{name}` is shared by {places}. Name each its own.")
    counts, uncertainty = sample.counts, modifier.uncertainty
    check_uncertainty(channel, sample, modifier, uncertainty)
    known = (counts > 0) & (uncertainty > 0)
    rate = torch.where(known, counts / torch.where(known, uncertainty, 1.0), 1.0) ** 2
    n_bins = counts.shape[-1]
    return Parameter(
        name,
        frozenset({ShapeSys}),
        (1.0,) * n_bins,
        ((MIN_FACTOR, 10.0),) * n_bins,
        _fixed(name, known),
        False,
        auxiliary=rate,
        rate=rate,
    )


def _statistical(name: str, uses: Sequence[Use]) -> Parameter:
    """Relative uncertainty of the sum of the samples, for each bin of each channel."""
    places: dict[str, list[tuple[Sample, StatError]]] = {}
    for channel, sample, modifier in uses:
        assert isinstance(modifier, StatError)
        check_uncertainty(channel, sample, modifier, modifier.uncertainty)
        places.setdefault(channel.name, []).append((sample, modifier))
    members = [{sample.name for sample, _ in found} for found in places.values()]
    if any(names != members[0] for names in members):
        raise ConfigError(
            f"Statistical error `{name}` acts on other samples in other channels, "
            f"{', '.join(places)}. Name it after its channel."
        )
    widths, known = [], []
    for found in places.values():
        total, squares = torch.broadcast_tensors(
            torch.stack(torch.broadcast_tensors(*[s.counts for s, _ in found])).sum(dim=0),
            torch.stack(torch.broadcast_tensors(*[m.uncertainty for _, m in found]))
            .square()
            .sum(dim=0),
        )
        given = (total > 0) & (squares > 0)
        root = torch.where(given, squares, 1.0).sqrt()
        widths.append(torch.where(given, root / torch.where(given, total, 1.0), 1.0))
        known.append(given)
    width = join(widths)
    n_bins = width.shape[-1]
    return Parameter(
        name,
        frozenset({StatError}),
        (1.0,) * n_bins,
        ((MIN_FACTOR, 10.0),) * n_bins,
        _fixed(name, join(known)),
        False,
        auxiliary=torch.ones_like(width),
        width=width,
    )


def _fixed(name: str, known: Tensor) -> tuple[bool, ...]:
    """Bins without an uncertainty have a fixed factor, the same bins in the whole batch."""
    flat = known.reshape(-1, known.shape[-1])
    differing = (flat.any(dim=0) != flat.all(dim=0)).nonzero()
    if len(differing):
        raise DomainError(
            f"`{name}` has an uncertainty in entry {int(differing[0])} for a part of the batch "
            "only. Give all members one, or none."
        )
    return tuple(not bool(entry) for entry in flat[0])


def check_uncertainty(
    channel: Channel, sample: Sample, modifier: Modifier, uncertainty: Tensor
) -> None:
    """Refuses uncertainties of the wrong length, or that are negative or not finite."""
    place = f"`{modifier.name}` of sample `{sample.name}` in channel `{channel.name}`"
    if uncertainty.shape[-1] != sample.counts.shape[-1]:
        raise ConfigError(
            f"{place} has {uncertainty.shape[-1]} bins, the sample {sample.counts.shape[-1]}."
        )
    bad = ~(torch.isfinite(uncertainty) & (uncertainty >= 0))
    if bool(bad.any()):
        *member, position = bad.nonzero()[0].tolist()
        value = float(uncertainty[(*member, position)])
        raise DomainError(f"{place} must be >= 0, got {value:g} in bin {position}.")


def _configure(parameter: Parameter, given: ParameterSettings | None) -> Parameter:
    """The parameter with what its settings say instead of the defaults."""
    name, n = parameter.name, max(len(parameter.start), 1)
    if Luminosity in parameter.kinds:
        needed = ("start", "bounds", "auxiliary", "width")
        missing = [item for item in needed if given is None or getattr(given, item) is None]
        if missing:
            raise ConfigError(
                f"Luminosity `{name}` needs settings for {', '.join(missing)}: "
                "it has no defaults. Give `ParameterSettings`."
            )
    if given is None:
        return parameter
    for item in ("start", "bounds", "auxiliary", "width", "rate"):
        value = getattr(given, item)
        if value is not None and len(value) != n:
            raise ConfigError(f"`{item}` of `{name}` must have {n} entries, got {len(value)}.")
    start = parameter.start if given.start is None else given.start
    bounds = parameter.bounds if given.bounds is None else given.bounds
    fixed = parameter.fixed if given.fixed is None else (given.fixed,) * n
    for i, (value, (low, high)) in enumerate(zip(start, bounds, strict=True)):
        if not low <= value <= high:
            raise ConfigError(
                f"Entry {i} of `{name}` starts at {value:g}, outside its bounds {low:g} to "
                f"{high:g}. Move one of them."
            )
    auxiliary, width = parameter.auxiliary, parameter.width
    if given.auxiliary is not None:
        if auxiliary is None:
            raise ConfigError(f"`{name}` is free: it has no auxiliary measurement to set.")
        auxiliary = auxiliary.new_tensor(given.auxiliary)
    if given.width is not None:
        if width is None or not all(value > 0 for value in given.width):
            raise ConfigError(
                f"`width` of `{name}` cannot be {given.width}: it must be > 0, of a parameter "
                "with a Gaussian auxiliary measurement."
            )
        width = width.new_tensor(given.width)
    rate = parameter.rate
    if given.rate is not None:
        if rate is None or not all(value > 0 for value in given.rate):
            raise ConfigError(
                f"`rate` of `{name}` cannot be {given.rate}: it must be > 0, of a shape systematic."
            )
        rate = rate.new_tensor(given.rate)
    return replace(
        parameter,
        start=start,
        bounds=bounds,
        fixed=fixed,
        auxiliary=auxiliary,
        width=width,
        rate=rate,
    )
