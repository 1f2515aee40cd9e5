r"""Rays through solids: intersections, path lengths, edges and overlaps.

Lengths are in metres. A ray is an origin and a direction of any length; its parameter counts in
metres along the normalized direction. Boxes lie along the axes, cylinders along z. Each solid has a
signed distance, negative inside: `inside` is the hard edge and `soft_inside` the differentiable
one that tends to it. Voxel grids are in `detopt.physics.voxels`, whose names this module repeats.
"""

__all__ = [
    "box_box_overlap",
    "box_crossing",
    "box_cylinder_overlap",
    "box_distance",
    "cylinder_crossing",
    "cylinder_cylinder_overlap",
    "cylinder_distance",
    "inside",
    "path_length",
    "plane_crossing",
    "plane_distance",
    "soft_inside",
    "soft_path_length",
    "voxel_path_lengths",
    "voxel_segments",
]

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.physics._boxes import cross_box
from detopt.physics._domain import require_positive
from detopt.physics._rays import common_span, nonzero, slab_span
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.voxels import voxel_path_lengths, voxel_segments

Vectors = Float[Tensor, "*#batch 3"]
Span = tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]


def plane_crossing(
    origin: Vectors, direction: Vectors, point: Vectors, normal: Vectors
) -> Float[Tensor, "*batch"]:
    r"""Distance along a ray to a plane.

    .. math::
        s = \frac{(\vec p - \vec o)\cdot\vec n}{\hat d\cdot\vec n}

    Args:
        origin: Start of the ray [m].
        direction: Direction of the ray, of any length.
        point: A point of the plane [m].
        normal: Normal of the plane, of any length.

    Returns:
        Distance [m], negative behind the origin. For a parallel ray :math:`10^{12}` times that of
        the origin from the plane, for a normal of length 1.

    Note:
        Exact. Differentiable.
    """
    unit = torch.nn.functional.normalize(direction, dim=-1)
    return ((point - origin) * normal).sum(-1) / nonzero((unit * normal).sum(-1))


def box_crossing(origin: Vectors, direction: Vectors, center: Vectors, half_size: Vectors) -> Span:
    """Where a line enters and leaves a box.

    Args:
        origin: Start of the ray [m].
        direction: Direction of the ray, of any length.
        center: Centre of the box [m].
        half_size: Half the edges of the box along x, y and z [m].

    Returns:
        Distances of entry and exit [m]; the entry is beyond the exit if the line misses.

    Note:
        Exact. Differentiable where one face alone decides.
    """
    return cross_box(center - origin, direction, half_size)


def cylinder_crossing(
    origin: Vectors, direction: Vectors, center: Vectors, radius: Values, half_length: Values
) -> Span:
    """Where a line enters and leaves a solid cylinder along z.

    Args:
        origin: Start of the ray [m].
        direction: Direction of the ray, of any length.
        center: Centre of the cylinder [m].
        radius: Radius [m].
        half_length: Half the length along z [m].

    Returns:
        Distances of entry and exit [m]; the entry is beyond the exit if the line misses, by
        more the further it passes from the mantle.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact. Differentiable except for a line that only touches the mantle.
    """
    require_positive(radius=radius, half_length=half_length)
    start = origin - center
    unit, r, h = as_tensors(torch.nn.functional.normalize(direction, dim=-1), radius, half_length)
    caps = slab_span(start[..., 2], unit[..., 2], h)

    square = nonzero(unit[..., :2].square().sum(-1))
    middle = -(start[..., :2] * unit[..., :2]).sum(-1) / square
    closest = start[..., :2] + middle.unsqueeze(-1) * unit[..., :2]
    reach = r.square() - closest.square().sum(-1)
    passes = reach != 0
    half = reach.sign() * (torch.where(passes, reach, 1.0).abs() / square).sqrt()
    return common_span(caps, (middle - half, middle + half))


