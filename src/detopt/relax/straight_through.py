"""Hard values with smooth gradients."""

__all__ = ["straight_through"]

from jaxtyping import Float
from torch import Tensor


def straight_through(
    hard: Float[Tensor, "*batch"],
    soft: Float[Tensor, "*batch"],
    reference: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""The value of `hard` with the gradient of `soft`.

    .. math:: y = \mathrm{hard} + (\mathrm{soft} - [\mathrm{soft}])

    with :math:`[\cdot]` for a value that is held fixed under differentiation.

    Args:
        hard: Values that the result takes. Where they have a derivative of their own, it counts.
        soft: A smooth stand-in that is differentiated.
        reference: What is subtracted in place of :math:`[\mathrm{soft}]`: the same number, fixed
            in those inputs alone whose derivative `hard` lacks.

    Note:
        The derivative is not that of the value: it is wrong by the bias of the smooth stand-in,
        and central differences of the result do not check it. A function of the result is
        differentiated at the hard value. The result equals `hard` exactly, not to rounding only.

    References:
        Y. Bengio, N. Leonard and A. Courville, arXiv:1308.3432.
    """
    return hard + (soft - (soft.detach() if reference is None else reference))
