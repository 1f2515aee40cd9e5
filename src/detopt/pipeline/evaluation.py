"""From a design to numbers: chunks, merged summaries and exact gradients.

An evaluation is a pure function of (problem, theta, random stream, number of events). Events come
in chunks of fixed size, each with a stream of its own; the chunks' summaries are merged in order,
and the objective is a function of the whole. Its gradient needs two passes over the chunks:

1. all summaries s_c, the objective L(s_1, ..., s_n, theta) and the adjoints dL/ds_c;
2. each chunk again with a graph, and back from its adjoint to theta.

So memory does not grow with the number of events, and no nonlinear objective is approximated by a
mean over chunks. Where there are few chunks, their graphs are kept and the second pass is saved.
Whether torch records a graph can change the last bit of a matrix product, so both ways record one
whenever a gradient follows.
"""

__all__ = [
    "Chunk",
    "Evaluation",
    "Request",
    "after_failure",
    "chunks",
    "combine",
    "differentiate_chunk",
    "evaluate",
    "judge_adjoint",
    "summarize_chunk",
    "summarize_design",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.cpu import cpu_time
from detopt.design import Design
from detopt.errors import DomainError, SimulationError
from detopt.pipeline.outcome import Outcome, Summary, merge
from detopt.pipeline.problem import Problem
from detopt.pipeline.resampling import objectives, resampled, standard_errors
from detopt.random import Seed
from detopt.threads import one_thread

N_RETAINED = 4  # chunks whose graphs are kept rather than made twice
CONSTRAINT, METRIC, OBJECTIVE, ERROR = "constraint:", "metric:", "objective:", "std_error:"


@dataclass(frozen=True)
class Request:
    """An evaluation that somebody wants.

    Args:
        theta: Point in the flat, unconstrained coordinates of the design space (float64).
        stream: Random stream below the study's seed; equal streams share their random numbers.
        gradient: Whether the pathwise gradient is wanted.
        n_events: Number of events, or None for the problem's own.
        std_error: Whether the standard error of the objective is wanted.
        rows: Whether the summary of the events is wanted, for methods that model it.
    """

    theta: Float[Tensor, " n_free"]
    stream: tuple[int | str, ...]
    gradient: bool = False
    n_events: int | None = None
    std_error: bool = True
    rows: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The answer to a request; plain numbers, in float64.

    Args:
        request: What was asked.
        value: Objective.
        std_error: Standard error of the objective (bootstrap over independent rows); NaN where
            it was not asked for, or resampled rows cannot be judged.
        gradient: Pathwise derivative in theta, if asked for.
        gradient_std_error: Its standard error from the scatter over chunks, which is right for an
            objective that is a mean over events, and rough for others; NaN with one chunk.
        terms: Named terms, cost, constraints, metrics and objectives, prefixed by their kind.
        n_events: Number of events.
        cpu_s: CPU time, that of programs which the simulation ran included [s].
        failure: Why there is no answer, or empty; the value is NaN then.
        rows: Summary of all events, if asked for.
    """

    request: Request
    value: float
    std_error: float
    gradient: Float[Tensor, " n_free"] | None
    gradient_std_error: Float[Tensor, " n_free"] | None
    terms: dict[str, float] = field(default_factory=dict)
    n_events: int = 0
    cpu_s: float = 0.0
    failure: str = ""
    rows: Summary | None = None

    @property
    def constraints(self) -> dict[str, float]:
        """Constraints of the outcome by name; a positive value is a violation."""
        return _of_kind(self.terms, CONSTRAINT)

    @property
    def objectives(self) -> dict[str, float]:
        """All objectives by name, or the only one."""
        return _of_kind(self.terms, OBJECTIVE) or {"objective": self.value}

    @property
    def objective_errors(self) -> dict[str, float]:
        """Their standard errors by name; NaN where nothing tells."""
        return _of_kind(self.terms, ERROR) or {"objective": self.std_error}

    @classmethod
    def failed(cls, request: Request, why: str, n_events: int = 0) -> "Evaluation":
        """The answer to a request that a simulation could not give."""
        missing = torch.full_like(request.theta, torch.nan) if request.gradient else None
        return cls(request, math.nan, math.nan, missing, missing, {}, n_events, failure=why)


def _of_kind(terms: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in terms.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class Chunk:
    """A piece of work that any worker can do: `n_events` events of one random stream.

    `gradient` says whether a derivative will be taken, see above.
    """

    theta: Float[Tensor, " n_free"]
    seed: Seed
    n_events: int
    gradient: bool = False


def chunks(problem: Problem, request: Request, seed: Seed) -> list[Chunk]:
    """The chunks that `request` is made of, in order."""
    n_events = problem.n_events if request.n_events is None else request.n_events
    if n_events < 1:
        raise DomainError(f"The number of events must be >= 1, got {n_events}.")
    stream = seed.child(*request.stream)
    return [
        Chunk(request.theta, stream.child(i), size, request.gradient)
        for i, size in enumerate(_sizes(problem, n_events))
    ]


def _sizes(problem: Problem, n_events: int) -> list[int]:
    """Numbers of events of the chunks; the last one may be shorter."""
    firsts = range(0, n_events, problem.chunk_size)
    return [min(problem.chunk_size, n_events - first) for first in firsts]


def summarize_chunk(problem: Problem, chunk: Chunk) -> tuple[Summary, float]:
    """Summary of a chunk, cut from its graph, and the CPU time that it took [s]."""
    begin = cpu_time()
    if chunk.gradient:
        with one_thread():
            _, summary = _summary_with_graph(problem, chunk)
        return _detach(summary), cpu_time() - begin
    with one_thread(), torch.no_grad():
        design = problem.space.design(chunk.theta).to(problem.dtype)
        summary = problem.summarize(design, chunk.n_events, chunk.seed.generator())
    return summary, cpu_time() - begin


def differentiate_chunk(
    problem: Problem, chunk: Chunk, adjoint: Sequence[Tensor]
) -> tuple[Float[Tensor, " n_free"], float]:
    """Derivative of (adjoint . summary) of a chunk in theta, and its CPU time [s]."""
    begin = cpu_time()
    with one_thread():
        theta, summary = _summary_with_graph(problem, chunk)
        gradient = _pull_back(theta, summary, adjoint)
    return gradient, cpu_time() - begin


def _summary_with_graph(problem: Problem, chunk: Chunk) -> tuple[Tensor, Summary]:
    theta = chunk.theta.detach().to(torch.float64).requires_grad_()
    with torch.enable_grad():
        design = problem.space.design(theta).to(problem.dtype)
        return theta, problem.summarize(design, chunk.n_events, chunk.seed.generator())


def _detach(summary: Summary) -> Summary:
    return summary.replace([tensor.detach() for tensor in summary.tensors()])


def _pull_back(theta: Tensor, summary: Summary, adjoint: Sequence[Tensor]) -> Tensor:
    pairs = [(s, a) for s, a in zip(summary.tensors(), adjoint, strict=True) if s.requires_grad]
    if not pairs:
        return torch.zeros_like(theta)
    outputs, cotangents = zip(*pairs, strict=True)
    (found,) = torch.autograd.grad(outputs, theta, cotangents, allow_unused=True)
    return _or_zero(found, theta)


def judge_adjoint(
    problem: Problem, theta: Float[Tensor, " n_free"], summaries: Sequence[Summary]
) -> tuple[Outcome, list[list[Tensor]], Float[Tensor, " n_free"]]:
    """Outcome of all chunks, dL/ds for each chunk, and the direct dL/dtheta (costs)."""
    leaves = [
        [t.detach().requires_grad_(t.is_floating_point()) for t in summary.tensors()]
        for summary in summaries
    ]
    with one_thread(), torch.enable_grad():
        leaf_theta = theta.detach().to(torch.float64).requires_grad_()
        design = problem.space.design(leaf_theta).to(problem.dtype)
        whole = merge([s.replace(t) for s, t in zip(summaries, leaves, strict=True)])
        outcome = problem.judge(whole, design)
        flat = [t for chunk in leaves for t in chunk if t.requires_grad]
        direct = torch.zeros_like(leaf_theta)
        found: tuple[Tensor | None, ...] = (None,) * (len(flat) + 1)
        if outcome.objective.requires_grad:
            found = torch.autograd.grad(outcome.objective, [leaf_theta, *flat], allow_unused=True)
    direct = direct if found[0] is None else found[0]
    answers = iter(found[1:])
    adjoints = [
        [_or_zero(next(answers), t) if t.requires_grad else torch.zeros_like(t) for t in chunk]
        for chunk in leaves
    ]
    return outcome, adjoints, direct


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def combine(
    problem: Problem,
    request: Request,
    seed: Seed,
    summaries: Sequence[Summary],
    gradients: Sequence[Tensor] | None,
    direct: Tensor,
    cpu_s: float,
) -> Evaluation:
    """One evaluation out of its chunks, summed in order."""
    with one_thread(), torch.no_grad():
        design = problem.space.design(request.theta).to(problem.dtype)
        whole = merge(list(summaries))
        outcome = problem.judge(whole, design)
    std_error, errors = math.nan, dict[str, float]()
    if request.std_error and whole.n_rows > 1:
        std_error, errors = _errors(problem, whole, design, seed.child(*request.stream))
    gradient, spread = None, None
    n_events = problem.n_events if request.n_events is None else request.n_events
    if gradients is not None:
        stack = torch.stack(list(gradients))
        gradient = stack.sum(dim=0) + direct
        spread = _spread(stack, _sizes(problem, n_events))
    return Evaluation(
        request=replace(request, theta=request.theta.detach().clone()),
        value=float(outcome.objective),
        std_error=std_error,
        gradient=gradient,
        gradient_std_error=spread,
        terms=named_terms(outcome) | errors,
        n_events=n_events,
        cpu_s=cpu_s,
        rows=whole if request.rows else None,
    )


def _errors(
    problem: Problem, whole: Summary, design: Design, seed: Seed
) -> tuple[float, dict[str, float]]:
    """Standard errors of the objective and of each of several.

    NaN and none where rows that are drawn again cannot be judged, such as those that leave a bin
    without background.
    """
    try:
        outcomes = resampled(problem, whole, design, seed)
    except DomainError:
        return math.nan, {}
    named = {f"{ERROR}{name}": error for name, error in standard_errors(outcomes).items()}
    return float(objectives(outcomes).std()), named


def _spread(
    gradients: Float[Tensor, "n_chunks n_free"], sizes: Sequence[int]
) -> Float[Tensor, " n_free"]:
    r"""Standard error of the sum of the chunks' gradients, NaN with one chunk.

    Chunk c of :math:`n_c` events contributes :math:`g_c`, of variance :math:`n_c s^2`:

    .. math::
        s^2 = \frac{1}{C - 1} \sum_c \frac{1}{n_c}
            \Big(g_c - \frac{n_c}{N} \sum_b g_b\Big)^2, \qquad \sigma = s \sqrt{N}
    """
    n_chunks = len(gradients)
    if n_chunks < 2:
        return torch.full_like(gradients[0], torch.nan)
    if len(set(sizes)) == 1:
        equal: Tensor = gradients.std(dim=0) * n_chunks**0.5
        return equal
    shares = gradients.new_tensor(sizes)[:, None] / sum(sizes)
    residuals = gradients - shares * gradients.sum(dim=0)
    variance: Tensor = (residuals.square() / shares).sum(dim=0) / (n_chunks - 1)
    return variance.sqrt()


def named_terms(outcome: Outcome) -> dict[str, float]:
    """All numbers of an outcome except the objective, by name."""
    terms = {name: float(value) for name, value in outcome.terms.items()}
    if outcome.cost is not None:
        terms["cost"] = float(outcome.cost)
    for kind, values in (
        (CONSTRAINT, outcome.constraints),
        (METRIC, outcome.metrics),
        (OBJECTIVE, outcome.objectives),
    ):
        terms.update({f"{kind}{name}": float(value) for name, value in values.items()})
    return terms


def evaluate(problem: Problem, request: Request, seed: Seed) -> Evaluation:
    """Answer one request in this process.

    Raises:
        SimulationError: The simulation failed, and the problem says to stop then.
    """
    try:
        return _evaluate(problem, request, seed)
    except SimulationError as error:
        return after_failure(problem, request, error)


def after_failure(problem: Problem, request: Request, error: SimulationError) -> Evaluation:
    """A failed evaluation where the problem says to go on, else the error."""
    if problem.on_failure == "stop":
        raise error
    n_events = problem.n_events if request.n_events is None else request.n_events
    return Evaluation.failed(request, str(error), n_events)


def _evaluate(problem: Problem, request: Request, seed: Seed) -> Evaluation:
    work = chunks(problem, request, seed)
    if request.gradient and len(work) <= N_RETAINED:
        return _evaluate_with_graphs(problem, request, seed, work)
    results = [summarize_chunk(problem, chunk) for chunk in work]
    summaries = [summary for summary, _ in results]
    cpu_s = sum(cpu for _, cpu in results)
    if not request.gradient:
        return combine(problem, request, seed, summaries, None, torch.zeros(()), cpu_s)
    _, adjoints, direct = judge_adjoint(problem, request.theta, summaries)
    derivatives = [
        differentiate_chunk(problem, chunk, adjoint)
        for chunk, adjoint in zip(work, adjoints, strict=True)
    ]
    cpu_s += sum(cpu for _, cpu in derivatives)
    gradients = [gradient for gradient, _ in derivatives]
    return combine(problem, request, seed, summaries, gradients, direct, cpu_s)


def _evaluate_with_graphs(
    problem: Problem, request: Request, seed: Seed, work: Sequence[Chunk]
) -> Evaluation:
    """The same numbers for few chunks, whose graphs are kept instead of made twice."""
    begin = cpu_time()
    with one_thread():
        pairs = [_summary_with_graph(problem, chunk) for chunk in work]
    summaries = [_detach(summary) for _, summary in pairs]
    _, adjoints, direct = judge_adjoint(problem, request.theta, summaries)
    with one_thread():
        gradients = [
            _pull_back(theta, summary, adjoint)
            for (theta, summary), adjoint in zip(pairs, adjoints, strict=True)
        ]
    cpu_s = cpu_time() - begin
    return combine(problem, request, seed, summaries, gradients, direct, cpu_s)


def summarize_design(
    problem: Problem, design: Design, seed: Seed, n_events: int
) -> tuple[Summary, Outcome]:
    """Summary and outcome of a design given by its values, which may lie on closed bounds."""
    problem.space.check(design)
    request = Request(torch.zeros(problem.space.n_free), (), n_events=n_events)
    with one_thread(), torch.no_grad():
        values = design.to(problem.dtype)
        parts = [
            problem.summarize(values, chunk.n_events, chunk.seed.generator())
            for chunk in chunks(problem, request, seed)
        ]
        whole = merge(parts)
        return whole, problem.judge(whole, values)
