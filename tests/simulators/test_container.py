"""Containers: the command lines, and one run where a runtime and an image are there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from detopt.errors import ConfigError, NotFoundError
from detopt.simulators import Container, Limits

CALL = Path("/tmp/call")
INNER = ("/app/simulate", "/detopt/design.json", "/detopt/result.json")
IMAGE = os.environ.get("DETOPT_TEST_IMAGE", "busybox")


def box(runtime, **settings):
    return Container("sim:1", "/app/simulate {design} {result}", runtime, **settings)


def words(runtime, **settings):
    return box(runtime, **settings).arguments(CALL, 7, 2, "one")


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_container_is_run_without_network_and_rights(runtime):
    line = words(runtime)
    assert line[:2] == (runtime, "run")
    assert line[-4:] == ("sim:1", *INNER)
    assert {"--rm", "--init", "--name=one", "--network=none", "--workdir=/detopt"} <= set(line)
    assert f"--user={os.getuid()}:{os.getgid()}" in line
    assert "--volume=/tmp/call:/detopt" in line
    assert ("--userns=keep-id" in line) == (runtime == "podman")


def test_apptainer_runs_an_image():
    line = words("apptainer")
    assert line[:3] == ("apptainer", "exec", "--containall")
    assert "--bind=/tmp/call:/detopt" in line
    assert line[-4:] == ("sim:1", *INNER)


@pytest.mark.parametrize("runtime", ["docker", "podman", "apptainer"])
def test_mounts_variables_and_further_arguments_go_before_the_image(runtime):
    line = words(
        runtime, mounts={"/data": "/fields"}, environment={"BEAM": "pi"}, extra=["--gpus=all"]
    )
    before = line[: line.index("sim:1")]
    assert any(word.endswith("=/data:/fields:ro") for word in before)
    assert "--env=BEAM=pi" in before
    assert before[-1] == "--gpus=all"


@pytest.mark.parametrize(("runtime", "there"), [
    ("docker", True), ("podman", True), ("apptainer", False),
])  # fmt: skip
def test_memory_is_limited_by_the_runtime_where_it_can(runtime, there):
    assert ("--memory=2000000000b" in words(runtime, limits=Limits(memory=2.0))) == there


def test_places_are_paths_in_the_container():
    line = Container("i", "run {folder} {seed} {n_events} {design} {result}").arguments(
        CALL, 7, 2, "one"
    )
    assert line[-6:-2] == ("run", "/detopt", "7", "2")


def stand_in(tmp_path, monkeypatch, script):
    """A program called `docker` that does what `script` says."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_the_result_in_the_folder_of_the_call_is_read(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "echo 2.5 > result.json")
    assert box("docker")({"gap": 0.3}, seed=7, n_events=2) == 2.5


def test_a_container_that_takes_too_long_is_stopped_by_name(tmp_path, monkeypatch):
    script = f'if [ "$1" = kill ]; then echo "$2" > {tmp_path}/killed; else sleep 60; fi'
    stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(RuntimeError, match="took longer than 1 s"):
        box("docker", limits=Limits(timeout=1.0))({"gap": 0.3}, seed=7, n_events=2)
    assert (tmp_path / "killed").read_text().startswith("detopt-")


@pytest.mark.parametrize(("settings", "message"), [
    ({"runtime": "lxc"}, "docker, podman, apptainer; got 'lxc'"),
    ({"image": ""}, "`image` is empty"),
    ({"command": "simulate {design}"}, r"lacks `\{result\}`"),
])  # fmt: skip
def test_a_container_that_cannot_work_is_refused(settings, message):
    given = {"image": "sim:1", "command": "simulate {design} {result}", **settings}
    with pytest.raises(ConfigError, match=message):
        Container(**given)


def test_a_runtime_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotFoundError, match="No program `podman`"):
        box("podman")({"gap": 0.3}, seed=7, n_events=2)


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_real_container_answers(runtime):
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    there = subprocess.run([runtime, "image", "inspect", IMAGE], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"{runtime} has no image {IMAGE}")
    script = "cp {design} {result}"
    answer = Container(IMAGE, ["sh", "-c", script], runtime)({"gap": 0.3}, seed=7, n_events=2)
    assert answer["design"] == {"gap": 0.3}
