"""How the radius of a trust region follows the gain that was reached."""

__all__ = ["TrustRadius"]

from dataclasses import dataclass

GROW, SHRINK = 1.6, 0.6  # of the radius
GOOD, POOR = 0.6, 0.2  # share of the predicted gain that is reached
LONG_STEP = 0.9  # in radii: the radius was the limit
NO_GAIN = -1e-300  # in place of a promise of none


@dataclass(frozen=True)
class TrustRadius:
    """The rule for a radius between two bounds.

    Args:
        shortest: Smallest radius, in units of the first one.
        longest: Largest radius, idem.

    References:
        A. R. Conn, K. Scheinberg and L. N. Vicente, Introduction to Derivative-Free Optimization
        (2009), chapter 10.
    """

    shortest: float
    longest: float

    def after(
        self, radius: float, first: float, *, moved: float, reached: float, promised: float
    ) -> float:
        """The next radius: longer where most of the gain was reached, shorter where little was.

        Args:
            radius: The present one.
            first: The first one.
            moved: Length of the step.
            reached: Change of the objective, as it is known now.
            promised: Change that was predicted, < 0.
        """
        share = reached / min(promised, NO_GAIN)
        if share > GOOD and moved > LONG_STEP * radius:
            return min(radius * GROW, self.longest * first)
        return self.shrunk(radius, first) if share < POOR else radius

    def shrunk(self, radius: float, first: float) -> float:
        """The next radius after a step that was no good."""
        return max(radius * SHRINK, self.shortest * first)
