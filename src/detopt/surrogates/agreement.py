"""How far a generative surrogate and the local regression agree, with each other and the data."""

__all__ = ["Agreement"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Agreement:
    """Two surrogates of one objective, in one round.

    Args:
        gradient: By the generative surrogate, in theta.
        regression_gradient: By the quadratic that is fitted to the objective's values.
        regression_std_error: Standard error of the latter.
        error: Root mean square error of the generative surrogate at the round's new designs, which
            it had not seen; NaN in the first round.
        regression_error: That of the quadratic; idem.
        noise: Root mean square standard error of the values that they were compared with.
    """

    gradient: Float[Tensor, " n_free"]
    regression_gradient: Float[Tensor, " n_free"]
    regression_std_error: Float[Tensor, " n_free"]
    error: float = math.nan
    regression_error: float = math.nan
    noise: float = math.nan

    @property
    def cosine(self) -> float:
        """Of the angle between the gradients: 1 where they point the same way."""
        return float(torch.cosine_similarity(self.gradient, self.regression_gradient, dim=0))

    @property
    def difference(self) -> float:
        """Length of the gradients' difference over that of the regression's gradient."""
        apart = (self.gradient - self.regression_gradient).norm()
        return float(apart / self.regression_gradient.norm())

    def numbers(self) -> dict[str, float]:
        """For a table or a log."""
        return {
            "cosine": self.cosine,
            "difference": self.difference,
            "error": self.error,
            "regression_error": self.regression_error,
            "noise": self.noise,
        }
