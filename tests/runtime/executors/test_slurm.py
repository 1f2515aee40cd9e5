"""A real Slurm on this machine, which preempts the workers of a study in its middle."""

import gc
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from detopt.runtime import Study, StudyConfig
from detopt.testing.slurm import slurm_site, slurm_tools, unpack_slurm

ROOT = Path(__file__).parents[3]
CASE = str(ROOT / "benchmarks" / "runtime_parts" / "vector.py")
SCRIPT = ROOT / "docs" / "run" / "files" / "workers.sbatch"
SETTINGS = {"rounds": 8, "options": {"pause": 0.3, "chunk": 20}}
EVICTED_AT = 3  # rounds
LIMIT = 400.0  # s
ANSWERS = "SELECT count(*) FROM attempt WHERE outcome = 'done'"
TASKS = "SELECT count(*) FROM task WHERE state = 'done'"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of Dask


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root can run a Slurm of its own")
    tools = slurm_tools()
    if tools is None:
        try:
            tools = unpack_slurm(tmp_path_factory.mktemp("slurm"))
        except OSError as error:
            pytest.skip(f"{error} Install it: apt-get install slurmctld slurmd slurm-client munge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # `detopt`
        with slurm_site(tools) as site:
            for name in ("PATH", "SLURM_CONF", "LD_LIBRARY_PATH"):
                if name in site.environment:
                    patch.setenv(name, site.environment[name])
            yield site


@pytest.fixture
def expected(tmp_path):
    config = StudyConfig.make(CASE, **{**SETTINGS, "options": {"chunk": 20}})
    return objective(Study.create(config, tmp_path / "serial").run())


def objective(result):
    return result.data["objective"], result.data["theta"]


class Evictor:
    """Takes the node away once, and waits for nothing."""

    def __init__(self, site):
        self.site, self.before = site, site.n_restarts()

    def listen(self, stage, done, total, record):
        if stage == "optimizing" and done == EVICTED_AT:
            self.site.preempt()

    def run(self, study):
        """What a study finds; it is stopped where no worker comes."""
        alarm = threading.Timer(LIMIT, os.kill, (os.getpid(), signal.SIGUSR1))
        alarm.start()
        try:
            return objective(study.run(self.listen))
        except KeyboardInterrupt:
            pytest.fail(self.site.call("scontrol", "show", "job"))
        finally:
            alarm.cancel()

    def n_evicted(self):
        return self.site.n_restarts() - self.before


def test_jobs_that_dask_submits_are_preempted_and_return(slurm, expected, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="pip install detopt[dask]")
    monkeypatch.chdir(tmp_path)
    options = {
        "cluster": "slurm",
        "options": {
            "queue": "main",
            "memory": "1GB",
            "interface": "lo",
            "log_directory": str(tmp_path),
            "job_extra_directives": ["--requeue"],
        },
    }
    settings = {**SETTINGS, "executor": "dask", "workers": 2, "executor_options": options}
    evictor = Evictor(slurm)
    study = Study.create(StudyConfig.make(CASE, **settings), tmp_path / "run")
    found = evictor.run(study)
    gc.collect()  # here, where the files that dask-jobqueue leaves open are no error
    assert found == expected
    assert evictor.n_evicted() == 2


def test_pull_workers_in_jobs_are_preempted_and_return(slurm, expected, tmp_path):
    settings = {**SETTINGS, "executor": "queue", "workers": 0}
    study = Study.create(StudyConfig.make(CASE, **settings), tmp_path / "run")
    log = f"--output={tmp_path}/%A-%a.log"
    job = slurm.submit("--array=1-2", "--mem=1G", log, str(SCRIPT), str(tmp_path / "run"))
    evictor = Evictor(slurm)
    found = evictor.run(study)
    slurm.call("scancel", str(job))
    assert found == expected
    assert evictor.n_evicted() == 2
    answers, tasks = (count(study, query) for query in (ANSWERS, TASKS))
    assert answers == tasks > SETTINGS["rounds"]  # none is counted twice


def count(study, query):
    rows = study.store.store.database.read(lambda c: c.exec_driver_sql(query).all())
    return rows[0][0]
