"""Real policy servers for tests, and a socket that talks to them byte by byte.

In:      a folder of bundles, options of `rlway serve`.
Out:     `Server` while it runs; `Wire`, one connection to it; `Answer`, what came back.
Refuses: to wait longer than PATIENCE_S for a process or ANSWER_S for bytes.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.ports import wait_for

RLWAY = Path(sys.executable).with_name("rlway")
# Only a test that fails waits this long. A machine that does other work besides may take most of it.
PATIENCE_S = 120.0  # for a process to start or end
ANSWER_S = 120.0  # for bytes to come
JSON = "application/json"
OCTETS = "application/octet-stream"
PROBLEM = "application/problem+json"
ACT = "/v1/policies/linear/act"

# Ways to send the same request: the hot lane answers the first, FastAPI the others.
LANES = ("hot", "query", "chunked", "expect")


class Server(NamedTuple):
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    url: str
    host: str
    port: int
    policies: list[dict[str, Any]]
    log: Path
    grpc: str | None = None  # the address, with `--grpc-port 0`

    def connect(self) -> Wire:
        return Wire(self.host, self.port)

    def ask(self, request: bytes) -> Answer:
        """Sends one request over a new connection."""
        with self.connect() as wire:
            wire.send(request)
            return wire.answer()

    def stop(self) -> int:
        """Sends SIGTERM, and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running_server(models: Path | str, log: Path, *options: str, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """A server on a free port, which logs to a file and is killed on leaving. `prefix` is a command that runs it."""
    command = [*prefix, str(RLWAY), "serve", str(models), "--port", "0", "--json", *options]
    with log.open("wb") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            ready = _first_line(process, log)
            host, _, port = ready["url"].partition("://")[2].rpartition(":")
            yield Server(process, ready["url"], host, int(port), ready["policies"], log, ready["grpc"])
        finally:
            if process.poll() is None:
                process.kill()


def _first_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
    line = process.stdout.readline() if readable else b""
    assert line, f"the server did not start: {log.read_text()}"
    ready: dict[str, Any] = json.loads(line)
    return ready


class Answer(NamedTuple):
    """`head` is the status line and the headers as they were sent, without `date`."""

    status: int
    head: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        detail = self.json["detail"]
        assert isinstance(detail, str)
        return detail


class Wire:
    """One connection that sends and receives bytes."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        """Ends sending; answers can still be read."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Answer:
        """The next answer except `100 Continue`. ConnectionError where the server closes before its end."""
        while True:
            while (end := self._received.find(b"\r\n\r\n")) < 0:
                self._receive()
            lines = self._received[:end].split(b"\r\n")
            self._received = self._received[end + 4 :]
            status = int(lines[0].split()[1])
            if status >= 200:
                break
        lines = [line for line in lines if not line.lower().startswith(b"date:")]
        fields = [line.decode("latin-1").split(": ", 1) for line in lines[1:]]
        headers = {name.lower(): value for name, value in fields}
        headers.pop("date", None)
        length = int(headers["content-length"])
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(status, b"\r\n".join(lines), headers, body)

    def rest(self) -> bytes:
        """All bytes until the server closes."""
        while data := self.socket.recv(65536):
            self._received += data
        return self._received

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError(f"closed by the server after {self._received!r}")
        self._received += data


def act_request(
    body: bytes | dict[str, Any],
    *,
    lane: str = "hot",
    path: str = ACT,
    media_type: str = JSON,
    headers: Sequence[str] = (),
) -> bytes:
    """A request for actions. A dict becomes JSON, with NaN and Infinity as Python writes them."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path}{'?x=1' if lane == 'query' else ''} HTTP/1.1", "host: test", f"content-type: {media_type}"]
    if lane == "expect":
        lines.append("expect: 100-continue")
    if lane == "chunked":
        lines.append("transfer-encoding: chunked")
        halves = [half for half in (content[: len(content) // 2], content[len(content) // 2 :]) if half]
        content = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    else:
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + content


def get_request(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: test", *headers, "", ""]).encode()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Asks every 10 ms until the condition holds, for at most PATIENCE_S."""
    wait_for(condition, what, PATIENCE_S)


def refuses_connections(server: Server) -> bool:
    """Whether the server's port is closed."""
    try:
        socket.create_connection((server.host, server.port), PATIENCE_S).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it closed before it accepted us
        return True
    return False


def read_metrics(server: Server, *headers: str) -> dict[tuple[str, ...], float]:
    """`/metrics` by sample name and label values, such as ("rlway_requests_total", "linear", "1", "200")."""
    from prometheus_client.parser import text_string_to_metric_families

    text = server.ask(get_request("/metrics", *headers)).body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    order = ("policy", "version", "status", "reason", "input", "feature", "le", "protocol")
    return {(s.name, *(s.labels[name] for name in order if name in s.labels)): s.value for s in samples}
