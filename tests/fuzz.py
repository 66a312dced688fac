"""Sends a server nearly valid act requests over both lanes, and compares the answers.

In:      a number of requests, a seed.
Out:     how many answers had which status. The exit status is 1, and the requests are printed, where the lanes differ,
         a status is 5xx, an answer is not HTTP, or an answer is missing.

    python -m tests.fuzz --requests 1000000

There are three kinds: bodies of all sorts in valid HTTP, pipelined on kept connections; valid and invalid bodies of one
length on many kept connections at once, each of which sends one or two requests and waits; and HTTP that is damaged
behind its first line and split into packets at random places, each on a new connection.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.bundles import linear_policy
from tests.servers import JSON, OCTETS, Server, Wire, act_request, get_request, running_server

LANES = ("hot", "query")
PIPELINED = 32
STEPPING = 16  # connections that send at the same time
STEP_BYTES = 256
MAX_FAILURES = 20
NUMBERS: list[Any] = [0, 1, -1.5, 0.1, 1e38, 1e39, -1e39, 2**63, 2**64, 10**40, float("nan"), float("inf"), 1e-320]
ODD: list[Any] = [None, True, "x", "", "\ud800", [], {}, [[]], {"a": 1}, "q_values", *NUMBERS]
FIELDS = ["observation", "observations", "explore", "seed", "outputs", "version", "colour"]
MEDIA_TYPES = [JSON, JSON, JSON, JSON, OCTETS, "", "text/plain", "application/json; charset=utf-8", "APPLICATION/JSON"]
HEADERS = [
    "content-length: 3",
    "content-length: 99999999999999999999",
    "transfer-encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "connection: close",
    "connection: upgrade",
    "upgrade: websocket",
    "expect: 100-continue",
    "content-encoding: gzip",
    "x-request-id: abc",
    "x-request-id: a b",
    "authorization: Bearer x",
    "origin: https://a.example",
    "folded: a\r\n b",
    "bad header",
    ": nameless",
    "nul: \0",
    "long: " + "x" * 60_000,
]
PIECES = [b"\r\n", b"\r\n\r\n", b"\n", b"\0", b" ", b":", b"HTTP/1.1", b"POST / HTTP/1.1\r\n\r\n"]
PIECES += [b"0\r\n\r\n", b"ffff\r\n"]


class Findings:
    """What was observed."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []

    def compare(self, requests: tuple[bytes, bytes], answers: tuple[Any, Any]) -> None:
        """Compares the two lanes' answers to one request."""
        if answers[0] != answers[1]:
            self.failures.append(f"the lanes differ: {requests[0]!r}: {answers[0]} and {answers[1]}")

    def count(self, request: bytes, status: int) -> None:
        self.statuses[status] += 1
        if status >= 500:
            self.failures.append(f"{status}: {request!r}")


class Framed(NamedTuple):
    """One of the answers that a connection received until it was closed."""

    status: int
    body: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="sent by each lane")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-fuzz-") as folder:
        models = Path(folder) / "models"
        linear_policy(models)
        with running_server(models, Path(folder) / "log") as server:
            began_s = time.perf_counter()
            findings = fuzz(server, options.requests, options.seed)
            wall_s = round(time.perf_counter() - began_s, 1)
            traceback = "Traceback" in server.log.read_text()
            stopped = server.stop()
    statuses = {str(status): count for status, count in sorted(findings.statuses.items())}
    report = {"requests": sum(findings.statuses.values()), "statuses": statuses, "wall_s": wall_s}
    print(json.dumps(report | {"failures": len(findings.failures), "traceback": traceback, "exit": stopped}))
    for failure in findings.failures[:MAX_FAILURES]:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(findings.failures or traceback or stopped))


