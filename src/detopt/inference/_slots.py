"""Tensors of a binned model, laid out so that all modifiers act at once.

Each sample has, in each channel, a few slots for modifiers of a type; slots that are not used do
nothing. So a model of many modifiers, each on few samples, stays small.
"""

__all__ = ["Slots", "Tensors", "build", "poisson_term", "take"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import ConfigError, DomainError
from detopt.inference._parameter_table import Layout, Parameter, join
from detopt.inference._templates import (
    Channel,
    HistoSys,
    Luminosity,
    Modifier,
    NormFactor,
    NormSys,
    Sample,
    ShapeFactor,
    ShapeSys,
    StatError,
)

Piece = Callable[[Sample | None, Modifier | None], Tensor]


@dataclass(frozen=True)
class Tensors:
    """What a model is differentiated in."""

    nominal: Float[Tensor, "*#batch samples bins"]
    shape_down: Float[Tensor, "*#batch n_shape samples bins"]  # change at -1
    shape_up: Float[Tensor, "*#batch n_shape samples bins"]
    norm_down: Float[Tensor, "*#batch n_norm samples channels"]  # logarithm of the factor at -1
    norm_up: Float[Tensor, "*#batch n_norm samples channels"]
    auxiliary: Float[Tensor, "*#batch n_auxiliary"]
    width: Float[Tensor, "*#batch n_gaussian"]
    rate: Float[Tensor, "*#batch n_poisson"]


@dataclass(frozen=True)
class Slots:
    """Which parameter acts where; the two after the last stand for 0 and 1."""

    shape: Int[Tensor, "n_shape samples bins"]
    norm: Int[Tensor, "n_norm samples channels"]
    scale: Int[Tensor, "n_scale samples channels"]  # factors of whole templates
    bin: Int[Tensor, "n_bin samples bins"]  # factors of single bins
    channel_of_bin: Int[Tensor, " bins"]

    @cached_property
    def factors(self) -> Int[Tensor, "n_factor samples bins"]:
        """All factors, those of normalizations first, then of templates, then of bins."""
        whole = torch.cat([self.norm, self.scale])
        return torch.cat([whole[..., self.channel_of_bin], self.bin])


def build(
    channels: Sequence[Channel],
    layout: Layout,
    parameters: Sequence[Parameter],
    allow_negative: bool,
) -> tuple[Tensors, Slots]:
    """Tensors and slots of sorted channels.

    Raises:
        ConfigError: Templates differ in length.
        DomainError: A template or factor is negative or not finite.
    """
    first: dict[str, int] = {}
    n_parameters = 0
    for parameter in parameters:
        first[parameter.name] = n_parameters
        n_parameters += len(parameter.start)
    grid = _Grid(channels, layout, first)
    for channel in channels:
        for sample in channel.samples:
            _check(channel, sample, allow_negative)

    like = channels[0].samples[0].counts
    shape = grid.stack((HistoSys,), per_bin=True, pad=n_parameters)
    norm = grid.stack((NormSys,), per_bin=False, pad=n_parameters)
    scale = grid.stack((NormFactor, Luminosity), per_bin=False, pad=n_parameters + 1)
    by_bin = grid.stack((ShapeFactor, ShapeSys, StatError), per_bin=True, pad=n_parameters + 1)

    def counts(sample: Sample | None, _: Modifier | None) -> Tensor:
        return like.new_zeros(1) if sample is None else sample.counts

    def change(side: str) -> Piece:
        def piece(sample: Sample | None, modifier: Modifier | None) -> Tensor:
            if sample is None or modifier is None:
                return like.new_zeros(1)
            found: Tensor = getattr(modifier, side) - sample.counts
            return found

        return piece

    def logarithm(side: str) -> Piece:
        def piece(_: Sample | None, modifier: Modifier | None) -> Tensor:
            if modifier is None:
                return like.new_zeros(1)
            factor: Tensor = getattr(modifier, side)
            return factor.log().unsqueeze(-1)

        return piece

    constrained = [p for p in parameters if p.auxiliary is not None]
    empty = like.new_zeros(0)
    tensors = Tensors(
        nominal=grid.layer((), counts, 0, per_bin=True),
        shape_down=grid.layers((HistoSys,), change("low"), per_bin=True, like=like),
        shape_up=grid.layers((HistoSys,), change("high"), per_bin=True, like=like),
        norm_down=grid.layers((NormSys,), logarithm("low"), per_bin=False, like=like),
        norm_up=grid.layers((NormSys,), logarithm("high"), per_bin=False, like=like),
        auxiliary=join([empty, *[p.auxiliary for p in constrained if p.auxiliary is not None]]),
        width=join([empty, *[p.width for p in constrained if p.width is not None]]),
        rate=join([empty, *[p.rate for p in constrained if p.rate is not None]]),
    )
    of_bin = [i for i, n_bins in enumerate(layout.n_bins) for _ in range(n_bins)]
    device = like.device
    return tensors, Slots(
        shape=shape.to(device),
        norm=norm.to(device),
        scale=scale.to(device),
        bin=by_bin.to(device),
        channel_of_bin=torch.tensor(of_bin, device=device),
    )


class _Grid:
    """All samples in all channels, with the modifiers of a type in order."""

    def __init__(self, channels: Sequence[Channel], layout: Layout, first: dict[str, int]) -> None:
        self.channels, self.layout, self.first = channels, layout, first
        self.cells = {(c.name, s.name): s for c in channels for s in c.samples}
        self.seen: dict[str, int] = {}  # bins of a statistical error that earlier channels have
        self.offsets: dict[tuple[str, str], int] = {}
        for channel in channels:
            names = {m.name for s in channel.samples for m in s.modifiers if type(m) is StatError}
            for name in names:
                self.offsets[(channel.name, name)] = self.seen.get(name, 0)
                self.seen[name] = self.seen.get(name, 0) + channel.samples[0].counts.shape[-1]

    def slots(self, kinds: tuple[type, ...], channel: str, sample: str) -> list[Modifier]:
        found = self.cells.get((channel, sample))
        return [] if found is None else [m for m in found.modifiers if isinstance(m, kinds)]

    def depth(self, kinds: tuple[type, ...]) -> int:
        return max(len(self.slots(kinds, channel, sample)) for channel, sample in self.cells)

    def layers(
        self, kinds: tuple[type, ...], piece: Piece, *, per_bin: bool, like: Tensor
    ) -> Tensor:
        """All layers of a type, slot by slot."""
        depth = self.depth(kinds)
        if depth == 0:
            width = sum(self.layout.n_bins) if per_bin else len(self.channels)
            return like.new_zeros(0, len(self.layout.samples), width)
        stack = [self.layer(kinds, piece, k, per_bin=per_bin) for k in range(depth)]
        return torch.stack(torch.broadcast_tensors(*stack), dim=-3)

    def stack(self, kinds: tuple[type, ...], *, per_bin: bool, pad: int) -> Tensor:
        """Positions of the parameters of a type."""
        depth = self.depth(kinds)
        width = sum(self.layout.n_bins) if per_bin else len(self.channels)
        index = torch.full((depth, len(self.layout.samples), width), pad)
        for i, sample in enumerate(self.layout.samples):
            for j, channel in enumerate(self.channels):
                for k, modifier in enumerate(self.slots(kinds, channel.name, sample)):
                    position = self.first[modifier.name]
                    if not per_bin:
                        index[k, i, j] = position
                    elif kinds == (HistoSys,):
                        index[k, i, self.layout.bins(channel.name)] = position
                    else:
                        position += self.offsets.get((channel.name, modifier.name), 0)
                        bins = self.layout.bins(channel.name)
                        n_bins = bins.stop - bins.start
                        index[k, i, bins] = torch.arange(position, position + n_bins)
        return index

    def layer(self, kinds: tuple[type, ...], piece: Piece, slot: int, *, per_bin: bool) -> Tensor:
        """One layer over samples and bins, or samples and channels."""
        rows = []
        for name in self.layout.samples:
            parts = []
            for channel, n_bins in zip(self.channels, self.layout.n_bins, strict=True):
                slots = self.slots(kinds, channel.name, name)
                modifier = slots[slot] if slot < len(slots) else None
                found = piece(self.cells.get((channel.name, name)), modifier)
                parts.append(found.expand(*found.shape[:-1], n_bins if per_bin else 1))
            rows.append(join(parts))
        return torch.stack(torch.broadcast_tensors(*rows), dim=-2)


def _check(channel: Channel, sample: Sample, allow_negative: bool) -> None:
    """Refuses templates of the wrong length, and values that no count can have."""
    place = f"sample `{sample.name}` in channel `{channel.name}`"
    n_bins = channel.samples[0].counts.shape[-1]
    templates = {f"{place}": sample.counts}
    names: set[tuple[type, str]] = set()
    for modifier in sample.modifiers:
        key = (type(modifier), modifier.name)
        if key in names:
            raise ConfigError(f"The modifier `{modifier.name}` acts twice on {place}.")
        names.add(key)
        if isinstance(modifier, HistoSys):
            for side in ("low", "high"):
                templates[f"`{side}` of `{modifier.name}` of {place}"] = getattr(modifier, side)
        if isinstance(modifier, NormSys):
            for side in ("low", "high"):
                value = getattr(modifier, side)
                if not bool(((value > 0) & torch.isfinite(value)).all()):
                    raise DomainError(
                        f"`{side}` of `{modifier.name}` of {place} must be > 0, got "
                        f"{float(value.min()):g}: it is a factor. Give a shape variation instead."
                    )
    for what, template in templates.items():
        if template.shape[-1] != n_bins:
            raise ConfigError(f"{what} has {template.shape[-1]} bins, the channel has {n_bins}.")
        bad = ~torch.isfinite(template)
        if not allow_negative:
            bad = bad | (template < 0)
        if bool(bad.any()):
            *member, position = bad.nonzero()[0].tolist()
            raise DomainError(
                f"{what} must be >= 0, got {float(template[(*member, position)]):g} in bin "
                f"{position}. Set `allow_negative=True` where weighted events make it so."
            )


def take(extended: Tensor, index: Tensor) -> Tensor:
    """Parameters at the positions of an index, behind the batch."""
    found = extended.index_select(-1, index.flatten())
    return found.reshape(*extended.shape[:-1], *index.shape)


def poisson_term(counts: Tensor, expected: Tensor) -> Tensor:
    """Negative log-probability of counts, which need not be integers."""
    filled = (counts > 0) & (expected > 0)
    logarithm = torch.where(filled, expected, 1.0).log()
    value = expected - counts * logarithm + torch.lgamma(counts + 1)
    impossible = (expected < 0) | ((expected == 0) & (counts > 0))
    return torch.where(impossible, torch.inf, value)
