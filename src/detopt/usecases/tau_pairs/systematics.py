r"""The systematic variations of the tau-pair analysis, and how they act on events.

Scales and resolutions move features, the others change weights. All are in units of their own
width: 0 is nominal, and :math:`\pm 1` the usual up and down variation.
"""

__all__ = ["VARIATIONS", "Detector", "nuisances"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Nuisance, Nuisances, Simulator
from detopt.usecases.tau_pairs.events import (
    JET_RESOLUTION,
    MET_NOISE,
    VISIBLE_RESOLUTION,
    Features,
    Pairs,
)

YIELDS = (240.0, 160.0, 12_000.0, 2_400.0, 6_000.0)  # before the trigger: ggH, VBF, Z, tt, W
TRIGGER_THRESHOLD, TRIGGER_WIDTH = 40.0, 6.0  # GeV, of the first tau
TINY = 1.0  # GeV^2, keeps square roots smooth
# Name: (size of one unit, description)
VARIATIONS = {
    "tau_energy_scale": (0.03, "energy of visible taus, and the missing momentum with it"),
    "jet_energy_scale": (0.05, "mass of the jets, and the missing momentum by recoil"),
    "jet_resolution": (0.20, "smearing of the jets"),
    "met_resolution": (0.20, "smearing of the missing momentum"),
    "trigger_threshold": (1.5, "turn-on of the trigger [GeV]"),
    "luminosity": (0.015, "normalization of all"),
    "tau_identification": (0.03, "normalization of all with two real taus"),
    "z_normalization": (0.10, "normalization of Z"),
    "top_normalization": (0.15, "normalization of top pairs"),
    "fake_normalization": (0.30, "normalization of W"),
    "ggh_theory": (0.05, "normalization of gluon fusion with two jets"),
    "z_boost": (0.20, "weight (boost / 60 GeV)^0.2 of Z"),
    "z_jets": (0.30, "weight (jet mass / 160 GeV)^0.3 of Z"),
    "top_momentum": (0.20, "weight (momentum of the tau / 60 GeV)^0.2 of top pairs"),
    "fake_momentum": (0.30, "weight (momentum of the fake tau / 40 GeV)^0.3 of W"),
}


def nuisances() -> Nuisances:
    """One nuisance parameter of unit width a variation."""
    return Nuisances(
        [Nuisance(name, 0.0, 1.0, description=text) for name, (_, text) in VARIATIONS.items()]
    )


class Detector(Simulator[Pairs, Features]):
    """Measures the features, and weights events by yield, trigger and variations."""

    def forward(self, events: Pairs, design: Design, rng: torch.Generator) -> Features:  # noqa: ARG002
        """Features and weights; all noise was drawn with the events."""
        shift = {name: size * design[name] for name, (size, _) in VARIATIONS.items()}
        noise = events.noise
        scale = 1 + shift["tau_energy_scale"]
        first, second = (
            leg * scale * (VISIBLE_RESOLUTION * noise[..., 2 + i, None]).exp()
            for i, leg in enumerate((events.first, events.second))
        )
        smearing = MET_NOISE * (1 + shift["met_resolution"])
        recoil = events.first + events.second + events.missing
        missing = (
            events.missing
            + smearing * noise[..., :2]
            - shift["tau_energy_scale"] * (events.first + events.second)
            + shift["jet_energy_scale"] * recoil
        )
        jet_smearing = JET_RESOLUTION * (1 + shift["jet_resolution"])
        jet_mass = (
            events.jet_mass * (1 + shift["jet_energy_scale"]) * (jet_smearing * noise[..., 4]).exp()
        )
        tau, other, met = (_length(vector) for vector in (first, second, missing))
        product = (first * second).sum(dim=-1)
        visible = 2 * (tau * other * events.rapidity_gap.cosh() - product)
        transverse = 2 * (tau * met - (first * missing).sum(dim=-1))
        return Features(
            visible_mass=(visible + TINY).sqrt(),
            missing=met,
            tau_momentum=tau,
            transverse_mass=(transverse + TINY).sqrt(),
            jet_mass=jet_mass,
            jet_gap=events.jet_gap,
            weights=_weights(events, tau, shift),
        )


def _length(vector: Tensor) -> Tensor:
    return (vector.square().sum(dim=-1) + TINY).sqrt()


def _weights(
    events: Pairs, tau: Float[Tensor, "n 5"], shift: dict[str, Tensor]
) -> Float[Tensor, "n 5"]:
    threshold = TRIGGER_THRESHOLD + shift["trigger_threshold"]
    passed = torch.sigmoid((tau - threshold) / TRIGGER_WIDTH)
    one = torch.ones_like(events.boost[:, 0])
    real = (1 + shift["tau_identification"]) * one
    z_shape = (
        shift["z_boost"] * ((events.boost[:, 2] + 1) / 60.0).log()
        + shift["z_jets"] * (events.jet_mass[:, 2] / 160.0).log()
    ).exp()
    top_shape = (shift["top_momentum"] * (_length(events.first[:, 3]) / 60.0).log()).exp()
    fake_shape = (shift["fake_momentum"] * (_length(events.second[:, 4]) / 40.0).log()).exp()
    factors = [
        real * (1 + shift["ggh_theory"]),
        real,
        real * (1 + shift["z_normalization"]) * z_shape,
        real * (1 + shift["top_normalization"]) * top_shape,
        one * (1 + shift["fake_normalization"]) * fake_shape,
    ]
    yields = torch.tensor(YIELDS, dtype=tau.dtype, device=tau.device)
    return yields * (1 + shift["luminosity"]) * torch.stack(factors, dim=1) * passed