def fuzz(server: Server, requests: int, seed: int) -> Findings:
    """Sends all three kinds; one request in thirteen has damaged HTTP. Stops after MAX_FAILURES failures."""
    generator = random.Random(seed)
    findings = Findings()
    rounds = max(1, requests // (PIPELINED + STEPPING + PIPELINED // 8))
    wires = {lane: server.connect() for lane in LANES}
    stepping = [server.connect() for _ in range(STEPPING)]
    for _ in range(rounds):
        if len(findings.failures) >= MAX_FAILURES:
            break
        try:
            fuzz_bodies(wires, generator, findings)
            fuzz_steps(stepping, wires["query"], generator, findings)
        except OSError as error:
            findings.failures.append(f"no answer on a kept connection: {error}")
            for wire in (*wires.values(), *stepping):
                wire.socket.close()
            wires = {lane: server.connect() for lane in LANES}
            stepping = [server.connect() for _ in range(STEPPING)]
        for _ in range(PIPELINED // 8):
            fuzz_framing(server, generator, findings)
    for wire in (*wires.values(), *stepping):
        wire.socket.close()
    return findings


def fuzz_steps(stepping: list[Wire], other: Wire, generator: random.Random, findings: Findings) -> None:
    """Sends a step on each connection of the hot lane, and the same requests on one connection of the other lane."""
    asked = [[draw_step(generator) for _ in range(1 + (generator.random() < 0.1))] for _ in stepping]
    for wire, bodies in zip(stepping, asked, strict=True):
        for body in bodies:
            wire.send(act_request(body))
    answers = [wire.answer() for wire, bodies in zip(stepping, asked, strict=True) for _ in bodies]
    requests = [(act_request(body), act_request(body, lane="query")) for bodies in asked for body in bodies]
    other.send(b"".join(request for _, request in requests))
    for request, answer in zip(requests, answers, strict=True):
        findings.count(request[0], answer.status)
        other_answer = other.answer()
        findings.count(request[1], other_answer.status)
        findings.compare(request, (answer, other_answer))


def draw_step(generator: random.Random) -> bytes:
    """A body, mostly an ordinary one, padded so that all requests have equal headers."""
    if generator.random() < 0.1:
        return draw_body(generator).ljust(STEP_BYTES)
    request: dict[str, Any] = {"observation": [generator.uniform(-2, 2) for _ in range(4)]}
    if generator.random() < 0.05:
        request["observation"][generator.randrange(4)] = generator.choice(ODD)
    if generator.random() < 0.1:
        request["deadline_ms"] = generator.choice([60_000, 60_000.5, 0, -1, "x"])
    return json.dumps(request).encode().ljust(STEP_BYTES)


def fuzz_bodies(wires: dict[str, Wire], generator: random.Random, findings: Findings) -> None:
    drawn = [(draw_body(generator), generator.choice(MEDIA_TYPES)) for _ in range(PIPELINED)]
    requests = {lane: [act_request(body, lane=lane, media_type=kind) for body, kind in drawn] for lane in LANES}
    for lane, wire in wires.items():
        wire.send(b"".join(requests[lane]))
    answers = {lane: [wire.answer() for _ in drawn] for lane, wire in wires.items()}
    for lane in LANES:
        for request, answer in zip(requests[lane], answers[lane], strict=True):
            findings.count(request, answer.status)
    for pair, both in zip(zip(*requests.values(), strict=True), zip(*answers.values(), strict=True), strict=True):
        findings.compare((pair[0], pair[1]), (both[0], both[1]))


def fuzz_framing(server: Server, generator: random.Random, findings: Findings) -> None:
    """Sends equally damaged requests to both lanes, split into packets at the same places."""
    body = json.dumps({"observation": [0.5, 0, 0, 0]}).encode()
    headers = generator.sample(HEADERS, generator.randrange(3))
    damage = draw_damage(generator)
    cuts = generator.randrange(4)
    cut_seed = generator.random()
    streams, answers = [], []
    for lane in LANES:
        first_line, _, rest = act_request(body, lane=lane, headers=headers).partition(b"\r\n")
        stream = get_request("/healthz") + first_line + b"\r\n" + damage(rest) + get_request("/healthz")
        streams.append(stream)
        # Counted from the end, because the lanes' requests differ in their first lines.
        places = sorted(random.Random(cut_seed).sample(range(1, len(rest)), cuts), reverse=True)
        with server.connect() as wire:
            try:
                for start, end in zip([0, *(-p for p in places)], [*(-p for p in places), len(stream)], strict=True):
                    wire.send(stream[start:end])
                wire.half_close()
            except OSError:
                pass  # the server has closed the connection, perhaps after an answer
            try:
                answered = split_answers(wire.rest())
            except (ConnectionError, ValueError) as error:
                answered = [] if isinstance(error, ConnectionResetError) else [Framed(599, repr(error).encode())]
            except TimeoutError:
                answered = [Framed(598, b"no end of the connection")]
        for answer in answered:
            findings.count(stream, answer.status)
        answers.append(answered)
    if all(answers):  # a reset may take answers along
        findings.compare((streams[0], streams[1]), (answers[0], answers[1]))


def split_answers(received: bytes) -> list[Framed]:
    """The answers in the bytes of one connection; ValueError where one is incomplete."""
    answers = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        if not end or not lines[0].startswith(b"HTTP/1.1 "):
            raise ValueError(f"not an answer: {head[:100]!r}")
        if status < 200:
            continue
        length = int(next(line.split(b":")[1] for line in lines[1:] if line.lower().startswith(b"content-length:")))
        if len(received) < length:
            raise ValueError(f"cut short: {head[:100]!r}")
        answers.append(Framed(status, received[:length]))
        received = received[length:]
    return answers


def draw_body(generator: random.Random) -> bytes:
    kind = generator.randrange(10)
    if kind == 0:
        return generator.randbytes(generator.randrange(100))
    if kind == 1:
        bits = [generator.getrandbits(32) for _ in range(4 * generator.randrange(6) + (generator.random() < 0.1))]
        return struct.pack(f"<{len(bits)}I", *bits)
    request = {field: draw_field(generator, field) for field in draw_fields(generator)}
    body = json.dumps(request).encode()
    if kind == 2 and body:
        place = generator.randrange(len(body))
        return body[:place] + generator.randbytes(1) + body[place + generator.randrange(3) :]
    return body


def draw_fields(generator: random.Random) -> list[str]:
    if generator.random() < 0.7:
        return [generator.choice(FIELDS[:2]), *generator.sample(FIELDS[2:6], generator.randrange(3))]
    return generator.sample(FIELDS, generator.randrange(len(FIELDS)))


def draw_field(generator: random.Random, field: str) -> Any:
    if generator.random() < 0.15:
        return generator.choice(ODD)
    row: Callable[[], list[Any]] = lambda: [  # noqa: E731
        generator.uniform(-2, 2) if generator.random() < 0.95 else generator.choice(ODD)
        for _ in range(4 if generator.random() < 0.95 else generator.randrange(6))
    ]
    drawn: dict[str, Callable[[], Any]] = {
        "observation": row,
        "observations": lambda: [row() for _ in range(generator.randrange(5))],
        # Nothing random, because each lane would draw other numbers.
        "explore": lambda: {
            generator.choice(["epsilon", "temperature", "sigma"]): generator.choice([0, -1, "x", None])
        },
        "seed": lambda: generator.getrandbits(generator.choice([8, 62, 63, 64])),
        "outputs": lambda: generator.sample(["q_values", "action", "q_values", "x"], generator.randrange(3)),
        "version": lambda: generator.choice([1, 1, 1, 2, -1]),
        "colour": lambda: generator.choice(ODD),
    }
    return drawn[field]()


def draw_damage(generator: random.Random) -> Callable[[bytes], bytes]:
    """A change at one place; texts of equal length are changed at the same place."""
    kind, place = generator.randrange(6), generator.random()
    piece, byte = generator.choice(PIECES), generator.randbytes(1)

    def damage(rest: bytes) -> bytes:
        at = int(place * len(rest))
        if kind == 0:
            return rest
        if kind == 1:
            return rest[:at]
        if kind == 2:
            return rest[:at] + byte + rest[at + 1 :]
        if kind == 3:
            return rest[:at] + rest[at + 1 :]
        return rest[:at] + piece + rest[at:]

    return damage


if __name__ == "__main__":
    main()
