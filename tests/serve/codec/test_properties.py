"""Whatever is sent, the answer is an action or a refusal, never a fault of the server, and both lanes agree on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.servers import JSON, OCTETS, Answer, Server, act_request

MODEST = settings(max_examples=150, derandomize=True, deadline=None, database=None)

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1e38, 1e39, -1e39, 2**63, 2**64, 10**40, 1e308])
TEXTS = st.text(st.characters()) | st.sampled_from(["q_values", "\ud800", "\0"])  # also surrogates that stand alone
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)
ROWS = st.lists(NUMBERS, min_size=4, max_size=4) | st.lists(SCALARS, max_size=6)
NEAR_REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "observation": ROWS | ANY_JSON,
        "observations": st.lists(ROWS, max_size=4) | ANY_JSON,
        "explore": st.dictionaries(st.sampled_from(["epsilon", "temperature", "sigma"]), NUMBERS, max_size=2)
        | ANY_JSON,
        "seed": st.integers(0, 2**63 - 1) | ANY_JSON,
        "outputs": st.lists(TEXTS, max_size=3) | ANY_JSON,
        "version": st.sampled_from([1, 2]) | ANY_JSON,
        "deadline_ms": st.sampled_from([1e4, 1e300]) | ANY_JSON,
        "episode": ANY_JSON,
    },
)


class Line:
    """A kept connection, made anew when a request was not answered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._wire = server.connect()

    def ask(self, request: bytes) -> Answer:
        try:
            self._wire.send(request)
            return self._wire.answer()
        except OSError as error:
            self.close()
            self._wire = self._server.connect()
            raise AssertionError(f"no answer to {request!r}: {error}") from None

    def close(self) -> None:
        self._wire.socket.close()


@pytest.fixture(scope="module")
def hot(linear: Server) -> Iterator[Line]:
    with closing(Line(linear)) as line:
        yield line


@pytest.fixture(scope="module")
def asgi(linear: Server) -> Iterator[Line]:
    with closing(Line(linear)) as line:
        yield line


def check_agreement(hot: Line, asgi: Line, body: bytes, media_type: str = JSON) -> None:
    lines = ((hot, "hot"), (asgi, "query"))
    answers = [line.ask(act_request(body, lane=lane, media_type=media_type)) for line, lane in lines]
    statuses = [answer.status for answer in answers]
    assert statuses[0] == statuses[1], answers
    assert statuses[0] < 500 or (statuses[0] == 504 and b"deadline_ms" in body), answers
    if not (statuses[0] == 504 or (statuses[0] == 200 and b"explore" in body)):  # which tell times and unseeded chances
        assert answers[0] == answers[1]


@MODEST
@example({"observation": [0, 0, 0, 0], "\ud800": 1})
@example({"observation": [0, 0, 0, 0], "outputs": ["\ud800"]})
@example({"observation": [0, 0, 0, 0], "explore": {"\ud800": 1}})
@example({"observation": [0, 0, 0, 0], "version": 10**40})
@example({"observation": [0, 0, 0, 0], "deadline_ms": float("nan")})
@example({"observations": [[0, 0, 0, 2**64], [0, 0, 0, 10**40]]})
@given(body=NEAR_REQUESTS)
def test_what_resembles_a_request_is_answered(hot: Line, asgi: Line, body: dict[str, Any]) -> None:
    """Requests with some fields right and some wrong are served or refused alike."""
    check_agreement(hot, asgi, json.dumps(body).encode())


@MODEST
@given(body=ANY_JSON)
def test_any_json_is_answered(hot: Line, asgi: Line, body: Any) -> None:
    """Any JSON document is refused or served, alike."""
    check_agreement(hot, asgi, json.dumps(body).encode())


@MODEST
@example(b'{"observation":[0,0,0,0]}\x00')
@example(b'\xef\xbb\xbf{"observation":[0,0,0,0]}')
@example('{"observation":[0,0,0,0]}'.encode("utf-16"))
@given(body=st.binary(max_size=200))
def test_any_bytes_are_answered(hot: Line, asgi: Line, body: bytes) -> None:
    """Any bytes called JSON are refused or served, alike."""
    check_agreement(hot, asgi, body)


@MODEST
@given(body=st.integers(0, 5).flatmap(lambda rows: st.binary(min_size=16 * rows, max_size=16 * rows)))
def test_any_raw_rows_are_answered(hot: Line, asgi: Line, body: bytes) -> None:
    """Any bits as float32 rows, NaN and infinity among them, are refused or served, alike."""
    check_agreement(hot, asgi, body, OCTETS)


@MODEST
@example("/v1/policies/%ff/act")
@example("/v1/policies/linear%2Fact/act")
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30).map("/".__add__))
def test_any_path_is_answered(asgi: Line, path: str) -> None:
    """Any path of printable ASCII meets a route, a 404, a 405 or a redirection."""
    assert asgi.ask(act_request({"observation": [0, 0, 0, 0]}, path=path)).status in (200, 307, 400, 404, 405)


@MODEST
@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60))
def test_any_media_type_is_answered_alike(hot: Line, asgi: Line, value: str) -> None:
    """Any content-type is served or refused alike."""
    check_agreement(hot, asgi, b'{"observation":[0,0,0,0]}', value)
