r"""What a conditional generator is: it learns to draw rows, given what they depend on.

Every generator models what a linear regression leaves over,

.. math::
    y = m + B^{\mathsf T} c + s\, r, \qquad r \sim q(r \mid c)

with the conditions :math:`c` scaled to mean zero and unit width. The slopes B are those of a ridge
regression; a network draws the residuals r. After each fit the mean of what is drawn is made to
agree with the data to first order in c, so that the gradient of a mean does not depend on the
network alone.

References:
    S. Shirobokov et al., Black-Box Optimization with Local Generative Surrogates,
    arXiv:2002.04632.
"""

__all__ = ["ConditionalGenerator", "seeded"]

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.errors import MethodError
from detopt.surrogates.row_maps import RowMap
from detopt.surrogates.training import Descent, Progress, Training, ridge

CONSTANT = 1e-9  # share of a column's range below which a residual is taken as zero
ROUNDING = 1e-14  # share of its size, idem
SCALING = ("center", "width", "location", "slopes", "scale")


@dataclass(eq=False)
class ConditionalGenerator(ABC):
    """Draws rows whose distribution depends on conditions, and learns how from examples.

    Every kind takes these arguments, and may add some of its own after them.

    Args:
        n_conditions: Columns of the conditions, >= 1.
        n_columns: Columns of a row, >= 1.
        training: Effort of a fit.
        dtype: Precision of the network.
        hidden: Units of the hidden layers, each >= 1; of each network where there are two.
        row_map: Turns rows into what is modelled, and back; a law that they obey.

    Raises:
        MethodError: A number is below what it must be.
    """

    n_conditions: int
    n_columns: int
    training: Training = Training()  # noqa: RUF009 (frozen)
    dtype: torch.dtype = torch.float32
    hidden: tuple[int, ...] = (64, 64)
    row_map: RowMap | None = None

    def __post_init__(self) -> None:
        if self.n_conditions < 1 or self.n_columns < 1:
            raise MethodError(
                "A generator needs at least one condition and one column, got "
                f"{self.n_conditions} and {self.n_columns}."
            )
        if not self.hidden or min(self.hidden) < 1:
            raise MethodError(f"`hidden` units must be >= 1, got {self.hidden}.")
        self._network: nn.Module | None = None
        self._scaling: dict[str, Tensor] = {}

    def _refuse_below(self, least: int, name: str) -> None:
        """Refuse an argument that is too small."""
        number = getattr(self, name)
        if number < least:
            raise MethodError(f"`{name}` must be >= {least}, got {number}.")

    @abstractmethod
    def _build(self) -> nn.Module:
        """A network with fresh weights from the global generator."""

    @abstractmethod
    def _train(
        self, network: nn.Module, conditions: Tensor, residuals: Tensor, descent: Descent
    ) -> float:
        """Improve the network; the loss at the end."""

    @abstractmethod
    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        """Residuals for scaled conditions."""

    @property
    def fitted(self) -> bool:
        """Whether there was a fit."""
        return self._network is not None

    @property
    def options(self) -> dict[str, Any]:
        """Arguments with which another generator of this kind is made like this one."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def fit(
        self,
        conditions: Float[Tensor, "n n_conditions"],
        samples: Float[Tensor, "n n_columns"],
        rng: torch.Generator,
        warm: bool = True,
        progress: Progress | None = None,
    ) -> float:
        """Learn from examples.

        Examples of earlier designs may be among them, so that a warm start does not forget.

        Args:
            conditions: What each row depends on, such as theta.
            samples: The rows.
            rng: Where weights, batches and noise come from.
            warm: Whether to go on from the weights of the last fit, if there was one.
            progress: Is told the steps that are done, and all of them.

        Returns:
            The lowest loss of held-out rows (see `Training`), or without them the loss at the end,
            averaged over the last tenth of the steps.

        Raises:
            MethodError: There are fewer than two rows, they have another shape, a number is not
                finite, or the loss becomes so.
        """
        self._check(conditions, samples)
        with seeded(rng):
            fresh = self._network is None or not warm
            network = self._build().to(self.dtype) if fresh else self._network
            assert network is not None
            given, rows = self._mapped(conditions, samples, rng)
            scaled = self._rescale(given, rows)
            residuals = self._residuals(scaled, rows).to(self.dtype)
            steps = self.training.n_steps if fresh else self.training.n_warm_steps
            descent = Descent(self.training, steps, rng, progress)
            loss = self._train(network, scaled.to(self.dtype), residuals, descent)
        self._network = network.requires_grad_(False)
        self._calibrate(scaled, rows, rng)
        return loss

    def _mapped(
        self, conditions: Tensor, samples: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Conditions, and rows as they are modelled."""
        given, rows = (one.detach().to(torch.float64) for one in (conditions, samples))
        return given, rows if self.row_map is None else self.row_map.columns(given, rows, rng)

    def _rescale(self, conditions: Tensor, rows: Tensor) -> Tensor:
        """Choose the scales and slopes; the scaled conditions."""
        center, width = conditions.mean(dim=0), conditions.std(dim=0)
        width = torch.where(width > 0, width, torch.ones_like(width))
        scaled = (conditions - center) / width
        location = rows.mean(dim=0)
        slopes = ridge(scaled, rows - location)
        scale = (rows - location - scaled @ slopes).std(dim=0)
        spread = rows.amax(dim=0) - rows.amin(dim=0)
        least = CONSTANT * spread + ROUNDING * rows.abs().amax(dim=0)
        scale = torch.where(scale > least, scale, torch.zeros_like(scale))
        self._scaling = dict(zip(SCALING, (center, width, location, slopes, scale), strict=True))
        return scaled

    def _residuals(self, scaled: Tensor, rows: Tensor) -> Tensor:
        known = self._scaling
        rest = rows - known["location"] - scaled @ known["slopes"]
        return torch.where(known["scale"] > 0, rest / self._safe_scale, 0.0)

    @property
    def _safe_scale(self) -> Tensor:
        scale = self._scaling["scale"]
        return torch.where(scale > 0, scale, torch.ones_like(scale))

    def _calibrate(self, scaled: Tensor, rows: Tensor, rng: torch.Generator) -> None:
        """Take out what is left of the mean's error, to first order in the conditions."""
        known = self._scaling
        with torch.no_grad():
            assert self._network is not None
            drawn = self._draw(self._network, scaled.to(self.dtype), rng).to(torch.float64)
            excess = (drawn - self._residuals(scaled, rows)) * known["scale"]
            shift = excess.mean(dim=0)
            known["location"] = known["location"] - shift
            known["slopes"] = known["slopes"] - ridge(scaled, excess - shift)

    def sample(
        self, conditions: Float[Tensor, "n n_conditions"], rng: torch.Generator
    ) -> Float[Tensor, "n n_columns"]:
        """One row for each condition.

        Note:
            Differentiable in the conditions: the noise that is drawn does not depend on them, and
            the same generator seed gives the same noise.

        Raises:
            MethodError: There was no fit yet, or the conditions have another shape.
        """
        scaled = self._scaled(conditions)
        assert self._network is not None
        residuals = self._draw(self._network, scaled.to(self.dtype), rng)
        known = self._scaling
        mean = known["location"] + scaled @ known["slopes"]
        rows = mean + known["scale"] * residuals
        if self.row_map is not None:
            rows = self.row_map.rows(conditions.to(torch.float64), rows)
        return rows.to(conditions.dtype)

    def log_prob(
        self,
        conditions: Float[Tensor, "n n_conditions"],
        samples: Float[Tensor, "n n_columns"],
    ) -> Float[Tensor, " n"]:
        """Logarithm of the density of each row, where the generator has one.

        Raises:
            MethodError: This kind of generator has no density, there was no fit yet, or conditions
                or samples have another shape.
        """
        scaled = self._scaled(conditions)
        self._refuse_shape("columns", samples, self.n_columns)
        rows, stretch = samples.to(torch.float64), torch.zeros((), dtype=torch.float64)
        if self.row_map is not None:
            given = conditions.to(torch.float64)
            stretch = self.row_map.log_volume(given, rows)
            rows = self.row_map.columns(given, rows, torch.Generator())
        residuals = self._residuals(scaled, rows)
        assert self._network is not None
        found = self._log_density(self._network, scaled.to(self.dtype), residuals.to(self.dtype))
        volume = self._safe_scale.log().sum()
        return (found.to(torch.float64) - volume + stretch).to(conditions.dtype)

    def _log_density(
        self,
        network: nn.Module,  # noqa: ARG002 (for those that have a density)
        conditions: Tensor,  # noqa: ARG002
        residuals: Tensor,  # noqa: ARG002
    ) -> Tensor:
        raise MethodError(f"{type(self).__name__} has no density. Take `ConditionalFlow`.")

    def _scaled(self, conditions: Tensor) -> Tensor:
        if self._network is None:
            raise MethodError("The generator was not fitted yet. Call `fit` first.")
        self._refuse_shape("conditions", conditions, self.n_conditions)
        known = self._scaling
        scaled: Tensor = (conditions.to(torch.float64) - known["center"]) / known["width"]
        return scaled

    def _refuse_shape(self, what: str, table: Tensor, n: int) -> None:
        """Refuse what would be broadcast."""
        if table.ndim != 2 or table.shape[1] != n:
            raise MethodError(
                f"The generator was fitted with {n} {what}: give a table with a row for each "
                f"sample, got the shape {tuple(table.shape)}."
            )

    def _check(self, conditions: Tensor, samples: Tensor) -> None:
        shapes = tuple(conditions.shape), tuple(samples.shape)
        n = len(conditions)
        if shapes != ((n, self.n_conditions), (n, self.n_columns)) or n < 2:
            raise MethodError(
                f"A fit needs two or more rows of {self.n_conditions} conditions and "
                f"{self.n_columns} columns, got {shapes[0]} and {shapes[1]}."
            )
        if not bool(conditions.isfinite().all() and samples.isfinite().all()):
            raise MethodError("A fit needs finite numbers. Leave failed evaluations out.")

    def state_dict(self) -> dict[str, Any]:
        """Scales and weights, as tensors; empty before the first fit."""
        if self._network is None:
            return {}
        weights = {k: v.detach().clone() for k, v in self._network.state_dict().items()}
        return {"network": weights} | {k: v.clone() for k, v in self._scaling.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state of the same kind of generator."""
        if not state:
            self._network, self._scaling = None, {}
            return
        with torch.random.fork_rng(devices=[]):
            network = self._build().to(self.dtype)
        try:
            network.load_state_dict(state["network"])
        except (RuntimeError, KeyError) as error:
            raise MethodError("The stored state belongs to another generator.") from error
        self._network = network.requires_grad_(False)
        self._scaling = {name: state[name].clone() for name in SCALING}


@contextmanager
def seeded(rng: torch.Generator) -> Iterator[None]:
    """The global generator, from which weights come, begins with `rng` and is left as it was."""
    begin = int(torch.randint(2**62, (), generator=rng))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(begin)
        yield
