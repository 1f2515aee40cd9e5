"""What methods share that learn a model of all evaluations in the unit cube."""

__all__ = ["ModelBased"]

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.gaussian_process import load
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import UnitCube
from detopt.pipeline.evaluation import Request

MAX_INITIAL = 20  # designs before the first model, by default


class ModelBased(Optimizer):
    """First designs that spread over the space, then rounds of a model's proposals.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round after the first, >= 1.
        n_initial: Designs before the first model, >= 2, or None for twice the coordinates, from 4
            to 20.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.

    Raises:
        MethodError: `batch` or `n_initial` is no such number.
        MissingExtraError: The package of the models is not installed.
    """

    accepts_discrete = True
    accepts_constraints = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None,
        batch: int,
        n_initial: int | None,
        reach: float,
    ) -> None:
        super().__init__(space, n_rounds)
        self.cube = UnitCube(space, reach)
        initial = max(4, min(2 * self.cube.n, MAX_INITIAL)) if n_initial is None else n_initial
        for name, number, least in (("batch", batch, 1), ("n_initial", initial, 2)):
            if not isinstance(number, int) or number < least:
                raise MethodError(f"`{name}` must be a whole number >= {least}, got {number!r}.")
        load()
        self.n_events = n_events
        self.batch = batch
        self.n_initial = initial
        self.records = Records(space.n_free)

    @abstractmethod
    def _thetas(self) -> Float[Tensor, "n n_free"]:
        """The designs of this round, which may still break limits of the space by rounding."""

    def ask(self) -> list[Request]:
        """The designs of this round, each with its own random numbers."""
        return [
            Request(
                self.space.admit(theta, self.theta),
                ("round", self.round, i),
                n_events=self.n_events,
            )
            for i, theta in enumerate(self._thetas())
        ]

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The evaluated design that the model holds for the best."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """All evaluations so far: the models are fitted again, to the same bits."""
        return super().state_dict() | {"records": self.records.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self.records.load_state_dict(state["records"])
