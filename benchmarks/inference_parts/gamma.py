"""Errors of Monte Carlo data: time and accuracy beside pyerrors, and known answers.

    python -m inference_parts.gamma          about a minute of one core
    python -m inference_parts.gamma --quick  a small version

in the folder `benchmarks`.

Time is CPU time of one thread, medians of interleaved repetitions; it includes the construction of
the observables from their samples. All chains are autoregressive, x' = phi x + noise, whose
integrated autocorrelation time is (1 + phi) / (2 (1 - phi)).
"""

__all__ = ["rows", "run"]

import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from detopt.inference.montecarlo_errors import (
    AutomaticWindow,
    ErrorAnalysis,
    Observables,
    gamma_method,
    least_squares_fit,
)
from detopt.random import Seed

N_OBSERVABLES, N_CONFIGURATIONS = 20, 100_000
CHAINS = (
    (10_000, 0.0),
    (10_000, 0.5),
    (10_000, 0.9),
    (10_000, 0.95),
    (100_000, 0.9),
    (100_000, 0.95),
)
N_REPLICA = 200  # chains of the coverage test
REPETITIONS = 9
LIMIT_CPU_S = 0.1
LIMIT_SIGMA = 3.0


def run(quick: bool) -> dict[str, Any]:
    """All measurements, as plain numbers."""
    torch.set_num_threads(1)
    rng = Seed("gamma").generator()
    return {
        **_time(rng, 2_000 if quick else N_CONFIGURATIONS, 3 if quick else REPETITIONS),
        "times": [_autocorrelation(n // 10 if quick else n, phi, rng) for n, phi in CHAINS],
        "coverage": _coverage(rng, 40 if quick else N_REPLICA),
        "equation_29": _equation_29(rng),
        "design": {
            name: _design_derivative(rng, rule)
            for name, rule in (
                ("fixed window", AutomaticWindow()),
                ("continuous window", AutomaticWindow(continuous=True)),
            )
        },
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, must be, measured, holds) of each requirement."""
    own, peer = result["cpu_s"], result["pyerrors_cpu_s"]
    size = f"{N_OBSERVABLES} observables x {result['n_configurations']}"
    deviation = max(abs(chain["deviation"]) for chain in result["times"])
    coverage, error = result["coverage"]["share"], result["coverage"]["error"]
    fit = result["equation_29"]
    design = max(result["design"].values())
    return [
        (f"{size}, CPU s", f"<= {LIMIT_CPU_S}", f"{own:.3f}", own <= LIMIT_CPU_S),
        (
            "the same, pyerrors over detopt",
            "> 1",
            f"{result['ratio']:.1f} ({peer:.3f} s)",
            result["ratio"] > 1,
        ),
        (
            "the same, errors beside pyerrors",
            "<= 1e-12",
            f"{result['difference']:.1e}",
            result["difference"] <= 1e-12,
        ),
        (
            "autocorrelation times, largest deviation in standard errors",
            f"<= {LIMIT_SIGMA}",
            f"{deviation:.2f}",
            deviation <= LIMIT_SIGMA,
        ),
        (
            f"coverage over {result['coverage']['n']} chains",
            "0.683 within 3 standard errors",
            f"{coverage:.3f} +- {error:.3f}",
            abs(coverage - 0.683) <= 3 * error,
        ),
        (
            "equation 29 beside its closed form, relative",
            "<= 1e-12",
            f"{fit['closed_form']:.1e}",
            fit["closed_form"] <= 1e-12,
        ),
        (
            "the same closed form beside pyerrors, at its minimum",
            "<= 1e-12",
            f"{fit['pyerrors']:.1e}",
            fit["pyerrors"] <= 1e-12,
        ),
        (
            "d(error)/d(design) beside central differences, relative",
            "<= 1e-6",
            f"{design:.1e}",
            design <= 1e-6,
        ),
    ]


def _chains(phi: float, n: int, rng: torch.Generator, *shape: int) -> Tensor:
    noise = torch.randn(*shape, n, generator=rng, dtype=torch.float64)
    noise[..., 1:] *= math.sqrt(1 - phi**2)
    return torch.from_numpy(lfilter([1.0], [1.0, -phi], noise.numpy()))


def _analyze(samples: Tensor) -> ErrorAnalysis:
    return gamma_method(Observables.from_samples(samples, "A"))


def _pyerrors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import pyerrors

    return pyerrors


def _peer_analyze(samples: np.ndarray) -> list[Any]:
    peers = [_pyerrors().Obs([row], ["A"]) for row in samples]
    for peer in peers:
        peer.gamma_method()
    return peers


def _time(rng: torch.Generator, n: int, repetitions: int) -> dict[str, Any]:
    samples = torch.cat([_chains(phi, n, rng, N_OBSERVABLES // 4) for phi in (0.0, 0.5, 0.9, 0.95)])
    array = samples.numpy()
    found, expected = _analyze(samples), _peer_analyze(array)  # and warm up
    errors = torch.tensor([float(peer.dvalue) for peer in expected], dtype=torch.float64)
    own, peer = [], []
    for _ in range(repetitions):
        own.append(_cpu(lambda: _analyze(samples)))
        peer.append(_cpu(lambda: _peer_analyze(array)))
    return {
        "n_configurations": n,
        "cpu_s": statistics.median(own),
        "pyerrors_cpu_s": statistics.median(peer),
        "ratio": statistics.median(peer) / statistics.median(own),
        "difference": float((found.error / errors - 1).abs().max()),
    }


def _cpu(function: Callable[[], Any]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def _autocorrelation(n: int, phi: float, rng: torch.Generator) -> dict[str, float]:
    own = _analyze(_chains(phi, n, rng)).ensembles["A"]
    exact = (1 + phi) / (2 * (1 - phi))
    found, error = float(own.tau_int), float(own.tau_int_error)
    return {
        "n": n,
        "phi": phi,
        "exact": exact,
        "found": found,
        "error": error,
        "deviation": (found - exact) / error,
    }


def _coverage(rng: torch.Generator, n_chains: int) -> dict[str, float]:
    analysis = _analyze(_chains(0.9, 10_000, rng, n_chains))
    share = float((analysis.value.abs() < analysis.error).double().mean())
    return {"n": n_chains, "share": share, "error": math.sqrt(0.683 * 0.317 / n_chains)}


def _equation_29(rng: torch.Generator) -> dict[str, float]:
    """Fluctuations of the parameters of an exponential, fitted to two: residuals are large.

    The minimizer of pyerrors stops some 1e-9 away; each is compared with the closed form at its
    own minimum.
    """
    import autograd.numpy as anp

    t = torch.arange(10, dtype=torch.float64)
    mean = torch.exp(-0.3 * t) + 0.2 * torch.exp(-0.9 * t)
    samples = mean[:, None] * (1 + 0.02 * _chains(0.7, 5_000, rng, 10))
    data = Observables.from_samples(samples, "A")
    weights = 1 / gamma_method(data).error.square()
    fit = least_squares_fit(
        lambda p, x: p[0] * torch.exp(-p[1] * x), t, data, torch.tensor([1.0, 0.5])
    )
    own = fit.parameters
    peer = _pyerrors().fits.least_squares(
        t.numpy(),
        _peer_analyze(samples.numpy()),
        lambda p, x: p[0] * anp.exp(-p[1] * x),
        initial_guess=own.value.tolist(),
        silent=True,
    )
    minimum = torch.tensor([float(parameter.value) for parameter in peer], dtype=torch.float64)
    deltas = torch.from_numpy(np.stack([parameter.deltas["A"] for parameter in peer]))
    return {
        "closed_form": _deviation(own.fluctuations["A"], own.value, t, data, weights),
        "pyerrors": _deviation(deltas, minimum, t, data, weights),
        "minima": float((minimum / own.value - 1).abs().max()),
    }


def _deviation(
    found: Tensor, parameters: Tensor, t: Tensor, data: Observables, weights: Tensor
) -> float:
    """From the closed form at these parameters, relative to the largest fluctuation."""
    a, m = parameters
    decay = torch.exp(-m * t)
    slopes = torch.stack([decay, -a * t * decay])
    zero = torch.zeros_like(t)
    second = torch.stack([zero, -t * decay, -t * decay, a * t**2 * decay]).reshape(2, 2, -1)
    residual = weights * (data.value - a * decay)
    hessian = torch.einsum("in,jn,n->ij", slopes, slopes, weights) - second @ residual
    closed = torch.linalg.solve(hessian, slopes * weights) @ data.fluctuations["A"]
    return float(((found - closed) / closed.abs().amax(dim=1, keepdim=True)).abs().max())


def _design_derivative(rng: torch.Generator, rule: AutomaticWindow) -> float:
    """Relative deviation from central differences, of a mixture of a fast and a slow chain."""
    fast, slow = _chains(0.5, 20_000, rng), _chains(0.95, 20_000, rng)

    def error(mixing: Tensor) -> Tensor:
        samples = torch.cos(mixing) * fast + torch.sin(mixing) * slow
        return gamma_method(Observables.from_samples(samples, "A"), rule).error

    theta = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(error(theta), theta)
    step = 1e-5
    with torch.no_grad():
        difference = (error(theta + step) - error(theta - step)) / (2 * step)
    return float((slope / difference - 1).abs())


def main() -> None:
    """Print the requirements and what was measured."""
    result = run("--quick" in sys.argv)
    print(json.dumps(result, indent=1))
    for what, bar, measured, holds in rows(result):
        print(f"{'ok  ' if holds else 'MISS'} {what}: {measured} ({bar})")


if __name__ == "__main__":
    main()
