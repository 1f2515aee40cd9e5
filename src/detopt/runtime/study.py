"""The study: one problem, one method, one loop."""

__all__ = ["Study"]

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import CheckpointError, ConfigError, DesignError, MethodError
from detopt.optimizers import METHODS, Optimizer, make
from detopt.optimizers.keep import Keep
from detopt.pipeline import Evaluation, Problem
from detopt.random import Seed
from detopt.runtime.budget import Limits
from detopt.runtime.budget.account import (
    open_account,
    raise_limits,
    refuse_alone,
    refuse_edited,
    spending,
)
from detopt.runtime.budget.spending import Spending
from detopt.runtime.config import StudyConfig, load_study, save_study
from detopt.runtime.controller import LEASE, leading
from detopt.runtime.executors import (
    DaskExecutor,
    Executor,
    ProblemRecipe,
    QueueExecutor,
    SharingExecutor,
    make_executor,
)
from detopt.runtime.identity import fingerprint, shared_digest
from detopt.runtime.interruption import interruptible
from detopt.runtime.origin import origins
from detopt.runtime.result import Result, conclude
from detopt.runtime.rounds import Round
from detopt.runtime.storage import Lease, Lineage
from detopt.runtime.store import RunStore
from detopt.runtime.trackers.session import tracking
from detopt.runtime.votes import refuse_false
from detopt.runtime.worker import keep_inputs, read_inputs

Listener = Callable[[str, int, int, "Round | None"], None]


