r"""Distribution functions that stand for a step, of second and of higher order.

The bias of a step that is smoothed with a kernel :math:`K` of width :math:`h` is a series in even
powers of the width,

.. math::
    \mathrm{E}\,F\!\left(\frac{e - x}{h}\right) = P(e)
        + \sum_{m \ge 1} \frac{\mu_{2m}}{(2m)!}\, h^{2m} P^{(2m)}(e),

with :math:`P` the distribution function of :math:`x` and :math:`\mu_{2m}` the moments of the
kernel. Extrapolation to zero width (Richardson, in the limit of two widths that coincide) removes
one power after the other: :math:`F \to F - \frac{h}{2} \partial_h F` takes the term of
:math:`h^2` away, :math:`F \to F - \frac{h}{4} \partial_h F` after it that of :math:`h^4`.
What is left is :math:`\pm\frac{\mu_r}{r!} h^r P^{(r)}` for the order :math:`r`.
"""

__all__ = ["KERNELS", "ORDERS", "REACH", "cumulative"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

KERNELS = ("normal", "logistic")
ORDERS = (2, 4, 6)
REACH = {"normal": 9.0, "logistic": 42.0}  # beyond it the step is 0 or 1 in float64


def cumulative(
    reduced: Float[Tensor, "*batch"], kernel: str, order: int
) -> Float[Tensor, "*batch"]:
    r"""The smooth step :math:`F_r(z)`, 0 far below zero and 1 far above.

    :math:`F_2 = F`, :math:`F_4 = F + \frac{z}{2} f` and
    :math:`F_6 = F + \frac{7}{8} z f + \frac{1}{8} z^2 f'`, with the density :math:`f = F'`.
    """
    reach = REACH[kernel]
    z = reduced.clamp(-reach, reach)
    if kernel == "normal":
        step = torch.erf(z * math.sqrt(0.5)) / 2 + 0.5
        if order == 2:
            return step
        slope = z * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        bend = -z.square()
    else:
        step = torch.sigmoid(z)
        if order == 2:
            return step
        slope = z * step * torch.sigmoid(-z)
        bend = z * (1 - 2 * step)
    return step + slope * (0.5 if order == 4 else (7 + bend) / 8)
