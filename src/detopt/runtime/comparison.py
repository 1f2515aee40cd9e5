"""Several methods on one problem at an equal budget of calls, with several seeds."""

__all__ = ["compare_methods"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detopt.errors import ConfigError
from detopt.optimizers import Optimizer
from detopt.optimizers.pareto import reference_point
from detopt.pipeline import Problem
from detopt.runtime.comparison_log import ComparisonLog, run_key
from detopt.runtime.comparison_result import Comparison, without_dominated
from detopt.runtime.config import StudyConfig
from detopt.runtime.contenders import Contender
from detopt.runtime.executors import ProblemRecipe, ProcessExecutor
from detopt.runtime.executors.processes import result_of, worker_problem
from detopt.runtime.race import Plan, Run, race
from detopt.runtime.study import make_method

Listener = Callable[[str, int, float], None]


def compare_methods(
    use_case: str,
    contenders: Sequence[Contender],
    plan: Plan | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    seeds: int = 5,
    workers: int = 1,
    reference: Sequence[float] | None = None,
    folder: Path | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """Run every method with every seed at an equal budget of calls; see `detopt.runtime.race`.

    A method that does not fit the problem is left out, with its reason. The options that the use
    case recommends for its recommended method hold for it, each unless it is given.

    Args:
        use_case: Name of a use case, or path of its file.
        contenders: The methods.
        plan: Budget, checkpoints, events of a verdict and target.
        options: Options of the use case.
        seeds: Number of seeds, from 0 on.
        workers: Processes among which the runs are spread; the numbers are the same, except times.
        reference: Worst point of the hypervolume; that of all methods' last fronts by default.
        folder: Where finished runs are kept at once; those of an interrupted comparison that are
            there already are taken as they are.
        listener: Called with method, seed and calls so far; with several workers, of whole runs.

    Raises:
        ConfigError: A number or an option is out of range or unknown.
        NotFoundError: No such use case or method.
    """
    if seeds < 1:
        raise ConfigError(f"`seeds` must be >= 1, got {seeds}.")
    if workers < 1:
        raise ConfigError(f"`workers` must be >= 1, got {workers}.")
    plan = Plan() if plan is None else plan
    recipe = ProblemRecipe(use_case, dict(options or {}), (), None)
    problem = recipe.make()
    _check_reference(reference, problem)
    configs = [
        StudyConfig.make(
            use_case,
            options=dict(options or {}),
            method=contender.method,
            method_options=dict(contender.options),
            seed=seed,
        )
        for contender in contenders
        for seed in range(seeds)
    ]
    labels = [contender.label for contender in contenders for _ in range(seeds)]
    work = [
        _Work(run_key(label, config, plan), label, config, plan)
        for label, config in zip(labels, configs, strict=True)
    ]
    runs = _finish(problem, recipe, work, workers, ComparisonLog(folder), listener)
    found = Comparison(
        use_case,
        dict(options or {}),
        problem.objective_name,
        problem.objective_names if len(problem.objective_names) > 1 else (),
        plan,
        tuple(contender.label for contender in contenders),
        tuple(runs),
    )
    return replace(found, reference=_reference(found, reference))


@dataclass(frozen=True)
class _Work:
    """A run to be made."""

    key: str
    label: str
    config: StudyConfig
    plan: Plan

    def run(self, problem: Problem, listener: Callable[[float], None] | None) -> Run:
        def make(rounds: int) -> Optimizer:
            return make_method(self.config.model_copy(update={"rounds": rounds}), problem)

        return race(problem, make, self.plan, self.config.seed, self.label, listener)


def _finish(
    problem: Problem,
    recipe: ProblemRecipe,
    work: Sequence[_Work],
    workers: int,
    ledger: ComparisonLog,
    listener: Listener | None,
) -> list[Run]:
    """All runs, in the order of the work; those that are known are not made again."""
    missing = [one for one in work if ledger.get(one.key) is None]
    found = {one.key: run for one in work if (run := ledger.get(one.key)) is not None}
    made = (
        _one_by_one(problem, missing, listener)
        if workers == 1
        else _side_by_side(problem, recipe, missing, workers)
    )
    for one, run in made:
        found[one.key] = run
        if run.checkpoints:  # a method that did not run may run when its package is there
            ledger.add(one.key, run)
        if listener is not None:
            listener(one.label, one.config.seed, float(one.plan.budget))
    return [found[one.key] for one in work]


def _one_by_one(
    problem: Problem, work: Sequence[_Work], listener: Listener | None
) -> Iterator[tuple[_Work, Run]]:
    for one in work:
        news = None if listener is None else partial(listener, one.label, one.config.seed)
        yield one, one.run(problem, news)


def _side_by_side(
    problem: Problem, recipe: ProblemRecipe, work: Sequence[_Work], workers: int
) -> Iterator[tuple[_Work, Run]]:
    with closing(ProcessExecutor(problem, recipe, workers)) as pool:
        futures = {pool.call(_in_worker, one): one for one in work}
        for future in as_completed(futures):
            yield futures[future], result_of(future)


def _in_worker(one: _Work) -> Run:
    return one.run(worker_problem(), None)


def _check_reference(reference: Sequence[float] | None, problem: Problem) -> None:
    n = len(problem.objective_names)
    if reference is not None and (n < 2 or len(reference) != n):
        raise ConfigError(f"`reference` has {len(reference)} numbers for {n} objectives.")


def _reference(found: Comparison, given: Sequence[float] | None) -> tuple[float, ...]:
    """Worst point of the hypervolume, the same for all methods."""
    if given is not None:
        return tuple(float(one) for one in given)
    points = [p for run in found.runs if run.checkpoints for p in run.checkpoints[-1].front]
    if not points:
        return ()
    return tuple(
        reference_point(torch.tensor(without_dominated(points), dtype=torch.float64)).tolist()
    )
