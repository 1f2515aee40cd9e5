"""The conformance suite: what every use case must do, whoever wrote it.

Each check is a function of a use case that raises `AssertionError` with a reason. A use case whose
simulator is known to defy pathwise gradients says `PATHWISE_IS_BIASED = True`, or names a function
of its `Config` there if options decide; the suite then demands that the gradient check finds it.
One that is a black box says `NO_DERIVATIVE = True`; the suite then demands that a pathwise gradient
is refused, and not taken as zero.
Discrete parameters have no gradient: they are held at the start where the others are checked.
"""

__all__ = ["CHECKS", "Finding", "conformance"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from detopt.errors import ConfigError, DetoptError, MethodError
from detopt.gradients import Verdict, check_gradients
from detopt.optimizers import make
from detopt.pipeline import Evaluation, Problem, Request, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import UseCase, load

N_ROUNDS = 20
N_RANDOM = 50  # random points of the design space
SPREAD = 3.0  # of these points, in theta
N_STANDARD_ERRORS = 2.0  # by which the twentieth step must beat the start


@dataclass(frozen=True)
class Finding:
    """Outcome of one check.

    Args:
        check: What was demanded.
        passed: Whether it holds.
        detail: Why not, or empty.
    """

    check: str
    passed: bool
    detail: str = ""


def conformance(
    name: str, options: Mapping[str, Any] | None = None, *, only: str | None = None
) -> Iterator[Finding]:
    """Run the suite on the use case `name`, one finding after the other.

    Args:
        name: Name or file of the use case.
        options: Its options; the defaults are what a user meets first.
        only: Name of a single check, or None for all.
    """
    case = load(name)
    for check, function in CHECKS.items():
        if only is not None and check != only:
            continue
        try:
            function(case, dict(options or {}))
        except (AssertionError, DetoptError) as error:
            yield Finding(check, False, str(error))
        else:
            yield Finding(check, True)


def _describes_itself(case: UseCase, options: dict[str, Any]) -> None:
    assert len(case.summary) > 10, "the module has no docstring that states the physics question"
    bare = [name for name, field in case.config.model_fields.items() if not field.description]
    assert not bare, f"these options have no description: {', '.join(bare)}"
    problem = case.build(options)
    assert problem.objective_name != "objective", "`objective_name` does not name the objective"


def _builds(case: UseCase, options: dict[str, Any]) -> None:
    problem = case.build(options)
    problem.space.check(problem.space.start)
    for design in problem.baselines.values():
        problem.space.check(design)
    evaluation = _at(problem, problem.space.theta(problem.space.start))
    assert _finite(evaluation.value), f"the objective at the start is {evaluation.value}"


def _refuses_misspelt_options(case: UseCase, options: dict[str, Any]) -> None:
    try:
        case.configure({**options, "no_such_option": 1})
    except ConfigError as error:
        message = str(error)
    else:
        raise AssertionError("a misspelt option was accepted: set `extra='forbid'` in `Config`")
    assert "no_such_option" in message, "the error does not name the misspelt option"


def _is_pure(case: UseCase, options: dict[str, Any]) -> None:
    theta = _start(case.build(options))
    gradient = not _is_black_box(case)
    first, again = (_at(case.build(options), theta, gradient=gradient) for _ in range(2))
    assert first.value == again.value, "the same seed gave two values: hidden random state"
    if not gradient:
        return
    assert first.gradient is not None
    assert again.gradient is not None
    assert torch.equal(first.gradient, again.gradient), "the same seed gave two gradients"


def _keeps_hard_constraints(case: UseCase, options: dict[str, Any]) -> None:
    problem = case.build(options)
    rng = Seed("conformance").generator()
    thetas = SPREAD * torch.randn(
        N_RANDOM, problem.space.n_free, generator=rng, dtype=torch.float64
    )
    batch = problem.space.design(torch.stack([problem.space.admit(theta) for theta in thetas]))
    for i in range(N_RANDOM):
        problem.space.check({name: value[i] for name, value in batch.items()})


def _is_black_box(case: UseCase) -> bool:
    return bool(getattr(case.module, "NO_DERIVATIVE", False))


def _refuses_pathwise_gradients(case: UseCase, options: dict[str, Any]) -> None:
    problem = case.build(options)
    try:
        _at(problem, _start(problem), gradient=True)
    except MethodError:
        return
    raise AssertionError("declared without derivative, but a pathwise gradient was not refused")


def _has_right_gradients(case: UseCase, options: dict[str, Any]) -> None:
    if _is_black_box(case):
        _refuses_pathwise_gradients(case, options)
        return
    problem = _without_discrete(case.build(options))
    checks = check_gradients(problem, n_events=case.check_events)
    wrong = [f"{check.name} {check.verdict}" for check in checks if check.verdict != Verdict.AGREES]
    biased = getattr(case.module, "PATHWISE_IS_BIASED", False)
    if biased(case.configure(options)) if callable(biased) else biased:
        assert wrong, "declared biased, but every gradient agrees with central differences"
    else:
        assert not wrong, f"gradients: {'; '.join(wrong)}"


def _without_discrete(problem: Problem) -> Problem:
    """The problem with its discrete parameters, which have no gradient, held at the start."""
    discrete = [parameter.name for parameter in problem.space.free if parameter.is_discrete]
    return problem.with_space(problem.space.freeze(*discrete)) if discrete else problem


def _improves_in_twenty_steps(case: UseCase, options: dict[str, Any]) -> None:
    problem = case.build(options)
    settings = dict(case.recommended)
    optimizer = make(
        settings.get("method", "adam"),
        problem.space,
        N_ROUNDS,
        settings.get("method_options", {}),
    )
    seed = Seed("conformance")
    for _ in range(N_ROUNDS):
        optimizer.tell([evaluate(problem, request, seed) for request in optimizer.ask()])
    final = problem.space.design(optimizer.recommend())
    space = problem.space
    n_events = 4 * problem.n_events
    values = {}
    for name, design in (("start", space.start), ("final", final)):
        summary, outcome = summarize_design(
            problem.reference, design.detach(), Seed("fresh"), n_events
        )
        spread = _spread(problem.reference, summary, design)
        values[name] = (float(outcome.objective), spread)
    (start, error_start), (end, error_end) = values["start"], values["final"]
    noise = (error_start**2 + error_end**2) ** 0.5
    assert end < start - N_STANDARD_ERRORS * noise, (
        f"{N_ROUNDS} steps led from {start:.4g} to {end:.4g} +- {noise:.1g} in the independent "
        "evaluation"
    )


def _spread(problem: Problem, summary: Any, design: Any) -> float:
    from detopt.pipeline.resampling import bootstrap

    cast = design.detach().to(problem.dtype)
    return float(bootstrap(problem, summary, cast, Seed("fresh")).std())


def _ignores_chunks_of_others(case: UseCase, options: dict[str, Any]) -> None:
    problem = case.build(options)
    theta = _start(problem)
    request = Request(theta, ("conformance",), n_events=problem.n_events)
    alone = evaluate(problem, request, Seed(1))
    evaluate(problem, replace(request, stream=("other",)), Seed(2))
    after = evaluate(problem, request, Seed(1))
    assert alone.value == after.value, "an evaluation depends on what was evaluated before it"


def _at(problem: Problem, theta: Tensor, gradient: bool = False) -> Evaluation:
    return evaluate(problem, Request(theta, ("conformance",), gradient=gradient), Seed(1))


def _start(problem: Problem) -> Tensor:
    return problem.space.theta(problem.space.start)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


CHECKS: Mapping[str, Callable[[UseCase, dict[str, Any]], None]] = {
    "says what it is": _describes_itself,
    "builds from its defaults": _builds,
    "refuses a misspelt option": _refuses_misspelt_options,
    "gives the same value for the same seed": _is_pure,
    "does not depend on earlier evaluations": _ignores_chunks_of_others,
    "keeps hard constraints everywhere": _keeps_hard_constraints,
    "has the gradients that it claims": _has_right_gradients,
    "beats its start in twenty steps": _improves_in_twenty_steps,
}
