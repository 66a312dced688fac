"""Stalls connections at every point of a request for minutes, while another caller must still be answered.

In:      seconds; how many connections stall at each point.
Out:     how long each kind of connection stayed open, the caller's answers and latency, and the growth of memory. The
         exit status is 1 where a connection outlives its time-out, the caller was refused or had to wait, or memory or
         files are not released.

    python -m tests.stalled --seconds 180
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bundles import linear_policy
from tests.servers import Server, act_request, get_request, running_server, wait_until

BODY = {"observation": [1, 0, 0, 0]}
KEEP_ALIVE_S, HEADER_S, REQUEST_BODY_S = 20.0, 10.0, 15.0
PING_S = 20.0  # a silent peer is sent a ping after this time, and at the latest after twice this time
SLACK_S = 3.0
LOOK_S = 0.5
MOST_LATENCY_S = 1.0
MOST_GROWTH_MB = 40.0
HANDSHAKE = (
    b"GET /v1/policies/linear/stream HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BIG = b'{"observations": [' + b",".join([b"[1,0,0,0]"] * 1000) + b"]}"


class Stall(NamedTuple):
    """What a connection sends before it stalls, and within which time the server must close it."""

    sent: bytes
    within_s: float
    floods: bytes = b""  # sent again and again, without reading, until the server reads no more


REQUEST = act_request(BODY)
TEXT_FRAME = b"\x81\xfe" + (200).to_bytes(2, "big") + bytes(4)
STALLS = {
    "before a byte": Stall(b"", KEEP_ALIVE_S),
    "in the first line": Stall(REQUEST[:9], HEADER_S),
    "in the headers": Stall(REQUEST[:50], HEADER_S),
    "in the body": Stall(REQUEST[:-5], REQUEST_BODY_S),
    "in the body, by FastAPI": Stall(act_request(BODY, lane="query")[:-5], REQUEST_BODY_S),
    "in a chunk": Stall(act_request(BODY, lane="chunked")[:-9], REQUEST_BODY_S),
    "before its body": Stall(act_request(BODY, lane="expect")[: -len(json.dumps(BODY))], REQUEST_BODY_S),
    "after an answer": Stall(REQUEST, KEEP_ALIVE_S),
    "after a handshake": Stall(HANDSHAKE, 3 * PING_S),
    "in a frame's head": Stall(HANDSHAKE + TEXT_FRAME[:3], 3 * PING_S),
    "in a frame": Stall(HANDSHAKE + TEXT_FRAME + b"{", 3 * PING_S),
    "not reading the hot lane": Stall(b"", 3 * KEEP_ALIVE_S, act_request(BIG)),
    "not reading FastAPI": Stall(b"", 3 * KEEP_ALIVE_S, get_request("/v1/policies/linear") * 100),
    "not reading FastAPI's actions": Stall(b"", 3 * KEEP_ALIVE_S, act_request(BIG, lane="query")),
    "not reading frames": Stall(
        HANDSHAKE, 3 * PING_S, b"\x81\xfe" + len(BIG).to_bytes(2, "big") + bytes(4) + BIG
    ),
}  # fmt: skip
TLS_STALLS = {
    "before TLS": Stall(b"", HEADER_S),
    "in the TLS handshake": Stall(b"\x16\x03\x01\x02\x00\x01", HEADER_S),
}


class Watch:
    """What was observed of the stalled connections and of the caller."""

    def __init__(self) -> None:
        self.kept_s: dict[str, list[float]] = {}
        self.left: dict[str, int] = {}
        self.held: set[int] = set()  # ports of the peers whose connections the server still holds
        self.flooding = 0  # connections that have not stalled yet and keep the server busy
        self.answered = 0
        self.refused = 0
        self.slowest_s = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--each", type=int, default=20, help="connections that stall at each point")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-stalled-") as folder:
        faults = stall(Path(folder), options.seconds, options.each)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))


def stall(folder: Path, seconds: float, each: int) -> list[str]:
    """Stalls connections without TLS, then with TLS; returns the failures."""
    linear_policy(folder / "models")
    make_certificate(folder)
    times = ["--keep-alive-s", KEEP_ALIVE_S, "--header-timeout-s", HEADER_S, "--body-timeout-s", REQUEST_BODY_S]
    options = [str(word) for word in times]
    tls = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    faults = []
    with running_server(folder / "models", folder / "log", *options) as server:
        faults += watch_stalls(server, STALLS, seconds, each, None)
    with running_server(folder / "models", folder / "log", *options, *tls) as server:
        context = ssl.create_default_context(cafile=folder / "cert.pem")
        faults += watch_stalls(server, TLS_STALLS, min(seconds, 2 * HEADER_S), each, context)
    return faults


def make_certificate(folder: Path) -> None:
    """Writes a self-signed certificate for 127.0.0.1."""
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subject = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject], check=True, capture_output=True
    )


def watch_stalls(
    server: Server, stalls: dict[str, Stall], seconds: float, each: int, tls: ssl.SSLContext | None
) -> list[str]:
    process = psutil.Process(server.process.pid)
    asyncio.run(call_modestly(server, 1.0, tls, Watch()))  # warm
    files, memory_mb = process.num_fds(), process.memory_info().rss / 1e6
    watch = Watch()
    asyncio.run(watch_all(server, stalls, seconds, each, tls, watch))
    released = True
    try:
        wait_until(lambda: process.num_fds() <= files + 1, "the files to be released")
    except AssertionError:
        released = False
    grown_mb = process.memory_info().rss / 1e6 - memory_mb
    faults = [
        f"{kind}: kept {max(kept):.1f} s, expected at most {stalls[kind].within_s} s"
        for kind, kept in watch.kept_s.items()
        if kept and max(kept) > stalls[kind].within_s + SLACK_S
    ]
    faults += [
        f"{kind}: {left} of {each} still open after {seconds:g} s"
        for kind, left in watch.left.items()
        if left and seconds > stalls[kind].within_s + SLACK_S
    ]
    if watch.refused or watch.slowest_s > MOST_LATENCY_S:
        faults.append(f"the caller: {watch.refused} refused, slowest {watch.slowest_s:.3f} s")
    if not released or grown_mb > MOST_GROWTH_MB:
        faults.append(f"not released: {process.num_fds() - files} files, {grown_mb:.1f} MB")
    if "Traceback" in server.log.read_text():
        faults.append("a traceback in the log")
    kept = {kind: [round(min(kept), 1), round(max(kept), 1)] for kind, kept in watch.kept_s.items() if kept}
    caller = {"answered": watch.answered, "refused": watch.refused, "slowest_ms": round(watch.slowest_s * 1000, 1)}
    print(json.dumps({"tls": tls is not None, "kept_s": kept, "caller": caller, "grown_mb": round(grown_mb, 1)}))
    return faults


async def watch_all(
    server: Server, stalls: dict[str, Stall], seconds: float, each: int, tls: ssl.SSLContext | None, watch: Watch
) -> None:
    stalled = [stall_one(server, kind, how, seconds, watch) for kind, how in stalls.items() for _ in range(each)]
    looking = asyncio.create_task(watch_held(server, watch))
    await asyncio.gather(call_modestly(server, seconds, tls, watch), *stalled)
    looking.cancel()


async def call_modestly(server: Server, seconds: float, tls: ssl.SSLContext | None, watch: Watch) -> None:
    """Sends fifty requests a second, and opens a new connection every second."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        began_s = loop.time()
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=tls)
        for _ in range(50):
            busy = watch.flooding
            writer.write(act_request(BODY))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            if not (busy or watch.flooding):
                watch.slowest_s = max(watch.slowest_s, loop.time() - began_s)
            watch.answered += 1
            watch.refused += not head.startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.02)
            began_s = loop.time()
        writer.close()


