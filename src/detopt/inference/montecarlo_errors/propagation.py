r"""Exact linear propagation of fluctuations through any function of torch.

.. math::
    \delta^F_i = \sum_k \frac{\partial F}{\partial A_k}\, \delta^{A_k}_i

The derivatives are those of automatic differentiation at the central values.
"""

__all__ = ["elementwise", "propagate"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors.merging import on_common_configurations
from detopt.inference.montecarlo_errors.observables import Observables


def propagate(
    function: Callable[..., Tensor], *inputs: Observables, vectorized: bool = False
) -> Observables:
    r"""A function of observables, as observables.

    .. math::
        F = f(A), \qquad \delta^F_i = \sum_k \frac{\partial f}{\partial A_k}\, \delta^{A_k}_i

    Args:
        function: Maps the values of `inputs`, one tensor each, to a tensor.
        inputs: Tensors of observables.
        vectorized: Take all rows of the Jacobian in one backward pass; faster for many outputs,
            and only for operations that torch can batch (no `attach_root`).

    Raises:
        DomainError: There is no input, or the result or a derivative is not finite.

    Note:
        Differentiable: in the inputs, and in tensors that `function` takes from elsewhere, to
        first order. For functions that act on each element alone `elementwise` is faster.

    References:
        A. Ramos, Comput. Phys. Commun. 238 (2019) 19, arXiv:1809.01289.
    """
    if not inputs:
        raise DomainError("`propagate` needs at least one `Observables` to start from.")
    aliases = [_alias(part.value) for part in inputs]
    with torch.enable_grad():
        value = function(*aliases)
    keep = _keeps_graph(value, aliases)
    with torch.enable_grad():
        jacobians = _jacobians(value, aliases, keep, vectorized)
    value = value if keep else value.detach()
    _check(value, jacobians)
    common = on_common_configurations(inputs)

    def pushed(tensors: Sequence[Tensor]) -> Tensor:
        terms = [
            torch.tensordot(jacobian, tensor, dims=tensor.ndim - 1)
            for jacobian, tensor in zip(jacobians, tensors, strict=True)
        ]
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]

    return _assembled(value, common, pushed)


def elementwise(
    function: Callable[..., Tensor], *inputs: Observables | Tensor | float | int
) -> Observables:
    r"""A function that acts on each element alone, such as `torch.log` or a ratio.

    Args:
        function: Maps tensors of the broadcast shape to a tensor of that shape; an element of the
            result depends on the same element of each input.
        inputs: Observables, tensors and numbers, broadcast against each other.

    Raises:
        DomainError: No input is an `Observables`, the shape changes, or the result or a derivative
            is not finite.

    Note:
        As `propagate`, without a Jacobian matrix.
    """
    parts = [part for part in inputs if isinstance(part, Observables)]
    if not parts:
        raise DomainError("`elementwise` needs at least one `Observables` among its inputs.")
    values = [_value(part, parts[0].value) for part in inputs]
    shape = torch.broadcast_shapes(*(value.shape for value in values))
    arguments, aliases = [], []
    for part, value in zip(inputs, values, strict=True):
        argument = value.expand(shape)
        if isinstance(part, Observables):
            argument = _alias(argument)
            aliases.append(argument)
        arguments.append(argument)
    with torch.enable_grad():
        result = function(*arguments)
    if result.shape != shape:
        raise DomainError(
            f"An elementwise function must keep the shape {tuple(shape)}, got "
            f"{tuple(result.shape)}. Use `propagate` for others."
        )
    keep = _keeps_graph(result, aliases)
    with torch.enable_grad():
        slopes = _gradients(result.sum(), aliases, keep)
    result = result if keep else result.detach()
    _check(result, slopes)

    def pushed(tensors: Sequence[Tensor]) -> Tensor:
        total = slopes[0].unsqueeze(-1) * _lead(tensors[0], len(shape))
        for slope, tensor in zip(slopes[1:], tensors[1:], strict=True):
            total = torch.addcmul(total, slope.unsqueeze(-1), _lead(tensor, len(shape)))
        return total

    return _assembled(result, on_common_configurations(parts), pushed)


def _assembled(
    value: Tensor, common: Sequence[Observables], pushed: Callable[[Sequence[Tensor]], Tensor]
) -> Observables:
    first = common[0]
    return Observables(
        value,
        {n: pushed([part.fluctuations[n] for part in common]) for n in first.fluctuations},
        first.configurations,
        first.covariances,
        {n: pushed([part.gradients[n] for part in common]) for n in first.gradients},
    )


def _value(part: Any, like: Tensor) -> Tensor:
    if isinstance(part, Observables):
        return part.value
    return torch.as_tensor(part, dtype=like.dtype, device=like.device)


def _lead(tensor: Tensor, n_dimensions: int) -> Tensor:
    """With leading dimensions of length 1, so that it broadcasts before its last one."""
    return tensor.reshape((1,) * (n_dimensions + 1 - tensor.ndim) + tensor.shape)


def _alias(value: Tensor) -> Tensor:
    """The same numbers at a place of their own in the graph.

    Of two inputs one may be computed from the other: a derivative in the latter must not run
    through the former.
    """
    recorded = torch.is_grad_enabled() and value.requires_grad
    return value.view_as(value) if recorded else value.detach().requires_grad_()


def _keeps_graph(value: Tensor, aliases: Sequence[Tensor]) -> bool:
    """Whether the result depends on anything with a gradient but our own leaves."""
    if not torch.is_grad_enabled():
        return False
    if any(not alias.is_leaf for alias in aliases):
        return True
    own = {id(alias) for alias in aliases}
    seen: set[Any] = set()
    pending = [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in own:
            return True
        pending.extend(parent for parent, _ in node.next_functions)
    return False


def _gradients(scalar: Tensor, aliases: Sequence[Tensor], keep: bool) -> list[Tensor]:
    if not scalar.requires_grad:
        return [torch.zeros_like(alias) for alias in aliases]
    return list(
        torch.autograd.grad(
            scalar, aliases, create_graph=keep, retain_graph=True, materialize_grads=True
        )
    )


def _jacobians(
    value: Tensor, aliases: Sequence[Tensor], keep: bool, vectorized: bool
) -> list[Tensor]:
    """Derivatives whose shape is that of the result and then of the input."""
    shapes = [(*value.shape, *alias.shape) for alias in aliases]
    flat = value.reshape(-1)
    if vectorized and value.requires_grad:
        eye = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
        found = torch.autograd.grad(
            flat, aliases, eye, create_graph=keep, is_grads_batched=True, materialize_grads=True
        )
    else:
        rows = [_gradients(entry, aliases, keep) for entry in flat]
        found = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    return [tensor.reshape(shape) for tensor, shape in zip(found, shapes, strict=True)]


def _check(value: Tensor, derivatives: Sequence[Tensor]) -> None:
    fine = torch.isfinite(value.detach())
    if not bool(fine.all()):
        raise DomainError(
            f"The function of the observables is not finite at entry "
            f"{(~fine).nonzero()[0].tolist()} of its result (shape {tuple(value.shape)}). Leave it "
            "out."
        )
    for k, derivative in enumerate(derivatives):
        if not bool(torch.isfinite(derivative.detach()).all()):
            raise DomainError(
                f"The derivative of the function with respect to input {k} is not finite."
            )
