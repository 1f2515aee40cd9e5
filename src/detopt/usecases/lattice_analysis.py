r"""Lattice analysis: how should a compute budget be shared between three lattice spacings?

A mass is computed at three lattice spacings and extrapolated to zero. A finer lattice weighs more
in the extrapolation, but its configurations cost more and are longer correlated in the Markov
chain. Each configuration may be measured with several sources, which lowers the noise of the
measurement, not that of the gauge field. Short pilot chains are generated; effective masses, a
correlated plateau fit and the extrapolation in powers of the squared spacing follow, with errors
by the Gamma method. Design parameters: `share` of the budget for each spacing, number of
`sources`. Objective: the error of the extrapolated mass that chains of the planned lengths would
have [MeV].

References:
    T. Dorigo et al., arXiv:2203.13818, section 3.4; A. Ramos, arXiv:1809.01289.
"""

__all__ = ["Config", "best_share", "build", "exact_error", "pilot", "plateau"]

import math

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from detopt.design import Continuous, Design, DesignSpace, FixedSum, Interval
from detopt.inference.montecarlo_errors import (
    ExponentialTail,
    Observables,
    concatenate,
    covariance,
    elementwise,
    gamma_method,
    least_squares_fit,
)
from detopt.pipeline import FunctionProblem
from detopt.units import Number

HBARC = 0.1973269804  # GeV fm; CODATA 2018
SPACINGS = {"coarse": 0.12, "medium": 0.09, "fine": 0.06}  # fm
MASS = 0.5  # GeV, in the continuum
SLOPE = 1.5  # GeV/fm^2, of the mass in the squared spacing
EXCITED = (0.3, 1.5)  # amplitude of an excited state, and its gap in inverse spacings
TIMES = (4, 9)  # first and last time slice of the fit, +1
GAUGE_NOISE = 0.05  # relative fluctuation of the mass, from the gauge field
SOURCE_NOISE = 0.03  # of the correlator relative to its value, from one source
SLOW_SHARE = 0.5  # of the gauge noise, in the slow mode
FAST_TIME = 0.5  # exponential autocorrelation time of the fast mode, in configurations
SLOW_TIME = 4.0  # idem of the slow mode, on the coarsest lattice; grows as spacing^-2
COST_POWER = 4.0  # a configuration costs spacing^-4
GENERIC = {"share": (0.3, 0.3, 0.4), "sources": 4.0}
CHECK_EVENTS = 1
RECOMMENDED = {"rounds": 40, "method_options": {"learning_rate": 0.1}, "evaluation_events": 40}


class Config(BaseModel):
    """Options of the use case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_pilot: int = Field(1_000, ge=200, description="Configurations of a pilot chain")
    budget: Number = Field(
        100_000.0, gt=0, description="Budget, in configurations of the coarsest lattice"
    )
    source_cost: Number = Field(
        0.02, gt=0, description="Cost of a source, in costs of a configuration"
    )


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    space = DesignSpace(
        [
            Continuous("share", [1 / 3] * 3, FixedSum(1.0, 0.02), description="Of the budget"),
            Continuous("sources", 8.0, Interval(1.0, 64.0), description="In a configuration"),
        ]
    )
    human = Design({k: torch.tensor(v, dtype=torch.float64) for k, v in GENERIC.items()})
    return FunctionProblem(
        space,
        _Analysis(config),
        n_events=4,
        chunk_size=4,
        baselines={"rule of thumb": human},
        objective_name="expected error of the extrapolated mass [MeV]",
        dtype=torch.float64,
    )


class _Analysis:
    """The expected error, pilot by pilot."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, design: Design, n_events: int, rng: Generator) -> Float[Tensor, " n_events"]:
        return torch.stack([self._error(design, rng) for _ in range(n_events)])

    def _error(self, design: Design, rng: Generator) -> Float[Tensor, ""]:
        sources = design["sources"].double()
        planned = _lengths(self.config, design["share"].double(), sources)
        lengths = dict(zip(SPACINGS, planned, strict=True))
        masses = concatenate(
            [
                plateau(pilot(name, self.config.n_pilot, sources, rng)).reshape(1)
                * (HBARC / spacing)
                for name, spacing in SPACINGS.items()
            ]
        )
        start = torch.tensor([MASS, 0.0, 0.0])
        curve = least_squares_fit(_curve, _squares(), masses, start, torch.eye(3).double())
        tails = {name: ExponentialTail(_slow_time(a)) for name, a in SPACINGS.items()}
        return 1000 * gamma_method(curve.parameters[0], tails).expected_error(lengths)


