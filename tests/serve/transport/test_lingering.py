"""Answers to peers that are still sending: they arrive, and who goes on sending is not listened to for ever."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

import httpx
import psutil
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.bundles import linear_policy
from tests.in_process import masked_frame
from tests.ports import free_port
from tests.serve.conftest import KEY
from tests.serve.gateway.test_access import make_certificate
from tests.servers import ACT, ANSWER_S, PROBLEM, Server, act_request, get_request, running_server, wait_until

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}
LARGE = b"0" * 12_000_000  # more than both systems' buffers hold
STREAM = "/v1/policies/linear/stream"
AUTHORIZATION = f"authorization: Bearer {KEY}"
JSON_TYPE = "content-type: application/json"
REFUSALS = {  # path and headers of a POST, and its status
    "too large": (ACT, [AUTHORIZATION], 413),
    "no key": (ACT, [], 401),
    "another key": (ACT, ["authorization: Bearer wrong"], 403),
    "no route": ("/nowhere", [AUTHORIZATION], 404),
    "no policy": ("/v1/policies/nobody/act", [AUTHORIZATION], 404),
    "no POST": ("/healthz", [AUTHORIZATION], 405),
    "encoded": (ACT, [AUTHORIZATION, "content-encoding: gzip"], 415),
    "headers": (ACT, [AUTHORIZATION, f"long: {'x' * 40_000}"], 431),
    "no HTTP": (ACT, [AUTHORIZATION, "bad header"], 400),
}
FRAMINGS = ("kept", "closed", "HTTP/1.0", "chunked", "expect", "half-closed")


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Gives a body 0.3 seconds."""
    models = tmp_path_factory.mktemp("hasty") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log"), "--body-timeout-s", "0.3") as server:
        yield server


