"""Programs as simulators: what they get, what they may answer, and how they fail."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Interval
from detopt.errors import ConfigError, NotFoundError, SimulationError
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.runtime.executors import ProblemRecipe, ProcessExecutor
from detopt.simulators import BlackBox, Command, Limits
from detopt.simulators.command import fill, split_words

SPACE = DesignSpace([Continuous("gap", 0.3, Interval(0.1, 1.0), "m")])
THETA = SPACE.theta(SPACE.start)
FINE = 'echo "{\\"objective\\": 1.5}" > {result}'
EXAMPLE = Path(sys.modules["detopt.simulators"].__file__).parent / "example.py"


def shell(script, **settings):
    """A shell script that knows the paths of design and result."""
    return Command(["sh", "-c", f": {{design}} {{result}}; {script}"], **settings)


def call(command, **design):
    return command(design or {"gap": 0.3}, seed=7, n_events=2, units={"gap": "m"})


def ends(pid):
    """Whether a process ends: a signal takes effect when the system comes to it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        os.sched_yield()
    return False


def test_a_program_reads_the_design_and_writes_the_result():
    assert call(shell(FINE)) == {"objective": 1.5}
    assert call(shell("cat {design} > {result}")) == {
        "design": {"gap": 0.3},
        "units": {"gap": "m"},
        "seed": 7,
        "n_events": 2,
    }


def test_the_call_has_places_and_a_folder_of_its_own():
    script = 'echo "[{seed}, {n_events}]" > {folder}/mine; mv {folder}/mine {result}'
    assert call(shell(script)) == [7, 2]


def test_braces_of_a_shell_are_left_alone():
    assert fill(["${seed}", "{seed}", "{other}"], Path("/call"), 7, 2) == (
        "${seed}",
        "7",
        "{other}",
    )


def test_a_line_is_split_as_a_shell_would():
    line = "Rscript 'my sim.R' --in={design} --out={result}"
    assert split_words(line) == ("Rscript", "my sim.R", "--in={design}", "--out={result}")


def test_working_folder_and_variables_are_those_wanted(tmp_path):
    command = shell(
        'echo "\\"$PWD $BEAM\\"" > {result}', folder=tmp_path, environment={"BEAM": "pi"}
    )
    assert call(command) == f"{tmp_path} pi"


def test_a_relative_program_starts_at_the_working_folder(tmp_path):
    program = tmp_path / "simulate"
    program.write_text('#!/bin/sh\necho 4 > "$2"\n')
    program.chmod(0o755)
    assert call(Command("./simulate {design} {result}", folder=tmp_path)) == 4


def test_the_example_agrees_with_its_formula():
    command = Command([sys.executable, str(EXAMPLE), "{design}", "{result}"])
    gap, pitch = 0.5, 1e-3
    answer = command({"gap": gap, "pitch": pitch}, seed=1, n_events=20_000)
    values = torch.tensor(answer["objective"])
    expected = 2 / 12 * (pitch / gap * 1e3) ** 2 + 0.4**2 * gap + 0.1 * 1e-3 / pitch
    assert values.mean().item() == pytest.approx(
        expected, abs=4 * float(values.std()) / 20_000**0.5
    )


FAILURES = {
    "exit code": ("echo bad geometry >&2; exit 3", "exit code 3. Its output ends with: bad geom"),
    "signal": ("kill -11 $$", r"killed by signal 11 \(Segmentation fault\)"),
    "nothing written": ("true", "without writing its result file. It printed nothing"),
    "partial": ('printf "{\\"objective\\": 1" > {result}', "no complete JSON.*begins with"),
    "empty": ("touch {result}", "no complete JSON"),
    "folder": ("mkdir {result}", "cannot be read"),
    "no text": ("printf '\\377' > {result}", "cannot be read"),
}


@pytest.mark.parametrize(("script", "message"), FAILURES.values(), ids=FAILURES)
def test_a_failure_says_what_happened(script, message):
    with pytest.raises(SimulationError, match=message):
        call(shell(script))


def test_the_end_of_a_long_output_is_shown():
    script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; exit 1"
    with pytest.raises(SimulationError, match="line 2000") as info:
        call(shell(script))
    assert len(str(info.value)) < 400


def test_a_problem_adds_seed_and_design():
    problem = BlackBox(SPACE, shell("exit 3"), on_failure="skip")
    answer = evaluate(problem, Request(THETA, ("a",)), Seed(1))
    assert "exit code 3" in answer.failure
    assert "1 events, design: gap = 0.3" in answer.failure


def test_the_whole_process_group_is_killed_when_time_is_over(tmp_path):
    children = tmp_path / "children"
    script = f"sleep 60 & echo $! > {children}; sleep 60"
    begin = time.monotonic()
    with pytest.raises(SimulationError, match="took longer than 1 s"):
        call(shell(script, limits=Limits(timeout=1.0)))
    assert time.monotonic() - begin < 30
    assert ends(int(children.read_text()))


def test_what_a_program_leaves_running_is_killed(tmp_path):
    children = tmp_path / "children"
    call(shell(f"sleep 60 & echo $! > {children}; {FINE}"))
    assert ends(int(children.read_text()))


