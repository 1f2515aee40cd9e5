r"""Implicit differentiation: the derivative of a solution that an iteration found.

A root :math:`x(\phi)` of :math:`F(x, \phi) = 0` was found by any means, without a graph. Its
derivative follows from the equation alone, whatever the iteration was:

.. math::
    \frac{dx}{d\phi} = -\left(\frac{\partial F}{\partial x}\right)^{-1}
        \frac{\partial F}{\partial \phi}

A minimum of :math:`f(x, \phi)` is a root of :math:`\partial f / \partial x`.
"""

__all__ = ["attach_minimum", "attach_root", "attach_value"]

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError

Residual = Callable[..., Tensor]


def attach_root(
    residual: Residual,
    solution: Float[Tensor, "*batch n"],
    *inputs: Tensor,
    tolerance: float | None = None,
) -> Float[Tensor, "*batch n"]:
    r"""The root `solution`, with its derivative with respect to `inputs`.

    .. math::
        \bar\phi = -\left(\frac{\partial F}{\partial \phi}\right)^T
            \left(\frac{\partial F}{\partial x}\right)^{-T} \bar x

    Args:
        residual: Maps (solution, \*inputs) to :math:`F` with the shape of the solution. A member of
            the batch must not depend on the solution of another one. Tensors that it takes from
            elsewhere than its arguments count as constants.
        solution: Where :math:`F` vanishes; its own graph, if any, is cut.
        inputs: Tensors :math:`\phi` of any shapes.
        tolerance: Largest Newton step that the solution may still ask for, relative to
            :math:`1 + |x|`; by default the cube root of the machine precision.

    Returns:
        The values of `solution`, with a derivative to every order.

    Raises:
        DomainError: In the backward pass: the Jacobian is singular, or the solution is no root.

    Note:
        Forward it costs nothing; backward it costs n derivatives of the residual and one linear
        solution a member of the batch. Exact where :math:`F` is smooth near the root.

    References:
        M. Blondel et al., Efficient and modular implicit differentiation, arXiv:2105.15183.
    """
    fixed = solution.detach()
    if not any(tensor.requires_grad for tensor in inputs):
        return fixed
    if tolerance is None:
        tolerance = torch.finfo(fixed.dtype).eps ** (1 / 3)
    attached: Tensor = _Root.apply(residual, tolerance, fixed.clone(), *inputs)
    return attached


def attach_minimum(
    function: Callable[..., Tensor],
    minimum: Float[Tensor, "*batch n"],
    *inputs: Tensor,
    tolerance: float | None = None,
) -> Float[Tensor, "*batch n"]:
    r"""The minimum of a function, with its derivative with respect to `inputs`.

    .. math::
        \frac{dx}{d\phi} = -\left(\frac{\partial^2 f}{\partial x\, \partial x}\right)^{-1}
            \frac{\partial^2 f}{\partial x\, \partial\phi}

    Args:
        function: Maps (minimum, \*inputs) to :math:`f`, one value a member of the batch.
        minimum: Where the slope of :math:`f` vanishes: a minimum in the interior of the domain.
        inputs: Tensors :math:`\phi` of any shapes.
        tolerance: As in `attach_root`.

    Returns:
        The values of `minimum`, with a derivative to every order.

    Raises:
        DomainError: In the backward pass: the Hessian is singular, or the slope does not vanish.

    Note:
        The second derivative that multiplies the residuals of a least-squares fit is kept.
    """

    def slope(point: Tensor, *arguments: Tensor) -> Tensor:
        with torch.enable_grad():
            if not point.requires_grad:
                point = point.detach().requires_grad_()
            value = function(point, *arguments).sum()
            (found,) = torch.autograd.grad(value, point, create_graph=True)
        return found

    return attach_root(slope, minimum, *inputs, tolerance=tolerance)


def attach_value(
    function: Callable[..., Tensor], minimum: Float[Tensor, "*batch n"], *inputs: Tensor
) -> Float[Tensor, "*batch"]:
    r"""Value of a function at its minimum, with its derivative with respect to `inputs`.

    .. math::
        \frac{d}{d\phi} f(x(\phi), \phi) = \frac{\partial f}{\partial \phi}

    Args:
        function: Maps (minimum, \*inputs) to :math:`f`, one value a member of the batch.
        minimum: Where the slope of :math:`f` vanishes, as `attach_minimum` gives it.
        inputs: Tensors :math:`\phi` of any shapes.

    Returns:
        The value at the minimum.

    Note:
        The first derivative is the one at a fixed minimum (envelope theorem), so it needs no
        linear solution; higher ones use the derivative that the minimum carries.
    """
    if not any(tensor.requires_grad for tensor in inputs):
        with torch.no_grad():
            return function(minimum.detach(), *inputs)
    attached: Tensor = _Value.apply(function, minimum, *inputs)
    return attached


