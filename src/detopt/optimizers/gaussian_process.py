"""Gaussian processes of objectives and constraints, through the package `botorch`."""

__all__ = ["EXTRA", "PURPOSE", "Outcomes", "fit", "load"]

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.optimizers.isolation import isolated
from detopt.optimizers.marginal_likelihood import fit_scales
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import UnitCube
from detopt.optional import require
from detopt.random import Seed

EXTRA, PURPOSE = "bayesian", "Bayesian optimization"
MIN_NOISE = 1e-6  # variance, in units of the spread of the values: for the Cholesky factors


def load() -> None:
    """Import the package.

    Raises:
        MissingExtraError: It is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports use functions that torch deprecates
        require("botorch", extra=EXTRA, purpose=PURPOSE)


@dataclass(frozen=True)
class Outcomes:
    """A model of several outcomes, each standardized.

    Args:
        model: The package's model of all columns.
        features: Where the values are known.
        center: Mean of each column.
        scale: Standard deviation of each column.
        n_objectives: The first columns are objectives, the others constraints.
    """

    model: Any
    features: Float[Tensor, "n n_features"]
    center: Float[Tensor, " k"]
    scale: Float[Tensor, " k"]
    n_objectives: int

    @property
    def bounds(self) -> list[float]:
        """What each constraint must not exceed, in the units of the model."""
        zero = -self.center / self.scale
        return zero[self.n_objectives :].tolist()

    def mean(self, features: Float[Tensor, "n n_features"]) -> Float[Tensor, "n k"]:
        """Mean of the posterior in the outcomes' own units."""
        with isolated(Seed("mean")), torch.no_grad():
            found: Tensor = self.model.posterior(features).mean
        return self.center + self.scale * found


def fit(records: Records, cube: UnitCube, seed: Seed, *, single: bool, rows: Tensor) -> Outcomes:
    """A Gaussian process for every objective and constraint.

    The standard errors of the evaluations are the noise where they are known; otherwise the noise
    is learned. Constraints have no standard errors, so that theirs is learned. A design that
    failed counts as the worst that was seen, so that the search leaves its surroundings.

    Args:
        records: What is known.
        cube: Coordinates.
        seed: Of the package's random numbers.
        single: Whether the one objective of the outcome is modelled, or all the named ones.
        rows: Which records are used.
    """
    objectives = records.values[:, None] if single else records.objectives
    errors = records.errors[:, None] if single else records.objective_errors
    values = torch.cat([objectives, records.constraints], dim=1)[rows]
    noise = torch.cat([errors, torch.full_like(records.constraints, torch.nan)], dim=1)[rows]
    good = records.answered[rows]
    worst = torch.where(good[:, None], values, -torch.inf).amax(dim=0)
    values = torch.where(good[:, None], values, worst)
    features = cube.features(cube.unit(records.thetas[rows]))
    center, scale = values.mean(dim=0), values.std(dim=0)
    scale = torch.where(scale > 1e-12 * (1 + center.abs()), scale, 1.0)
    with isolated(seed):
        model = _fit(features, (values - center) / scale, noise / scale)
    return Outcomes(model, features, center, scale, objectives.shape[1])


def _fit(features: Tensor, values: Tensor, errors: Tensor) -> Any:
    models = require("botorch.models", extra=EXTRA, purpose=PURPOSE)
    found = []
    for value, error in zip(values.T, errors.T, strict=True):
        known = error[torch.isfinite(error) & (error > 0)]
        noise = None
        if len(known):
            filled = torch.where(torch.isfinite(error), error, known.median())
            noise = filled.square().clamp(min=MIN_NOISE)
        model = models.SingleTaskGP(
            features,
            value[:, None],
            None if noise is None else noise[:, None],
            outcome_transform=None,
        )
        scales = fit_scales(features, value, noise)
        model.covar_module.lengthscale = scales.lengths
        model.mean_module.constant.data.fill_(float(scales.mean))
        if noise is None:
            model.likelihood.noise = scales.noise
        found.append(model.eval())
    return models.ModelListGP(*found)
