"""The job files of the documentation: they start workers as the command line understands them."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml

from detopt.cli.app import app

FILES = Path(__file__).parents[2] / "docs" / "run" / "files"
STAND_IN = """#!/bin/bash
trap 'echo left >> "$RECORD"; exit 0' TERM
echo "$@" >> "$RECORD"
while true; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def options():
    """Options of `detopt worker`."""
    command = typer.main.get_command(app).commands["worker"]
    return {name for parameter in command.params for name in parameter.opts}


def words(name):
    """What a file gives to `detopt worker`."""
    text = (FILES / name).read_text()
    if name.endswith(".yaml"):
        return yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]["args"]
    calls = re.findall(r"(?:detopt worker|\"worker)(.*)", text.replace("OPTIONS OF detopt", ""))
    return [word for call in calls for word in call.strip('"&').split()]


@pytest.mark.parametrize("name", ["workers.sub", "workers.yaml", "machine.sh"])
def test_options_are_those_of_the_command(name, options):
    given = {word.partition("=")[0] for word in words(name) if word.startswith("--")}
    assert {"--url", "--token-file", "--idle"} <= given <= options


@pytest.mark.parametrize("name", ["workers.sbatch", "machine.sh"])
def test_scripts_are_well_formed(name):
    checked = subprocess.run(["bash", "-n", str(FILES / name)], capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_the_worker_itself_gets_the_signals_of_slurm():
    lines = (FILES / "workers.sbatch").read_text().splitlines()
    directives = {line.split()[1] for line in lines if line.startswith("#SBATCH")}
    assert {"--requeue", "--signal=B:USR1@60"} <= directives
    assert shlex.split(lines[-1])[:3] == ["exec", "detopt", "worker"]


def test_pods_have_no_rights_and_time_to_leave():
    job = yaml.safe_load((FILES / "workers.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= 25
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_pods_fit_the_schema_of_kubernetes():
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    job = yaml.safe_load((FILES / "workers.yaml").read_text())
    version = validate.latest_version()
    validate.validate(job, version, strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["imag"] = "misspelt"
    with pytest.raises(validate.ValidationError, match="imag"):
        validate.validate(job, version, strict=True)


def test_htcondor_reads_the_submit_file():
    htcondor = pytest.importorskip("htcondor2", reason="pip install htcondor")
    text = (FILES / "workers.sub").read_text()
    job = htcondor.Submit("server = https://a:1\n" + text)
    assert job.expand("arguments").startswith('"worker --url https://a:1 --token-file')
    assert job.expand("kill_sig") == "SIGTERM"


@pytest.mark.skipif(sys.platform == "win32", reason="a bash script")
@pytest.mark.parametrize("notice", [True, False])
def test_a_spot_machine_ends_with_its_workers(tmp_path, notice):
    """Stand-ins for the workers write down what happens to them."""
    record = tmp_path / "record"
    program = tmp_path / "detopt"
    program.write_text(STAND_IN if notice else '#!/bin/bash\necho "$@" >> "$RECORD"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RECORD": str(record),
        "SERVER": "https://a:1",
        "TOKEN_FILE": "t",
        "WORKERS": "2",
        "AFTERWARDS": str(tmp_path / "off"),
    }
    (tmp_path / "off").write_text(f"#!/bin/bash\necho off >> {record}\n")
    (tmp_path / "off").chmod(0o755)
    process = subprocess.Popen([str(FILES / "machine.sh")], env=environment)
    started = "worker --url https://a:1 --token-file t --idle 1800"
    end = time.monotonic() + 30.0
    while notice and lines(record).count(started) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    if notice:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30.0) == 0
    assert lines(record) == [started] * 2 + ["left"] * (2 if notice else 0) + ["off"]


def lines(path):
    return path.read_text().splitlines() if path.exists() else []
