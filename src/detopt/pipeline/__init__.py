"""The pipeline: stages, problems, outcomes, and how they are evaluated."""

from detopt.pipeline.evaluation import Evaluation, Request, evaluate
from detopt.pipeline.outcome import Outcome, Summary, merge
from detopt.pipeline.pictures import Box, Scatter, Scene
from detopt.pipeline.pipeline import Pipeline
from detopt.pipeline.problem import FunctionProblem, Problem
from detopt.pipeline.stages import Analysis, Objective, Reconstruction, Simulator, Source

__all__ = [
    "Analysis",
    "Box",
    "Evaluation",
    "FunctionProblem",
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
    "evaluate",
    "merge",
]
