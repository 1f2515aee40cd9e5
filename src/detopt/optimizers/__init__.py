"""Where theta goes next: optimizers, and their names."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from detopt.design import DesignSpace
from detopt.errors import DetoptError, MethodError, NotFoundError
from detopt.gradients import (
    FiniteDifferences,
    GaussianSmoothing,
    GradientEstimator,
    LocalRegression,
    Pathwise,
)
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.bayesian import Bayesian, BayesianPareto
from detopt.optimizers.cma_es import CMAES
from detopt.optimizers.end_to_end_surrogate import EndToEndSurrogate
from detopt.optimizers.enumeration import Enumeration
from detopt.optimizers.generative_surrogate import GenerativeSurrogate
from detopt.optimizers.gradient_descent import Adam, StochasticGradientDescent
from detopt.optimizers.gumbel_softmax import GumbelSoftmax
from detopt.optimizers.lbfgsb import LBFGSB
from detopt.optimizers.local_surrogate import LocalSurrogate
from detopt.optimizers.multi_start import MultiStart
from detopt.optimizers.newton import Newton
from detopt.optimizers.nsga import NSGA2, NSGA3
from detopt.optimizers.policy_gradient import PolicyGradient
from detopt.optimizers.relaxed_categorical import RelaxedCategorical
from detopt.optimizers.scans import GridScan, RandomScan
from detopt.optimizers.trust_region_bayesian import TrustRegionBayesian
from detopt.pipeline import Problem

__all__ = [
    "CMAES",
    "LBFGSB",
    "NSGA2",
    "NSGA3",
    "Adam",
    "Bayesian",
    "BayesianPareto",
    "EndToEndSurrogate",
    "Enumeration",
    "GenerativeSurrogate",
    "GridScan",
    "GumbelSoftmax",
    "LocalSurrogate",
    "MultiStart",
    "Newton",
    "Optimizer",
    "PolicyGradient",
    "RandomScan",
    "RelaxedCategorical",
    "StateDict",
    "StochasticGradientDescent",
    "TrustRegionBayesian",
    "make",
]

METHODS: Mapping[str, type[Optimizer]] = {
    "adam": Adam,
    "sgd": StochasticGradientDescent,
    "lbfgsb": LBFGSB,
    "cma": CMAES,
    "local_surrogate": LocalSurrogate,
    "lgso": GenerativeSurrogate,
    "end_to_end_surrogate": EndToEndSurrogate,
    "newton": Newton,
    "bayesian": Bayesian,
    "bayesian_pareto": BayesianPareto,
    "trust_region_bayesian": TrustRegionBayesian,
    "nsga2": NSGA2,
    "nsga3": NSGA3,
    "grid": GridScan,
    "random": RandomScan,
    "policy_gradient": PolicyGradient,
    "enumeration": Enumeration,
    "gumbel_softmax": GumbelSoftmax,
    "multi_start": MultiStart,
}
ESTIMATORS: Mapping[str, type[GradientEstimator]] = {
    "pathwise": Pathwise,
    "finite_differences": FiniteDifferences,
    "gaussian_smoothing": GaussianSmoothing,
    "local_regression": LocalRegression,
}


def make(
    method: str,
    space: DesignSpace,
    n_rounds: int,
    options: Mapping[str, Any] | None = None,
    problem: Problem | None = None,
) -> Optimizer:
    """The optimizer called `method`.

    Args:
        method: A key of `METHODS`.
        space: Design space.
        n_rounds: Rounds that are planned.
        options: Arguments of the optimizer's class; `estimator` by its name.
        problem: The problem, whose constraints and failures the method must be able to treat.

    Raises:
        NotFoundError: No such method or estimator.
        MethodError: An option is unknown, or the method does not fit the space.
    """
    if method not in METHODS:
        raise NotFoundError(f"No method `{method}`. There are: {', '.join(METHODS)}.")
    if problem is not None:
        _fit(METHODS[method], method, problem)
    arguments = dict(options or {})
    if isinstance(arguments.get("estimator"), str):
        name = arguments["estimator"]
        if name not in ESTIMATORS:
            raise NotFoundError(
                f"No gradient estimator `{name}`. There are: {', '.join(ESTIMATORS)}."
            )
        arguments["estimator"] = ESTIMATORS[name]()
    if "problem" in signature(METHODS[method]).parameters:
        arguments.setdefault("problem", problem)
    _check(arguments)
    try:
        return METHODS[method](space, n_rounds, **arguments)
    except DetoptError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(arguments) or "none"
        raise MethodError(
            f"The method `{method}` does not take these options: {given} ({error})."
        ) from error


def _fit(kind: type[Optimizer], method: str, problem: Problem) -> None:
    """Refuse what the method would have to ignore."""
    if problem.constraint_names and not kind.accepts_constraints:
        names = ", ".join(problem.constraint_names)
        able = ", ".join(name for name, one in METHODS.items() if one.accepts_constraints)
        raise MethodError(
            f"The method `{method}` cannot keep the constraints {names} of the outcome. Take one "
            f"that can ({able or 'none is installed'}), or put them into the objective."
        )
    n_objectives = len(problem.objective_names)
    if 1 < kind.n_objectives < n_objectives:
        raise MethodError(
            f"The method `{method}` treats at most {kind.n_objectives} objectives, and the problem "
            f"has {n_objectives}. Add some of them up, or take nsga3."
        )
    if problem.on_failure == "skip" and not kind.accepts_failures:
        raise MethodError(
            f"The method `{method}` cannot go on after a failed evaluation. Say "
            "`on_failure='stop'`, or take another method."
        )


def _check(arguments: Mapping[str, Any]) -> None:
    estimator, n_events = arguments.get("estimator"), arguments.get("n_events")
    if not (estimator is None or isinstance(estimator, GradientEstimator)):
        raise MethodError(
            f"`estimator` must be a name or a GradientEstimator, got {estimator!r}. The names are: "
            f"{', '.join(ESTIMATORS)}."
        )
    whole = isinstance(n_events, int) and not isinstance(n_events, bool)
    if not (n_events is None or (whole and n_events >= 1)):
        raise MethodError(f"`n_events` must be a whole number >= 1, got {n_events!r}.")
