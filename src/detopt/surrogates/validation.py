"""Everything that tells how good a surrogate is, in one call."""

__all__ = ["FEATURES", "Features", "Validation", "layer_features", "validate"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.random import Seed
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.closeness import (
    closure,
    coverage,
    frechet_distance,
    interval_coverage,
    separations,
)
from detopt.surrogates.gradient_score import (
    QUANTITIES,
    Differences,
    GradientScore,
    gradient_score,
    surrogate_gradients,
)
from detopt.surrogates.training import Progress, Training
from detopt.surrogates.two_sample import CLASSIFIER, FEWEST, TwoSample, two_sample

Features = Callable[[Tensor, Tensor], tuple[tuple[str, ...], Tensor]]
LEVELS = (0.683, 0.95)
N_DRAWS, MOST_DRAWN = 20, 2_000  # rows of each condition, and conditions, for intervals
MOST_NEIGHBORS = 3_000  # rows between which distances are taken
SMALL = 1e-300


def layer_features(
    conditions: Float[Tensor, "n c"],  # noqa: ARG001 (for other features)
    rows: Float[Tensor, "n d"],
) -> tuple[tuple[str, ...], Float[Tensor, "n f"]]:
    """What is looked at in a shower, from the energies of its layers.

    Logarithm of the total, mean depth and width [layers], skewness of the profile, share of the
    first third, largest share of a layer, and number of layers with any energy. Where the total is
    not positive, all shares are 0.
    """
    n, rows = rows.shape[1], rows.to(torch.float64)
    total = rows.sum(1)
    shares = torch.where(total[:, None] > 0, rows / total.clamp(min=SMALL)[:, None], 0.0)
    depth = torch.arange(n, dtype=rows.dtype) + 0.5
    mean = shares @ depth
    away = depth - mean[:, None]
    width = (shares * away.square()).sum(1).clamp(min=0).sqrt()
    skewness = (shares * away**3).sum(1) / width.clamp(min=1e-3) ** 3
    found = {
        "ln total": total.clamp(min=SMALL).log(),
        "mean depth": mean,
        "width": width,
        "skewness": skewness,
        "first third": shares[:, : max(1, n // 3)].sum(1),
        "largest share": shares.amax(1),
        "layers hit": (rows > 0).to(rows.dtype).sum(1),
    }
    return tuple(found), torch.stack(list(found.values()), dim=1)


def _columns(conditions: Tensor, rows: Tensor) -> tuple[tuple[str, ...], Tensor]:  # noqa: ARG001
    """The rows themselves."""
    return tuple(f"column {i}" for i in range(rows.shape[1])), rows


FEATURES: Mapping[str, Features] = {"layers": layer_features, "columns": _columns}


@dataclass(frozen=True)
class Validation:
    """What was found; `as_dict` is for JSON.

    Attributes:
        n_rows: Rows of the simulator.
        low: Classifier of all columns.
        high: Classifier of the features.
        low_floor: The same, of one half of the simulator's rows against the other one.
        high_floor: Idem.
        features: Their names.
        separation: Of the histograms of each feature.
        separation_floor: The same, half against half.
        frechet: Distance of the features; `frechet_floor` half against half.
        closure: Error of mean and width of each feature (last axis) in bins of each condition.
        closure_error: Standard errors of the latter.
        coverage: Share of real rows with a drawn one near; `coverage_floor` half against half.
        intervals: Content of central intervals of each feature, for `LEVELS`.
        gradients: Agreement of gradients, by quantity.
    """

    n_rows: int
    low: TwoSample
    high: TwoSample
    low_floor: TwoSample
    high_floor: TwoSample
    features: tuple[str, ...]
    separation: Float[Tensor, " f"]
    separation_floor: Float[Tensor, " f"]
    frechet: float
    frechet_floor: float
    closure: Float[Tensor, "c b f 2"]
    closure_error: Float[Tensor, "c b f 2"]
    coverage: float
    coverage_floor: float
    intervals: Float[Tensor, "levels f"]
    gradients: Mapping[str, GradientScore] = field(default_factory=dict)

    @property
    def worst_closure(self) -> tuple[float, float]:
        """Largest error of a mean, in widths, and of a width, relative."""
        mean, width = self.closure.abs().flatten(0, 2).amax(0).tolist()
        return mean, width

    def as_dict(self) -> dict[str, Any]:
        """Numbers and texts only."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def table(self) -> list[tuple[str, str, str]]:
        """What, value, and what the simulator has against itself."""
        mean, width = self.worst_closure
        floor = self.separation_floor
        rows = [
            (f"classifier, {name}: area", _area(found), _area(alike))
            for name, found, alike in (
                ("all columns", self.low, self.low_floor),
                ("features", self.high, self.high_floor),
            )
        ]
        rows += [
            (f"separation of {name}", f"{one:.4f}", f"{other:.4f}")
            for name, one, other in zip(
                self.features, self.separation.tolist(), floor.tolist(), strict=True
            )
        ]
        rows += [
            ("Frechet distance", f"{self.frechet:.4f}", f"{self.frechet_floor:.4f}"),
            ("worst mean in a bin of conditions", f"{mean:.3f} widths", ""),
            ("worst width in a bin of conditions", f"{width:.1%}", ""),
            (
                "real rows with a drawn one near",
                f"{self.coverage:.3f}",
                f"{self.coverage_floor:.3f}",
            ),
        ]
        rows += [
            (f"real rows in a central {level:.1%}", _span(one), f"{level:.3f}")
            for level, one in zip(LEVELS, self.intervals, strict=True)
        ]
        for name, score in self.gradients.items():
            away, alone = score.norm_error.abs(), score.norm_std_error
            rows += [
                (f"gradient of {name}: cosine", _span(score.cosine),
                 f"1 - {score.cosine_error.mean():.4f}"),
                (f"gradient of {name}: |error of norm|", f"mean {away.mean():.1%}, "
                 f"worst {away.max():.1%}", f"{alone.mean():.1%}"),
            ]  # fmt: skip
        return rows


def validate(
    model: ConditionalGenerator,
    conditions: Float[Tensor, "n c"],
    rows: Float[Tensor, "n d"],
    seed: Seed,
    features: Features = layer_features,
    differences: Differences | None = None,
    quantities: Sequence[str] = (),
    given: Float[Tensor, " rest"] | None = None,
    training: Training = CLASSIFIER,
    progress: Progress | None = None,
) -> Validation:
    """Compare a surrogate with rows of its simulator that it did not learn from.

    Args:
        model: The surrogate.
        conditions: Of the rows.
        rows: Of the simulator.
        seed: Of everything that is drawn.
        features: Names and values of what is compared beside the columns themselves.
        differences: Of the simulator; for the gradient score.
        quantities: Names in `QUANTITIES` whose gradients are compared.
        given: Conditions behind theta at which the differences were taken.
        training: Effort of a classifier.
        progress: Is told the steps that are done, and all of them.

    Raises:
        MethodError: The surrogate is not fitted, or there are too few rows.
    """
    if len(rows) < 2 * FEWEST:
        raise MethodError(f"A validation needs {2 * FEWEST} rows or more, got {len(rows)}.")
    if quantities:
        _refuse_unknown(quantities, differences, given)
    done = _counted(progress, 5 + bool(quantities))
    rng = seed.child("draws").generator()
    with torch.no_grad():
        drawn = model.sample(conditions, rng)
        names, real_features = features(conditions, rows)
        _, drawn_features = features(conditions, drawn)
        few = torch.randperm(len(rows), generator=rng)[:MOST_DRAWN]
        again = [model.sample(conditions[few], rng) for _ in range(N_DRAWS)]
        sets = torch.stack([features(conditions[few], one)[1] for one in again])
        close = _closeness(conditions, (real_features, drawn_features), rng)
        intervals = torch.stack(
            [interval_coverage(real_features[few], sets, level) for level in LEVELS]
        )
    done()
    areas: dict[str, Any] = {}
    for level, real, fake in (("low", rows, drawn), ("high", real_features, drawn_features)):
        one, two = torch.cat([conditions, real], 1), torch.cat([conditions, fake], 1)
        areas[level] = two_sample(one, two, seed.child(level), training=training)
        done()
        halves = _halves(one, rng)
        areas[f"{level}_floor"] = two_sample(*halves, seed.child(level, 1), training=training)
        done()
    scores: dict[str, GradientScore] = {}
    if differences is not None and given is not None and quantities:
        scores = _scores(model, differences, quantities, given, seed.child("gradient"))
        done()
    return Validation(
        n_rows=len(rows), features=names, gradients=scores, intervals=intervals, **areas, **close
    )


def _counted(progress: Progress | None, n_steps: int) -> Callable[[], None]:
    """What tells that one more step is done."""
    steps = count(1)

    def done() -> None:
        if progress is not None:
            progress(next(steps), n_steps)

    return done


def _halves(rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random halves of the same size."""
    half = len(rows) // 2
    order = torch.randperm(len(rows), generator=rng)
    return rows[order[:half]], rows[order[half : 2 * half]]


def _refuse_unknown(
    quantities: Sequence[str], differences: Differences | None, given: Tensor | None
) -> None:
    unknown = [name for name in quantities if name not in QUANTITIES]
    if differences is None or given is None or unknown:
        raise MethodError(
            f"Gradients of {', '.join(quantities)} need differences of the simulator, the "
            f"conditions behind theta, and names among {', '.join(QUANTITIES)}."
        )


def _closeness(
    conditions: Tensor, pair: tuple[Tensor, Tensor], rng: torch.Generator
) -> dict[str, Any]:
    real, drawn = pair
    order = torch.randperm(len(real), generator=rng)
    first, second = order.tensor_split(2)
    few = order[:MOST_NEIGHBORS]
    near, far = few.tensor_split(2)
    errors, uncertainties = closure(conditions, real, drawn)
    return {
        "separation": separations(real, drawn),
        "separation_floor": separations(real[first], real[second]),
        "frechet": frechet_distance(real, drawn),
        "frechet_floor": frechet_distance(real[first], real[second]),
        "closure": errors,
        "closure_error": uncertainties,
        "coverage": coverage(real[near], drawn[near]),
        "coverage_floor": coverage(real[near], real[far[: len(near)]]),
    }


def _scores(
    model: ConditionalGenerator,
    known: Differences,
    names: Sequence[str],
    given: Tensor,
    seed: Seed,
) -> dict[str, GradientScore]:
    def conditions(theta: Tensor) -> Tensor:
        return torch.cat([theta, given.to(theta).expand(len(theta), -1)], dim=1)

    quantities = [QUANTITIES[name] for name in names]
    found = surrogate_gradients(model, known.theta, quantities, conditions, seed.child("drawn"))
    scores = {}
    for name, quantity, gradient, error in zip(names, quantities, *found, strict=True):
        reference = known.gradients(quantity, seed.child("bootstrap", name))
        scores[name] = gradient_score(gradient, error, *reference, seed.child("noise", name))
    return scores


def _area(found: TwoSample) -> str:
    return f"{found.area:.3f} +- {found.std_error:.3f}"


def _span(values: Tensor) -> str:
    return f"{values.min():.3f} to {values.max():.3f}, mean {values.mean():.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, TwoSample | GradientScore):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
