"""How the functions of `detopt.physics` accept tensors and Python numbers alike."""

__all__ = ["TensorLike", "Values", "as_tensor", "as_tensors"]

import torch
from jaxtyping import Float
from torch import Tensor

TensorLike = Tensor | float | int
Values = Float[Tensor, "*#batch"] | float | int  # an argument that broadcasts against others


def as_tensor(value: TensorLike, like: Tensor | None = None) -> Tensor:
    """`value` as a floating-point tensor.

    A Python number takes the dtype and device of `like`, or float64 on the CPU where there is
    none, so that a table value typed by hand keeps its digits.
    """
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else value.to(torch.get_default_dtype())
    if like is not None:
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return torch.as_tensor(value, dtype=torch.float64)


def as_tensors(*values: TensorLike) -> tuple[Tensor, ...]:
    """Each of `values` as a tensor; the first floating tensor sets dtype and device of numbers."""
    like = next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)
    return tuple(as_tensor(value, like) for value in values)
