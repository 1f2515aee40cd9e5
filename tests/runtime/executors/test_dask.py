"""The executor `dask`: the same bits, and workers that are killed."""

import os
import signal

import pytest

from detopt.errors import ConfigError, DetoptError, MissingExtraError
from detopt.runtime import Study, StudyConfig
from detopt.runtime.executors import DaskExecutor, SerialExecutor
from detopt.runtime.executors.dask import DaskOptions, make_cluster

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Dask


CASE = '''"""Counts how often it is built."""

from detopt.errors import ConfigError
from detopt.usecases.hump import Config


def build(config):
    with open({tries!r}, "a") as file:
        file.write("x")
    raise ConfigError("no such magnet")
'''


@pytest.fixture(scope="module")
def dask():
    pytest.importorskip("distributed", reason="pip install detopt[dask]")


@pytest.mark.slow
def test_a_killed_worker_changes_no_bit(dask, many, requests, seed):
    with DaskExecutor(many.problem, many.inputs, {}, workers=2) as executor:
        first = executor.evaluate(requests, seed)
        pending = executor.submit(many.work)
        pid, *_ = executor.client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        answers = [one.result() for one in pending]
        again = executor.evaluate(requests, seed)
        n_workers = len(executor.client.nthreads())
    serial = SerialExecutor(many.problem)
    many.assert_same(first, serial.evaluate(requests, seed))
    many.assert_same(again, first)
    many.assert_same_answers(answers, [one.result() for one in serial.submit(many.work)])
    assert n_workers >= 1
    assert all(one.done() for one in pending)


@pytest.mark.slow
def test_what_nobody_wants_leaves_what_is_in_the_same_task(dask, many):
    with DaskExecutor(many.problem, many.inputs, {}, workers=1) as executor:
        executor._piece_s = 0.01  # so that they go together
        pending = executor.submit(many.work[:6])
        for one in pending[1:]:
            one.cancel()
        answer = pending[0].result()
    expected = [one.result() for one in SerialExecutor(many.problem).submit(many.work[:1])]
    many.assert_same_answers([answer], expected)


@pytest.mark.slow
def test_an_error_in_the_work_is_told_at_once(dask, many, tmp_path):
    tries = tmp_path / "tries"
    case = CASE.format(tries=str(tries))
    study = many.inputs["study.yaml"].replace(b"use_case: hump", b"use_case: inputs/mine.py")
    inputs = many.inputs | {"study.yaml": study, "inputs/mine.py": case.encode()}
    with DaskExecutor(many.problem, inputs, {}, workers=1) as executor:
        (pending,) = executor.submit(many.work[:1])
        with pytest.raises(ConfigError, match="no such magnet"):
            pending.result()
    assert tries.read_text() == "x"


@pytest.mark.parametrize(
    ("options", "workers", "error", "match"),
    [
        ({"options": {"foo": 1}}, 1, DetoptError, "does not start.*unexpected keyword.*'foo'"),
        ({}, 0, ConfigError, "would have no worker"),
    ],
)
def test_a_cluster_that_cannot_work_is_explained(dask, many, options, workers, error, match):
    with pytest.raises(error, match=match):
        DaskExecutor(many.problem, many.inputs, options, workers)


@pytest.mark.slow
def test_a_study_gives_the_bits_of_one_process(dask, tmp_path):
    settings = {"rounds": 2, "events": 100, "evaluation_events": 100}
    final = []
    for name, more in (("one", {}), ("dask", {"executor": "dask", "workers": 2})):
        study = Study.create(StudyConfig.make("hump", **settings, **more), tmp_path / name)
        final.append(study.run().data["objective"])
    assert final[0] == final[1]


