r"""Magnetic fields and the transport of charged particles through them.

Lengths are in metres, momenta in GeV/c, fields in tesla. A field is any function from positions
to field vectors, with the three components on the last axis.
"""

__all__ = [
    "CURVATURE",
    "Field",
    "FieldMap",
    "UniformField",
    "bending_radius",
    "field_integral",
    "helix",
    "helix_to_plane",
    "momentum_kick",
    "runge_kutta",
]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

CURVATURE = 0.299792458  # GeV/c per tesla metre and elementary charge; exact, the speed of light
NEWTON_STEPS = 8  # to the plane; each doubles the digits
SERIES_BELOW = 0.25  # squared turning angle below which the power series is used

Field = Callable[[Tensor], Tensor]  # positions [m] -> field [T]
Charges = Float[Tensor, "*#batch"] | float | int
Vectors = Float[Tensor, "*#batch 3"]


@dataclass(frozen=True)
class UniformField:
    """The same field everywhere.

    Args:
        vector: Field [T].
    """

    vector: Float[Tensor, "3"]

    def __call__(self, position: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Field [T] at each position; differentiable in `vector`."""
        return self.vector.expand_as(position)


@dataclass(frozen=True)
class FieldMap:
    """A field on a regular grid, linear between the grid points, zero outside the grid.

    Args:
        values: Field at the grid points [T].
        lower: Position of the first grid point [m].
        upper: Position of the last grid point [m].

    Raises:
        DomainError: An axis has fewer than two points.

    Note:
        Exact for a field that is linear in each coordinate. Differentiable in `values` and, inside
        each cell, in the position. The edge of the grid counts as inside.
    """

    values: Float[Tensor, "nx ny nz 3"]
    lower: Float[Tensor, "3"]
    upper: Float[Tensor, "3"]

    def __post_init__(self) -> None:
        if min(self.values.shape[:3]) < 2:
            raise DomainError(
                f"`values` must have at least 2 points an axis, got {tuple(self.values.shape)}. "
                "Use `UniformField` for a field without gradient."
            )

    def __call__(self, position: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Field [T] at each position."""
        counts = torch.tensor(self.values.shape[:3], device=position.device)
        where = (position - self.lower) / (self.upper - self.lower) * (counts - 1)
        inside = ((position >= self.lower) & (position <= self.upper)).all(-1, keepdim=True)
        cell = torch.minimum(where.detach().floor().clamp(min=0).long(), counts - 2)
        fraction = where - cell

        field, table = torch.zeros_like(position), self.values.reshape(-1, 3)
        for corner in torch.cartesian_prod(*3 * [torch.arange(2, device=position.device)]):
            weight = torch.where(corner.bool(), fraction, 1 - fraction).prod(-1, keepdim=True)
            i, j, k = (cell + corner).unbind(-1)
            flat = (i * counts[1] + j) * counts[2] + k
            field = field + weight * torch.nn.functional.embedding(flat, table)
        return torch.where(inside, field, 0.0)


def bending_radius(momentum: Values, field: Values, charge: Charges = 1) -> Float[Tensor, "*batch"]:
    r"""Radius of the circle, :math:`R = p_T/(0.2998\, |z| B)`.

    Args:
        momentum: Momentum :math:`p_T` across the field [GeV/c].
        field: Field :math:`B` [T].
        charge: Charge number :math:`z`.

    Returns:
        Radius [m].

    Raises:
        DomainError: A Python number is not positive, or a number for the charge is 0.

    Note:
        Exact. Differentiable.
    """
    require_positive(momentum=momentum, field=field)
    if not isinstance(charge, Tensor) and charge == 0:
        raise DomainError("`charge` must not be 0, got 0: a neutral particle goes straight.")
    p, b, z = as_tensors(momentum, field, charge)
    return p / (CURVATURE * z.abs() * b)


def momentum_kick(field_integral: Values, charge: Charges = 1) -> Float[Tensor, "*batch"]:
    r"""Transverse momentum that a magnet gives, :math:`\Delta p = 0.2998\, z \int B\,dl`.

    Args:
        field_integral: Integral of the field component across the track [T m].
        charge: Charge number :math:`z`.

    Returns:
        Change of the momentum [GeV/c].

    Raises:
        DomainError: A number for the charge is 0.

    Note:
        Exact where the track stays close to the line of the integral. Differentiable.
    """
    if not isinstance(charge, Tensor) and charge == 0:
        raise DomainError("`charge` must not be 0, got 0: a neutral particle gets no kick.")
    integral, z = as_tensors(field_integral, charge)
    return CURVATURE * z * integral


def field_integral(
    field: Field, start: Vectors, end: Vectors, n_points: int = 101
) -> Float[Tensor, "*batch 3"]:
    r"""Integral :math:`\int \hat t \times \vec B\, dl` along a straight line, by Simpson's rule.

    Args:
        field: Magnetic field.
        start: Where the line starts [m].
        end: Where it ends [m].
        n_points: Points of the rule, odd and at least 3.

    Returns:
        Integral [T m]; times 0.2998 and the charge it is the change of the momentum vector.

    Raises:
        DomainError: `n_points` is even or below 3.

    Note:
        Exact for fields up to cubic along the line. Differentiable.
    """
    if n_points < 3 or n_points % 2 == 0:
        raise DomainError(f"`n_points` must be odd and >= 3, got {n_points}. Try 101.")
    share = torch.linspace(0.0, 1.0, n_points, dtype=start.dtype, device=start.device)
    weights = torch.full_like(share, 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    weights = weights / weights.sum()

    line = end - start
    points = start.unsqueeze(-2) + line.unsqueeze(-2) * share.unsqueeze(-1)
    mean = (field(points) * weights.unsqueeze(-1)).sum(-2)
    integral: Tensor = torch.linalg.cross(line, mean)
    return integral


def helix(
    position: Vectors, momentum: Vectors, charge: Charges, field: Vectors, path: Values
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"]]:
    r"""Transport along a path in a uniform field of any direction.

    With :math:`\vec b = 0.2998\, z \vec B s/p`, :math:`\theta = |\vec b|` and the direction
    :math:`\hat t`:

    .. math::
        \hat t' = \cos\theta\, \hat t + \frac{\sin\theta}{\theta}\, \hat t\times\vec b
            + \frac{1-\cos\theta}{\theta^2}\, (\hat t\cdot\vec b)\, \vec b

        \vec x' = \vec x + s \left[\frac{\sin\theta}{\theta}\, \hat t
            + \frac{1-\cos\theta}{\theta^2}\, \hat t\times\vec b
            + \frac{\theta-\sin\theta}{\theta^3}\, (\hat t\cdot\vec b)\, \vec b\right]

    Args:
        position: Where the particle is [m].
        momentum: Its momentum vector [GeV/c].
        charge: Charge number :math:`z`; 0 goes straight.
        field: Field :math:`\vec B` [T].
        path: Path length :math:`s` to go [m], negative to go back.

    Returns:
        Position [m] and momentum vector [GeV/c] at the end of the path.

    Raises:
        DomainError: The path is a Python number that is not finite.

    Note:
        Exact, without loss of energy; digits are kept as the field or the path tends to 0.
        Differentiable in all tensors.
    """
    if not isinstance(path, Tensor) and not abs(path) < float("inf"):
        raise DomainError(f"`path` must be finite, got {path}. Give a length in metres.")
    position, momentum, z, field, length = as_tensors(position, momentum, charge, field, path)
    z, length = z.unsqueeze(-1), length.unsqueeze(-1)

    size: Tensor = torch.linalg.vector_norm(momentum, dim=-1, keepdim=True)
    direction = momentum / size
    turn = CURVATURE * z * length / size * field
    sine, cosine, third = _turning(turn.square().sum(-1, keepdim=True))
    across = torch.linalg.cross(*torch.broadcast_tensors(direction, turn))
    along = (direction * turn).sum(-1, keepdim=True) * turn
    square = turn.square().sum(-1, keepdim=True)

    moved = position + length * (sine * direction + cosine * across + third * along)
    turned = (1 - square * cosine) * direction + sine * across + cosine * along
    return moved, size * turned


def helix_to_plane(
    position: Vectors,
    momentum: Vectors,
    charge: Charges,
    field: Vectors,
    point: Vectors,
    normal: Vectors,
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"], Float[Tensor, "*batch"]]:
    r"""Transport in a uniform field until the particle reaches a plane.

    Args:
        position: Where the particle is [m].
        momentum: Its momentum vector [GeV/c].
        charge: Charge number.
        field: Field [T].
        point: A point of the plane [m].
        normal: Normal of the plane, of any length.

    Returns:
        Position [m], momentum vector [GeV/c] and path length [m] at the crossing that Newton's
        method finds from the straight line.

    Raises:
        DomainError: The charge is a Python number that is not finite.

    Note:
        For tracks that turn by less than about a right angle before the plane; a track that never
        crosses ends off the plane. The last step carries the gradient, which is that of the exact
        crossing. Differentiable in all tensors.
    """
    if not isinstance(charge, Tensor) and not abs(charge) < float("inf"):
        raise DomainError(f"`charge` must be finite, got {charge}. Give the charge number.")

    def step(length: Tensor) -> Tensor:
        moved, turned = helix(position, momentum, charge, field, length)
        size: Tensor = torch.linalg.vector_norm(turned, dim=-1)
        return length - size * ((moved - point) * normal).sum(-1) / (turned * normal).sum(-1)

    with torch.no_grad():
        shape = torch.broadcast_shapes(position.shape, momentum.shape, point.shape, normal.shape)
        length = torch.zeros(shape[:-1], dtype=position.dtype, device=position.device)
        for _ in range(NEWTON_STEPS):
            length = step(length)
    length = step(length)

    moved, turned = helix(position, momentum, charge, field, length)
    return moved, turned, length


def runge_kutta(
    position: Vectors,
    momentum: Vectors,
    charge: Charges,
    field: Field,
    path: Values,
    n_steps: int = 100,
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"]]:
    r"""Transport along a path in any field, by the classical rule of fourth order.

    .. math::
        \frac{d\vec x}{ds} = \hat t, \qquad
        \frac{d\hat t}{ds} = \frac{0.2998\, z}{p}\, \hat t\times\vec B(\vec x)

    Args:
        position: Where the particle is [m].
        momentum: Its momentum vector [GeV/c].
        charge: Charge number :math:`z`.
        field: Magnetic field, for instance a `FieldMap`.
        path: Path length to go [m], negative to go back.
        n_steps: Number of steps.

    Returns:
        Position [m] and momentum vector [GeV/c] at the end of the path.

    Raises:
        DomainError: `n_steps` is below 1.

    Note:
        The error falls as the fourth power of the turning angle a step: 1e-9 m for a metre at
        0.01 rad a step. The size of the momentum is kept. Differentiable in all tensors and in
        what the field depends on.
    """
    if n_steps < 1:
        raise DomainError(f"`n_steps` must be >= 1, got {n_steps}. Try 100.")
    position, momentum, z, length = as_tensors(position, momentum, charge, path)
    size: Tensor = torch.linalg.vector_norm(momentum, dim=-1, keepdim=True)
    strength = CURVATURE * z.unsqueeze(-1) / size
    step = length.unsqueeze(-1) / n_steps

    def bend(where: Tensor, direction: Tensor) -> Tensor:
        turn: Tensor = torch.linalg.cross(direction, field(where))
        return strength * turn

    shape = torch.broadcast_shapes(position.shape, momentum.shape, step.shape, strength.shape)
    x, t = position.expand(shape), (momentum / size).expand(shape)
    for _ in range(n_steps):
        k1 = bend(x, t)
        t2 = t + step / 2 * k1
        k2 = bend(x + step / 2 * t, t2)
        t3 = t + step / 2 * k2
        k3 = bend(x + step / 2 * t2, t3)
        t4 = t + step * k3
        k4 = bend(x + step * t3, t4)
        x = x + step / 6 * (t + 2 * t2 + 2 * t3 + t4)
        t = t + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return x, size * torch.nn.functional.normalize(t, dim=-1)


def _turning(square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The functions sin t/t, (1 - cos t)/t^2 and (t - sin t)/t^3 of the squared angle."""
    small = square < SERIES_BELOW
    near = torch.where(small, square, 0.0)
    far = torch.where(small, 1.0, square)
    angle = far.sqrt()
    sine, cosine = angle.sin(), angle.cos()
    return (
        torch.where(small, _series(near, 1), sine / angle),
        torch.where(small, _series(near, 2), (1 - cosine) / far),
        torch.where(small, _series(near, 3), (angle - sine) / (far * angle)),
    )


def _series(square: Tensor, order: int) -> Tensor:
    """Sum of (-square)^k / (2k + order)!, to 1e-17 for a squared angle below 0.25."""
    result = torch.zeros_like(square)
    for k in reversed(range(7)):
        result = 1 - square / ((2 * k + order + 1) * (2 * k + order + 2)) * result
    return result / (1, 1, 2, 6)[order]
