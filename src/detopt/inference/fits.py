r"""Maximum-likelihood fits of a batch of models at once, with implicit derivatives.

Newton's method with damping finds the minimum of each member of the batch within bounds, without a
graph. Derivatives are attached afterwards: that of the value is the one at fixed parameters
(envelope theorem), that of the parameters follows from the condition that the slope vanishes:

.. math::
    \frac{d f(\hat x, \phi)}{d\phi} = \frac{\partial f}{\partial\phi}, \qquad
    \frac{d\hat x}{d\phi} = -H^{-1} \frac{\partial^2 f}{\partial x\, \partial\phi}

A parameter that ends on a bound stays there.
"""

__all__ = ["Fit", "Likelihood", "fit", "minimize"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.inference._newton import Box, Expansion, automatic, newton
from detopt.inference.histfactory import HistFactoryModel
from detopt.inference.implicit import attach_root, attach_value

Function = Callable[..., Tensor]


@runtime_checkable
class Likelihood(Protocol):
    """What can be fitted: a function of parameters and data that is made of tensors."""

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each parameter."""

    @property
    def interest(self) -> str:
        """Name of the parameter of interest."""

    @property
    def start(self) -> Float[Tensor, " n"]:
        """Where fits start."""

    @property
    def bounds(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Lowest and highest values."""

    @property
    def fixed(self) -> tuple[bool, ...]:
        """Which parameters stay where they start."""

    def index(self, name: str) -> int:
        """Position of a parameter."""

    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the likelihood is differentiated in."""

    def with_inputs(self, *inputs: Tensor) -> "Likelihood":
        """The same likelihood with other tensors."""

    def check_data(self, data: Tensor) -> None:
        """Refuses data that cannot be fitted."""

    def negative_log_likelihood(
        self, parameters: Float[Tensor, "*#batch n"], data: Tensor
    ) -> Float[Tensor, "*batch"]:
        """The function to minimize."""


@dataclass(frozen=True)
class Fit:
    """The minimum of each member of a batch.

    Args:
        parameters: Minimum, with its implicit derivative.
        value: Function there, with its derivative.
        hessian: Second derivatives there, without a graph.
        free: Which parameters were determined; the others are fixed or on a bound.
        n_iterations: Newton steps of the slowest member.
        names: A name for each parameter.
    """

    parameters: Float[Tensor, "*batch n"]
    value: Float[Tensor, "*batch"]
    hessian: Float[Tensor, "*batch n n"]
    free: Bool[Tensor, "*batch n"]
    n_iterations: int
    names: tuple[str, ...]

    def covariance(self) -> Float[Tensor, "*batch n n"]:
        """Inverse Hessian of a negative log-likelihood; zero for parameters that are not free."""
        pairs = self.free.unsqueeze(-1) & self.free.unsqueeze(-2)
        identity = torch.eye(pairs.shape[-1], dtype=self.hessian.dtype, device=self.hessian.device)
        inverse = torch.linalg.inv(torch.where(pairs, self.hessian, identity))
        return torch.where(pairs, inverse, 0.0)

    def uncertainty(self) -> Float[Tensor, "*batch n"]:
        """Standard deviation of each parameter, from the curvature."""
        return self.covariance().diagonal(dim1=-2, dim2=-1).sqrt()


def minimize(
    function: Function,
    start: Float[Tensor, "*batch n"],
    *inputs: Tensor,
    bounds: tuple[Tensor, Tensor] | None = None,
    fixed: Bool[Tensor, "*#batch n"] | None = None,
    names: Sequence[str] | None = None,
    max_iterations: int = 200,
    expansion: Expansion | None = None,
) -> Fit:
    r"""The minimum of a function for each member of a batch.

    Args:
        function: Maps (parameters, \*inputs) to one value a member. It must be twice
            differentiable; members must not depend on each other. Where it is not finite, a step
            is shortened.
        start: Where to start; also the values of fixed parameters, whose gradients are kept.
        inputs: Tensors :math:`\phi`, with whatever gradients they carry.
        bounds: Lowest and highest values, infinite where there are none.
        fixed: Which parameters stay at `start`.
        names: Names of the parameters, for messages.
        max_iterations: Newton steps, at most.
        expansion: Maps parameters to value, slope and Hessian, where there is something faster
            than automatic differentiation.

    Returns:
        Minimum, value and Hessian; exact to about 1e-10 of the standard deviations.

    Raises:
        DomainError: The function is not finite at the start, a fit does not converge, or the
            Hessian at a minimum is singular. The message names member and parameter.

    Note:
        The minimum found is a local one. The value is differentiable to second order, and the
        parameters too; the derivative treats the set of parameters on a bound as given.
    """
    constants = [tensor.detach() for tensor in inputs]
    labels = tuple(names) if names is not None else tuple(map(str, range(start.shape[-1])))
    shape = start.shape
    if fixed is None:
        fixed = torch.zeros(shape, dtype=torch.bool, device=start.device)
    if bounds is None:
        bounds = torch.full_like(start, -torch.inf), torch.full_like(start, torch.inf)
    box = Box(
        bounds[0].detach().expand(shape), bounds[1].detach().expand(shape), fixed.expand(shape)
    )
    if expansion is None:
        expansion = automatic(lambda point: function(point, *constants))
    found = newton(expansion, start.detach(), box, labels, max_iterations)
    held = torch.where(box.fixed, start, found.point)

    def at(point: Tensor, held: Tensor, *arguments: Tensor) -> Tensor:
        return function(torch.where(found.free, point, held), *arguments)

    def residual(point: Tensor, held: Tensor, *arguments: Tensor) -> Tensor:
        with torch.enable_grad():
            if not point.requires_grad:
                point = point.detach().requires_grad_()
            (slope,) = torch.autograd.grad(
                function(point, *arguments).sum(), point, create_graph=True
            )
        return torch.where(found.free, slope, point - held)

    minimum = attach_root(residual, found.point, held, *inputs)
    value = attach_value(at, minimum, held, *inputs)
    return Fit(minimum, value, found.hessian, found.free, found.n_iterations, labels)


def fit(
    likelihood: Likelihood,
    data: Tensor,
    fixed: Mapping[str, Tensor | float] | None = None,
    *,
    start: Float[Tensor, "*#batch n"] | None = None,
    max_iterations: int = 200,
) -> Fit:
    """Maximum-likelihood fit of each member of a batch of models and data.

    Args:
        likelihood: Model or models.
        data: Data of each member.
        fixed: Values of parameters that are held fixed, by name; tensors keep their gradients.
        start: Where to start, instead of the model's own start.
        max_iterations: Newton steps, at most.

    Returns:
        Minimum of the negative log-likelihood.

    Raises:
        DomainError: A bin has data but no expectation, a fit does not converge, or a parameter
            is not determined by the data.
        NotFoundError: There is no parameter to fix of that name.

    Note:
        Differentiable in templates, data and fixed values.
    """
    likelihood.check_data(data)
    point = likelihood.start if start is None else start
    mask = list(likelihood.fixed)
    low, high = likelihood.bounds
    with torch.no_grad():
        batch = likelihood.negative_log_likelihood(point, data).shape
    columns = list(point.unbind(dim=-1))
    for name, value in (fixed or {}).items():
        index = likelihood.index(name)
        mask[index] = True
        columns[index] = torch.as_tensor(value, dtype=point.dtype, device=point.device)
        batch = torch.broadcast_shapes(batch, columns[index].shape)
    origin = torch.stack([column.expand(batch) for column in columns], dim=-1)

    def function(point: Tensor, data: Tensor, *inputs: Tensor) -> Tensor:
        return likelihood.with_inputs(*inputs).negative_log_likelihood(point, data)

    expansion = None
    if isinstance(likelihood, HistFactoryModel):
        expansion = partial(likelihood.expansion, data=data.detach())
    return minimize(
        function,
        origin,
        data,
        *likelihood.inputs(),
        bounds=(low, high),
        fixed=torch.tensor(mask, device=point.device),
        names=likelihood.names,
        max_iterations=max_iterations,
        expansion=expansion,
    )
