"""The pipeline: stages, problems, outcomes, and how they are evaluated."""

from detopt.pipeline.evaluation import Evaluation, Request, evaluate
from detopt.pipeline.networks import DesignNetwork
from detopt.pipeline.nuisances import Nuisance, Nuisances
from detopt.pipeline.outcome import Outcome, Summary, merge
from detopt.pipeline.pictures import Box, Scatter, Scene
from detopt.pipeline.pipeline import Pipeline
from detopt.pipeline.problem import FunctionProblem, Problem
from detopt.pipeline.slopes import SummaryWithSlopes
from detopt.pipeline.stages import Analysis, Objective, Reconstruction, Simulator, Source

__all__ = [
    "Analysis",
    "Box",
    "DesignNetwork",
    "Evaluation",
    "FunctionProblem",
    "Nuisance",
    "Nuisances",
    "Objective",
    "Outcome",
    "Pipeline",
    "Problem",
    "Reconstruction",
    "Request",
    "Scatter",
    "Scene",
    "Simulator",
    "Source",
    "Summary",
    "SummaryWithSlopes",
    "evaluate",
    "merge",
]
