"""Design gradients of the flow beside differences of Geant4, at random designs.

Showers of different designs part after a few steps, so that common random numbers gain little: the
differences need events. The logarithm of a resolution that n events tell is uncertain by
sqrt((k - 1)/(4 n)) with the kurtosis k = 3 to 4 of the visible energy, that is 0.0065 to 0.0079 for
the n of a point; a difference over 2 x 0.4 in theta by 0.012 to 0.014, and a gradient of length 0.5
by 2 to 3 % of it in length and 0.03 rad in direction (1 - cosine: 0.0004). That leaves room below
what must hold.
"""

import math
from typing import Any

import torch

from detopt.random import Seed
from detopt.surrogates.gradient_score import (
    QUANTITIES,
    Differences,
    gradient_score,
    surrogate_gradients,
)
from surrogates_parts import showers
from surrogates_parts.layer_flow import flow

Row = tuple[str, str, str, bool]
COSINE, NORM = 0.95, 0.10  # that must hold
N_DRAWN = 1_500  # showers of one of four repetitions
SEED = Seed(8)


def run(quick: bool) -> dict[str, Any]:
    """Both quantities at all designs."""
    model, _ = flow(quick)
    known = showers.differences(quick)
    compared = Differences(known["theta"], float(known["step"]), known["visible"])
    energy = torch.tensor([[math.log(showers.AT)]], dtype=torch.float64)

    def conditions(theta: torch.Tensor) -> torch.Tensor:
        return torch.cat([theta, energy.expand(len(theta), 1)], dim=1)

    gradients, errors = surrogate_gradients(
        model,
        compared.theta,
        list(QUANTITIES.values()),
        conditions,
        SEED.child("drawn"),
        n_drawn=100 if quick else N_DRAWN,
    )
    found: dict[str, Any] = {"n_events": known["visible"].shape[-1]}
    for (name, quantity), *gradient in zip(QUANTITIES.items(), gradients, errors, strict=True):
        reference = compared.gradients(quantity, SEED.child(name, "bootstrap"))
        score = gradient_score(*gradient, *reference, SEED.child(name, "noise"))
        found[name] = {key: value.tolist() for key, value in vars(score).items()}
        found[name]["gradient"] = [one.tolist() for one in gradient]
        found[name]["reference"] = [one.tolist() for one in reference]
    return found


def rows(result: dict[str, Any]) -> list[Row]:
    """What must hold on the average, and how many designs hold alone."""
    table = []
    for name in ("resolution", "response"):
        one = result[name]
        cosine = torch.tensor(one["cosine"])
        away = torch.tensor(one["norm_error"]).abs()
        noise, bend = torch.tensor(one["norm_std_error"]), torch.tensor(one["cosine_error"])
        n = len(cosine)
        what = f"gradient of ln {name} at {showers.AT:g} GeV, {n} designs"
        table += [
            (
                f"{what}: cosine, mean",
                f"at least {COSINE:g}",
                f"{cosine.mean():.4f}, worst {cosine.min():.4f}, "
                f"{int((cosine >= COSINE).sum())} of {n} hold; "
                f"noise of both alone makes {1 - bend.mean():.4f}",
                bool(cosine.mean() >= COSINE),
            ),
            (
                f"{what}: error of the norm, mean",
                f"at most {NORM:.0%}",
                f"{away.mean():.1%}, worst {away.max():.1%}, {int((away <= NORM).sum())} of {n} "
                f"hold; standard error of the comparison {noise.mean():.1%} a design "
                f"({result['n_events']} events a point)",
                bool(away.mean() <= NORM),
            ),
        ]
    return table
