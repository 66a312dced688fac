"""A few seconds of what `python -m tests.contract` does at length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract import ask_by_document, key_options, make_policies
from tests.servers import Server, running_server


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One policy of each kind, keys of both scopes."""
    folder = tmp_path_factory.mktemp("documented")
    with running_server(make_policies(folder), folder / "log", *key_options(folder)) as server:
        yield server


def test_every_answer_is_as_documented(documented: Server) -> None:
    """Status, media type, headers and body, of what the document allows and of what it does not."""
    findings = ask_by_document(documented, 400, 0)
    assert findings.failures == []
    assert {200, 400, 401, 403, 404, 422} <= set(findings.statuses)
    assert "Traceback" not in documented.log.read_text()


def test_the_document_says_what_asks_for_a_key(documented: Server, linear: Server) -> None:
    """As the server was started: with keys they must be shown, without they may be."""
    guarded = {"/act", "/metrics", "/v1/policies"}
    either: list[tuple[Server, list[Any]]] = [(documented, [{"key": []}]), (linear, [{}, {"key": []}])]
    for server, security in either:
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
        for path in guarded:
            assert all(operation["security"] == security for operation in paths[path].values())
        assert "security" not in paths["/healthz"]["get"]
