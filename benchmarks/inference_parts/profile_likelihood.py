"""Profile likelihood of 10 bins with 5 nuisance parameters: accuracy, time beside pyhf, coverage.

One signal with a free strength, one background with two shape and three normalization systematics.
The operation is a fit at a fixed strength with its value and its gradient with respect to both
templates. pyhf fits the same models one by one, without a gradient, in the same process; its
hypothesis test is beside ours. Times are CPU time of one thread, medians of repetitions.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detopt.inference.asymptotics import hypothesis_test
from detopt.inference.fits import fit
from detopt.inference.histfactory import (
    Channel,
    HistFactoryModel,
    HistoSys,
    NormFactor,
    NormSys,
    Sample,
    histfactory_model,
)
from detopt.inference.toys import interval_coverage
from detopt.random import Seed

N_BINS = 10
STRENGTH = 1.0
BATCHES = (1, 32, 256, 1024)


def run(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    repeats = 3 if quick else 15
    result: dict[str, Any] = {"value": _values(4 if quick else 20), "gradient": _gradients()}
    result["time"] = _times(repeats, BATCHES[:2] if quick else BATCHES)
    n_experiments = 1_000 if quick else 10_000
    model, _ = make_models(1)
    one = model.with_inputs(*[tensor.detach() for tensor in model.inputs()])
    coverage = interval_coverage(
        one, one.start, n_experiments, Seed(11, "profile coverage").generator(), chunk_size=2_500
    )
    result["coverage"] = {
        "fraction": coverage.fraction,
        "std_error": coverage.std_error,
        "n_experiments": n_experiments,
    }
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    value, gradient, coverage = result["value"], result["gradient"], result["coverage"]
    table = [
        (
            "likelihood at random points against pyhf, relative",
            "<= 1e-8",
            f"{value['likelihood']:.1e}",
            value["likelihood"] <= 1e-8,
        ),
        (
            "profiled value above pyhf's",
            "<= 1e-8",
            f"{value['profiled_excess']:.1e}",
            value["profiled_excess"] <= 1e-8,
        ),
        (
            "profiled value at pyhf's minimum, polished, relative",
            "<= 1e-8",
            f"{value['profiled']:.1e}",
            value["profiled"] <= 1e-8,
        ),
        (
            "gradient of the profiled value against differences, relative",
            "<= 1e-6",
            f"{gradient['value']:.1e}",
            gradient["value"] <= 1e-6,
        ),
        (
            "gradient of the fitted parameters against differences, relative",
            "<= 1e-6",
            f"{gradient['parameters']:.1e}",
            gradient["parameters"] <= 1e-6,
        ),
    ]
    for size, times in result["time"]["batches"].items():
        barred = int(size) == max(map(int, result["time"]["batches"]))
        what = f"fixed fit, value and gradient, batch of {size}: ms a model"
        ratio = f"{times['pyhf_over_ours']:.1f} times that"
        measured = f"{times['fit_ms']:.3f} (pyhf's fit, without gradient: {ratio})"
        table.append(
            (what, "<= 1" if barred else "-", measured, not barred or times["fit_ms"] <= 1)
        )
        measured = (
            f"{times['test_ms']:.3f} "
            f"(pyhf's hypotest: {times['pyhf_test_over_ours']:.1f} times that)"
        )
        table.append(
            (f"CLs with bands and gradient, batch of {size}: ms a model", "-", measured, True)
        )
    near = abs(coverage["fraction"] - 0.68) <= 0.02
    measured = f"{100 * coverage['fraction']:.1f} +- {100 * coverage['std_error']:.1f} %"
    table.append((f"coverage in {coverage['n_experiments']} toys", "68 +- 2 %", measured, near))
    return table


def make_models(n: int, seed: int = 0) -> tuple[HistFactoryModel, Tensor]:
    """A batch of models with templates drawn at random, which need gradients, and their data."""
    rng = Seed(seed, "profile models").generator()
    base = torch.linspace(0, 1, N_BINS, dtype=torch.float64)
    noise = 0.9 + 0.2 * torch.rand(2, n, N_BINS, generator=rng, dtype=torch.float64)
    signal = (30 * torch.exp(-((base - 0.6) ** 2) / 0.02) + 1) * noise[0]
    background = 100 * torch.exp(-base) * noise[1]
    model = _model(signal.requires_grad_(), background.requires_grad_())
    counts = torch.poisson((signal + background).detach(), generator=rng)
    return model, model.data(counts).detach()


def _model(signal: Tensor, background: Tensor, low: float = -5.0) -> HistFactoryModel:
    ramp = torch.linspace(-0.1, 0.1, N_BINS, dtype=torch.float64)
    wave = 0.05 * torch.sin(6 * ramp / 0.1)

    def shape(name: str, change: Tensor) -> HistoSys:
        return HistoSys(name, background * (1 - change), background * (1 + 1.2 * change))

    def norm(name: str, low: float, high: float) -> NormSys:
        return NormSys(name, *torch.tensor([low, high], dtype=torch.float64))

    modifiers = (
        shape("slope", ramp),
        shape("wave", wave),
        norm("rate", 0.95, 1.06),
        norm("theory", 0.9, 1.1),
    )
    channel = Channel(
        "region",
        (
            Sample("signal", signal, (NormFactor("mu"), norm("efficiency", 0.97, 1.03))),
            Sample("background", background, modifiers),
        ),
    )
    return histfactory_model([channel], "mu").with_bounds("mu", low, 10.0)


def to_pyhf(signal: Tensor, background: Tensor, low: float = -5.0) -> Any:
    """The same model in pyhf."""
    import pyhf

    from detopt.inference.workspaces import to_workspace

    model = _model(signal.detach(), background.detach(), low)
    spec = to_workspace(model, (signal + background).detach()).as_dict()
    return pyhf.Workspace(spec).model()


def _templates(model: HistFactoryModel) -> tuple[Tensor, Tensor]:
    signal, background = (sample.counts for sample in model.channels[0].samples)
    return signal, background


def _values(n: int) -> dict[str, float]:
    """Largest deviations from pyhf; its fit stops early, so its minimum is also polished."""
    import pyhf

    model, data = make_models(n, seed=1)
    signal, background = _templates(model)
    fixed = fit(model, data, {"mu": STRENGTH})
    rng = np.random.default_rng(5)
    worst, excess, profiled = 0.0, -np.inf, 0.0
    for i in range(n):
        theirs = to_pyhf(signal[i], background[i])
        own = _model(signal[i].detach(), background[i].detach())
        numbers = data[i].numpy()
        for _ in range(10):
            point = np.array(theirs.config.suggested_init()) + rng.uniform(-1, 1, 6)
            expected = -float(theirs.logpdf(point, numbers)[0])
            found = float(own.negative_log_likelihood(torch.tensor(point), data[i]))
            worst = max(worst, abs(found - expected) / abs(expected))
        point, twice = pyhf.infer.mle.fixed_poi_fit(
            STRENGTH, numbers, theirs, return_fitted_val=True
        )
        ours = float(fixed.value[i].detach())
        excess = max(excess, ours - float(twice) / 2)
        at_ours = -float(theirs.logpdf(fixed.parameters[i].detach().numpy(), numbers)[0])
        profiled = max(profiled, abs(at_ours - ours) / abs(ours))
    return {"likelihood": worst, "profiled_excess": excess, "profiled": profiled}


def _gradients() -> dict[str, float]:
    """Largest deviation from central differences of the fourth order, relative to the largest."""
    model, data = make_models(3, seed=2)
    leaves = [tensor.detach() for tensor in _templates(model)]

    def outputs(signal: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        found = fit(_model(signal, background), data, {"mu": STRENGTH})
        return found.value.sum(), found.parameters.sum()

    inputs = [tensor.clone().requires_grad_() for tensor in leaves]
    exact = [torch.autograd.grad(output, inputs, retain_graph=True) for output in outputs(*inputs)]
    worst = [0.0, 0.0]
    for k in range(2):
        for j in range(N_BINS):
            step = torch.zeros_like(leaves[k])
            step[:, j] = 1e-2 * leaves[k][:, j]

            def at(scale: float, k: int = k, step: Tensor = step) -> tuple[Tensor, Tensor]:
                moved = [tensor + scale * step * (i == k) for i, tensor in enumerate(leaves)]
                return outputs(*moved)

            for o in range(2):
                points = [at(scale)[o] for scale in (-2, -1, 1, 2)]
                difference = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / 12
                projected = (exact[o][k] * step).sum()
                largest = max(
                    float((g * 1e-2 * leaf).abs().max())
                    for g, leaf in zip(exact[o], leaves, strict=True)
                )
                worst[o] = max(worst[o], float((difference - projected).abs()) / largest)
    return {"value": worst[0], "parameters": worst[1]}


def _median(function: Callable[[], Any], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def _times(repeats: int, batches: tuple[int, ...]) -> dict[str, Any]:
    import pyhf

    model, data = make_models(1)
    signal, background = _templates(model)
    theirs = to_pyhf(signal[0], background[0])
    physical = to_pyhf(signal[0], background[0], low=0.0)
    numbers = data[0].numpy()
    pyhf_fit = 1e3 * _median(
        lambda: pyhf.infer.mle.fixed_poi_fit(STRENGTH, numbers, theirs), repeats
    )
    pyhf_free = 1e3 * _median(lambda: pyhf.infer.mle.fit(numbers, theirs), repeats)
    pyhf_test = 1e3 * _median(
        lambda: pyhf.infer.hypotest(STRENGTH, numbers, physical, return_expected_set=True), repeats
    )
    table: dict[str, dict[str, float]] = {}
    for size in batches:
        model, data = make_models(size)

        def both(model: HistFactoryModel = model, data: Tensor = data) -> None:
            value = fit(model, data, {"mu": STRENGTH}).value.sum()
            torch.autograd.grad(value, _templates(model), retain_graph=True)

        def test(model: HistFactoryModel = model, data: Tensor = data) -> None:
            value = hypothesis_test(model, data, STRENGTH).cls.sum()
            torch.autograd.grad(value, _templates(model), retain_graph=True)

        n = max(3, repeats if size < 1000 else repeats // 3)
        ours, tested = (1e3 * _median(work, n) / size for work in (both, test))
        table[str(size)] = {
            "fit_ms": ours,
            "test_ms": tested,
            "pyhf_over_ours": pyhf_fit / ours,
            "pyhf_test_over_ours": pyhf_test / tested,
        }
    return {
        "pyhf_fixed_fit_ms": pyhf_fit,
        "pyhf_free_fit_ms": pyhf_free,
        "pyhf_hypotest_ms": pyhf_test,
        "batches": table,
    }
