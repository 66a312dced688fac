"""A few seconds of `python -m tests.contract`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract import ADMIN_KEY, ask_by_document, key_options, make_policies
from tests.servers import Server, running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One policy of each kind, keys of both scopes."""
    folder = tmp_path_factory.mktemp("documented")
    with running_server(make_policies(folder), folder / "log", *key_options(folder)) as server:
        yield server


def test_every_answer_is_as_documented(documented: Server) -> None:
    """Status, media type, headers and body fit the document, for requests that it allows and that it forbids."""
    findings = ask_by_document(documented, 400, 0)
    assert findings.failures == []
    assert {200, 400, 401, 403, 404, 422} <= set(findings.statuses)
    assert "Traceback" not in documented.log.read_text()


def test_the_document_says_what_asks_for_a_key(documented: Server, linear: Server) -> None:
    """A server with keys documents that they are required; one without documents that they are optional."""
    guarded = {"/act", "/metrics", "/v1/policies"}
    either: list[tuple[Server, list[Any]]] = [(documented, [{"key": []}]), (linear, [{}, {"key": []}])]
    for server, security in either:
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
        for path in guarded:
            assert all(operation["security"] == security for operation in paths[path].values())
        assert "security" not in paths["/healthz"]["get"]


def test_head_is_answered_as_get(documented: Server) -> None:
    """Every GET route answers HEAD with the same status and headers and no body, with a key and without."""
    paths = httpx.get(f"{documented.url}/openapi.json").json()["paths"]
    reading = [path for path, operations in paths.items() if "get" in operations]
    assert reading == [path for path, operations in paths.items() if "head" in operations]
    for path in (*reading, "/v1/policies/nobody", "/docs", "/openapi.json", "/nowhere"):
        for headers in ({}, {"authorization": f"Bearer {ADMIN_KEY}"}):
            url = documented.url + path.replace("{policy}", "linear")
            answers = [httpx.request(method, url, headers=headers) for method in ("GET", "HEAD")]
            for answer in answers:
                del answer.headers["date"]
                if path == "/metrics" and headers:
                    assert int(answer.headers.pop("content-length")) > 0  # of counters, which go on
            assert answers[0].status_code == answers[1].status_code
            assert answers[0].headers == answers[1].headers
            assert answers[1].content == b""


def test_a_method_that_is_not_there_is_told_which_are(documented: Server) -> None:
    """405 names the allowed methods, HEAD among them; a HEAD without a GET route gets the same status."""
    for path, allowed in (("/healthz", "GET, HEAD"), ("/docs", "GET, HEAD"), ("/act", "POST")):
        answer = httpx.put(f"{documented.url}{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert httpx.head(f"{documented.url}/act").status_code == 405
