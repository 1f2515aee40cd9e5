"""Progress of a study, as lines where there is no terminal."""

import io
import math

import pytest
import torch
from rich.console import Console

from detopt.progress import ProgressBar
from detopt.runtime import Round, Study


def shown(std_error, terms):
    """The line after the only round of a study."""
    theta = torch.zeros(1, dtype=torch.float64)
    record = Round(0, theta, 0.51234, std_error, None, None, terms, 1, 0.1, 0.1)
    text = io.StringIO()
    with ProgressBar(
        object.__new__(Study), console=Console(file=text, force_terminal=False, width=200)
    ) as bar:
        bar.listen("optimizing", 1, 1, record)
    return text.getvalue().strip()


@pytest.mark.parametrize(
    ("std_error", "terms", "line"),
    [
        (0.0213, {}, "optimizing 1/1  objective 0.5123 ± 0.02"),
        (math.nan, {}, "optimizing 1/1  objective 0.5123"),
        (math.nan, {"cost": 20.0}, "optimizing 1/1  objective 0.5123, cost 20"),
    ],
)
def test_a_line_tells_objective_error_where_it_is_known_and_cost(std_error, terms, line):
    assert shown(std_error, terms) == line
