"""Damped Newton steps for a batch of minima within bounds; no graph is kept."""

__all__ = ["Box", "Expansion", "Minimum", "automatic", "newton"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import DomainError

DECREASE = 1e-10  # expected decrease after which one more full step is the last
DAMPING = 1e-3  # first damping, in units of the diagonal of the Hessian
N_ROWS = 20_000  # copies of the batch whose second derivatives are taken at once


@dataclass(frozen=True)
class Box:
    """Bounds of each parameter, and which are fixed."""

    low: Float[Tensor, "*batch n"]
    high: Float[Tensor, "*batch n"]
    fixed: Bool[Tensor, "*batch n"]


@dataclass(frozen=True)
class Minimum:
    """Minimum of each member; `free` are the parameters that lie inside their bounds."""

    point: Float[Tensor, "*batch n"]
    hessian: Float[Tensor, "*batch n n"]
    free: Bool[Tensor, "*batch n"]
    n_iterations: int


Function = Callable[[Tensor], Tensor]
Values = tuple[Tensor, Tensor, Tensor]  # value, slope and Hessian
Expansion = Callable[[Tensor], Values]


def newton(
    expansion: Expansion,
    start: Float[Tensor, "*batch n"],
    box: Box,
    names: tuple[str, ...],
    max_iterations: int,
) -> Minimum:
    """The minimum of each member of the batch.

    A step solves the quadratic expansion in the free parameters, with the Hessian's diagonal
    raised where it is not positive or where the last step failed. A member is done when the step
    would gain less than `DECREASE` and has been made.

    Raises:
        DomainError: A start has no finite value, or a member does not converge.
    """
    point = torch.where(box.fixed, start, torch.minimum(torch.maximum(start, box.low), box.high))
    state = expansion(point)
    _check_start(state, names)
    damping = torch.zeros_like(state[0])
    done = torch.zeros_like(state[0], dtype=torch.bool)
    for iteration in range(max_iterations + 1):
        value, slope, hessian = state
        free = _free(point, slope, box)
        step, gain = _step(slope, hessian, free, damping)
        small = gain.abs() <= DECREASE * (1 + 1e-6 * value.abs())
        if bool((done | ~free.any(dim=-1)).all()):
            _check_end(hessian, free, names)
            return Minimum(point, hessian, free, iteration)

        trial = torch.minimum(torch.maximum(point + step, box.low), box.high)
        trial = torch.where(free & ~done.unsqueeze(-1), trial, point)
        new = expansion(trial)
        finite = torch.isfinite(new[0]) & torch.isfinite(new[2]).flatten(-2).all(dim=-1)
        moved = trial - point
        promised = (slope * moved).sum(dim=-1)
        better = finite & ((new[0] <= value + 1e-4 * promised) | small)
        at_rest = small & (damping == 0) & better & _inside(trial, point + step)
        done = done | at_rest
        point = torch.where(better.unsqueeze(-1), trial, point)
        state = (
            torch.where(better, new[0], value),
            torch.where(better.unsqueeze(-1), new[1], slope),
            torch.where(better[..., None, None], new[2], hessian),
        )
        lower = torch.where(damping > DAMPING, damping / 10, 0.0)
        damping = torch.where(better, lower, (damping * 10).clamp(min=DAMPING))
    raise DomainError(_no_convergence(step, hessian, done, names, max_iterations))


def automatic(function: Function) -> Expansion:
    """Expansion of a function by automatic differentiation."""
    return lambda point: _expand(function, point)


def _expand(function: Function, point: Tensor) -> Values:
    """Value, slope and Hessian; the batch is repeated once for each row of the Hessian."""
    n = point.shape[-1]
    n_copies = max(1, min(n, N_ROWS // max(1, point[..., 0].numel())))
    rows, value, slope = [], None, None
    for first in range(0, n, n_copies):
        index = range(first, min(first + n_copies, n))
        with torch.enable_grad():
            copies = point.expand(len(index), *point.shape).detach().clone().requires_grad_()
            values = function(copies)
            (slopes,) = torch.autograd.grad(values.sum(), copies, create_graph=True)
            picked = torch.stack([slopes[i, ..., k] for i, k in enumerate(index)]).sum()
            found = torch.zeros_like(copies)  # of a function that is linear
            if picked.requires_grad:
                (found,) = torch.autograd.grad(picked, copies, materialize_grads=True)
        rows.append(found)
        value, slope = values[0].detach(), slopes[0].detach()
    assert value is not None
    assert slope is not None
    hessian = torch.cat(rows).movedim(0, -2)
    return value, slope, (hessian + hessian.mT) / 2


def _free(point: Tensor, slope: Tensor, box: Box) -> Tensor:
    """Parameters that are neither fixed nor pushed against a bound."""
    pushed = ((point <= box.low) & (slope >= 0)) | ((point >= box.high) & (slope <= 0))
    return ~(box.fixed | pushed)


def _inside(trial: Tensor, wanted: Tensor) -> Tensor:
    """Whether no bound has cut the step."""
    return (trial - wanted).abs().amax(dim=-1) <= 1e-9


def _step(
    slope: Tensor, hessian: Tensor, free: Tensor, damping: Tensor
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
    """Newton step of the free parameters, and the decrease that it promises."""
    pairs = free.unsqueeze(-1) & free.unsqueeze(-2)
    identity = torch.eye(slope.shape[-1], dtype=slope.dtype, device=slope.device)
    matrix = torch.where(pairs, hessian, identity)
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().clamp(min=1e-12).sqrt()
    scaled = matrix / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    right = torch.where(free, -slope, 0.0) / scale
    extra = damping
    factor, info = torch.linalg.cholesky_ex(scaled + extra[..., None, None] * identity)
    while bool((info != 0).any()):
        extra = torch.where(info != 0, (extra * 10).clamp(min=DAMPING), extra)
        factor, info = torch.linalg.cholesky_ex(scaled + extra[..., None, None] * identity)
    step = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
    return step / scale, (right * step).sum(dim=-1) / 2


def _check_start(state: Values, names: tuple[str, ...]) -> None:
    value, slope, hessian = state
    if not bool(torch.isfinite(value).all()):
        member = (~torch.isfinite(value)).nonzero()[0].tolist()
        raise DomainError(
            f"The function is {float(value[tuple(member)])} where the fit starts{_where(member)}. "
            "Start at parameters that can explain the data."
        )
    for found in (slope, hessian.sum(dim=-1)):
        if not bool(torch.isfinite(found).all()):
            *member, entry = (~torch.isfinite(found)).nonzero()[0].tolist()
            raise DomainError(
                f"The derivative in `{names[entry]}` is not finite where the fit starts"
                f"{_where(member)}. Start elsewhere."
            )


def _check_end(hessian: Tensor, free: Tensor, names: tuple[str, ...]) -> None:
    """Refuses minima where a direction is flat: the data do not determine a parameter."""
    pairs = free.unsqueeze(-1) & free.unsqueeze(-2)
    identity = torch.eye(free.shape[-1], dtype=hessian.dtype, device=hessian.device)
    matrix = torch.where(pairs, hessian, identity)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    scale = diagonal.abs().clamp(min=1e-300).sqrt()
    scaled = matrix / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    factor, info = torch.linalg.cholesky_ex(scaled)
    pivot = factor.diagonal(dim1=-2, dim2=-1).amin(dim=-1).square()
    flat = (info != 0) | (pivot <= 1e3 * torch.finfo(hessian.dtype).eps) | (diagonal <= 0).any(-1)
    if bool(flat.any()):
        member = flat.nonzero()[0].tolist()
        _, vectors = torch.linalg.eigh(scaled[tuple(member)])
        if bool((diagonal[tuple(member)] <= 0).any()):
            entry = int(diagonal[tuple(member)].argmin())
        else:
            entry = int(vectors[:, 0].abs().argmax())
        raise DomainError(
            f"The Hessian is singular at the minimum{_where(member)}: `{names[entry]}` is not "
            "determined. Constrain it or fix it."
        )


def _no_convergence(
    step: Tensor, hessian: Tensor, done: Tensor, names: tuple[str, ...], n_iterations: int
) -> str:
    member = (~done).nonzero()[0].tolist()
    width = hessian.diagonal(dim1=-2, dim2=-1).abs().clamp(min=1e-300).rsqrt()
    pulls = (step / width).abs()[tuple(member)]
    entry = int(pulls.argmax())
    return (
        f"The fit does not converge in {n_iterations} steps{_where(member)}: `{names[entry]}` "
        f"would still move by {float(pulls[entry]):.1e} of its standard deviation. Start closer, "
        "constrain it or allow more steps."
    )


def _where(member: list[int]) -> str:
    return f" of member {member} of the batch" if member else ""
