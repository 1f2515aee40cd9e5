"""A run whose tasks are served over TLS on this machine."""

import threading
import time
from types import SimpleNamespace

import pytest

from detopt.pipeline.evaluation import Request, chunks
from detopt.random import Seed
from detopt.runtime import Study, StudyConfig
from detopt.runtime.executors import Work
from detopt.runtime.executors.work import encode_work
from detopt.runtime.sources import KIND
from detopt.runtime.storage import NewTask, Tokens
from detopt.runtime.worker import keep_inputs

HOUR = 3600.0


class Run:
    """A run with a queue of tasks."""

    def __init__(self, study):
        self.study, self.problem = study, study.problem
        self.store, self.id, self.folder = study.store.store, study.store.id, study.store.folder
        self.theta = self.problem.space.theta(self.problem.space.start)
        self.tokens = Tokens(self.store.database)
        keep_inputs(self.store, self.id, self.folder)

    def token(self, trust="full", lifetime_s=HOUR):
        return self.tokens.make(self.id, lifetime_s, trust=trust)

    def add(self, n_tasks, seed=0):
        """That many pieces of work; names of their tasks."""
        found = []
        for i in range(n_tasks):
            (chunk, *_) = chunks(
                self.problem, Request(self.theta, ("t", i), n_events=8), Seed(seed)
            )
            found.append(self.store.blobs.put(encode_work(Work(chunk))))
        return self.store.tasks.add(self.id, [NewTask(p, KIND, p) for p in found])

    def state(self, name):
        return self.store.tasks.states([name])[name].state

    def result(self, name):
        return self.store.blobs.get(self.store.tasks.states([name])[name].result)


@pytest.fixture
def run(tmp_path):
    """A run of a light use case."""
    study = Study.create(StudyConfig.make("hump", rounds=2, executor="queue"), tmp_path / "run")
    return Run(study)


@pytest.fixture
def own_case(tmp_path, run):
    """A run of a use case in a file, in place of the other one."""
    file = tmp_path / "mine.py"
    file.write_text('"""As before."""\n\nfrom detopt.usecases.hump import Config, build  # noqa\n')
    study = Study.create(StudyConfig.make(str(file), rounds=2, executor="queue"), tmp_path / "own")
    run.__init__(study)
    return run


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate that signs itself, and of its key."""
    pytest.importorskip("cryptography", reason="pip install detopt[service]")
    from detopt.service.addresses import make_certificate

    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def service(run, certificate):
    """Serves the run; `rate`, `most_bytes` can be set before the first request."""
    uvicorn = pytest.importorskip("uvicorn", reason="pip install detopt[service]")
    pytest.importorskip("fastapi", reason="pip install detopt[service]")
    pytest.importorskip("httpx", reason="pip install detopt[service]")
    from detopt.service.app import make_app
    from detopt.service.client import ServiceSource

    app = make_app(run.store, rate=1.0, most_bytes=100_000)
    config = uvicorn.Config(
        app,
        port=0,
        ssl_certfile=certificate[0],
        ssl_keyfile=certificate[1],
        log_level="error",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    url = f"https://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    made = []

    def client(token, **options):
        source = ServiceSource(url, token, authority=certificate[0], patience=2.0, **options)
        made.append(source)
        return source

    yield SimpleNamespace(url=url, client=client)
    for source in made:
        source.close()
    server.should_exit = True
    thread.join()
