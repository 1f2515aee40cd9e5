"""Numbers of a known geometry by a small network on quantiles of the deviations."""

__all__ = ["NetworkAnalysis", "QuantileNetwork", "deviation_quantiles", "train_network"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.errors import DomainError
from detopt.pipeline import Analysis
from detopt.random import Seed
from detopt.usecases.muon_scanner.calibration import CalibrationRows, calibration_rows
from detopt.usecases.muon_scanner.flow import Scans
from detopt.usecases.muon_scanner.industry.deviations import Deviations
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.solids import scattering_moments
from detopt.usecases.muon_scanner.quantiles import smooth_quantiles

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
WINDOW = 0.08  # half width of smooth quantiles, in levels
HIGHEST, HIGH = 0.9, 0.6  # quantiles of the sensitivity between which a group of muons lies
LEAST_ANGLE = 1e-5  # rad; keeps logarithms finite
LEAST_SHIFT = 1e-6  # m; idem
N_HIDDEN = 16
LEARNING_RATE, DECAY, N_STEPS = 1e-2, 1e-4, 600
HELD_OUT = 0.2  # share of the training scans that chooses the step to stop at


def deviation_quantiles(
    data: Deviations, geometry: KnownGeometry
) -> Float[Tensor, "n_volumes n_features"]:
    r"""Quantiles of the angular and spatial deviations of groups of muons.

    For each parameter :math:`\nu` muons are grouped by the sensitivity
    :math:`|\partial \ln S_{00} / \partial \nu|` of their scattering along the measured mean line,
    at the nominal parameters: the tenth that is most sensitive, and the next three tenths. Each
    group gives five quantiles of the logarithm of the angle between the tracks and as many of the
    logarithm of their distance at the reference height.

    Args:
        data: Deviations of the muons of several scans.
        geometry: The solids.

    Note:
        Differentiable through the deviations and their weights; the groups are held fixed.
    """
    kick, shift = data.deviation.unbind(0)
    spread = data.lines.secant.square()
    angle = (kick[0].square() + kick[1].square() / spread + LEAST_ANGLE**2).log() / 2
    distance = (shift[0].square() + shift[1].square() / spread + LEAST_SHIFT**2).log() / 2
    nominal = geometry.nominal.to(angle)[None].expand(len(angle), -1).contiguous()

    def log_width(parameters: Tensor) -> Tensor:
        bodies = geometry.bodies(parameters)
        return scattering_moments(bodies, data.lines, geometry.reference)[0].clamp_min(1e-12).log()

    features = []
    for index in range(nominal.shape[1]):
        tangent = torch.zeros_like(nominal)
        tangent[:, index] = 1
        with torch.no_grad():
            sensitivity = torch.func.jvp(log_width, (nominal,), (tangent,))[1].abs()
            highest = _level(sensitivity, data.weight, HIGHEST)
            high = _level(sensitivity, data.weight, HIGH)
        for group in (sensitivity >= highest, (sensitivity >= high) & (sensitivity < highest)):
            weight = data.weight * group
            for values in (angle, distance):
                features += smooth_quantiles(values, weight, LEVELS, WINDOW)
    return torch.cat(features, dim=-1)


def _level(values: Tensor, weights: Tensor, level: float) -> Float[Tensor, "n_volumes 1"]:
    """Quantile of the sensitivity among the muons that are measured."""
    (found,) = smooth_quantiles(values, weights, (level,), WINDOW / 10)
    return found


class QuantileNetwork(nn.Module):
    r"""Parameters of a geometry from `deviation_quantiles`: a frozen perceptron.

    .. math:: \hat\nu = \nu_0 + w\, [W_2 \tanh(W_1 f + b_1) + W_3 f + b_2]

    with features f in units of their spread over the training scans, the middle :math:`\nu_0` and
    the spread w of the parameters. `train_network` makes one.

    Args:
        geometry: The solids.
        mean: Mean of each feature in training.
        spread: Standard deviation of each feature in training.
    """

    mean: Tensor
    spread: Tensor
    middle: Tensor
    width: Tensor

    def __init__(
        self,
        geometry: KnownGeometry,
        mean: Float[Tensor, " n_features"],
        spread: Float[Tensor, " n_features"],
    ) -> None:
        super().__init__()
        self.geometry = geometry
        ends = torch.tensor([geometry.low, geometry.high], dtype=mean.dtype)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.register_buffer("middle", ends.mean(0))
        self.register_buffer("width", (ends[1] - ends[0]) / 12**0.5)
        n_features, n_parameters = len(mean), ends.shape[1]
        self.straight = nn.Linear(n_features, n_parameters, dtype=mean.dtype)
        self.hidden = nn.Linear(n_features, N_HIDDEN, dtype=mean.dtype)
        self.bent = nn.Linear(N_HIDDEN, n_parameters, bias=False, dtype=mean.dtype)

    def forward(
        self, features: Float[Tensor, "n_volumes n_features"]
    ) -> Float[Tensor, "n_volumes n_parameters"]:
        """Estimates [m]."""
        reduced = (features - self.mean) / self.spread
        bent = self.bent(self.hidden(reduced).tanh())
        estimate: Tensor = self.middle + self.width * (self.straight(reduced) + bent)
        return estimate


class NetworkAnalysis(Analysis[Deviations, Scans, CalibrationRows]):
    """What a frozen network says of each scan, beside the truth; for `CalibratedError`.

    Args:
        network: A trained network; its weights get no gradient.
    """

    def __init__(self, network: QuantileNetwork) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    def forward(self, estimate: Deviations, events: Scans) -> CalibrationRows:
        """One row a scan, with the mean over the parameters where there are several."""
        assert events.parameters is not None
        predicted = self.network(deviation_quantiles(estimate, self.network.geometry))
        return calibration_rows(predicted, events.parameters)


def train_network(
    geometry: KnownGeometry,
    scan: Callable[[Tensor, torch.Generator], Deviations],
    n_scans: int,
    seed: int,
) -> QuantileNetwork:
    """A network trained on simulated scans at random parameters, and frozen.

    Args:
        geometry: The solids and the ranges of the parameters.
        scan: Maps parameters of a few scans, and a random generator, to their deviations.
        n_scans: Scans to train with; a fifth of them chooses when to stop.
        seed: Of scans and starting weights.

    Raises:
        DomainError: There are fewer than 20 scans.
    """
    if n_scans < 20:
        raise DomainError(f"`n_scans` must be >= 20 to train and to hold some out, got {n_scans}.")
    rng = Seed(seed, "quantile network").generator()
    truth = geometry.draw(n_scans, rng, torch.float32)
    with torch.no_grad():
        features = torch.cat(
            [deviation_quantiles(scan(row, rng), geometry) for row in truth.split(4)]
        )
    n_train = int(n_scans * (1 - HELD_OUT))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = QuantileNetwork(
            geometry, features[:n_train].mean(0), features[:n_train].std(0).clamp_min(1e-9)
        )
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=DECAY)
    best, kept = torch.inf, {key: value.clone() for key, value in network.state_dict().items()}
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        residual = (network(features) - truth) / network.width
        residual[:n_train].square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            residual = (network(features[n_train:]) - truth[n_train:]) / network.width
            loss = float(residual.square().mean())
        if loss < best:
            best, kept = loss, {k: value.clone() for k, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network.requires_grad_(False)