def path_length(
    entry: Float[Tensor, "*#batch"],
    exit: Float[Tensor, "*#batch"],  # noqa: A002
    start: Values = 0.0,
    end: Values = math.inf,
) -> Float[Tensor, "*batch"]:
    """Length of a ray inside a solid, from where it enters and leaves.

    Args:
        entry: Distance to the entry [m].
        exit: Distance to the exit [m].
        start: Where the ray starts [m]; minus infinity for a line.
        end: Where it ends [m].

    Returns:
        Path length [m], 0 for a miss.

    Note:
        Exact. Differentiable except where the ray just touches.
    """
    first, last, low, high = as_tensors(entry, exit, start, end)
    return (torch.minimum(last, high) - torch.maximum(first, low)).clamp(min=0.0)


def soft_path_length(
    entry: Float[Tensor, "*#batch"],
    exit: Float[Tensor, "*#batch"],  # noqa: A002
    softness: Values,
) -> Float[Tensor, "*batch"]:
    r"""Length of a line inside a solid with soft edges, so that a near miss has a gradient.

    .. math::
        \ell = w \ln\left(1 + e^{(s_{out} - s_{in})/w}\right)

    Args:
        entry: Distance to the entry [m].
        exit: Distance to the exit [m].
        softness: Width :math:`w` of the edge [m], > 0.

    Returns:
        Path length [m], always above the hard one, by at most :math:`w\ln 2`.

    Raises:
        DomainError: The softness is a Python number that is not positive.

    Note:
        Tends to `path_length` of the line as :math:`w \to 0`, for finite distances.
        Differentiable everywhere. The edge is soft along the line: one that runs parallel to a
        face, however near, has no gradient across it. There `soft_inside` has one.
    """
    require_positive(softness=softness)
    first, last, width = as_tensors(entry, exit, softness)
    return width * torch.logaddexp((last - first) / width, torch.zeros_like(first))


def plane_distance(position: Vectors, point: Vectors, normal: Vectors) -> Float[Tensor, "*batch"]:
    """Signed distance to a half-space, negative on the side away from the normal.

    Args:
        position: Where [m].
        point: A point of the plane [m].
        normal: Outward normal, of any length.

    Returns:
        Distance [m].

    Note:
        Exact. Differentiable.
    """
    unit = torch.nn.functional.normalize(normal, dim=-1)
    return ((position - point) * unit).sum(-1)


def box_distance(position: Vectors, center: Vectors, half_size: Vectors) -> Float[Tensor, "*batch"]:
    r"""Signed distance to the surface of a box, negative inside.

    .. math::
        d = |\max(\vec q, 0)| + \min(\max_i q_i, 0), \qquad
        \vec q = |\vec x - \vec c| - \vec h

    Args:
        position: Where [m].
        center: Centre of the box [m].
        half_size: Half the edges along x, y and z [m].

    Returns:
        Distance [m].

    Note:
        Exact. Differentiable except on the planes of equal distance to two faces.
    """
    beyond = (position - center).abs() - half_size
    outside: Tensor = torch.linalg.vector_norm(beyond.clamp(min=0.0), dim=-1)
    return outside + beyond.amax(-1).clamp(max=0.0)


def cylinder_distance(
    position: Vectors, center: Vectors, radius: Values, half_length: Values
) -> Float[Tensor, "*batch"]:
    """Signed distance to the surface of a cylinder along z, negative inside.

    Args:
        position: Where [m].
        center: Centre of the cylinder [m].
        radius: Radius [m].
        half_length: Half the length along z [m].

    Returns:
        Distance [m].

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact. Differentiable except at equal distance to the mantle and a cap.
    """
    require_positive(radius=radius, half_length=half_length)
    offset, r, h = as_tensors(position - center, radius, half_length)
    across = torch.linalg.vector_norm(offset[..., :2], dim=-1) - r
    beyond = torch.stack(torch.broadcast_tensors(across, offset[..., 2].abs() - h), dim=-1)
    outside: Tensor = torch.linalg.vector_norm(beyond.clamp(min=0.0), dim=-1)
    return outside + beyond.amax(-1).clamp(max=0.0)


