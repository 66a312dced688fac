"""The server that the examples and the tables of docs/protocols.md are tried with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.protocols_page import Running, running_protocols


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Open to everyone."""
    with running_protocols(tmp_path_factory.mktemp("protocols")) as running:
        yield running
