"""Minima and roots without a graph; `detopt.inference.implicit` attaches their derivatives."""

__all__ = ["find_root", "minimize"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError

MAX_STEPS = 200
FIRST_DAMPING = 1e-6  # relative to the diagonal of the Hessian
MAX_DAMPING = 1e16
PRECISION = 1e-13  # of a step, relative to 1e-3 + |x|
POLISH = 2  # undamped Newton steps at the end


def minimize(
    function: Callable[[Tensor], Tensor], start: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Minimum of a function by Newton's method, damped where the function is not convex.

    Args:
        function: Twice differentiable.
        start: Where to begin.

    Raises:
        DomainError: It does not converge, or the Hessian at the end is singular.
    """
    point, damping = start.detach().clone(), FIRST_DAMPING
    value, gradient, hessian = _expand(function, point)
    for _ in range(MAX_STEPS):
        step = _damped(hessian, gradient, damping)
        if step is not None:
            with torch.no_grad():
                trial = function(point + step)
            if bool(trial <= value):
                point, damping = point + step, damping / 10
                value, gradient, hessian = _expand(function, point)
                if bool((step.abs() <= 1e-7 * (1e-3 + point.abs())).all()):
                    return _polished(function, point)
                continue
        damping *= 10
        if damping > MAX_DAMPING:  # no step improves: rounding is all that is left
            return _polished(function, point)
    step = torch.linalg.lstsq(hessian, -gradient).solution
    raise DomainError(
        f"The fit did not converge in {MAX_STEPS} steps; entry "
        f"{int((step / (1 + point.abs())).abs().argmax())} still moves. Start closer, or leave a "
        "parameter out."
    )


def _polished(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    for _ in range(POLISH):
        _, gradient, hessian = _expand(function, point)
        factor, info = torch.linalg.cholesky_ex(hessian)
        scale = hessian.diagonal().abs()
        if int(info) != 0 or not bool((factor.diagonal().square() > 1e-13 * scale).all()):
            flat = int(torch.linalg.eigh(hessian)[1][:, 0].abs().argmax())
            raise DomainError(
                f"The fit does not determine entry {flat} of the parameters: the Hessian is "
                "singular there. Leave it out or constrain it."
            )
        point = point - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
    return point


def _damped(hessian: Tensor, gradient: Tensor, damping: float) -> Tensor | None:
    """A Newton step with its Hessian made larger, or None where that is not positive."""
    diagonal = hessian.diagonal().abs()
    diagonal = torch.maximum(diagonal, 1e-12 * diagonal.max())
    factor, info = torch.linalg.cholesky_ex(hessian + damping * torch.diag(diagonal))
    if int(info) != 0:
        return None
    step: Tensor = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
    return step


def _expand(
    function: Callable[[Tensor], Tensor], point: Tensor
) -> tuple[Tensor, Tensor, Float[Tensor, "n n"]]:
    """Value, gradient and Hessian."""
    with torch.enable_grad():
        leaf = point.detach().requires_grad_()
        value = function(leaf)
        if not bool(torch.isfinite(value)):
            raise DomainError(f"The function is not finite at {point.tolist()}. Start elsewhere.")
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        rows = [
            torch.autograd.grad(entry, leaf, retain_graph=True, materialize_grads=True)[0]
            if entry.requires_grad
            else torch.zeros_like(point)
            for entry in gradient
        ]
    return value.detach(), gradient.detach(), torch.stack(rows)


def find_root(
    residual: Callable[[Tensor], Tensor], start: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Root of a system of n equations by Newton's method with shortened steps.

    Args:
        residual: Differentiable; n values for n arguments.
        start: Where to begin.

    Raises:
        DomainError: It does not converge, or the Jacobian is singular on the way.
    """
    point = start.detach().clone()
    for _ in range(MAX_STEPS):
        value, jacobian = _linearize(residual, point)
        step, info = torch.linalg.solve_ex(jacobian, -value)
        if int(info) != 0 or not bool(torch.isfinite(step).all()):
            raise DomainError(
                f"The equations are singular at {point.tolist()}: start elsewhere, or check that "
                "they determine every unknown."
            )
        if bool((step.abs() <= PRECISION * (1e-3 + point.abs())).all()):
            root: Tensor = point + step
            return root
        size, fraction = value.norm(), 1.0
        with torch.no_grad():
            while fraction > 1e-4 and not bool(residual(point + fraction * step).norm() < size):
                fraction /= 2
        if fraction <= 1e-4:
            if bool((step.abs() <= 1e-7 * (1e-3 + point.abs())).all()):
                return point  # rounding is all that is left
            break
        point = point + fraction * step
    raise DomainError(
        f"No root was found: the iteration ended at {point.tolist()} with the residuals "
        f"{residual(point).tolist()}. Start closer."
    )


def _linearize(
    residual: Callable[[Tensor], Tensor], point: Tensor
) -> tuple[Tensor, Float[Tensor, "n n"]]:
    with torch.enable_grad():
        leaf = point.detach().requires_grad_()
        value = residual(leaf)
        rows = [
            torch.autograd.grad(entry, leaf, retain_graph=True, materialize_grads=True)[0]
            if entry.requires_grad
            else torch.zeros_like(point)
            for entry in value
        ]
    return value.detach(), torch.stack(rows)
