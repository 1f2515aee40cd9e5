"""A PostgreSQL server of one's own, in a temporary folder, for tests and benchmarks."""

__all__ = ["new_database", "postgres_server", "postgres_tools"]

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql

USER, PASSWORD = "runs", "secret"


def postgres_tools() -> Path | None:
    """Folder of the newest installed server's programs, or None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a server that ends with the block; it listens on a socket in its folder alone.

    Root cannot run a server: there it runs as `nobody`.
    """
    tools = postgres_tools()
    assert tools is not None, "PostgreSQL is not installed."
    folder = Path(tempfile.mkdtemp(prefix="detopt-postgres-", dir="/tmp"))  # short, for the socket
    own: list[str] = []
    if os.geteuid() == 0:
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


def new_database(server: str, name: str) -> str:
    """URL of an empty database of a server."""
    engine = sql.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")
