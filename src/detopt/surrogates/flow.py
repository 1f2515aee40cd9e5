"""A conditional normalizing flow: affine maps and splines whose knots depend on the conditions."""

__all__ = ["ConditionalFlow"]

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt import optional
from detopt.errors import MethodError
from detopt.surrogates.base import ConditionalGenerator, seeded
from detopt.surrogates.training import Descent, Progress

LAYERS = ("autoregressive", "coupling", "inverse_autoregressive")
MAX_AUTOREGRESSIVE = 8  # columns; beyond, coupling layers, whose samples cost two passes
LONGEST = 5.0  # norm of a gradient step
BLUR = 0.01  # noise added to residuals, so that repeated values have a density


@dataclass(eq=False)
class ConditionalFlow(ConditionalGenerator):
    r"""Noise, mapped by an invertible function that depends on the conditions.

    .. math::
        r = f_c^{-1}(z), \quad z \sim \mathcal{N}(0, 1), \qquad
        \log q(r \mid c) = \log \mathcal{N}(f_c(r)) + \log |\det \partial f_c / \partial r|

    with :math:`f_c` an affine map and then monotonic rational-quadratic splines; trained by maximum
    likelihood. The default: small, fast, and it has a density. Detail finer than a hundredth of the
    width of the residuals is blurred, so that rows may take the same value many times.

    Autoregressive layers are the most general; a density costs one pass of their networks, a sample
    one for each column. Inverse ones draw in one pass, and learn in one from a teacher (`distill`)
    instead of one for each column from data. Coupling layers take two passes for both.

    Args:
        hidden: Units of the hidden layers; fewer than of other kinds, by default.
        bins: Bins of a spline, >= 2.
        n_splines: Splines one after the other; one suffices for one column.
        layers: `autoregressive`, `coupling` or `inverse_autoregressive`; by default the first up to
            eight columns, and the second beyond.

    References:
        C. Durkan et al., Neural Spline Flows, arXiv:1906.04032; D. P. Kingma et al., Inverse
        Autoregressive Flow, arXiv:1606.04934.
    """

    hidden: tuple[int, ...] = (32, 32)
    bins: int = 8
    n_splines: int | None = None
    layers: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_below(2, "bins")
        if self.layers is None:
            self.layers = LAYERS[0] if self.n_columns <= MAX_AUTOREGRESSIVE else LAYERS[1]
        if self.layers not in LAYERS:
            raise MethodError(f"`layers` must be one of {', '.join(LAYERS)}, got {self.layers!r}.")
        if self.n_splines is None:
            self.n_splines = 1 if self.n_columns == 1 else 2
        self._zuko = optional.require("zuko", extra="surrogates", purpose="A conditional flow")

    def _build(self) -> nn.Module:
        settings = {
            "features": self.n_columns,
            "context": self.n_conditions,
            "hidden_features": self.hidden,
            "activation": nn.SiLU,
            "passes": 2 if self.layers == "coupling" else None,
        }
        splines = self._zuko.flows.NSF(transforms=self.n_splines, bins=self.bins, **settings)
        affine = self._zuko.flows.MAF(transforms=1, **settings)
        maps = [*affine.transform.transforms, *splines.transform.transforms]
        for one in maps:
            nn.init.zeros_(one.hyper[-1].weight)
            nn.init.zeros_(one.hyper[-1].bias)
        if self.layers == "inverse_autoregressive":
            maps = [one.inv for one in maps]
        flow: nn.Module = self._zuko.flows.Flow(maps, splines.base)
        return flow

    def _train(
        self, network: nn.Module, conditions: Tensor, residuals: Tensor, descent: Descent
    ) -> float:
        def loss(rows: Tensor) -> Tensor:
            noise = self._noise(len(rows), descent.rng)
            value: Tensor = (
                -network(conditions[rows]).log_prob(residuals[rows] + BLUR * noise).mean()
            )
            return value

        return descent.descend(network, loss, len(residuals), LONGEST)

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.n_columns, generator=rng, dtype=self.dtype)

    def distill(
        self,
        teacher: "ConditionalFlow",
        conditions: Float[Tensor, "n n_conditions"],
        samples: Float[Tensor, "n n_columns"],
        rng: torch.Generator,
        progress: Progress | None = None,
    ) -> float:
        r"""Learn to draw what a fitted flow draws from the same noise.

        .. math::
            \mathrm{E}\,|f_s^{-1}(f_t(r)) - r|^2 + \mathrm{E}\,|f_t(f_s^{-1}(z)) - z|^2

        with the teacher :math:`f_t` and this flow :math:`f_s`. For an autoregressive teacher and an
        inverse autoregressive student all four maps take one pass.

        Args:
            teacher: Another flow for the same rows.
            conditions: Where it is to be right.
            samples: Rows there, such as those that the teacher learned from.
            rng: Where weights, batches and noise come from.
            progress: Is told the steps that are done, and all of them.

        Returns:
            As `fit`.

        Raises:
            MethodError: The teacher was not fitted, or is for other rows; or as `fit`.

        References:
            C. Krause and D. Shih, CaloFlow II, arXiv:2110.11377.
        """
        same = ("n_conditions", "n_columns", "row_map")
        other = [name for name in same if getattr(self, name) != getattr(teacher, name)]
        if other:
            raise MethodError(f"The teacher is for other rows: its {', '.join(other)} differ.")
        if teacher._network is None:
            raise MethodError("The teacher was not fitted yet. Call its `fit` first.")
        self._check(conditions, samples)
        given, rows = self._mapped(conditions, samples, rng)
        descent = Descent(self.training, self.training.n_steps, rng, progress)
        with seeded(rng):
            network = self._build().to(self.dtype)
            self._scaling = {name: one.clone() for name, one in teacher._scaling.items()}
            scaled = teacher._scaled(given)
            residuals, context = self._residuals(scaled, rows).to(self.dtype), scaled.to(self.dtype)
            master = copy.deepcopy(teacher._network).to(self.dtype)

            def loss(chosen: Tensor) -> Tensor:
                taught = master(context[chosen]).transform
                learned = network(context[chosen]).transform.inv
                noise, blur = (self._noise(len(chosen), rng) for _ in range(2))
                real = residuals[chosen] + BLUR * blur
                back = (learned(taught(real)) - real).square().sum(1)
                forth = (taught(learned(noise)) - noise).square().sum(1)
                total: Tensor = (back + forth).mean()
                return total

            found = descent.descend(network, loss, len(residuals), LONGEST)
        self._network = network.requires_grad_(False)
        self._calibrate(scaled, rows, rng)
        return found

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        noise = torch.randn(len(conditions), self.n_columns, generator=rng, dtype=self.dtype)
        residuals: Tensor = network(conditions).transform.inv(noise)
        return residuals

    def _log_density(self, network: nn.Module, conditions: Tensor, residuals: Tensor) -> Tensor:
        density: Tensor = network(conditions).log_prob(residuals)
        return density