class Study:
    """A design problem, a method, and the folder where its rounds are kept.

    Use `Study.create` for a new one, `Study.resume` for one that was interrupted.

    Args:
        config: What the study is.
        problem: The design problem.
        store: Where rounds are kept.
        recipe: How worker processes make the problem.
    """

    def __init__(
        self, config: StudyConfig, problem: Problem, store: RunStore, recipe: ProblemRecipe
    ) -> None:
        self.config = config
        self.problem = problem
        self.store = store
        self.recipe = recipe
        self.seed = Seed(config.seed)
        self._n_false = 0
        self.optimizer = self._make_optimizer()
        self.history = store.rounds()
        state = store.last_state()
        if state is not None:
            self.optimizer.load_state_dict(state)
        if self.optimizer.round != len(self.history):
            raise CheckpointError(
                f"{store.folder} is damaged: {len(self.history)} rounds are stored, but the "
                f"checkpoint is that of round {self.optimizer.round}."
            )

    @classmethod
    def create(
        cls,
        config: StudyConfig,
        folder: Path | None = None,
        *,
        database: str | None = None,
        blobs: str | None = None,
    ) -> "Study":
        """A new study in a new folder, `runs/ID` by default.

        Args:
            config: What the study is.
            folder: Where study, result and report are.
            database: URL of a database that others share; None for a file in the folder.
            blobs: URL of the files that belong to it.

        Raises:
            CheckpointError: The folder holds a run already.
            DetoptError: Options, method and problem do not fit; nothing is written then.
        """
        problem, recipe = _problem(config)
        make_method(config, problem)
        refuse_alone(config.compute_budget, database)
        determined = fingerprint(config)
        study = f"{Path(config.use_case).stem}-{determined[:8]}"
        target = _free_folder(study) if folder is None else folder
        run_id, budget = target.resolve().name, config.compute_budget
        store = RunStore.create(
            target,
            run_id,
            determined,
            config.model_dump(mode="json"),
            database=database,
            blobs=blobs,
            first=None if budget is None else lambda store: open_account(store, run_id, budget),
        )
        with contextlib.closing(store):
            save_study(config, target)
            Lineage(store.store.database).add(store.id, origins(config))
            keep_inputs(store.store, store.id, target)
            return cls(config, problem, store, recipe)

    @classmethod
    def resume(cls, folder: Path, limits: Limits | None = None) -> "Study":
        """The study in `folder`, after its last complete round.

        Args:
            folder: Of the run.
            limits: Those of its compute budget that are to be changed.

        Raises:
            CheckpointError: The folder holds no run, or it is damaged or was edited.
        """
        with contextlib.closing(RunStore(folder)) as store:  # it opens again when it is used
            config = load_study(folder / "study.yaml", complete=True)
            if fingerprint(config) != store.fingerprint:
                raise CheckpointError(
                    f"{folder / 'study.yaml'} or one of its input files was changed since the run "
                    "began, so it cannot go on to the same result. Undo the change, or start a "
                    "new run."
                )
            refuse_edited(config.compute_budget, store.config.get("compute_budget"))
            if limits is not None:
                raise_limits(store.store, store.id, config.compute_budget, limits)
            problem, recipe = _problem(config)
            return cls(config, problem, store, recipe)

    def _make_optimizer(self) -> Optimizer:
        return make_method(self.config, self.problem)

    def stop(self) -> bool:
        """Whether the rounds are used up or the method has converged."""
        return self.optimizer.round >= self.config.rounds or self.optimizer.finished

    def run(
        self,
        listener: Listener | None = None,
        *,
        lease: Lease | None = None,
        lease_s: float = LEASE,
        publish: Callable[[], Sequence[Path]] | None = None,
    ) -> Result:
        """Go on until the end, then re-evaluate start, final and baseline independently.

        Args:
            listener: Called after each piece of work with what is done, how much of it, and the
                last round.
            lease: The right to go on with the run, where it was taken already.
            lease_s: Time after which another process may go on if this one is gone [s].
            publish: Called when the result is there; trackers get the files that it makes.

        Raises:
            KeyboardInterrupt: Stopped by the user or by a signal; the study can be resumed.
            BudgetError: The compute budget is used up; the study can be resumed with a larger one.
            CheckpointError: Another process goes on with the run, or it cannot be kept.
        """
        with tracking(self) as trackers:
            with interruptible(), leading(self.store, lease_s, lease) as held:
                self._refuse_stale()
                self._n_false = refuse_false(self.store.store, self.store.id)
                trackers.start()
                with self.make_executor() as executor:
                    spends = self._spending(executor, held)
                    self._loop(executor, trackers.listening(listener), held, spends)
                    with spends.piece("conclusion"):
                        result = conclude(self, executor, listener)
                refuse_false(self.store.store, self.store.id, self._n_false)
            trackers.result(result.data)
            if publish is not None:
                trackers.files(publish())
        return result

    def _refuse_stale(self) -> None:
        found = len(self.store.rounds())
        if found != len(self.history):
            raise CheckpointError(
                f"Another process has gone on with {self.store.folder} to round {found} since it "
                f"was opened here at round {len(self.history)}. Resume it again."
            )

    def make_executor(self) -> Executor:
        """Who does the work; what other runs of a shared database have done is not done again."""
        executor = self._own_executor()
        if self.store.is_private or not self.config.share:
            return executor
        digest = shared_digest(self.config.use_case, self.config.options)
        return SharingExecutor(executor, self.store.store, self.store.id, digest)

    def _own_executor(self) -> Executor:
        if self.config.executor == "queue":
            return QueueExecutor(
                self.problem,
                self.store.store,
                self.store.id,
                self.config.workers,
                self.store.folder,
            )
        if self.config.executor == "dask":
            return DaskExecutor(
                self.problem,
                read_inputs(self.store.folder),
                self.config.executor_options,
                self.config.workers,
            )
        return make_executor(self.problem, self.recipe, self.config.workers)

    def _spending(self, executor: Executor, lease: Lease) -> Spending:
        config = self.config
        return spending(
            self.store.store,
            lease,
            config.compute_budget,
            config.executor,
            config.workers,
            executor.close,
        )

    def _loop(
        self, executor: Executor, listener: Listener | None, lease: Lease, spends: Spending
    ) -> None:
        while not self.stop():
            begin = time.perf_counter()
            theta = self.optimizer.theta
            with spends.piece("round", len(self.history)) as piece:
                evaluations = executor.evaluate(self.optimizer.ask(), self.seed)
                self.optimizer.tell(evaluations)
                piece.cpu_s = sum(evaluation.cpu_s for evaluation in evaluations)
            record = self._record(theta, evaluations, time.perf_counter() - begin)
            refuse_false(self.store.store, self.store.id, self._n_false)
            self.store.append(record, self.optimizer.state_dict(), evaluations, lease)
            self.history.append(record)
            if listener is not None:
                listener("optimizing", len(self.history), self.config.rounds, record)

    def _record(self, theta: Tensor, evaluations: Sequence[Evaluation], wall_s: float) -> Round:
        estimate = getattr(self.optimizer, "last_estimate", None)
        shown = evaluations[0] if estimate is not None else self._shown(theta, evaluations)
        return Round(
            number=len(self.history),
            theta=shown.request.theta if estimate is None else theta,
            value=shown.value,
            std_error=shown.std_error,
            gradient=None if estimate is None else estimate.gradient,
            gradient_std_error=None if estimate is None else estimate.gradient_std_error,
            terms=shown.terms,
            n_evaluations=len(evaluations),
            cpu_s=sum(evaluation.cpu_s for evaluation in evaluations),
            wall_s=wall_s,
        )

    def _shown(self, theta: Tensor, evaluations: Sequence[Evaluation]) -> Evaluation:
        """The evaluation that stands for a round: of the search that is ahead, or the lowest."""
        answered = [one for one in evaluations if not one.failure] or evaluations
        if self.optimizer.has_leader:
            return min(answered, key=lambda one: float((one.request.theta - theta).norm()))
        return min(answered, key=lambda one: one.value)

    @property
    def designs(self) -> Mapping[str, Design]:
        """Start, final and the baselines, by name (float64).

        For a merge the parent, the merged design, its parts and the baselines.
        """
        space, parent = self.problem.space, self.config.parent
        if parent is not None and self.config.merged:
            parts = {part.label: part.values for part in self.config.merged}
            return {"start": parent.values, "final": space.start, **parts, **self.problem.baselines}
        final = space.design(self.optimizer.recommend()).detach()
        return {"start": space.start, "final": final, **self.problem.baselines}

    def theta(self) -> Float[Tensor, " n_free"]:
        """The recommended point."""
        return self.optimizer.recommend()


def make_method(config: StudyConfig, problem: Problem) -> Optimizer:
    """The study's optimizer, or an error that says why it does not fit."""
    if config.merged:
        return Keep(problem.space, config.rounds)
    options = dict(config.method_options)
    if config.events is not None:
        options["n_events"] = config.events
    if "seed" in signature(METHODS[config.method]).parameters:
        options.setdefault("seed", config.seed)
    try:
        return make(config.method, problem.space, config.rounds, options, problem)
    except DesignError as error:
        raise MethodError(f"The start of the search is unusable: {error}") from error


def _problem(config: StudyConfig) -> tuple[Problem, ProblemRecipe]:
    return config.recipe.make(), config.recipe


def _free_folder(study: str) -> Path:
    """`runs/ID`, with a number behind it where that is taken."""
    base = Path("runs")
    for attempt in range(1, 10_000):
        folder = base / (study if attempt == 1 else f"{study}-{attempt}")
        if not folder.exists():
            return folder
    raise ConfigError(f"{base} holds 10,000 runs of the same study. Clean it up.")