@pytest.mark.slow
def test_a_scheduler_elsewhere_is_reached_by_tls(dask, many, requests, seed, tmp_path):
    pytest.importorskip("cryptography", reason="pip install detopt[service]")
    from distributed import LocalCluster, Security

    from detopt.service.addresses import make_certificate

    certificate, key = (str(path) for path in make_certificate(tmp_path))
    files = {
        f"tls_{role}_{kind}": path
        for role in ("scheduler", "worker", "client")
        for kind, path in (("cert", certificate), ("key", key))
    }
    security = Security(tls_ca_file=certificate, require_encryption=True, **files)
    given = {"tls_authority": certificate, "tls_certificate": certificate, "tls_key": key}
    with LocalCluster(
        n_workers=1, threads_per_worker=1, security=security, dashboard_address=None
    ) as cluster:
        options = {"cluster": "address", "address": cluster.scheduler_address, **given}
        assert options["address"].startswith("tls://")
        with DaskExecutor(many.problem, many.inputs, options) as executor:
            found = executor.evaluate(requests, seed)
        with pytest.raises(ConfigError, match="tls_key"):
            DaskExecutor(many.problem, many.inputs, options | {"tls_key": tmp_path / "none"})
    many.assert_same(found, SerialExecutor(many.problem).evaluate(requests, seed))


def test_options_of_another_executor_are_refused():
    with pytest.raises(ConfigError, match="`queue` has no options"):
        StudyConfig.make("hump", executor="queue", executor_options={"cluster": "slurm"})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"clutser": "local"}, "clutser"),
        ({"cluster": "address"}, "goes with"),
        ({"address": "tls://a.b:1"}, "goes with"),
        ({"cluster": "address", "address": "tcp://a.b:1"}, "tls://"),
        ({"cluster": "kubernetes"}, "encrypted_network"),
        ({"minimum": 1}, "needs `maximum`"),
        ({"minimum": 3, "maximum": 2}, "above `maximum`"),
    ],
)
def test_unusable_options_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        StudyConfig.make("hump", executor="dask", executor_options=options)


@pytest.mark.parametrize(
    ("options", "match"),
    [({}, "memory"), ({"memory": "1GB", "protocol": "tcp://"}, "TLS")],
)
@pytest.mark.parametrize("cluster", ["slurm", "htcondor"])
def test_a_batch_system_is_used_with_tls(dask, cluster, options, match):
    pytest.importorskip("dask_jobqueue", reason="pip install detopt[dask]")
    with pytest.raises(ConfigError, match=match):
        make_cluster(DaskOptions(cluster=cluster, options=options), 1)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [("slurm", ["#SBATCH", "--requeue"]), ("htcondor", ["RequestMemory"])],
)
def test_the_job_of_a_batch_system_is_written(dask, tmp_path, monkeypatch, cluster, words):
    pytest.importorskip("dask_jobqueue", reason="pip install detopt[dask]")
    monkeypatch.chdir(tmp_path)
    extra = {"job_extra_directives": ["--requeue"]} if cluster == "slurm" else {"disk": "1GB"}
    options = {"memory": "1GB", "interface": "lo", **extra}
    with make_cluster(DaskOptions(cluster=cluster, options=options), 0) as made:
        script = made.job_script()
    assert all(word in script for word in words)
    assert "tls" in script


@pytest.mark.parametrize(
    ("cluster", "program"), [("slurm", "sbatch"), ("htcondor", "condor_submit")]
)
def test_a_machine_that_submits_no_jobs_is_named(dask, many, monkeypatch, cluster, program):
    monkeypatch.setenv("PATH", "/nowhere")
    options = {"cluster": cluster, "options": {"memory": "1GB"}}
    with pytest.raises(DetoptError, match=f"`{program}`, which is not on this machine"):
        DaskExecutor(many.problem, many.inputs, options)


def test_kubernetes_says_what_it_needs():
    chosen = DaskOptions.make({"cluster": "kubernetes", "encrypted_network": True})
    try:
        import dask_kubernetes  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"detopt\[kubernetes\]"):
            make_cluster(chosen, 1)


def test_a_scheduler_that_is_not_there_is_named(dask, many):
    options = {"cluster": "address", "address": "tcp://127.0.0.1:9"}
    import dask as package

    with (
        package.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(DetoptError, match="No Dask scheduler"),
    ):
        DaskExecutor(many.problem, many.inputs, options)
