r"""Binned likelihoods with systematic uncertainties, whose templates carry gradients.

Samples :math:`s` add up to the expected counts of bin :math:`b`; parameters change each sample by
additive variations :math:`\delta` and factors :math:`\phi`, and auxiliary measurements constrain
parameters:

.. math::
    \nu_b = \sum_s \Bigl(\prod_j \phi_{jsb}\Bigr) \Bigl(n_{sb} + \sum_i \delta_{isb}\Bigr), \qquad
    L = \prod_b \mathrm{Pois}(d_b \mid \nu_b) \prod_a c(a \mid \theta)

The likelihood is that of HistFactory programs, to the last constant. Templates are tensors
`[*batch bins]`, so that a batch of models, such as one a design, is evaluated and fitted at once.

References:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016 (2012).
    L. Heinrich et al., J. Open Source Softw. 6 (2021) 2823.
"""

__all__ = [
    "Channel",
    "HistFactoryModel",
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
    "histfactory_model",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference._expansion import expand
from detopt.inference._parameter_table import Layout, Parameter, parameter_table
from detopt.inference._slots import Slots, Tensors, build, poisson_term, take
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
    check_names,
)
from detopt.inference.interpolation import ADDITIVE, MULTIPLICATIVE

LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class HistFactoryModel:
    """A binned likelihood; made by `histfactory_model`.

    Args:
        channels: What it was made of, sorted by name.
        layout: Where channels, samples and bins lie.
        parameters: Parameters in order.
        interest: Name of the parameter of interest.
        tensors: Templates and auxiliary measurements.
        slots: Which parameter acts where.
        norm_code: Interpolation code of factors.
        shape_code: Interpolation code of shapes.
    """

    channels: tuple[Channel, ...]
    layout: Layout
    parameters: tuple[Parameter, ...]
    interest: str
    tensors: Tensors
    slots: Slots
    norm_code: str
    shape_code: str

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each entry of the parameter vector."""
        return tuple(label for parameter in self.parameters for label in parameter.labels)

    @property
    def n_bins(self) -> int:
        """Number of bins of all channels."""
        return sum(self.layout.n_bins)

    @property
    def start(self) -> Float[Tensor, " n"]:
        """Where fits start."""
        return self.tensors.nominal.new_tensor([v for p in self.parameters for v in p.start])

    @property
    def bounds(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Lowest and highest values of the parameters."""
        pairs = self.tensors.nominal.new_tensor([b for p in self.parameters for b in p.bounds])
        return pairs[:, 0], pairs[:, 1]

    @property
    def fixed(self) -> tuple[bool, ...]:
        """Which parameters fits leave where they start."""
        return tuple(value for p in self.parameters for value in p.fixed)

    def index(self, name: str) -> int:
        """Position of a parameter, such as `mu` or `gamma[3]`, or `gamma` if it has one entry.

        Raises:
            NotFoundError: There is no such parameter.
        """
        names = self.names
        for candidate in (name, f"{name}[0]"):
            if candidate in names and (candidate == name or f"{name}[1]" not in names):
                return names.index(candidate)
        raise NotFoundError(f"No parameter `{name}`. There are: {', '.join(names)}.")

    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the likelihood is differentiated in."""
        return tuple(getattr(self.tensors, name) for name in self.tensors.__dataclass_fields__)

    def with_inputs(self, *inputs: Tensor) -> "HistFactoryModel":
        """The same model with other tensors, in the order of `inputs`."""
        return replace(self, tensors=Tensors(*inputs))

    def with_bounds(self, name: str, low: float, high: float) -> "HistFactoryModel":
        """The same model with other bounds of a parameter of one entry."""
        self.index(name)
        changed = tuple(
            replace(p, bounds=((low, high),)) if p.name == name else p for p in self.parameters
        )
        return replace(self, parameters=changed)

    def expected_by_sample(
        self, parameters: Float[Tensor, "*#batch n"]
    ) -> Float[Tensor, "*batch samples bins"]:
        r"""Expected counts of each sample, in the order of `layout.samples`.

        Args:
            parameters: Point :math:`\theta`.

        Note:
            Differentiable in parameters and templates.
        """
        slots, tensors = self.slots, self.tensors
        ends = parameters.new_tensor([0.0, 1.0]).expand(*parameters.shape[:-1], 2)
        extended = torch.cat([parameters, ends], dim=-1)

        counts = tensors.nominal
        if len(slots.shape):
            alpha = take(extended, slots.shape)
            change = ADDITIVE[self.shape_code](alpha, tensors.shape_down, tensors.shape_up)
            counts = counts + change.sum(dim=-3)
        if len(slots.norm):
            alpha = take(extended, slots.norm)
            factor = MULTIPLICATIVE[self.norm_code](alpha, tensors.norm_down, tensors.norm_up)
            counts = counts * _product(factor)[..., slots.channel_of_bin]
        if len(slots.scale):
            factor = _product(take(extended, slots.scale))
            counts = counts * factor[..., slots.channel_of_bin]
        if len(slots.bin):
            counts = counts * _product(take(extended, slots.bin))
        return counts

    def expected_counts(
        self, parameters: Float[Tensor, "*#batch n"]
    ) -> Float[Tensor, "*batch bins"]:
        r"""Expected counts :math:`\nu_b` of all channels, in the order of `layout.channels`.

        Args:
            parameters: Point :math:`\theta`.

        Note:
            Differentiable in parameters and templates.
        """
        return self.expected_by_sample(parameters).sum(dim=-2)

    def expected_data(self, parameters: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch data"]:
        """Expected counts and auxiliary measurements: the Asimov data of a point.

        Args:
            parameters: Point.

        Returns:
            Counts of all bins, then auxiliary measurements in the order of the parameters.
        """
        counts = self.expected_counts(parameters)
        gaussian, poisson = self.auxiliary_index()
        auxiliary = parameters[..., [*gaussian, *poisson]].clone()
        rate = self.tensors.rate * parameters[..., poisson]
        values = torch.cat(_alike(auxiliary[..., : len(gaussian)], rate), dim=-1)
        order = sorted(range(len(gaussian) + len(poisson)), key=[*gaussian, *poisson].__getitem__)
        return torch.cat(_alike(counts, values[..., order]), dim=-1)

    def data(self, counts: Float[Tensor, "*#batch bins"]) -> Float[Tensor, "*batch data"]:
        """Observed counts together with the nominal auxiliary measurements.

        Args:
            counts: Observed counts of all channels, in the order of `layout.channels`.

        Raises:
            DomainError: A count is negative or not finite, or there are too few.
        """
        if counts.shape[-1] != self.n_bins:
            raise DomainError(f"`counts` must have {self.n_bins} bins, got {counts.shape[-1]}.")
        bad = ~(torch.isfinite(counts) & (counts >= 0))
        if bool(bad.any()):
            *member, position = bad.nonzero()[0].tolist()
            raise DomainError(
                f"`counts` must be >= 0, got {float(counts[(*member, position)]):g} in "
                f"{self.layout.bin_name(position)}."
            )
        return torch.cat(_alike(counts, self.tensors.auxiliary), dim=-1)

    def negative_log_likelihood(
        self, parameters: Float[Tensor, "*#batch n"], data: Float[Tensor, "*#batch data"]
    ) -> Float[Tensor, "*batch"]:
        r"""Negative logarithm of the likelihood, with all constants.

        .. math::
            -\ln L = \sum_b \left[\nu_b - d_b \ln \nu_b + \ln \Gamma(d_b + 1)\right]
                - \sum_a \ln c(a \mid \theta)

        Args:
            parameters: Point :math:`\theta`.
            data: Counts and auxiliary measurements, as `data` or `expected_data` make them.

        Returns:
            Value for each member of the batch; infinite where a bin with data expects nothing, or
            where expected counts are negative.

        Note:
            Differentiable in parameters, templates and data. A bin without data and expectation
            adds nothing.
        """
        counts, auxiliary = data[..., : self.n_bins], data[..., self.n_bins :]
        value = poisson_term(counts, self.expected_counts(parameters)).sum(dim=-1)
        gaussian, poisson = self.auxiliary_index()
        position = {index: i for i, index in enumerate(sorted([*gaussian, *poisson]))}
        if gaussian:
            measured = auxiliary[..., [position[i] for i in gaussian]]
            width = self.tensors.width
            pull = (measured - parameters[..., gaussian]) / width
            value = value + (pull.square() / 2 + width.log() + LOG_ROOT_TWO_PI).sum(dim=-1)
        if poisson:
            measured = auxiliary[..., [position[i] for i in poisson]]
            expected = self.tensors.rate * parameters[..., poisson]
            value = value + poisson_term(measured, expected).sum(dim=-1)
        return value

    def expansion(
        self, parameters: Float[Tensor, "*batch n"], data: Float[Tensor, "*#batch data"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch n"], Float[Tensor, "*batch n n"]]:
        """Value, slope and Hessian of the negative log-likelihood, in closed form.

        Args:
            parameters: Point, with all dimensions of the batch.
            data: Counts and auxiliary measurements.

        Note:
            Not differentiable: it is what fits iterate on, many times faster than two derivatives
            by automatic differentiation.
        """
        with torch.no_grad():
            return expand(self, parameters, data)

    def check_data(self, data: Float[Tensor, "*#batch data"]) -> None:
        """Refuses data that the model cannot explain where fits start.

        Raises:
            DomainError: A bin has data but no expectation, or a negative one; or the data have
                the wrong length.
        """
        length = self.n_bins + self.tensors.auxiliary.shape[-1]
        if data.shape[-1] != length:
            raise DomainError(
                f"The data must have {length} entries, got {data.shape[-1]}. Add the auxiliary "
                "measurements with `model.data(counts)`."
            )
        with torch.no_grad():
            expected = self.expected_counts(self.start)
            expected, counts = torch.broadcast_tensors(expected, data[..., : self.n_bins])
        bad = (expected < 0) | ((expected == 0) & (counts > 0)) | ~torch.isfinite(expected)
        if bool(bad.any()):
            *member, position = bad.nonzero()[0].tolist()
            value = float(expected[(*member, position)])
            raise DomainError(
                f"The model expects {value:g} counts in {self.layout.bin_name(position)}, where "
                f"{float(counts[(*member, position)]):g} are observed. Merge it with another bin."
            )

    @property
    def gaussian_data(self) -> list[int]:
        """Entries of the data that are Gaussian; all others are counts."""
        gaussian, poisson = self.auxiliary_index()
        position = {index: i for i, index in enumerate(sorted([*gaussian, *poisson]))}
        return [self.n_bins + position[index] for index in gaussian]

    def auxiliary_index(self) -> tuple[list[int], list[int]]:
        """Parameters with a Gaussian, and with a Poisson auxiliary measurement."""
        gaussian: list[int] = []
        poisson: list[int] = []
        first = 0
        for parameter in self.parameters:
            entries = range(first, first + len(parameter.start))
            first = entries.stop
            if parameter.width is not None:
                gaussian.extend(entries)
            elif parameter.rate is not None:
                poisson.extend(entries)
        return gaussian, poisson


def histfactory_model(
    channels: Sequence[Channel],
    interest: str = "mu",
    settings: Mapping[str, ParameterSettings] | None = None,
    *,
    norm_code: str = "4",
    shape_code: str = "4p",
    allow_negative: bool = False,
) -> HistFactoryModel:
    """A binned likelihood from channels of samples with modifiers.

    Args:
        channels: Regions; templates may have batch dimensions that broadcast.
        interest: Name of the parameter of interest, of one entry.
        settings: What replaces the defaults of parameters, by name.
        norm_code: Interpolation of factors: `1` or `4`.
        shape_code: Interpolation of shapes: `0`, `2` or `4p`.
        allow_negative: Whether a sample may have bins below zero, as weighted events can give.

    Returns:
        The model, with parameters in the order of HistFactory programs.

    Raises:
        ConfigError: Names clash, lengths differ or a setting does not fit.
        DomainError: A template or uncertainty is negative or not finite; the message names
            channel, sample and bin.
        NotFoundError: There is no parameter of interest of that name.

    Note:
        The auxiliary measurements of shape systematics and statistical errors follow the
        templates, and so do their gradients.
    """
    if norm_code not in MULTIPLICATIVE or shape_code not in ADDITIVE:
        raise ConfigError(
            f"There is no interpolation `{norm_code}` with `{shape_code}`. Factors have "
            f"{', '.join(MULTIPLICATIVE)}; shapes have {', '.join(ADDITIVE)}."
        )
    ordered = tuple(sorted(channels, key=lambda channel: channel.name))
    check_names(ordered)
    layout = Layout(
        channels=tuple(channel.name for channel in ordered),
        samples=tuple(sorted({sample.name for c in ordered for sample in c.samples})),
        n_bins=tuple(channel.samples[0].counts.shape[-1] for channel in ordered),
    )
    parameters = parameter_table(ordered, settings or {})
    if not parameters:
        raise ConfigError("The model has no parameters. Give a sample a `NormFactor`.")
    tensors, slots = build(ordered, layout, parameters, allow_negative)
    model = HistFactoryModel(
        channels=ordered,
        layout=layout,
        parameters=tuple(parameters),
        interest=interest,
        tensors=tensors,
        slots=slots,
        norm_code=norm_code,
        shape_code=shape_code,
    )
    model.index(interest)
    return model


def _product(factors: Float[Tensor, "*batch k m n"]) -> Float[Tensor, "*batch m n"]:
    """Product over the slots; torch.prod is slow to differentiate where a factor may vanish."""
    product, *others = factors.unbind(dim=-3)
    for factor in others:
        product = product * factor
    return product


def _alike(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors repeated over the batch of each other."""
    batch = torch.broadcast_shapes(*[tensor.shape[:-1] for tensor in tensors])
    return tuple(tensor.expand(*batch, tensor.shape[-1]) for tensor in tensors)
