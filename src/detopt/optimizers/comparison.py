"""Designs compared on the same events: differences are known better than values."""

__all__ = ["Comparison", "comparison_requests"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.pipeline.evaluation import Evaluation, Request


def comparison_requests(
    thetas: Sequence[Tensor], stream: tuple[int | str, ...], n_repeats: int, n_events: int | None
) -> list[Request]:
    """Evaluations of all designs in each of several samples of events, sample by sample.

    Args:
        thetas: The designs.
        stream: Random stream; the samples are below it, the same ones for all designs.
        n_repeats: Samples.
        n_events: Events of a sample, or None for the problem's own number.
    """
    return [
        Request(theta, (*stream, repeat), n_events=n_events, std_error=False)
        for repeat in range(n_repeats)
        for theta in thetas
    ]


@dataclass(frozen=True)
class Comparison:
    """Objectives of several designs in the same samples of events.

    Args:
        thetas: The designs, one a row.
        values: Objective of each design in each sample; not finite where an evaluation failed.
    """

    thetas: Float[Tensor, "n_designs n_free"]
    values: Float[Tensor, "n_repeats n_designs"]

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], n_repeats: int) -> "Comparison":
        """The answers to `comparison_requests`, in their order.

        Raises:
            MethodError: They are not whole samples.
        """
        if not evaluations or len(evaluations) % n_repeats:
            raise MethodError(
                f"Answers of {n_repeats} samples must be a multiple of that, got "
                f"{len(evaluations)}."
            )
        values = torch.tensor([one.value for one in evaluations], dtype=torch.float64)
        n_designs = len(evaluations) // n_repeats
        thetas = torch.stack([one.request.theta for one in evaluations[:n_designs]])
        return cls(thetas, values.reshape(n_repeats, n_designs))

    @property
    def means(self) -> list[float]:
        """Mean objective of each design; infinity where an evaluation failed."""
        means = self.values.mean(0).tolist()
        return [value if math.isfinite(value) else math.inf for value in means]

    @property
    def best(self) -> int:
        """Index of the lowest mean; of the first one among equals."""
        return min(range(len(self.means)), key=self.means.__getitem__)

    def gain(self, index: int) -> float:
        r"""How much lower a design is than the first one, in standard errors of the difference.

        With the difference :math:`d_k` in each of K samples, :math:`-\bar d / (s_d / \sqrt K)`:
        Student's t, as samples are independent. Infinity where the difference never varies,
        minus infinity where an evaluation of the design failed.
        """
        if not math.isfinite(self.means[index]):
            return -math.inf
        if not math.isfinite(self.means[0]):
            return math.inf
        difference = self.values[:, 0] - self.values[:, index]
        mean = float(difference.mean())
        error = float(difference.std()) / math.sqrt(len(difference))
        if error == 0:
            return math.copysign(math.inf, mean) if mean else 0.0
        return mean / error
