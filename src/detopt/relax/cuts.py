r"""Steps and windows, hard and smooth: the fraction of an event that passes a cut.

A cut :math:`x > t` has no useful derivative. Its smooth counterpart lets an event pass with the
weight :math:`F((x - t)/h)`, which is differentiable in the value, the threshold and the width.
"""

__all__ = ["hard_step", "hard_window", "soft_step", "soft_window", "straight_through_step"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.relax._checks import TensorLike, require_choice, require_finite, require_positive
from detopt.relax._kernels import KERNELS, ORDERS, cumulative
from detopt.relax.straight_through import straight_through


def hard_step(values: Float[Tensor, "*batch"], threshold: TensorLike) -> Float[Tensor, "*shape"]:
    """1 where the value is at or above the threshold, else 0.

    Args:
        values: Values :math:`x`, in any unit.
        threshold: Threshold :math:`t` in the same unit, of a shape that broadcasts.

    Raises:
        DomainError: A value or a threshold is NaN or infinite.

    Note:
        Not differentiable; the limit of `soft_step` for a width that goes to zero.
    """
    limit = torch.as_tensor(threshold, dtype=values.dtype, device=values.device)
    require_finite("values", values)
    require_finite("threshold", limit)
    return (values >= limit).to(values.dtype)


def soft_step(
    values: Float[Tensor, "*batch"],
    threshold: TensorLike,
    width: TensorLike,
    kernel: str = "logistic",
    order: int = 2,
) -> Float[Tensor, "*shape"]:
    r"""Weight with which a value passes a smooth cut from below.

    .. math:: s = F_r\!\left(\frac{x - t}{h}\right)

    Args:
        values: Values :math:`x`, in any unit.
        threshold: Threshold :math:`t` in the same unit, of a shape that broadcasts.
        width: Width :math:`h` of the step in the same unit, > 0, of a shape that broadcasts.
        kernel: "logistic" (a sigmoid) or "normal" (the normal distribution function).
        order: 2, or 4 or 6 with less bias and weights that may leave the range from 0 to 1.

    Returns:
        Weight :math:`s`, between 0 and 1 for the order 2.

    Raises:
        DomainError: NaN or infinity in the values, or a width that is not positive.
        ConfigError: Unknown kernel or order.

    Note:
        The mean over events with a smooth density has the bias
        :math:`\pm\frac{\mu_r}{r!} h^r P^{(r)}(t)`, with the moments of the kernel
        :math:`\mu_2, \mu_4, \mu_6 = 1, 3, 15` (normal) and
        :math:`\pi^2/3, 7\pi^4/15, 31\pi^6/21` (logistic). The hard limit is `hard_step`.
        Differentiable in values, threshold and width.
    """
    require_choice("kernel", kernel, KERNELS)
    require_choice("order", order, ORDERS)
    require_finite("values", values)
    require_positive("width", width)
    return cumulative((values - threshold) / width, kernel, order)


def hard_window(
    values: Float[Tensor, "*batch"], low: TensorLike, high: TensorLike
) -> Float[Tensor, "*shape"]:
    """1 where low <= value < high, else 0; not differentiable."""
    return hard_step(values, low) - hard_step(values, high)


def soft_window(
    values: Float[Tensor, "*batch"],
    low: TensorLike,
    high: TensorLike,
    width: TensorLike,
    kernel: str = "logistic",
    order: int = 2,
) -> Float[Tensor, "*shape"]:
    r"""Weight with which a value passes a smooth window, a step up less a step down.

    .. math:: s = F_r\!\left(\frac{x - a}{h}\right) - F_r\!\left(\frac{x - b}{h}\right)

    Args:
        values: Values :math:`x`, in any unit.
        low: Lower end :math:`a` in the same unit.
        high: Upper end :math:`b`, above `low`: with the ends exchanged the weight is negative.
        width: Width :math:`h` of both steps, > 0.
        kernel: As for `soft_step`.
        order: As for `soft_step`.

    Note:
        Bias and limit are those of `soft_step` at both ends; where the width is not small against
        the window no event has the full weight.
    """
    rise = soft_step(values, low, width, kernel, order)
    return rise - soft_step(values, high, width, kernel, order)


def straight_through_step(
    values: Float[Tensor, "*batch"],
    threshold: TensorLike,
    width: TensorLike,
    kernel: str = "logistic",
    order: int = 4,
) -> Float[Tensor, "*shape"]:
    """The value of `hard_step` with the gradient of `soft_step`.

    Args:
        values: As for `soft_step`.
        threshold: As for `soft_step`.
        width: As for `soft_step`; its own gradient is zero, since the value does not depend on it.
        kernel: As for `soft_step`.
        order: Order of the step that is differentiated; 4 has less bias than 2.
    """
    fixed = width.detach() if isinstance(width, Tensor) else width
    soft = soft_step(values, threshold, fixed, kernel, order)
    return straight_through(hard_step(values, threshold), soft)
