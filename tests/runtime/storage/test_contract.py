"""The contract of a store, on what it runs on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from detopt.testing.store_contract import StoreContract

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class TestSqlite(StoreContract):
    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'study.sqlite'}"

    @pytest.fixture
    def blobs_url(self, tmp_path: Path) -> str:
        return str(tmp_path / "blobs")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own, with a socket in a temporary folder."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    own = (
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if os.geteuid() == 0
        else []
    )
    sockets = Path("/tmp") / f"pg-{os.getpid()}"
    sockets.mkdir()
    for path in (folder, sockets):
        if own:
            shutil.chown(path, "nobody", "nogroup")
    for path in [folder, *folder.parents][:3]:
        path.chmod(path.stat().st_mode | 0o711)
    password, data, tools = folder / "password", folder / "data", POSTGRES[-1]
    password.write_text("secret")
    password.chmod(0o644)
    initdb = [tools / "initdb", "-D", data, "-U", "runs", "-A", "scram-sha-256"]
    subprocess.run([*own, *initdb, f"--pwfile={password}"], check=True, capture_output=True)
    options = f"-c listen_addresses= -c unix_socket_directories={sockets}"
    start = [tools / "pg_ctl", "-w", "-D", data, "-l", data / "log", "-o", options, "start"]
    subprocess.run([*own, *start], check=True, stdout=subprocess.DEVNULL)
    yield f"postgresql+psycopg://runs:secret@/postgres?host={sockets}"
    stop = [tools / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
    subprocess.run([*own, *stop], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(sockets)


class TestPostgres(StoreContract):
    @pytest.fixture
    def database_url(self, postgres: str, tmp_path: Path) -> str:
        name = f"t{abs(hash(str(tmp_path)))}"
        engine = sql.create_engine(postgres, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return postgres.replace("/postgres?", f"/{name}?")

    @pytest.fixture
    def blobs_url(self, tmp_path: Path) -> str:
        return str(tmp_path / "blobs")