class _Root(torch.autograd.Function):
    """Identity on the solution whose backward pass solves the linear system."""

    @staticmethod
    def forward(
        ctx: Any, residual: Residual, tolerance: float, solution: Tensor, *inputs: Tensor
    ) -> Tensor:
        ctx.residual, ctx.tolerance = residual, tolerance
        ctx.set_materialize_grads(False)
        root = solution.view_as(solution)
        ctx.save_for_backward(root, *inputs)
        return root

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        keep = torch.is_grad_enabled()
        root, *inputs = ctx.saved_tensors
        if cotangents[0] is None:  # nothing that is differentiated depends on the root
            return (None, None, None, *(None for _ in inputs))
        with torch.enable_grad():
            # aliases, so that a derivative in one argument does not run through the other
            root = root.view_as(root) if keep else root.detach().requires_grad_()
            aliases = [_alias(tensor, keep) for tensor in inputs]
            value = ctx.residual(root, *aliases)
            jacobian = _jacobian(value, root, keep)
            _check(jacobian, value, root, ctx.tolerance)
            adjoint = torch.linalg.solve(jacobian.mT, -cotangents[0].unsqueeze(-1)).squeeze(-1)
            wanted = [alias for alias in aliases if alias.requires_grad]
            found = iter(
                torch.autograd.grad(value, wanted, adjoint, create_graph=keep, allow_unused=True)
            )
        gradients = (next(found) if alias.requires_grad else None for alias in aliases)
        return (None, None, None, *gradients)


class _Value(torch.autograd.Function):
    """A function whose derivative in its first argument is known to vanish."""

    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Tensor], minimum: Tensor, *inputs: Tensor
    ) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(minimum, *inputs)
        return function(minimum, *inputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        keep = torch.is_grad_enabled()
        minimum, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            aliases = [_alias(tensor, keep) for tensor in inputs]
            value = ctx.function(minimum if keep else minimum.detach(), *aliases)
            wanted = [alias for alias in aliases if alias.requires_grad]
            found = iter(
                torch.autograd.grad(
                    value, wanted, cotangents[0], create_graph=keep, allow_unused=True
                )
            )
        gradients = (next(found) if alias.requires_grad else None for alias in aliases)
        return (None, None, *gradients)


def _alias(tensor: Tensor, keep: bool) -> Tensor:
    if not tensor.requires_grad:
        return tensor
    return tensor.view_as(tensor) if keep else tensor.detach().requires_grad_()


def _jacobian(value: Tensor, root: Tensor, keep: bool) -> Float[Tensor, "*batch n n"]:
    """Derivative of each entry of the residual, for all members of the batch at once."""
    if not value.requires_grad:
        raise DomainError(
            "The residual does not depend on the solution. Compute it from its first argument."
        )
    rows = [
        torch.autograd.grad(
            value[..., k].sum(), root, create_graph=keep, retain_graph=True, materialize_grads=True
        )[0]
        for k in range(root.shape[-1])
    ]
    return torch.stack(rows, dim=-2)


def _check(jacobian: Tensor, value: Tensor, root: Tensor, tolerance: float) -> None:
    """Refuses what the implicit function theorem does not cover."""
    with torch.no_grad():
        step, info = torch.linalg.solve_ex(jacobian, value.unsqueeze(-1))
        excess = step.squeeze(-1).abs() / (1 + root.abs())
        lost = (info != 0).unsqueeze(-1) | ~torch.isfinite(excess)
        if bool(lost.any()):
            *member, entry = lost.nonzero()[0].tolist()
            entry = _flattest(jacobian[tuple(member)])
            raise DomainError(
                f"The Jacobian is singular{_where(member)}: entry {entry} of the solution is not "
                "determined. Constrain it or leave it out."
            )
        if bool((excess > tolerance).any()):
            *member, entry = (excess == excess.max()).nonzero()[0].tolist()
            raise DomainError(
                f"Entry {entry} of the solution{_where(member)} is no root: Newton's method would "
                f"still move it by {float(excess.max()):.1e}. Iterate further."
            )


def _flattest(jacobian: Float[Tensor, "n n"]) -> int:
    """The entry of the solution that a singular Jacobian says least about."""
    if not bool(torch.isfinite(jacobian).all()):
        return int((~torch.isfinite(jacobian)).any(dim=-1).nonzero()[0])
    _, _, right = torch.linalg.svd(jacobian)
    return int(right[-1].abs().argmax())


def _where(member: list[int]) -> str:
    return f" of member {member} of the batch" if member else ""
