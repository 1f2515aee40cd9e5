"""Tasks of one study, done apart, put together by rule.

Each task starts from the same parent design and frees parameters of its own. The merged design has
each freed parameter from the task that freed it, and the others from the parent. A parameter that
two tasks freed has two values, of which nobody but the user can choose one. Parts that are each
better than the parent need not be better together, so the merged design is judged like any other,
with fresh events, beside the parent and each part.
"""

__all__ = ["merge_tasks"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detopt import usecases
from detopt.design import DesignSpace
from detopt.errors import ConfigError, DesignError, NotFoundError
from detopt.random import Seed
from detopt.runtime.config import StudyConfig
from detopt.runtime.finished import FinishedRun
from detopt.runtime.origin import Origin, Part

FEWEST = 2
LARGEST_SEED = 2**31


def merge_tasks(
    tasks: Sequence[FinishedRun],
    prefer: Sequence[str] = (),
    *,
    seed: int | None = None,
    evaluation_events: int | None = None,
    **settings: Any,
) -> StudyConfig:
    """The study that judges the merged design; it searches nothing.

    Args:
        tasks: Runs of one problem with a common parent design.
        prefer: Where two tasks freed the same parameter, which one it is taken from: `RUN` for
            all of them, or `RUN:PATTERN` for those parameters or groups.
        seed: Of the fresh events; by default it follows from the designs. It must not be that of
            a task, whose events have judged the task already.
        evaluation_events: Events for each design; as many as a task had by default.
        settings: Others of the study: `executor`, `workers`, `events`, `share`.

    Raises:
        ConfigError: The tasks have no common parent or differ in their problem, two of them freed
            the same parameter and no rule says which one counts, or a rule is of no use.
        NotFoundError: A rule names a run or a parameter that is not there.
        DesignError: The merged design breaks a limit that each part keeps.
    """
    parent = _common_parent(tasks)
    first = tasks[0].config
    space = usecases.load(first.use_case).build(first.options).space
    taken = _taken(tasks, prefer, space)
    parts = [
        Part(**task.origin.model_dump(), free=list(task.free), taken=list(taken[task.name]))
        for task in tasks
    ]
    config = StudyConfig.make(
        first.use_case,
        options=first.options,
        method="merge",
        method_options={},
        rounds=1,
        seed=_fresh_seed(tasks) if seed is None else _unused(seed, tasks),
        evaluation_events=evaluation_events or max(t.config.evaluation_events for t in tasks),
        free=[p.name for p in space.parameters if any(p.name in task.free for task in tasks)],
        freeze=[],
        parent=parent.model_dump(),
        merged=[part.model_dump() for part in parts],
        **{"events": first.events, **settings},
    )
    _refuse_broken(config, space)
    return config


def _common_parent(tasks: Sequence[FinishedRun]) -> Origin:
    names = [task.name for task in tasks]
    if len(tasks) < FEWEST:
        raise ConfigError("A merge needs two runs or more.")
    if len(set(names)) != len(names):
        raise ConfigError(f"The runs of a merge must have different names, got {', '.join(names)}.")
    parents = {task.name: task.config.parent for task in tasks}
    orphans = [name for name, parent in parents.items() if parent is None]
    if orphans:
        raise ConfigError(
            f"{', '.join(orphans)}: no parent. Tasks that are to be merged start from a common "
            "design, by `detopt run --parent RUN`."
        )
    found = {name: parent for name, parent in parents.items() if parent is not None}
    if len({parent.digest for parent in found.values()}) > 1:
        told = ", ".join(f"{n} from {p.run} ({p.digest[:12]})" for n, p in found.items())
        raise ConfigError(f"The runs start from different designs: {told}. They cannot be merged.")
    if len({task.problem for task in tasks}) > 1:
        raise ConfigError(f"The runs solve different problems: {_differing(tasks)}.")
    return found[names[0]]


def _differing(tasks: Sequence[FinishedRun]) -> str:
    """In what the problems differ, for people."""
    full = [
        {
            "use case": Path(task.config.use_case).name,
            **usecases.load(task.config.use_case).configure(task.config.options).model_dump(),
        }
        for task in tasks
    ]
    keys = dict.fromkeys(key for one in full for key in one)
    told = []
    for key in keys:
        values = {task.name: repr(one.get(key)) for task, one in zip(tasks, full, strict=True)}
        if len(set(values.values())) > 1:
            told.append(f"`{key}` is {', '.join(f'{v} in {name}' for name, v in values.items())}")
    return "; ".join(told) or f"the files of {', '.join(task.name for task in tasks)} differ"


def _taken(
    tasks: Sequence[FinishedRun], prefer: Sequence[str], space: DesignSpace
) -> Mapping[str, Sequence[str]]:
    """The parameters that are taken from each task."""
    freed: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.free:
            freed.setdefault(name, []).append(task.name)
    contested = {name: runs for name, runs in freed.items() if len(runs) > 1}
    chosen: dict[str, str] = {}
    for rule in prefer:
        run, names = _rule(rule, tasks, contested, space)
        for name in names:
            if chosen.setdefault(name, run) != run:
                raise ConfigError(f"`{name}` is to be taken from {chosen[name]} and from {run}.")
    open_ = {name: runs for name, runs in contested.items() if name not in chosen}
    if open_:
        told = "; ".join(f"`{name}` by {' and '.join(runs)}" for name, runs in open_.items())
        name, runs = next(iter(open_.items()))
        raise ConfigError(
            f"Several runs freed the same parameters: {told}. Say whose value counts, for example "
            f"with `--prefer {runs[0]}:{name}`, or `--prefer {runs[0]}` for all of them."
        )
    source = {name: chosen.get(name, runs[0]) for name, runs in freed.items()}
    return {t.name: [name for name, run in source.items() if run == t.name] for t in tasks}


def _rule(
    rule: str,
    tasks: Sequence[FinishedRun],
    contested: Mapping[str, Sequence[str]],
    space: DesignSpace,
) -> tuple[str, Sequence[str]]:
    """The run that a rule prefers, and for which contested parameters."""
    by_name = {task.name: task for task in tasks}
    run, separator, pattern = rule.partition(":")
    if run not in by_name:
        raise NotFoundError(f"No run `{run}` to prefer. There are: {', '.join(by_name)}.")
    names = space.members(pattern) if separator else tuple(contested)
    found = [name for name in names if run in contested.get(name, ())]
    if not found:
        raise ConfigError(
            f"The rule `{rule}` is of no use: {run} freed none of these parameters together with "
            f"another run. It freed {', '.join(by_name[run].free)}."
        )
    return run, found


def _fresh_seed(tasks: Sequence[FinishedRun]) -> int:
    """The same for the same designs, whoever merges them, and not that of a task."""
    used = {task.config.seed for task in tasks}
    stream = Seed("merge", *sorted(task.digest for task in tasks))
    numbers = (stream.child(i).number % LARGEST_SEED for i in range(len(used) + 1))
    return next(number for number in numbers if number not in used)


def _unused(seed: int, tasks: Sequence[FinishedRun]) -> int:
    names = [task.name for task in tasks if task.config.seed == seed]
    if names:
        raise ConfigError(
            f"The seed {seed} is that of {', '.join(names)}, whose events have judged that part "
            "already. Take another one, for fresh events."
        )
    return seed


def _refuse_broken(config: StudyConfig, space: DesignSpace) -> None:
    design = config.start
    assert design is not None
    try:
        space.check(design)
    except DesignError as error:
        raise DesignError(
            f"The parts cannot be built together, though each of them can: {error} Run one of the "
            "tasks again from the final design of the other, by `--parent`."
        ) from error
