"""The detached-Asimov trap: a value that is right with a gradient that is wrong must be caught.

Events of a signal and a background are sorted into soft bins by a cut and a slope, the design; the
objective is the expected uncertainty of the signal strength with the background's position
profiled. It follows from the Hessian of the likelihood at its Asimov data. The Asimov data must not
depend on the nuisance parameters; who detaches them from everything cuts the design too. The check
must call that gradient wrong, and find the first-derivative form of the information right.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.gradients import Verdict, check_gradients
from detopt.inference.fisher import binned_information, uncertainty
from detopt.pipeline import FunctionProblem

N_BINS = 6
N_SIGNAL, N_BACKGROUND = 50.0, 1000.0
N_SAMPLES = 4_000  # simulated events of each kind in a summary
SHIFT_WIDTH = 0.4  # auxiliary measurement of the background's position

Variant = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def run(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    n_repeats = 8 if quick else 24
    result: dict[str, Any] = {}
    for name in VARIANTS:
        checks = check_gradients(problem(name), n_repeats=n_repeats, n_events=1, seed=3)
        result[name] = {
            "value": _value(name),
            "parameters": [check.as_dict() for check in checks],
            "agrees": all(check.verdict is Verdict.AGREES for check in checks),
        }
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    table = []
    reference = result["first derivatives"]["value"]
    for name, found in result.items():
        right = name != "detached"
        verdicts = ", ".join(
            f"{check['name']}: {check['verdict']}" for check in found["parameters"]
        )
        table.append(
            (
                f"gradient of the expected uncertainty, {name}",
                "agrees" if right else "not `agrees`",
                verdicts,
                found["agrees"] == right,
            )
        )
        deviation = abs(found["value"] / reference - 1)
        table.append((f"its value, {name}", "<= 1e-10 off", f"{deviation:.1e}", deviation <= 1e-10))
    return table


def problem(variant: str) -> FunctionProblem:
    """The expected uncertainty as a design problem, with one of the ways to compute it."""
    space = DesignSpace(
        [
            Continuous("cut", 0.6, Real(), description="Position of the bins"),
            Continuous("slope", 0.8, Real(), description="Weight of the second feature"),
        ]
    )
    compute = VARIANTS[variant]

    def function(design: Design, n_events: int, rng: torch.Generator) -> Tensor:
        values = []
        for _ in range(n_events):
            counts = _counts(design, rng)
            at = torch.zeros(2, dtype=design["cut"].dtype)
            values.append(uncertainty(compute(counts, at)))
        return torch.stack(values)

    return FunctionProblem(
        space,
        function,
        n_events=1,
        chunk_size=1,
        objective_name="expected uncertainty of the signal",
        dtype=torch.float64,
    )


def _counts(design: Design, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Expected counts as a function of the changes of signal and background position."""
    cut, slope = design["cut"], design["slope"]
    events = torch.randn(2, N_SAMPLES, 2, generator=rng, dtype=cut.dtype)
    edges = torch.arange(N_BINS, dtype=cut.dtype) - N_BINS / 2

    def histogram(features: Tensor) -> Tensor:
        score = features[:, 0] + slope * features[:, 1] - cut
        soft = torch.softmax(-((score.unsqueeze(-1) - edges) ** 2), dim=-1)
        return soft.mean(dim=0)

    def counts(parameters: Tensor) -> Tensor:
        signal = histogram(events[0])
        moved = torch.stack([events[1, :, 0] * 1.5 + 2 + parameters[1], events[1, :, 1]], dim=-1)
        return (N_SIGNAL + parameters[0]) * signal + N_BACKGROUND * histogram(moved)

    return counts


def _hessian(counts: Callable[[Tensor], Tensor], asimov: Tensor, at: Tensor) -> Tensor:
    def value(parameters: Tensor) -> Tensor:
        expected = counts(parameters)
        constraint = parameters[1] ** 2 / (2 * SHIFT_WIDTH**2)
        return (expected - asimov * expected.log()).sum() + constraint

    hessian: Tensor = torch.autograd.functional.hessian(value, at, create_graph=True)
    return hessian


def _detached(counts: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return _hessian(counts, counts(at).detach(), at)


def _recomputed(counts: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return _hessian(counts, counts(at.detach()), at)


def _first_derivatives(counts: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(counts, at, create_graph=True)
    widths = torch.tensor([torch.inf, SHIFT_WIDTH], dtype=at.dtype)
    return binned_information(counts(at), jacobian, prior_widths=widths)


VARIANTS: dict[str, Variant] = {
    "detached": _detached,
    "recomputed": _recomputed,
    "first derivatives": _first_derivatives,
}


def _value(variant: str) -> float:
    rng = torch.Generator().manual_seed(5)
    made = problem(variant)
    value = made.function(made.space.start, 1, rng)
    return float(value.detach())
