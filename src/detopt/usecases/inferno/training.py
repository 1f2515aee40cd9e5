r"""Training of the published network, and its result with hard bins: the benchmark's fast path.

The objective is that of the use case, on the same rows; events come from a fixed training set in
random order, and the optimizer is Adam on float32 weights. The temperature falls geometrically and
the learning rate as a half cosine; the weights are averaged over the last steps. Two things matter
beyond that: a bonus for bins of equal contents in the first half, without which bins die out, and
the probability of signal in place of the class of an event, without which the network learns the
training set by heart.
"""

__all__ = ["Batches", "HardResult", "Recipe", "evaluate_bins", "signal_probability", "train"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import ConfigError
from detopt.objectives import ExpectedUncertainty, Templates
from detopt.random import Seed
from detopt.usecases.inferno.config import BENCHMARKS, Config
from detopt.usecases.inferno.events import NAMES, Events, Mixture
from detopt.usecases.inferno.network import network_parameters, scores_of_bins
from detopt.usecases.inferno.stages import BinCounts, SummaryNetwork

Weights = dict[str, Tensor]
CHUNK = 5_000  # events that are classified at once
N_CHUNKS = 20  # of a test set
HALF = 0.5  # share of the steps in which bins are kept in use
CLASSIFIER_RATE = 3e-3  # learning rate of the classifier at the start
CLASSIFIER_BATCH = 1_000  # events of each class in a step of the classifier


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Args:
        n_training: Events of the training set, half of them signal; 0 for fresh events each step.
        n_steps: Steps of the optimizer.
        batch: Events a step, half of them signal.
        learning_rate: At the start.
        temperatures: Of the softmax, at the start and at the end.
        averaged: Last share of the steps whose weights are averaged.
        classifier_steps: Steps of a classifier on the same training set that replaces the class
            of each event by its probability; 0 to keep the classes.
        bonus: Reward for a nat of entropy of the bins' contents, in units of the logarithm of the
            uncertainty; it falls to 0 over the first half of the steps.
        scales: Typical sizes of the features, which the first layer is started for.
    """

    n_training: int = 200_000
    n_steps: int = 2_000
    batch: int = 2_000
    learning_rate: float = 2e-3
    temperatures: tuple[float, float] = (1.0, 0.1)
    averaged: float = 0.25
    classifier_steps: int = 1_000
    bonus: float = 0.1
    scales: tuple[float, float, float] = (1.0, 1.25, 0.2)


def train(
    config: Config,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, Design], None] | None = None,
) -> Design:
    """Weights of a summary network for `config`.

    Args:
        config: Network, benchmark and kind of slopes; its temperature is not used.
        recipe: How to train.
        seed: Of weights, training set and batches.
        progress: Called with the number of steps done and the present weights.

    Returns:
        The weights, as a design of the use case.
    """
    root = Seed("inferno", "training", seed)
    weights = _start(config, recipe, root)
    batches = Batches(config.signal_mean, recipe, root)
    benchmark = BENCHMARKS[config.benchmark]
    objective = ExpectedUncertainty(benchmark.names, benchmark.widths)
    analysis = BinCounts(benchmark.names)
    network = SummaryNetwork(config.activation, recipe.temperatures[0], slopes=config.slopes)
    rule = torch.optim.Adam(list(weights.values()), lr=recipe.learning_rate, fused=True)
    average, n_averaged = {name: w.detach().clone() for name, w in weights.items()}, 0
    first, last = recipe.temperatures
    for step in range(recipe.n_steps):
        done = step / recipe.n_steps
        for group in rule.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        network.temperature = first * (last / first) ** done
        events = batches.draw()
        rows = analysis(network(events, Design(weights)), events)
        loss = objective.of_templates(rows.templates()).log()
        if done < HALF:
            loss = loss - recipe.bonus * (1 - done / HALF) * _entropy(rows.shares.mean(dim=0))
        rule.zero_grad()
        loss.backward()
        rule.step()
        if done >= 1 - recipe.averaged:
            n_averaged += 1
            for name, mean in average.items():
                mean.lerp_(weights[name].detach(), 1 / n_averaged)
        if progress is not None:
            progress(step + 1, Design(weights).detach())
    return Design(average if n_averaged else weights).detach()


@dataclass(frozen=True)
class HardResult:
    """What a network is worth with hard bins.

    Args:
        uncertainty: Expected uncertainty of s by benchmark.
        std_error: Its Monte Carlo error (jackknife over chunks of events).
        templates: Counts, with slopes in (s, r, lambda, b).
    """

    uncertainty: dict[str, float]
    std_error: dict[str, float]
    templates: Templates


def evaluate_bins(
    design: Mapping[str, Tensor], config: Config, n_events: int, seed: Seed
) -> HardResult:
    """Expected uncertainty in each of B0 to B4 with hard bins on fresh events.

    Args:
        design: Weights of the network.
        config: Its shape, and the mean of the signal.
        n_events: Fresh events, half of them signal, in `N_CHUNKS` chunks of equal size.
        seed: Of the events; streams of training and test must differ.
    """
    source = Mixture(config.signal_mean)
    network = SummaryNetwork(config.activation, None)
    analysis = BinCounts(NAMES)
    parts = []
    with torch.no_grad():
        for number in range(N_CHUNKS):
            rng = seed.child(number).generator()
            events = source(n_events // N_CHUNKS, rng, torch.float32)
            parts.append(analysis(network(events, Design(design)), events).templates())
    whole = _mean(parts)
    found = {name: _uncertainty(whole, name) for name in BENCHMARKS}
    errors = {}
    for name in BENCHMARKS:
        left = [_uncertainty(_mean(parts[:i] + parts[i + 1 :]), name) for i in range(N_CHUNKS)]
        spread = torch.tensor(left, dtype=torch.float64).var(correction=0)
        errors[name] = float(((N_CHUNKS - 1) * spread).sqrt())
    return HardResult(found, errors, whole)


def _mean(parts: Sequence[Templates]) -> Templates:
    """Templates of chunks of equal size together."""
    n_parts = len(parts)
    return Templates(
        torch.stack([part.counts for part in parts]).mean(dim=0),
        torch.stack([part.slopes for part in parts]).mean(dim=0),
        torch.stack([part.simulation_variance for part in parts]).mean(dim=0) / n_parts,
    )


def _uncertainty(templates: Templates, name: str) -> float:
    benchmark = BENCHMARKS[name]
    columns = [NAMES.index(parameter) for parameter in benchmark.names]
    chosen = replace(templates, slopes=templates.slopes[:, columns])
    return float(ExpectedUncertainty(benchmark.names, benchmark.widths).of_templates(chosen))


def _start(config: Config, recipe: Recipe, root: Seed) -> Weights:
    """Weights in float32; the first layer sees features in units of their scales."""
    parameters = network_parameters((3, *config.hidden, config.bins), root)
    weights = {p.name: p.start_value.to(torch.float32) for p in parameters}
    weights["weight_0"] = weights["weight_0"] / torch.tensor(recipe.scales)
    return {name: value.requires_grad_() for name, value in weights.items()}


def _entropy(shares: Float[Tensor, " bins"]) -> Tensor:
    return -torch.xlogy(shares, shares).sum()


class Batches:
    """Batches of events: all of a training set in random order, then again; or fresh ones.

    Args:
        signal_mean: Mean of the first two features of the signal.
        recipe: Sizes, and whether a classifier replaces the classes.
        seed: Of events and order.

    Raises:
        ConfigError: A batch is larger than the training set, or a number of events is odd.
    """

    def __init__(self, signal_mean: float, recipe: Recipe, seed: Seed) -> None:
        if recipe.batch % 2 or recipe.n_training % 2:
            raise ConfigError(
                f"`batch` and `n_training` must be even, half of each class, got {recipe.batch} "
                f"and {recipe.n_training}."
            )
        if recipe.n_training and recipe.batch > recipe.n_training:
            raise ConfigError(
                f"`batch` must be <= `n_training`, got {recipe.batch} and {recipe.n_training}. "
                "Take 0 training events for fresh ones in each step."
            )
        self.batch = recipe.batch
        self.source = Mixture(signal_mean)
        self.rng = seed.child("batches").generator()
        self.events: Events | None = None
        self.order = torch.empty(2, 0, dtype=torch.long)
        if recipe.n_training:
            rng = seed.child("events").generator()
            self.events = self.source(recipe.n_training, rng, torch.float32)
        if self.events is not None and recipe.classifier_steps:
            share = signal_probability(self.events, recipe.classifier_steps, seed)
            self.events = Events(self.events.features, share)

    def draw(self) -> Events:
        """The next batch, signal first."""
        if self.events is None:
            return self.source(self.batch, self.rng, torch.float32)
        half = self.batch // 2
        if self.order.shape[1] < half:
            n_class = len(self.events.features) // 2
            orders = [torch.randperm(n_class, generator=self.rng) + n_class * k for k in (0, 1)]
            self.order = torch.stack(orders)
        chosen = self.order[:, :half].flatten()
        self.order = self.order[:, half:]
        return Events(self.events.features[chosen], self.events.signal_share[chosen])


def signal_probability(events: Events, n_steps: int, seed: Seed) -> Float[Tensor, " n_events"]:
    """Probability of signal, learned by a classifier from the classes of the same events.

    The objective is linear in what each event adds to a bin. Its class, which is random where the
    classes overlap, may so be replaced by the expectation at its features, without a bias if the
    classifier is right; the network then has less noise to learn by heart (Rao and Blackwell).
    """
    rng = seed.child("classifier").generator()
    sizes = (3, 100, 100, 1)
    layers = {
        p.name: p.start_value.to(torch.float32)
        for p in network_parameters(sizes, seed.child("classifier"))
    }
    layers["weight_0"] = layers["weight_0"] / events.features.std(dim=0)
    for value in layers.values():
        value.requires_grad_()
    rule = torch.optim.Adam(list(layers.values()), lr=CLASSIFIER_RATE, fused=True)
    n_class = len(events.features) // 2
    for step in range(n_steps):
        for group in rule.param_groups:
            group["lr"] = CLASSIFIER_RATE * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        chosen = torch.randint(n_class, (2, CLASSIFIER_BATCH), generator=rng)
        chosen = torch.cat([chosen[0], chosen[1] + n_class])
        score = scores_of_bins(layers, events.features[chosen], "silu").squeeze(-1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            score, events.signal_share[chosen]
        )
        rule.zero_grad()
        loss.backward()
        rule.step()
    with torch.no_grad():
        pieces = events.features.split(CHUNK)
        return torch.cat([scores_of_bins(layers, x, "silu") for x in pieces]).squeeze(-1).sigmoid()
