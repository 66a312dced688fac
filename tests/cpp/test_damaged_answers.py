"""Answers that are cut short or damaged: an error each time, and nothing that a sanitizer would stop.

The oracle for JSON is msgspec, which the Python client uses.
"""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from tests.cpp.compiled import Driver, kind_of
from tests.servers import Server, get_request

REPLIES = (
    b'{"action":1,"version":3}',
    b'{"action":[0.25,-1e-3,17],"version":2,"outputs":{"loc":[1.5,null]}}',
    b' { "version" : 12 , "action" : { "gear" : -4 , "wheel" : [ [ 0 ] , [ true ] ] } } ',
    '{"type":"about:blank","detail":"a \\u00e4\\ud83d\\ude00 ü€😀 \\"word\\"","errors":[{"path":"o[0]"}]}'.encode(),
)
HTTP = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n" + b'{"action":1}',
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n1\r\n!\r\n0\r\na: b\r\n\r\n",
)
FRAMES = b"\x82\x02ab" + b"\x89\x00" + b"\x81\x7e\x00\x80" + b"x" * 128 + b"\x88\x03\x03\xe9!"


def damaged(text: bytes, generator: random.Random) -> bytes:
    """One to three bytes changed, added or removed."""
    changed = bytearray(text)
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(changed) + 1)
        byte = generator.choice([*b'{}[]",:0123456789.eE+-tfn\\u \r\n', generator.randrange(256)])
        match generator.randrange(3):
            case 0:
                changed.insert(place, byte)
            case 1:
                changed[place : place + 1] = [byte]
            case _:
                del changed[place : place + 1]
    return bytes(changed)


def is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def test_an_answer_that_is_cut_short_is_an_error(driver: Driver, server: Server) -> None:
    """Everywhere, in replies, descriptions and listings."""
    texts = [*REPLIES[:3], server.ask(get_request("/v1/policies")).body]
    texts.append(server.ask(get_request("/v1/policies/linear")).body)
    whole = driver.tell_all([f"reply 200 {text.hex()}" for text in texts])
    assert ["action" in answer[0] for answer in whole] == [True, True, True, False, False]
    assert (whole[4][1], whole[3][2]) == (4, "linear")
    for text in texts:
        lines = [f"reply 200 {text[:end].hex() or '-'}" for end in range(0, len(text.rstrip()), 1 + len(text) // 300)]
        for reply, described, listed in driver.tell_all(lines):
            assert (kind_of(reply), described, listed) == ("RlwayError", None, None)


def test_damaged_json_is_refused_where_msgspec_refuses_it(driver: Driver) -> None:
    """Thousands of answers with a few other bytes; each is read to its end or refused, as the Python client does."""
    generator = random.Random(28)
    texts = [damaged(generator.choice(REPLIES), generator) for _ in range(4000)]
    texts += [
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"01",
        b"-",
        b"1.",
        b"-0",
    ]
    texts += [
        b"[1,]",
        b"{,}",
        b"1e400",
        b"NaN",
        b"\x00",
        b"null\x00",
        b"",
        b"[" * 60 + b"]" * 60,
        b'"\x7f"',
        b"1e5",
        b"tru",
    ]
    read = driver.tell_all([f"json {text.hex() or '-'}" for text in texts])
    assert [text for text, is_read in zip(texts, read, strict=True) if is_read != is_json(text)] == []
    assert 100 < sum(read) < len(read) - 100
    assert driver.tell("json", (b"[" * 100_000).hex()) is False
    for reply, _, _ in driver.tell_all([f"reply {generator.choice((200, 422))} {text.hex() or '-'}" for text in texts]):
        assert ("action" in reply) != ("error" in reply)


def test_a_problem_says_its_detail(driver: Driver) -> None:
    """Or its status, where that cannot be read."""
    (refused, _, _), (unread, _, _) = driver.tell_all(
        [f"reply 422 {text.hex()}" for text in (REPLIES[3], REPLIES[3][:-1])]
    )
    assert (kind_of(refused), refused["error"]) == ("SpecViolated", json.loads(REPLIES[3])["detail"])
    assert unread["error"] == "the server answered with status 422"


def test_http_arrives_in_pieces(driver: Driver) -> None:
    """The pieces do not matter; a part is never taken for the whole."""
    expected: list[Any] = [["whole", 200, '{"action":1}'], ["whole", 503, ""], ["whole", 200, "hello!"]]
    for text, answer in zip(HTTP, expected, strict=True):
        assert driver.tell_all([f"http {piece} {text.hex()}" for piece in range(1, len(text) + 1)]) == [answer] * len(
            text
        )
        cut = driver.tell_all([f"http {len(text)} {text[:end].hex() or '-'}" for end in range(len(text))])
        assert cut == [["more"]] * len(text)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/2 200 OK\r\ncontent-length: 0",
        "HTTP/1.1 20 OK\r\ncontent-length: 0",
        "HTTP/1.1 200 OK\r\ncontent-length: -1",
        "HTTP/1.1 200 OK\r\ncontent-length: 1x",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\nno colon",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff",
        "SSH-2.0-OpenSSH_9.2",
    ],
)
def test_what_is_not_http_is_refused(driver: Driver, head: str) -> None:
    """Lengths that cannot be, or that contradict each other, could hide another answer."""
    text = f"{head}\r\n\r\n".encode()
    assert driver.tell("http", len(text), text.hex()) == ["foreign"]


def test_damaged_http_and_frames_are_read_within_their_bounds(driver: Driver) -> None:
    """Whatever they turn out to be; the sanitizers look on."""
    generator = random.Random(6)
    lines = [f"http {generator.randint(1, 40)} {damaged(generator.choice(HTTP), generator).hex()}" for _ in range(1500)]
    lines += [f"frames {generator.randint(1, 40)} {damaged(FRAMES, generator).hex()}" for _ in range(1500)]
    assert len(driver.tell_all(lines)) == 3000
    for piece in range(1, len(FRAMES) + 1):
        assert driver.tell("frames", piece, FRAMES.hex()) == [2, 0, 128, 3]


@pytest.mark.parametrize(
    "frame",
    [b"\x02\x01a", b"\xc2\x01a", b"\x82\x81abcde", b"\x83\x01a", b"\x89\x7e\x00\x80", b"\x82\x7f" + b"\xff" * 8],
)
def test_frames_that_a_policy_server_does_not_send(driver: Driver, frame: bytes) -> None:
    """A part, an extension, a mask, an unknown kind, a long ping, a length beyond memory."""
    assert driver.tell("frames", len(frame), frame.hex()) == [None]
