r"""INFERNO: which bins of three features measure a small signal best, nuisances included?

A network assigns events to bins, and the counts in the bins measure the yield s of the signal,
while shift r and rate lambda of the background, and in one variant its yield b, are unknown. A
network trained to tell signal from background loses up to a third of the precision. Design
parameters: the weights of the network. Objective: expected standard deviation of s, nuisance
parameters profiled.

The exact likelihood bounds it from below: 14.705, 15.503, 15.634, 15.605, 16.877 for B0 to B4.

References:
    P. de Castro and T. Dorigo, Comput. Phys. Commun. 244 (2019) 170, arXiv:1806.04743.
"""

__all__ = ["Config", "build"]

import dataclasses

from detopt.design import DesignSpace
from detopt.objectives import ExpectedUncertainty
from detopt.pipeline import Pipeline
from detopt.random import Seed
from detopt.usecases.inferno.config import BENCHMARKS, Config
from detopt.usecases.inferno.events import Mixture
from detopt.usecases.inferno.network import network_parameters
from detopt.usecases.inferno.stages import BinCounts, Ideal, SummaryNetwork

RECOMMENDED = {"rounds": 300}
CHECK_EVENTS = 4_000


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes; hard bins judge its results."""
    names = BENCHMARKS[config.benchmark].names
    sizes = (3, *config.hidden, config.bins)
    soft = Pipeline(
        DesignSpace(
            network_parameters(sizes, Seed("inferno", config.network_seed), config.start_width)
        ),
        Mixture(config.signal_mean),
        Ideal(),
        SummaryNetwork(config.activation, config.temperature, slopes=config.slopes),
        BinCounts(names),
        ExpectedUncertainty(names, BENCHMARKS[config.benchmark].widths),
        n_events=config.n_events,
        chunk_size=max(config.n_events, 20_000),
        objective_name="expected uncertainty of the signal yield [events]",
    )
    hard = dataclasses.replace(soft, reconstruction=SummaryNetwork(config.activation, None))
    return dataclasses.replace(soft, hard=hard)
