"""Reads damaged and malicious openpi messages, in this process.

In:      a number of messages, a seed.
Out:     how many were read and refused, the most memory and time that one took. The exit status is 1, and the messages
         are printed, where an exception is none of RLway's or a warning is given, where memory is out of proportion, or
         where the two ways to read a plain message, or `msgpack` and the server, differ.

    python -m tests.serve.protocols.openpi.fuzzing --messages 300000

Most are valid messages with a few bytes changed, cut out, put in, repeated or swapped; others are random MessagePack
values, and headers that promise more than there is.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import sys
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.messages.call import Call
from rlway_serve.protocols.openpi.messages import read_message
from rlway_serve.protocols.openpi.plain_messages import PlainMessages
from rlway_serve.protocols.openpi.question import OpenpiQuestion
from rlway_serve.settings import Settings
from tests.serve.protocols.openpi.manifests import LINEAR, MANIFESTS
from tests.serve.protocols.openpi.packing import pack, unpack

MAX_FAILURES = 20
LEAST_BYTES, BYTES_PER_BYTE = 200_000, 160  # what a message may take: a fixed part, and a share of its size
SLOW_S = 1.0
SETTINGS = Settings(models=Path("models"))
KEYS = ["observation", "x", "camera", "joints/arm", "joints", "arm", "prompt", "first", "episode", "seed", "version"]
KEYS += ["outputs", "explore", "noise", "step_type", "deadline_ms", "label", "__ndarray__", "data", "", "é" * 40]
DTYPES = [
    "<f4",
    "<f8",
    ">f8",
    "|u1",
    "<i8",
    "|b1",
    "<f2",
    ">i2",
    "|O",
    "|V4",
    "<c8",
    "<U4",
    "|S1",
    "<M8[s]",
    "f",
    "x" * 99,
]
NUMBERS: list[Any] = [0, 1, -1, 0.5, True, None, 2**63, -(2**63), 1e300, float("nan"), float("inf"), 255, 256]
HEADS = [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9", b"\xdc", b"\xde", b"\xc5", b"\xda", b"\xc8", b"\xc7\x04", b"\xd4"]
HEADS += [
    b"\xc1",
    b"\xd6\xff",
    b"\xd8",
    b"\x8f",
    b"\x9f",
    b"\xbf",
    b"\xca",
    b"\xcb",
    b"\xcf",
    b"\x91" * 40,
    b"\x81\xa1a" * 20,
]
SIZES = [0, 1, 4, 2**16 - 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1]


class NoCaller:
    """Nobody waits for the answer."""

    connection = None
    abandoned = False

    def answer(self, response: Any) -> None: ...


class Findings:
    """What was observed."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.most_bytes = 0
        self.most_s = 0.0


class Fuzzer:
    """Reads messages in every way that the server has."""

    def __init__(self) -> None:
        self.findings = Findings()
        self._forms = [(manifest, TensorForm(manifest, SETTINGS)) for manifest in MANIFESTS]
        linear = TensorForm(LINEAR, SETTINGS)
        self._plain = PlainMessages(LINEAR, linear)

    def check(self, message: bytes) -> None:
        """Reads one message, and notes what is wrong."""
        findings = self.findings
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        began_s = time.thread_time()
        try:
            outcome = self._read(message)
        except Exception as error:
            outcome = type(error).__name__
            findings.failures.append(f"{error!r}: {message[:300]!r}")
        took_s = time.thread_time() - began_s
        took_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
        findings.outcomes[outcome] += 1
        findings.most_s = max(findings.most_s, took_s)
        findings.most_bytes = max(findings.most_bytes, took_bytes)
        if took_bytes > LEAST_BYTES + BYTES_PER_BYTE * len(message) or took_s > SLOW_S:
            findings.failures.append(f"{took_bytes} bytes and {took_s:.3f} s for {len(message)}: {message[:300]!r}")

    def _read(self, message: bytes) -> str:
        octets = self._plain.read(message)
        if octets != self._plain.read(message):
            self.findings.failures.append(f"read otherwise the second time: {message!r}")
        try:
            parts = read_message(message)
        except RlwayError as error:
            if octets is not None:
                self.findings.failures.append(f"plain, and yet refused ({error}): {message!r}")
            return f"refused: {type(error).__name__}"
        if not are_alike(unpack(message), parts):
            self.findings.failures.append(f"msgpack reads it otherwise: {message!r}")
        outcomes = []
        for manifest, form in self._forms:
            try:
                call = OpenpiQuestion(message, form).inputs(form, manifest)
                call_or_none: Call | None = form.read(call, NoCaller(), batched=False)
            except RlwayError:
                call_or_none = None
            outcomes.append(call_or_none)
        if octets is not None:
            self._compare(message, octets, outcomes[0])
        return "taken" if any(outcomes) else "read"

    def _compare(self, message: bytes, octets: bytes, call: Call | None) -> None:
        """Holds a plain message's octets against the call that the general way makes of it."""
        expected = None if call is None else np.asarray(call.observations, np.float32).tobytes()
        if octets != expected:
            self.findings.failures.append(f"plain {octets!r}, otherwise {expected!r}: {message!r}")