def large_request(path: str, headers: list[str], framing: str = "kept") -> bytes:
    version = "HTTP/1.0" if framing == "HTTP/1.0" else "HTTP/1.1"
    lines = [f"POST {path} {version}", "host: test", JSON_TYPE, *headers]
    lines += {"closed": ["connection: close"], "expect": ["expect: 100-continue"]}.get(framing, [])
    body = LARGE
    if framing == "chunked":
        lines.append("transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE)
    else:
        lines.append(f"content-length: {len(LARGE)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_who_sends_everything_before_it_reads_gets_the_answer(strict: Server, refusal: str, framing: str) -> None:
    """Whatever is refused before its body has come, and however that is sent, over a plain socket; then the end."""
    path, headers, status = REFUSALS[refusal]
    with strict.connect() as wire:
        wire.send(large_request(path, headers, framing))
        if framing == "half-closed":
            wire.half_close()
        answer = wire.answer()
        assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM)
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""


@pytest.mark.parametrize("before", [act_request(BODY, headers=[AUTHORIZATION]), get_request("/healthz")])
def test_the_answers_before_a_refusal_arrive_too(strict: Server, before: bytes) -> None:
    """In a pipeline that ends in a body that is too large, and goes on behind it."""
    with strict.connect() as wire:
        wire.send(before + large_request(ACT, [AUTHORIZATION]) + before)
        assert [wire.answer().status for _ in range(2)] == [200, 413]
        assert wire.rest() == b""


def ask_by_urllib(url: str) -> int:
    request = urllib.request.Request(url, LARGE, {"authorization": f"Bearer {KEY}"})
    with pytest.raises(HTTPError) as refused, urllib.request.urlopen(request, timeout=ANSWER_S):
        pass
    with refused.value as answer:
        assert b"2000 bytes" in answer.read()
        return answer.code


def ask_by_http_client(url: str) -> int:
    """And again, on the same object."""
    parts = httpx.URL(url)
    connection = http.client.HTTPConnection(parts.host, parts.port, timeout=ANSWER_S)
    for path, body in ((parts.path, LARGE), ("/healthz", b""), (parts.path, LARGE)):
        connection.request("POST" if body else "GET", path, body, {"authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        answer.read()
    connection.close()
    return answer.status


def ask_by_curl(url: str) -> int:
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "-H", AUTHORIZATION, "-H", "expect:"]
    done = subprocess.run([*command, "--data-binary", "@-", url], input=LARGE, capture_output=True, check=True)
    return int(done.stdout)


HEADERS = {"authorization": f"Bearer {KEY}"}
CLIENTS: dict[str, Callable[[str], int]] = {
    "urllib": ask_by_urllib,
    "http.client": ask_by_http_client,
    "requests": lambda url: requests.post(url, LARGE, headers=HEADERS, timeout=ANSWER_S).status_code,
    "httpx": lambda url: httpx.post(url, content=LARGE, headers=HEADERS, timeout=ANSWER_S).status_code,
    "curl": ask_by_curl,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_learn_that_a_body_is_too_large(strict: Server, client: str) -> None:
    """They get 413, and not that the connection was reset."""
    if client == "curl" and not shutil.which("curl"):
        pytest.skip("needs curl")
    assert CLIENTS[client](f"{strict.url}{ACT}") == 413


@contextmanager
def running_nginx(upstream: str, folder: Path, options: str) -> Iterator[str]:
    """The URL of a proxy that is told no more than `proxy_pass` and these options."""
    port, paths = free_port(), ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{name}_temp_path {folder / name};" for name in paths)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"daemon off; {user} pid {folder / 'pid'}; error_log {folder / 'error.log'}; events {{}}\n"
        f"http {{ access_log off; client_max_body_size 0; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; {options} }} }} }}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        try:
            wait_until(listens, "nginx to listen")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
@pytest.mark.parametrize("options", ["", "proxy_request_buffering off;", "proxy_http_version 1.1;"])
def test_a_plain_nginx_passes_the_refusal_on(strict: Server, tmp_path: Path, options: str) -> None:
    """What the proxy sends before it reads does not make a 502 of it."""
    with running_nginx(strict.url, tmp_path, options) as url:
        for client in ("urllib", "requests", "httpx"):
            assert CLIENTS[client](f"{url}{ACT}") == 413


def test_a_small_body_that_is_refused_passes_by(strict: Server) -> None:
    """The connection is kept for the next request, on which nobody waits for a new one."""
    request = act_request(b"0" * 1500, path="/nowhere")
    with strict.connect() as wire:
        wire.send(request[:-1000])
        answer = wire.answer()
        assert answer.status == 404
        assert "connection" not in answer.headers
        wire.send(request[-1000:] + act_request(BODY, headers=[AUTHORIZATION]))
        assert wire.answer().status == 200


def test_a_refused_body_of_unknown_length_passes_by_as_far_as_it_may(strict: Server) -> None:
    """Answered when it had just begun, a chunked body may be as long as any other; then the connection ends."""
    head = act_request(b"", path="/nowhere", lane="chunked").removesuffix(b"0\r\n\r\n")
    chunk = b"3e8\r\n" + b"0" * 1000 + b"\r\n"
    for chunks, kept in ((2, True), (3, False)):
        with strict.connect() as wire:
            wire.send(head)
            assert wire.answer().status == 404
            wire.send(chunk * chunks + b"0\r\n\r\n" + get_request("/healthz"))
            if kept:
                assert wire.answer().status == 200
            else:
                assert wire.rest() == b""


def test_a_refused_body_that_is_not_asked_for_ends_the_connection(strict: Server) -> None:
    """Who waits for `100 Continue` and is refused is told that the connection closes, and may send its body or not."""
    request = act_request(b"0" * 1500, path="/nowhere", lane="expect")
    for sent in (b"", request[-1500:]):
        with strict.connect() as wire:
            wire.send(request[:-1500])
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (404, "close")
            wire.send(sent)
            assert wire.rest() == b""


def send_for_ever(peer: socket.socket, piece: bytes) -> None:
    """Until the server has had enough."""
    peer.sendall(f"POST {ACT} HTTP/1.1\r\nhost: test\r\ncontent-length: {10**15}\r\n\r\n".encode())
    assert peer.recv(12) == b"HTTP/1.1 413"

    def is_left() -> bool:
        try:
            peer.sendall(piece)
        except OSError:
            return True
        return False

    wait_until(is_left, "the connection to be closed")


@pytest.mark.parametrize("piece", [b"0" * 65536, b"0"], ids=["quickly", "slowly"])
def test_who_sends_for_ever_is_left(hasty: Server, piece: bytes) -> None:
    """A refused body is read on for as long as one that is taken may take."""
    with hasty.connect() as wire:
        send_for_ever(wire.socket, piece)
    assert hasty.ask(act_request(BODY)).status == 200


def test_who_neither_sends_nor_leaves_is_left(hasty: Server) -> None:
    """A peer that stops in the middle of a refused body, and does not read that this is the end."""
    process = psutil.Process(hasty.process.pid)
    with hasty.connect() as wire:
        wire.send(large_request(ACT, [])[:100_000].replace(b"12000000", b"99000000"))
        port = wire.socket.getsockname()[1]

        def is_gone() -> bool:
            return all(held.raddr.port != port for held in process.net_connections("tcp") if held.raddr)

        wait_until(is_gone, "the connection to be closed")
        assert wire.answer().status == 413


def test_what_is_thrown_away_takes_up_no_room(strict: Server) -> None:
    """The process does not grow by what it reads of refused bodies."""
    process = psutil.Process(strict.process.pid)
    strict.ask(large_request(ACT, []))
    before = process.memory_info().rss
    with strict.connect() as wire:
        wire.send(large_request("/nowhere", []).replace(b"12000000", b"96000000"))
        for _ in range(7):
            wire.send(LARGE)
        assert process.memory_info().rss < before + 20_000_000
        assert wire.answer().status == 404


def test_answers_arrive_over_tls(tmp_path: Path, log: Path) -> None:
    """By the same requests; and who sends for ever is left."""
    linear_policy(tmp_path / "models")
    certificate, key = make_certificate(tmp_path, "test")
    options = ["--tls-cert", str(certificate), "--tls-key", str(key), "--max-body-bytes", "2000"]
    with running_server(tmp_path / "models", log, *options, "--body-timeout-s", "2") as server:
        context = ssl.create_default_context(cafile=certificate)
        for framing in FRAMINGS[:-1]:
            with server.connect() as wire:
                wire.socket = context.wrap_socket(wire.socket, server_hostname="127.0.0.1")
                wire.send(large_request(ACT, [], framing))
                assert wire.answer().status == 413
                assert wire.rest() == b""
        with server.connect() as wire, context.wrap_socket(wire.socket, server_hostname="127.0.0.1") as peer:
            send_for_ever(peer, b"0" * 65536)
    assert "Traceback" not in log.read_text()


HANDSHAKE = ["connection: upgrade", "upgrade: websocket", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="]


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        (["sec-websocket-version: 13", AUTHORIZATION], [b"HTTP/1.1 101", b"exceeds limit of 2000 bytes"]),
        (["sec-websocket-version: 13"], [b"HTTP/1.1 401", b"Unauthorized"]),
        (["sec-websocket-version: 12", AUTHORIZATION], [b"HTTP/1.1 400", b"Sec-WebSocket-Version"]),
    ],
    ids=["a message too large", "no key", "another version"],
)
def test_streams_that_are_refused_say_why(strict: Server, headers: list[str], answered: list[bytes]) -> None:
    """Handshakes and messages, to a peer that sends megabytes before it reads."""
    with strict.connect() as wire:
        wire.send(get_request(STREAM, *HANDSHAKE, *headers) + masked_frame(0x82, LARGE))
        received = wire.rest()
        assert all(part in received for part in answered), received


def test_a_client_of_streams_learns_that_its_message_is_too_large(strict: Server) -> None:
    """It sees close code 1009, with the reason, and not that the connection broke."""
    for _ in range(5):
        with connect(f"ws{strict.url[4:]}{STREAM}", additional_headers=HEADERS, compression=None) as stream:
            stream.send(LARGE)
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(ANSWER_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