def pilot(name: str, n: int, sources: Tensor, rng: Generator) -> Observables:
    r"""Correlators of a short simulation of the ensemble `name`.

    .. math::
        C_i(t) = \left(e^{-m t} + A e^{-(m + \Delta) t}\right)
            \left(1 - t\, \epsilon_i + \eta_i(t) / \sqrt{n_s}\right)

    with the noise :math:`\epsilon` of the gauge field, a sum of a fast and a slow mode, and the
    white noise :math:`\eta` of a source.

    Args:
        name: Name of the ensemble.
        n: Number of configurations.
        sources: Number :math:`n_s` of sources; need not be whole.
        rng: Source of random numbers.
    """
    spacing = SPACINGS[name]
    times = torch.arange(*TIMES, dtype=torch.float64)
    amplitude, gap = EXCITED
    mass = (MASS + SLOPE * spacing**2) * spacing / HBARC
    mean = torch.exp(-mass * times) * (1 + amplitude * torch.exp(-gap * times))
    gauge = (GAUGE_NOISE * mass) * sum(
        share**0.5 * _chain(phi, n, rng) for share, phi in _modes(spacing)
    )
    white = SOURCE_NOISE * torch.randn(len(times), n, generator=rng, dtype=torch.float64)
    samples = mean[:, None] * (1 - times[:, None] * gauge + white / sources.sqrt())
    return Observables.from_samples(samples, name)


def plateau(correlator: Observables) -> Observables:
    """The mass in inverse spacings: a correlated fit of a constant to the effective masses."""
    effective = elementwise(
        lambda now, later: torch.log(now / later), correlator[:-1], correlator[1:]
    )
    n = len(effective)
    matrix = covariance(effective, gamma_method(effective))
    start = effective.value.detach().mean().reshape(1)
    fit = least_squares_fit(_constant, torch.ones(n).double(), effective, start, matrix)
    return fit.parameters[0]


def exact_error(
    config: Config, share: Float[Tensor, "*batch 3"], sources: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    r"""The exact error of the extrapolated mass [MeV], to leading order in the noise.

    .. math::
        \sigma^2 = \sum_e \frac{w_e^2 v_e}{N_e}, \qquad
        v_e = 2 \tau_{int,e}\, \sigma_{g,e}^2 + \frac{\sigma_s^2}{n_s\, 1^T (D D^T)^{-1} 1}

    with the weights :math:`w_e` of the extrapolation and D the difference of neighbouring times.

    Args:
        config: Options of the use case.
        share: Shares of the budget.
        sources: Number of sources.
    """
    variance = _weighted_variances(sources) / _lengths(config, share, sources)
    return 1000 * variance.sum(-1).sqrt()


def best_share(sources: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    r"""The exact optimum of the shares: in proportion to :math:`|w_e| \sqrt{v_e c_e}`.

    Args:
        sources: Number of sources.
    """
    root = (_weighted_variances(sources) * _prices()).sqrt()
    return root / root.sum(-1, keepdim=True)


def _weighted_variances(sources: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """Contributions to the squared error [GeV^2], times the number of configurations."""
    spacings = _spacings()
    difference = torch.eye(TIMES[1] - TIMES[0], dtype=torch.float64).diff(dim=0)
    reduction = torch.linalg.inv(difference @ difference.mT).sum()
    tau = torch.tensor([_tau_int(a) for a in SPACINGS.values()], dtype=torch.float64)
    gauge = (GAUGE_NOISE * (MASS + SLOPE * spacings.square())).square()
    source = (SOURCE_NOISE * HBARC / spacings).square() / reduction
    single = 2 * tau * gauge + source / sources[..., None]
    powers = _squares()[:, None] ** torch.arange(3)
    variances: Tensor = single * torch.linalg.inv(powers)[0].square()
    return variances


def _spacings() -> Float[Tensor, "3"]:
    return torch.tensor(list(SPACINGS.values()), dtype=torch.float64)


def _squares() -> Float[Tensor, "3"]:
    """Squared spacings, in units of the coarsest."""
    return (_spacings() / SPACINGS["coarse"]).square()


def _prices() -> Float[Tensor, "3"]:
    """Cost of a configuration, in those of the coarsest lattice."""
    prices: Tensor = (SPACINGS["coarse"] / _spacings()) ** COST_POWER
    return prices


def _lengths(config: Config, share: Tensor, sources: Tensor) -> Float[Tensor, "*batch 3"]:
    """Numbers of configurations that the shares of the budget pay."""
    measured = 1 + config.source_cost * (sources[..., None] - 1)
    return config.budget * share / (_prices() * measured)


def _modes(spacing: float) -> list[tuple[float, float]]:
    """Shares of the gauge noise and factors phi of its modes from one configuration to the next."""
    return [
        (1 - SLOW_SHARE, math.exp(-1 / FAST_TIME)),
        (SLOW_SHARE, math.exp(-1 / _slow_time(spacing))),
    ]


def _slow_time(spacing: float) -> float:
    return SLOW_TIME * (SPACINGS["coarse"] / spacing) ** 2


def _tau_int(spacing: float) -> float:
    return sum(share * (1 + phi) / (2 * (1 - phi)) for share, phi in _modes(spacing))


def _chain(phi: float, n: int, rng: Generator) -> Float[Tensor, " n"]:
    """An autoregressive chain of unit variance, in equilibrium from its start."""
    from scipy.signal import lfilter

    noise = torch.randn(n, generator=rng, dtype=torch.float64)
    noise[1:] *= math.sqrt(1 - phi**2)
    return torch.from_numpy(lfilter([1.0], [1.0, -phi], noise.numpy()))


def _constant(parameters: Tensor, ones: Tensor) -> Tensor:
    return parameters * ones


def _curve(parameters: Tensor, squares: Tensor) -> Tensor:
    return parameters[0] + squares * (parameters[1] + squares * parameters[2])