def test_a_user_who_interrupts_kills_the_program(tmp_path, monkeypatch):
    children, wait = tmp_path / "children", subprocess.Popen.wait

    def interrupted(process, timeout=None):
        while not children.exists():
            os.sched_yield()
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call(shell(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {children}; sleep 60"))
    assert ends(int(children.read_text()))


def test_a_program_may_not_take_more_memory_than_allowed():
    words = [sys.executable, "-c", "b = bytearray(3 * 10**9)", "{design}", "{result}"]
    with pytest.raises(SimulationError, match="MemoryError"):
        call(Command(words, limits=Limits(memory=1.0)))


def test_within_its_memory_a_program_runs():
    assert call(shell(FINE, limits=Limits(memory=1.0))) == {"objective": 1.5}


def flaky(tmp_path, **limits):
    """A program that fails at its first call."""
    mark = tmp_path / "mark"
    script = f"if [ -e {mark} ]; then {FINE}; else touch {mark}; echo no licence; exit 1; fi"
    return shell(script, limits=Limits(**limits))


def test_a_retry_may_succeed(tmp_path):
    assert call(flaky(tmp_path, retries=1)) == {"objective": 1.5}


def test_without_retries_it_fails(tmp_path):
    with pytest.raises(SimulationError, match="no licence"):
        call(flaky(tmp_path))


def test_after_all_attempts_it_fails():
    with pytest.raises(SimulationError, match="exit code 1 after 3 attempts"):
        call(shell("exit 1", limits=Limits(retries=2)))


def test_files_of_failures_are_kept_where_asked(tmp_path):
    logs = tmp_path / "logs"
    with pytest.raises(SimulationError, match=r"kept in .*logs/seed7-\w{8}-1"):
        call(shell("echo why; exit 1", limits=Limits(logs=logs)))
    call(shell(FINE, limits=Limits(logs=logs)))
    (kept,) = logs.iterdir()
    assert (kept / "output.txt").read_text() == "why\n"
    assert json.loads((kept / "design.json").read_text())["design"] == {"gap": 0.3}


def test_files_of_all_calls_are_kept_where_asked(tmp_path):
    call(shell(FINE, limits=Limits(logs=tmp_path, keep="all")))
    (kept,) = tmp_path.iterdir()
    assert {path.name for path in kept.iterdir()} == {"design.json", "result.json", "output.txt"}


ODD = "ln -s /no/such/file {folder}/link; mkfifo {folder}/pipe"


@pytest.mark.parametrize("run", ["first", "second"])
def test_links_and_pipes_of_a_call_are_no_failure(tmp_path, caplog, run):
    odd = shell(f"{ODD}; {FINE}", limits=Limits(logs=tmp_path, keep="all"))
    for _ in range(1 if run == "first" else 2):
        assert call(odd) == {"objective": 1.5}
    (kept,) = tmp_path.iterdir()
    assert {path.name for path in kept.iterdir()} == {
        *("design.json", "result.json", "output.txt", "link")
    }
    assert (kept / "link").is_symlink()
    assert not caplog.records


def test_what_cannot_be_kept_hides_no_reason_and_no_result(tmp_path, caplog):
    logs, count = tmp_path / "logs", tmp_path / "count"
    logs.write_text("a file where the folder should be\n")
    failing = f"echo again >> {count}; echo no field map; exit 3"
    with pytest.raises(SimulationError, match=r"code 3 after 3 attempts.*no field map$"):
        call(shell(failing, limits=Limits(logs=logs, retries=2)))
    assert len(count.read_text().splitlines()) == 3
    assert call(shell(FINE, limits=Limits(logs=logs, keep="all"))) == {"objective": 1.5}
    assert [record.name for record in caplog.records] == ["detopt.simulators"] * 4
    assert "Not all files of the call are kept" in caplog.text


def test_worker_processes_run_programs_side_by_side():
    problem = BlackBox(SPACE, shell('echo "{seed}e-9" > {result}'), n_events=3, chunk_size=1)
    request = Request(THETA, ("a",))
    with ProcessExecutor(problem, ProblemRecipe(None, {}, (), problem), 2) as executor:
        (answer,) = executor.evaluate([request], Seed(3))
    assert answer.value == evaluate(problem, request, Seed(3)).value


@pytest.mark.parametrize(("command", "message"), [
    ("", "is empty"),
    ([], "is empty"),
    ("simulate {design}", r"lacks `\{result\}`"),
    ("simulate {desing} {result}", r"lacks `\{design\}`.*Did you mean it by `\{desing\}`"),
    ("simulate '{design} {result}", "Cannot split"),
])  # fmt: skip
def test_a_command_that_cannot_work_is_refused(command, message):
    with pytest.raises(ConfigError, match=message):
        Command(command)


@pytest.mark.parametrize(("words", "folder", "message"), [
    ("no-such-program {design} {result}", None, "No program `no-such-program`"),
    ("./nothing {design} {result}", None, "No program `./nothing`"),
    ("sh {design} {result}", "/no/such/folder", "working folder /no/such/folder does not exist"),
])  # fmt: skip
def test_what_is_missing_is_named(words, folder, message):
    with pytest.raises(NotFoundError, match=message):
        call(Command(words, folder))


@pytest.mark.parametrize(("settings", "message"), [
    ({"timeout": 0.0}, "`timeout` must be > 0, got 0.0"),
    ({"memory": -1.0}, "`memory` must be > 0"),
    ({"retries": -1}, "`retries` must be >= 0"),
])  # fmt: skip
def test_limits_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)


BUSY = """
import json, sys, time
while time.process_time() < 0.3: pass
json.dump({"objective": 1.0}, open(sys.argv[1], "w"))
"""


def test_the_cpu_time_of_the_program_counts():
    command = Command([sys.executable, "-c", BUSY, "{result}", "{design}"])
    problem = BlackBox(SPACE, command, n_events=1)
    spent = evaluate(problem, Request(THETA, ("cpu",)), Seed(0)).cpu_s
    assert 0.3 <= spent < 3
