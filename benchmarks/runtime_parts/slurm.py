"""A real Slurm on this machine, where jobs of a higher partition take the workers' node away."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detopt.runtime import Study
from detopt.testing.slurm import SlurmSite, slurm_site, slurm_tools, unpack_slurm
from runtime_parts.processes import control, create, findings, in_process

WAYS = {
    "jobs that Dask submits": {"executor": "dask"},
    "pull workers in a job array": {"executor": "queue"},
}
SCRIPT = Path(__file__).parents[2] / "docs" / "run" / "files" / "workers.sbatch"
BIN = Path(sys.executable).parent  # where `detopt` is
N_WORKERS = 2
SETTINGS: dict[str, Any] = {"rounds": 16, "options": {"pause": 0.3}}
EVICTED_AT = (3, 7, 11)  # rounds


def run(quick: bool) -> dict[str, Any]:
    settings = {**SETTINGS, "rounds": 6} if quick else SETTINGS
    evicted_at = EVICTED_AT[:1] if quick else EVICTED_AT
    with tempfile.TemporaryDirectory(prefix="detopt-") as name:
        folder = Path(name)
        if os.geteuid() != 0:
            return {"missing": "only root can start a Slurm"}
        try:
            tools = slurm_tools() or unpack_slurm(folder / "slurm")
        except OSError as error:
            return {"missing": str(error)}
        os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
        create(folder / "whole", **settings)
        in_process(lambda: control(folder / "whole"))
        expected = findings(folder / "whole")
        found = {}
        with slurm_site(tools, n_cpus=N_WORKERS) as site:
            os.environ |= dict(site.environment)
            for i, (way, more) in enumerate(WAYS.items()):
                begin, before = time.monotonic(), site.n_restarts()
                create(folder / str(i), **settings, **_place(folder, **more))
                with _workers(site, folder / str(i), **more):
                    in_process(lambda i=i: _control(folder / str(i), site, evicted_at))
                found[way] = {
                    "same": findings(folder / str(i)) == expected,
                    "evictions": site.n_restarts() - before,
                    "wall_s": time.monotonic() - begin,
                }
        return {"ways": found, "n_jobs": len(evicted_at), "rounds": settings["rounds"]}


def _place(folder: Path, executor: str) -> dict[str, Any]:
    """Settings of a study on this Slurm."""
    if executor == "queue":
        return {"executor": executor, "workers": 0}
    cluster = {
        "queue": "main",
        "memory": "1GB",
        "interface": "lo",
        "shared_temp_directory": str(folder),
        "log_directory": str(folder),
        "job_extra_directives": ["--requeue"],
    }
    options = {"cluster": "slurm", "options": cluster}
    return {"executor": executor, "workers": N_WORKERS, "executor_options": options}


@contextlib.contextmanager
def _workers(site: SlurmSite, folder: Path, executor: str) -> Iterator[None]:
    """A job array of workers, where Dask does not submit jobs itself."""
    if executor == "dask":
        yield
        return
    array = f"--array=1-{N_WORKERS}"
    job = site.submit(array, "--mem=1G", "--chdir", str(folder), str(SCRIPT), str(folder))
    yield
    site.call("scancel", str(job))


def _control(folder: Path, site: SlurmSite, evicted_at: tuple[int, ...]) -> None:
    def listen(stage: str, done: int, _total: int, _record: Any) -> None:
        if stage == "optimizing" and done in evicted_at:
            site.preempt()

    Study.resume(folder).run(listen)


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    if "missing" in result:
        return [("studies on a real Slurm", "same bits", f"not run: {result['missing']}", False)]
    wanted = result["n_jobs"] * N_WORKERS
    return [
        (
            f"Slurm, {way}: {result['n_jobs']} x the node is taken away within "
            f"{result['rounds']} rounds",
            f"finished with the bits of one process; {wanted} workers evicted",
            f"{'same' if one['same'] else 'other'} bits, {one['evictions']} evicted, "
            f"{one['wall_s']:.0f} s",
            one["same"] and one["evictions"] >= wanted,
        )
        for way, one in result["ways"].items()
    ]