def are_alike(theirs: Any, ours: Any) -> bool:
    """Whether two readers understood the same. Ours makes maps of lists of arrays."""
    if isinstance(ours, dict):
        if isinstance(theirs, list):
            theirs = {str(i): part for i, part in enumerate(theirs)}
        return (
            isinstance(theirs, dict)
            and len(ours) == len(theirs)
            and all(are_alike(theirs[key if key in theirs else key.encode()], part) for key, part in ours.items())
        )
    if isinstance(ours, np.ndarray):
        if isinstance(theirs, dict):  # an array with text as its keys, which openpi's own reader leaves as it is
            return "__ndarray__" in theirs or "__npgeneric__" in theirs
        return np.shape(theirs) == ours.shape and np.array_equal(theirs, ours, equal_nan=ours.dtype.kind == "f")
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(are_alike, theirs, ours))
    if isinstance(ours, float) and math.isnan(ours):
        return isinstance(theirs, float) and math.isnan(theirs)
    return type(theirs) is type(ours) and bool(theirs == ours)


def messages(generator: random.Random) -> Iterator[bytes]:
    """Without end."""
    row: AnyArray = np.arange(4, dtype=np.float32)
    plain = [
        pack({name: (row * factor).astype(dtype)} | more)
        for name in ("observation", "x")
        for dtype in ("<f4", "<f8", ">f4")
        for more in ({}, {"prompt": "go"})
        for factor in (0, 1, -1)
    ]
    while True:
        kind = generator.random()
        if kind < 0.3:
            message = generator.choice(plain)
        elif kind < 0.85:
            message = pack({key(generator): value(generator, 3) for _ in range(generator.randrange(4))})
        else:
            message = b"".join(
                generator.choice(HEADS) + struct.pack(">I", generator.choice(SIZES))[generator.choice((0, 2)) :]
                for _ in range(generator.randrange(1, 4))
            ) + generator.randbytes(generator.randrange(40))
            message = generator.choice((b"", b"\x81\xa1a", b"\x81\xabobservation")) + message
            message *= generator.choice((1, 1, 1, 1, 50))
        for _ in range(generator.choice((0, 0, 1, 1, 1, 3))):
            message = damage(message, generator)
        yield message


def key(generator: random.Random) -> str:
    return generator.choice(KEYS)


def value(generator: random.Random, depth: int) -> Any:
    """A value of any kind that MessagePack has."""
    kind = generator.randrange(9 if depth else 6)
    if kind < 2:
        shape = generator.choice(((), (4,), (2,), (3,), (1,), (2, 2), (0,), (1, 4)))
        values = np.frombuffer(generator.randbytes(8 * math.prod(shape)), "<f8").reshape(shape)
        with np.errstate(all="ignore"):
            return values.astype(generator.choice(("<f4", "<f8", ">f8", "|u1", "<i8", "|b1")))
    if kind == 2:
        return {
            generator.choice((b"__ndarray__", "__ndarray__", b"__npgeneric__")): True,
            b"data": generator.choice((generator.randbytes(generator.randrange(20)), *NUMBERS[:9])),
            b"dtype": generator.choice((*DTYPES, b"<f4")),
            b"shape": generator.choice(([4], [], [2**40, 2**40], [-1], [0], [1] * 70, [True], "x", [2**63])),
        }
    if kind == 3:
        return generator.choice(NUMBERS)
    if kind == 4:
        return generator.choice(("", "go", "robot-1", "é" * 100, b"", b"bytes"))
    if kind == 5:
        return [generator.choice(NUMBERS) for _ in range(generator.choice((0, 1, 2, 4, 300)))]
    if kind == 6:
        return [value(generator, depth - 1) for _ in range(generator.randrange(4))]
    return {key(generator): value(generator, depth - 1) for _ in range(generator.randrange(4))}


def damage(message: bytes, generator: random.Random) -> bytes:
    """One change."""
    at, size = generator.randrange(len(message) + 1), generator.randrange(1, 9)
    kind = generator.randrange(7)
    if kind == 0:
        return message[:at]
    if kind == 1:
        return message[:at] + message[at + size :]
    if kind == 2:
        return message[:at] + generator.randbytes(size) + message[at:]
    if kind == 3:
        return message[:at] + generator.randbytes(size) + message[at + size :]
    if kind == 4 and message:
        at = min(at, len(message) - 1)
        return message[:at] + bytes((message[at] ^ 1 << generator.randrange(8),)) + message[at + 1 :]
    if kind == 5:
        return message[:at] + generator.choice(HEADS) + struct.pack(">I", generator.choice(SIZES)) + message[at:]
    return message[:at] + message[at : at + size] * generator.choice((2, 3, 200)) + message[at + size :]


def fuzz(count: int, seed: int) -> Findings:
    """Reads so many messages; stops after MAX_FAILURES failures."""
    fuzzer, generator = Fuzzer(), random.Random(seed)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is a line in the server's log
            for message, _ in zip(messages(generator), range(count), strict=False):
                fuzzer.check(message)
                if len(fuzzer.findings.failures) >= MAX_FAILURES:
                    break
    finally:
        tracemalloc.stop()
    return fuzzer.findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s = time.perf_counter()
    findings = fuzz(options.messages, options.seed)
    report = {
        "messages": sum(findings.outcomes.values()),
        "outcomes": dict(findings.outcomes.most_common()),
        "most_bytes": findings.most_bytes,
        "most_ms": round(findings.most_s * 1e3, 3),
        "wall_s": round(time.perf_counter() - began_s, 1),
        "failures": len(findings.failures),
    }
    print(json.dumps(report))
    for failure in findings.failures[:MAX_FAILURES]:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(findings.failures))


if __name__ == "__main__":
    main()