def inside(distance: Float[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
    """Whether a point lies inside a solid or on its surface: the hard edge.

    Args:
        distance: Signed distance [m], negative inside.

    Returns:
        True inside and on the surface.
    """
    return distance <= 0


def soft_inside(distance: Float[Tensor, "*#batch"], softness: Values) -> Float[Tensor, "*batch"]:
    r"""How much a point lies inside a solid, with a soft edge: :math:`1/(1 + e^{d/w})`.

    Args:
        distance: Signed distance :math:`d` [m], negative inside.
        softness: Width :math:`w` of the edge [m], > 0; 80 % of the step lie within 2.2 widths.

    Returns:
        Share between 0 (outside) and 1 (inside).

    Raises:
        DomainError: The softness is a Python number that is not positive.

    Note:
        Tends to `inside` as :math:`w \to 0`, for every point off the surface; differs from it by
        less than :math:`e^{-|d|/w}`. Differentiable.
    """
    require_positive(softness=softness)
    signed, width = as_tensors(distance, softness)
    return torch.sigmoid(-signed / width)


def box_box_overlap(
    first_center: Vectors,
    first_half_size: Vectors,
    second_center: Vectors,
    second_half_size: Vectors,
) -> Float[Tensor, "*batch"]:
    """How deep two boxes overlap.

    Args:
        first_center: Centre of one box [m].
        first_half_size: Half its edges [m].
        second_center: Centre of the other [m].
        second_half_size: Half its edges [m].

    Returns:
        Smallest shift along an axis that separates them [m]; negative if they are apart, 0 if
        they touch.

    Note:
        Exact as a test of overlap. Differentiable where one axis alone decides.
    """
    shared = first_half_size + second_half_size - (first_center - second_center).abs()
    return shared.amin(-1)


def cylinder_cylinder_overlap(
    first_center: Vectors,
    first_radius: Values,
    first_half_length: Values,
    second_center: Vectors,
    second_radius: Values,
    second_half_length: Values,
) -> Float[Tensor, "*batch"]:
    """How deep two cylinders along z overlap.

    Args:
        first_center: Centre of one cylinder [m].
        first_radius: Its radius [m].
        first_half_length: Half its length [m].
        second_center: Centre of the other [m].
        second_radius: Its radius [m].
        second_half_length: Half its length [m].

    Returns:
        Smallest shift along z or across that separates them [m]; negative if they are apart.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact as a test of overlap. Differentiable where one direction alone decides.
    """
    require_positive(first_radius=first_radius, first_half_length=first_half_length)
    require_positive(second_radius=second_radius, second_half_length=second_half_length)
    offset, r1, h1, r2, h2 = as_tensors(
        first_center - second_center,
        first_radius,
        first_half_length,
        second_radius,
        second_half_length,
    )
    across = r1 + r2 - torch.linalg.vector_norm(offset[..., :2], dim=-1)
    return torch.minimum(across, h1 + h2 - offset[..., 2].abs())


def box_cylinder_overlap(
    box_center: Vectors,
    half_size: Vectors,
    cylinder_center: Vectors,
    radius: Values,
    half_length: Values,
) -> Float[Tensor, "*batch"]:
    """How deep a box and a cylinder along z overlap.

    Args:
        box_center: Centre of the box [m].
        half_size: Half its edges [m].
        cylinder_center: Centre of the cylinder [m].
        radius: Its radius [m].
        half_length: Half its length [m].

    Returns:
        Smallest of the overlap along z and that of the circle with the rectangle across [m];
        negative if they are apart.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact as a test of overlap. Differentiable where one direction alone decides.
    """
    require_positive(radius=radius, half_length=half_length)
    offset, r, h = as_tensors(cylinder_center - box_center, radius, half_length)
    beyond = offset[..., :2].abs() - half_size[..., :2]
    outside: Tensor = torch.linalg.vector_norm(beyond.clamp(min=0.0), dim=-1)
    across = r - outside - beyond.amax(-1).clamp(max=0.0)
    return torch.minimum(across, h + half_size[..., 2] - offset[..., 2].abs())