async def stall_one(server: Server, kind: str, how: Stall, seconds: float, watch: Watch) -> None:
    """Sends its bytes and then nothing, until the server closes the connection or the time is over."""
    loop = asyncio.get_running_loop()
    kept_s, left = watch.kept_s.setdefault(kind, []), watch.left
    left.setdefault(kind, 0)
    watch.flooding += bool(how.floods)
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setblocking(False)
        await loop.sock_connect(ours, (server.host, server.port))
        await loop.sock_sendall(ours, how.sent)
        if how.floods:
            with suppress(OSError, TimeoutError):
                while True:
                    await asyncio.wait_for(loop.sock_sendall(ours, how.floods), 2.0)
            watch.flooding -= 1
        began_s = loop.time()
        await asyncio.sleep(2 * LOOK_S)
        while (held := ours.getsockname()[1] in watch.held) and loop.time() - began_s < seconds:
            await asyncio.sleep(LOOK_S)
        if held:
            left[kind] += 1
        else:
            kept_s.append(loop.time() - began_s)


async def watch_held(server: Server, watch: Watch) -> None:
    """Keeps `held` up to date from the server's side, because a peer that does not read does not notice a close."""
    process = psutil.Process(server.process.pid)
    while True:
        watch.held = {connection.raddr.port for connection in process.net_connections("tcp") if connection.raddr}
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    main()
