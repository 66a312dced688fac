"""Whichever lane a request takes, the same bytes come back: status line, headers but for `date`, body."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.servers import ACT, JSON, LANES, OCTETS, Server, act_request

ROW = [1.0, 0.5, -1.0, 2.0]
RAW = np.array([ROW, ROW], "<f4").tobytes()


class Case(NamedTuple):
    """One request, and the status that it must meet."""

    name: str
    status: int
    body: bytes | dict[str, Any]
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    path: str = ACT


CASES = [
    Case("single", 200, {"observation": ROW}),
    Case("batch", 200, {"observations": [ROW, ROW, ROW]}),
    Case("outputs", 200, {"observation": ROW, "outputs": ["q_values"]}),
    Case("outputs of a batch", 200, {"observations": [ROW, ROW], "outputs": ["q_values"]}),
    Case("epsilon", 200, {"observations": [ROW] * 20, "explore": {"epsilon": 1.0}, "seed": 7}),
    Case("temperature", 200, {"observations": [ROW] * 20, "explore": {"temperature": 5.0}, "seed": 7}),
    Case("raw single", 200, RAW[:16], OCTETS),
    Case("raw batch", 200, RAW, OCTETS),
    Case("media type with parameters", 200, {"observation": ROW}, "application/json; charset=utf-8"),
    Case("connection: close", 200, {"observation": ROW}, headers=("connection: close",)),
    Case("default policy", 200, {"observation": ROW}, path="/act"),
    Case("empty body", 400, b""),
    Case("not JSON", 400, b'{"observation": [1, 2,'),
    Case("not UTF-8", 400, b'{"observation": "\xff"}'),
    Case("neither", 400, {}),
    Case("both", 400, {"observation": ROW, "observations": [ROW]}),
    Case("unknown field", 400, {"observation": ROW, "color": 1}),
    Case("lone surrogate in a field's name", 400, b'{"observation": [1, 2, 3, 4], "\\ud800": 1}'),
    Case("unknown version", 404, {"observation": ROW, "version": 9}),
    Case("unknown policy", 404, {"observation": ROW}, path="/v1/policies/nobody/act"),
    Case("unknown media type", 415, {"observation": ROW}, "text/plain"),
    Case("NaN", 422, {"observation": [1, 2, 3, float("nan")]}),
    Case("overflow", 422, {"observation": [1, 2, 3, 1e39]}),
    Case("wrong length", 422, {"observation": [1, 2, 3]}),
    Case("wrong row", 422, {"observations": [ROW, [1, 2, 3]]}),
    Case("no rows", 422, {"observations": []}),
    Case("unknown output", 422, {"observation": ROW, "outputs": ["color"]}),
    Case("lone surrogate in an output's name", 422, b'{"observation": [1, 2, 3, 4], "outputs": ["\\ud800"]}'),
    Case("wrong exploration", 422, {"observation": ROW, "explore": {"sigma": 1.0}}),
    Case("raw of the wrong length", 422, RAW[:-1], OCTETS),
    Case("raw NaN", 422, np.array([ROW, [0, 0, np.nan, 0]], "<f4").tobytes(), OCTETS),
    Case("closing on an error", 422, {"observation": [1]}, headers=("connection: close",)),
]
STRICT_CASES = [
    Case("no key", 401, {"observation": ROW}),
    Case("wrong scheme", 401, {"observation": ROW}, headers=("authorization: Basic correct-horse",)),
    Case("wrong key", 403, {"observation": ROW}, headers=("authorization: Bearer wrong-horse",)),
    Case("right key", 200, {"observation": ROW}, headers=("authorization: Bearer correct-horse",)),
    Case("repeated key", 200, {"observation": ROW}, headers=("authorization: Bearer correct-horse",) * 2),
    Case("too large", 413, {"observations": [ROW] * 200}, headers=("authorization: Bearer correct-horse",)),
    Case("exactly large enough", 400, b" " * 2000, headers=("authorization: Bearer correct-horse",)),
    Case("a byte too large", 413, b" " * 2001, headers=("authorization: Bearer correct-horse",)),
]


def case_name(case: Case) -> str:
    return case.name


@pytest.fixture(params=["linear", "without_express"])
def open_server(request: pytest.FixtureRequest) -> Server:
    """A server that lets everybody in, with express calls and without."""
    server: Server = request.getfixturevalue(request.param)
    return server


def check_same(server: Server, case: Case, lane: str) -> None:
    answers = [
        server.ask(act_request(case.body, lane=way, path=case.path, media_type=case.media_type, headers=case.headers))
        for way in ("hot", lane)
    ]
    assert answers[0].status == case.status, answers[0].body
    assert answers[1] == answers[0]


@pytest.mark.parametrize("lane", LANES[1:])
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_lanes_answer_alike(open_server: Server, case: Case, lane: str) -> None:
    """FastAPI sends what the hot lane sends, byte for byte."""
    check_same(open_server, case, lane)


@pytest.mark.parametrize("case", [case for case in CASES if not case.headers], ids=case_name)
def test_a_request_in_between_changes_nothing(open_server: Server, case: Case) -> None:
    """A connection that repeats one request is answered alike each time, also behind another request."""
    asked = act_request(case.body, path=case.path, media_type=case.media_type)
    sound = act_request({"observation": ROW})
    with open_server.connect() as wire:
        answers = []
        for request in (asked, asked, asked, sound, sound, asked, sound, asked):
            wire.send(request)
            answers.append(wire.answer())
    expected, usual = answers[0], answers[3]
    assert (expected.status, usual.status) == (case.status, 200)
    assert answers == [expected, expected, expected, usual, usual, expected, usual, expected]


@pytest.mark.parametrize("lane", LANES[1:])
@pytest.mark.parametrize("case", STRICT_CASES, ids=case_name)
def test_lanes_guard_alike(strict: Server, case: Case, lane: str) -> None:
    """Keys and limits hold on either lane, byte for byte."""
    check_same(strict, case, lane)


def test_both_lanes_take_the_same_one_of_two_media_types(open_server: Server) -> None:
    """A repeated `content-type` is read alike: neither lane picks the first where the other picks the last."""
    repeated = ["content-type: text/plain"]
    hot, asgi = (
        open_server.ask(act_request({"observation": ROW}, lane=lane, headers=repeated)) for lane in ("hot", "query")
    )
    assert asgi == hot


def test_both_lanes_take_the_same_one_of_two_keys(strict: Server) -> None:
    """A repeated `authorization` lets nobody in by one lane whom the other refuses."""
    keys = ["authorization: Bearer wrong-horse", "authorization: Bearer correct-horse"]
    request = {"observation": ROW}
    hot, asgi = (strict.ask(act_request(request, lane=lane, headers=keys)) for lane in ("hot", "query"))
    assert asgi == hot


def test_lanes_pass_the_deadline_alike(open_server: Server) -> None:
    """A request that cannot be met is answered 504 alike, but for the milliseconds that it waited."""
    request = {"observation": ROW, "deadline_ms": 0.001}
    answers = [open_server.ask(act_request(request, lane=lane)) for lane in LANES]
    assert [answer.status for answer in answers] == [504] * len(LANES)
    assert {tuple(sorted(answer.json)) for answer in answers} == {("detail", "status", "title", "type")}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


@pytest.mark.parametrize("lane", LANES)
def test_a_json_answer_is_compact_and_its_length_true(open_server: Server, lane: str) -> None:
    """`content-length` counts the bytes that follow, and the connection goes on after them."""
    with open_server.connect() as wire:
        for _ in range(3):
            wire.send(act_request({"observation": ROW}, lane=lane))
            answer = wire.answer()
            assert answer.body == json.dumps(answer.json, separators=(",", ":")).encode()
