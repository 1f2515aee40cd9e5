"""A Slurm of one's own on this machine, in a temporary folder, for tests and benchmarks.

It has one node and two partitions: jobs in `high` preempt those in `main`, which get SIGTERM and
are put back into the queue. Its programs are those of the machine, or are unpacked from Debian
packages into a folder; nothing is installed. Only root can run it.
"""

__all__ = ["SlurmSite", "slurm_site", "slurm_tools", "unpack_slurm"]

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("sbin/slurmctld", "sbin/slurmd", "sbin/munged", "bin/sbatch", "bin/scontrol")
START, STOP = 60.0, 20.0  # s
UNPACK = 180.0  # s
CONFIGURATION = """
ClusterName=detopt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
ReturnToService=2
MpiDefault=none
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={grace}
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory=16000
PartitionName=main Nodes={host} Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF State=UP
"""


@dataclass(frozen=True)
class SlurmSite:
    """A Slurm that runs.

    Args:
        folder: Its configuration, logs and state.
        environment: Variables with which its commands find it.
        n_cpus: Cores of its node.
    """

    folder: Path
    environment: Mapping[str, str]
    n_cpus: int

    def call(self, program: str, *arguments: str) -> str:
        """What a command of Slurm prints."""
        path = shutil.which(program, path=self.environment["PATH"])
        assert path is not None, program
        done = subprocess.run(
            [path, *arguments],
            env=dict(self.environment),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def submit(self, *arguments: str) -> int:
        """Number of a new job; the arguments are those of `sbatch`."""
        log = str(self.folder / "job-%j.log")
        return int(self.call("sbatch", "--parsable", "--output", log, *arguments).split(";")[0])

    def preempt(self, duration_s: float = 1.0) -> int:
        """Take the whole node away from the jobs in `main` for a while; number of the job."""
        n = str(self.n_cpus)
        return self.submit("--partition=high", "-n", n, "--wrap", f"sleep {duration_s}")

    def n_restarts(self) -> int:
        """How often jobs were preempted and began again, or will."""
        jobs = self.call("scontrol", "--oneliner", "show", "job").split()
        return sum(int(word.removeprefix("Restarts=")) for word in jobs if "Restarts=" in word)


def slurm_tools() -> Path | None:
    """The folder above the machine's Slurm and munge, or None where a program is missing."""
    return Path("/usr") if all((Path("/usr") / one).is_file() for one in PROGRAMS) else None


def unpack_slurm(folder: Path) -> Path:
    """Programs from Debian packages, unpacked into a folder; the machine stays as it is.

    Raises:
        OSError: There is no Debian, no network, or not the right to ask for packages.
    """
    cache, lists, root = folder / "cache", folder / "lists", folder / "root"
    for one in (cache / "partial", lists / "partial", root):
        one.mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::Cache::archives={cache}", "-o", f"Dir::State::lists={lists}", "-qq"]
    more = ["--yes", "--no-install-recommends", "--download-only"]
    try:
        for command in (["update"], ["install", *more, *PACKAGES]):
            subprocess.run(
                ["apt-get", *options, *command],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=UNPACK,
            )
        for package in sorted(cache.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    except subprocess.SubprocessError as error:
        raise OSError(f"Slurm cannot be unpacked: {error}") from error
    shutil.rmtree(cache)
    for program in (root / "usr" / "sbin").glob("*-wlm"):  # the names come with an installation
        program.with_name(program.name.removesuffix("-wlm")).symlink_to(program.name)
    if not all((root / "usr" / one).is_file() for one in PROGRAMS):
        raise OSError("Slurm cannot be unpacked: some programs are missing.")
    return root / "usr"


@contextmanager
def slurm_site(
    tools: Path | None = None, *, n_cpus: int = 2, grace_s: int = 15
) -> Iterator[SlurmSite]:
    """A Slurm that ends with the block.

    Args:
        tools: The folder above `sbin` and `bin`; by default that of `slurm_tools`.
        n_cpus: Cores that its node pretends to have.
        grace_s: Time between SIGTERM and SIGKILL of a job that is preempted [s].
    """
    tools = tools or slurm_tools()
    assert tools is not None, "Slurm is not installed."
    folder = Path(tempfile.mkdtemp(prefix="detopt-slurm-", dir="/tmp"))  # short, for the socket
    library = tools / "lib" / sysconfig.get_config_var("MULTIARCH")
    environment = {
        **os.environ,
        "PATH": f"{tools / 'bin'}:{tools / 'sbin'}:{os.environ['PATH']}",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    if tools != slurm_tools():
        environment["LD_LIBRARY_PATH"] = f"{library}:{library / 'slurm-wlm'}"
    site = SlurmSite(folder, environment, n_cpus)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            ports=_free_ports(2),
            plugins=library / "slurm-wlm",
            n_cpus=n_cpus,
            grace=grace_s,
        )
    )
    try:
        _start(site, tools)
        yield site
    finally:
        _stop(site)
        shutil.rmtree(folder)


def _start(site: SlurmSite, tools: Path) -> None:
    folder = site.folder
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700 if name == "munge" else 0o755)
    folder.chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    names = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid"}
    names |= {"log-file": folder / "munge" / "log", "seed-file": folder / "munge" / "seed"}
    site.call("munged", "--force", *(f"--{name}={path}" for name, path in names.items()))
    site.call("slurmctld")
    site.call("slurmd", "-d", str(tools / "sbin" / "slurmstepd"))
    end = time.monotonic() + START
    while "idle" not in _state(site):
        if time.monotonic() > end:
            raise TimeoutError(f"Slurm did not start: {(folder / 'slurmctld.log').read_text()}")
        time.sleep(0.2)


def _state(site: SlurmSite) -> str:
    try:
        return site.call("sinfo", "--noheader", "--format=%T")
    except subprocess.CalledProcessError:
        return ""


def _stop(site: SlurmSite) -> None:
    """End jobs, then the daemons."""
    with suppress(subprocess.CalledProcessError):
        site.call("scancel", "--full", "--signal=KILL", "--user=root")
        site.call("scancel", "--user=root")
    for name in ("slurmd", "slurmctld", "munge"):
        path = site.folder / f"{name}.pid"
        if not path.is_file():
            continue
        number = int(path.read_text())
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)
            end = time.monotonic() + STOP
            while time.monotonic() < end:
                os.kill(number, 0)  # until there is none
                time.sleep(0.1)
            os.kill(number, signal.SIGKILL)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
