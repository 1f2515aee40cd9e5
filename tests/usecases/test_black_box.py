"""The use case that optimizes a program: its options, and a study from a file."""

import json
import textwrap

import pytest
import yaml

from detopt import usecases
from detopt.errors import ConfigError, DesignError, MethodError, SimulationError
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.runtime import Study, load_study
from detopt.simulators import BlackBox, Command, Container

GAP = {"name": "gap", "start": 0.3, "low": 0.1, "high": 1.0, "unit": "m"}
SHELL = ["sh", "-c", ": {design}; echo {seed} > {result}"]


def build(**options):
    return usecases.load("black_box").build(options)


def at_start(problem):
    theta = problem.space.theta(problem.space.start)
    return evaluate(problem, Request(theta, ("a",)), Seed(1))


def script(folder, text, name="simulate.py"):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def test_the_default_is_the_example():
    problem = build()
    assert isinstance(problem, BlackBox)
    assert problem.space.labels == ["gap", "pitch"]
    answer = at_start(problem)
    assert answer.terms["metric:price"] == pytest.approx(0.05)
    assert answer.std_error > 0


def test_a_command_with_parameters_is_enough():
    problem = build(command=SHELL, parameters=[GAP])
    assert at_start(problem).value > 0
    assert problem.simulator.words == tuple(SHELL)


def test_all_kinds_of_parameters_can_be_said():
    parameters = [
        GAP,
        {"name": "free", "start": [1.0, 2.0], "scale": 0.5},
        {"name": "layers", "start": 3, "low": 1, "high": 5, "whole": True},
        {"name": "material", "start": "lead", "choices": ["iron", "lead"]},
    ]
    baselines = {"human": {"gap": 0.5, "free": [1, 1], "layers": 2, "material": "iron"}}
    problem = build(command=SHELL, parameters=parameters, baselines=baselines)
    kinds = [type(parameter).__name__ for parameter in problem.space.parameters]
    assert kinds == ["Continuous", "Continuous", "Integer", "Categorical"]
    assert problem.baselines["human"].numbers() == {
        "gap": 0.5, "free": [1, 1], "layers": 2, "material": 0,
    }  # fmt: skip


def test_baselines_of_the_command_line_are_a_text():
    problem = build(command=SHELL, parameters=[GAP], baselines="{human: {gap: 0.5}}")
    assert problem.baselines["human"].numbers() == {"gap": 0.5}


def test_limits_and_names_reach_the_simulator():
    problem = build(
        command=SHELL, parameters=[GAP], timeout="2 min", memory=1.5, retries=2, logs="logs",
        on_failure="skip", constraints=["weight"],
    )  # fmt: skip
    assert (problem.simulator.limits.timeout, problem.simulator.limits.memory) == (120.0, 1.5)
    assert (problem.on_failure, problem.constraint_names) == ("skip", ("weight",))


@pytest.mark.parametrize(
    ("suffix", "program"), [(".jl", "julia"), (".R", "Rscript"), (".sh", "sh")]
)
def test_a_script_has_its_interpreter(tmp_path, suffix, program):
    path = script(tmp_path, "", f"simulate{suffix}")
    problem = build(program=path, parameters=[GAP])
    assert problem.simulator.words == (program, str(path), "{design}", "{result}")


def test_a_command_may_hold_the_program(tmp_path):
    path = script(tmp_path, "", "deck.inp")
    problem = build(program=path, command="g4 -m {program} {design} {result}", parameters=[GAP])
    assert isinstance(problem.simulator, Command)
    assert problem.simulator.words == ("g4", "-m", str(path), "{design}", "{result}")


def test_a_function_of_a_file_is_called(tmp_path):
    path = script(tmp_path, "def simulate(design):\n    return design['gap'] ** 2\n")
    problem = build(program=path, function="simulate", parameters=[GAP], n_events=1)
    assert at_start(problem).value == pytest.approx(0.09)


def test_an_image_makes_a_container():
    problem = build(image="sim:1", runtime="podman", command=SHELL, parameters=[GAP])
    assert isinstance(problem.simulator, Container)
    assert problem.simulator.runtime == "podman"


def test_a_study_file_optimizes_a_program(tmp_path):
    script(
        tmp_path,
        """
        import json, sys
        call = json.load(open(sys.argv[1]))
        json.dump((call["design"]["gap"] - 0.6) ** 2, open(sys.argv[2], "w"))
        """,
    )
    study = {
        "use_case": "black_box",
        "options": {"program": "simulate.py", "parameters": [GAP], "n_events": 1},
        "rounds": 4,
        "evaluation_events": 2,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    made = Study.create(load_study(tmp_path / "study.yaml"), tmp_path / "run")
    made.run()
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["objective"]["final"]["value"] < 0.1 * result["objective"]["start"]["value"]
    assert (tmp_path / "run/inputs/simulate.py").exists()
    assert (
        Study.resume(tmp_path / "run").config.options["program"].endswith("run/inputs/simulate.py")
    )


def test_a_failing_program_says_so():
    problem = build(command=["sh", "-c", ": {design} {result}; echo why; exit 9"], parameters=[GAP])
    with pytest.raises(SimulationError, match=r"exit code 9.*why.*gap = 0.3"):
        at_start(problem)


REFUSED = {
    "no parameters": ({"command": SHELL}, ConfigError, "`command` needs `parameters`"),
    "no program": ({"parameters": [GAP]}, ConfigError, "Say with `program` or `command`"),
    "no result": ({"command": "a {design}", "parameters": [GAP]}, ConfigError, "lacks `{result}`"),
    "unknown suffix": ({"program": "a.exe", "parameters": [GAP]}, ConfigError, "is a script"),
    "misspelt key": (
        {"command": SHELL, "parameters": [{**GAP, "lo": 1}]},
        ConfigError,
        "parameters.0.lo",
    ),
    "one bound": (
        {"command": SHELL, "parameters": [{"name": "a", "start": 1, "low": 0}]},
        ConfigError,
        "needs both `low` and `high`",
    ),
    "a text": (
        {"command": SHELL, "parameters": [{**GAP, "start": "far"}]},
        ConfigError,
        "must be a number",
    ),
    "not whole": (
        {"command": SHELL, "parameters": [{**GAP, "whole": True}]},
        ConfigError,
        "is whole",
    ),
    "outside": ({"command": SHELL, "parameters": [{**GAP, "start": 2}]}, DesignError, "`gap`"),
    "a baseline outside": (
        {"command": SHELL, "parameters": [GAP], "baselines": {"x": {"gap": 7}}},
        DesignError,
        "gap",
    ),
    "an image alone": (
        {"image": "sim", "parameters": [GAP], "program": "a.py"},
        ConfigError,
        "image",
    ),
    "a function alone": (
        {"function": "f", "parameters": [GAP], "command": "a"},
        ConfigError,
        "func",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        build(**options)


@pytest.mark.parametrize(("text", "settings", "message"), [
    ("def other(design): pass", {}, "has no function `simulate`"),
    ("1 / 0", {}, "ZeroDivisionError"),
    ("def simulate(design): pass", {"timeout": 3}, "without limits"),
])  # fmt: skip
def test_a_function_that_cannot_be_called_is_refused(tmp_path, text, settings, message):
    path = script(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        build(program=path, function="simulate", parameters=[GAP], **settings)


def test_a_pathwise_gradient_is_refused():
    problem = build()
    request = Request(problem.space.theta(problem.space.start), ("a",), gradient=True)
    with pytest.raises(MethodError, match="no pathwise gradient"):
        evaluate(problem, request, Seed(1))
