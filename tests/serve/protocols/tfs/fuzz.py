"""Gives nearly valid predict bodies to the reader of plain requests and to the general reader, and compares them.

In:      a number of bodies, a seed.
Out:     how many were plain, read by the general reader, or refused with which code. The exit status is 1, and the
         bodies are printed, where a reader raises anything but a refusal, a refusal is not a short sentence with a
         4xx code, or the two readers read different rows.

    python -m tests.serve.protocols.tfs.fuzz --bodies 300000
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import outside_lookup
from rlway_serve.messages.call import PlainCall
from rlway_serve.protocols.tfs.rest.route import PlainReaders, TfsRoute
from rlway_serve.registry.repository import Repository
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import embedding_policy, linear_policy, robot_policy, summing_policy
from tests.callers import Receiving

MAX_FAILURES = 20
LONG_S = 1.0  # no body of these may take longer
NUMBERS: list[Any] = [0, 1, -1.5, 0.1, 3, 1e38, 1e39, -1e39, 2**63, 2**64, 10**40, float("nan"), float("inf"), 1e-320]
ODD: list[Any] = [None, True, "x", "", "\ud800", [], {}, [[]], {"a": 1}, {"b64": "AAAA"}, {"b64": "?"}, *NUMBERS]
NAMES = ["observation", "0/observation", "observation/camera", "camera", "joints_arm", "0/observation/joints/arm"]
NAMES += ["noise", "reward", "0/reward", "0/discount", "step_type", "0/step_type", "sum", "1", "reset", "episode"]
NAMES += ["seed", "deadline_ms", "colour", "\ud800", "b64"]
FIELDS = ["instances", "inputs", "signature_name", "episode", "seed", "explore", "deadline_ms", "output_filter", "x"]
PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\u", b"\0", b"\xff", b"NaN", b"-Infinity", b"1e999", b"9" * 500]


class Readers:
    """The routes of several policies."""

    def __init__(self, models: Path) -> None:
        for write in (linear_policy, embedding_policy, robot_policy, summing_policy):
            write(models)
        settings = Settings(models=models, max_rows=16, poll_s=0)
        repository = Repository(settings, Metrics())
        repository.load()
        readers = PlainReaders()
        self._routes = [TfsRoute(policy, None, None, settings, readers) for policy in repository]
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def read(self, body: bytes) -> None:
        """Gives the body to every policy."""
        for route in self._routes:
            began_s = time.perf_counter()
            try:
                fault = self._compare(route, body)
            except Exception as error:
                fault = f"raised {error!r}"
            if time.perf_counter() - began_s > LONG_S:
                fault = "took long"
            if fault:
                self.failures.append(f"{route.policy.name}: {fault}: {body[:1000]!r}")

    def _compare(self, route: TfsRoute, body: bytes) -> str:
        """What is wrong with what the readers say of a body; empty if nothing is."""
        version = route.policy.current
        spec = version.manifest.observation[0]
        plain = PlainCall(None, 0.0)
        taken = route.take_plain(version, {}, body, plain)
        try:
            call = route.question({}, body).read(version, Receiving())
        except RlwayError as error:
            refusal = route.refuse(error)
            self.counts[f"{error.grpc} {refusal.status}"] += 1
            # Whether a plain row is in the policy's table is only checked when it runs.
            if taken and not outside_lookup(np.array(plain.observations, spec.numpy_dtype), spec).any():
                return f"plain, but refused with {error}"
            sentence = json.loads(refusal.body)["error"]
            return "" if 400 <= refusal.status < 500 and 0 < len(sentence) <= 300 else f"{refusal.status} {sentence}"
        self.counts["plain" if taken else "read"] += 1
        if not taken:
            return ""
        row = np.array([plain.observations], spec.numpy_dtype)
        same = call.rows == 1 and np.array_equal(row, np.asarray(call.observations))
        same = same and call.explore is None and call.noise is None
        if not same or (plain.deadline_s is None) != (call.deadline_s is None):
            return f"the readers differ: {plain.observations} and {call.observations}"
        return ""


def draw_body(generator: random.Random) -> bytes:
    """A body: mostly near a valid one, sometimes damaged, rarely anything."""
    kind = generator.randrange(20)
    if kind == 0:
        return generator.randbytes(generator.randrange(100))
    fields = {field: draw_field(generator, field) for field in draw_fields(generator)}
    body = json.dumps(fields).encode()
    if kind < 4 and body:
        place = generator.randrange(len(body))
        piece = generator.choice([*PIECES, b"", generator.randbytes(1)])
        return body[:place] + piece + body[place + generator.randrange(4) :]
    return body


def draw_fields(generator: random.Random) -> list[str]:
    if generator.random() < 0.9:
        further = generator.sample(FIELDS[2:], generator.choice([0, 0, 0, 1, 2]))
        return [generator.choice(FIELDS[:2]), *further]
    return generator.sample(FIELDS, generator.randrange(len(FIELDS)))


def draw_field(generator: random.Random, field: str) -> Any:
    if generator.random() < 0.03:
        return generator.choice(ODD)
    if field == "instances":
        return draw_instances(generator)
    if field == "inputs":
        rows = draw_instances(generator)
        if isinstance(rows[0], dict) and all(isinstance(row, dict) for row in rows):
            return {name: [row.get(name) for row in rows] for name in rows[0]}
        return rows
    drawn: dict[str, list[Any]] = {
        "signature_name": ["", "serving_default", "action", "x", None],
        "episode": ["a", 7, "", "x" * 129],
        "seed": [0, 2**62, 2**63, -1],
        "explore": [{"epsilon": 0.5}, {"epsilon": 2}, {"sigma": 1}, {"x": 1}],
        "deadline_ms": [60_000, 0.5, 0, -1],
        "output_filter": [["action"], ["q_values", "action"], ["x"], ["action", "action"], ["next_sum"]],
        "x": [1],
    }
    return generator.choice(drawn[field])


def draw_instances(generator: random.Random) -> list[Any]:
    count = generator.choice([1, 1, 1, 1, 2, 3, 17])
    if generator.random() < 0.5:
        return [draw_value(generator, "observation") for _ in range(count)]
    names = {generator.choice(NAMES[:2])} if generator.random() < 0.7 else {*generator.sample(NAMES[2:6], 2)}
    names |= {*generator.sample(NAMES[6:], generator.choice([0, 0, 1, 2, 4]))}
    return [
        {name: draw_value(generator, name) for name in names} if generator.random() < 0.98 else generator.choice(ODD)
        for _ in range(count)
    ]


def draw_value(generator: random.Random, name: str) -> Any:
    if generator.random() < 0.03:
        return generator.choice(ODD)
    name = name.rpartition("/")[2]
    if name in ("reward", "discount", "step_type", "seed", "deadline_ms"):
        return generator.choice([0, 1, 2, 1, 0.5, 3] if generator.random() < 0.9 else ODD)
    if name == "episode":
        return generator.choice(["a", 7, {"b64": "YQ=="}])
    if name == "reset":
        return generator.choice([True, False])
    lengths = {"camera": 2, "noise": 2, "joints_arm": 3, "arm": 3, "sum": 4, "1": 4}
    length = lengths.get(name, generator.choice([3, 4, 4, 4]))
    whole = name == "camera" or length == 3
    return [
        (generator.randrange(10) if whole else generator.uniform(-2, 2))
        if generator.random() < 0.98
        else generator.choice(ODD)
        for _ in range(length if generator.random() < 0.97 else generator.randrange(6))
    ]


def fuzz(models: Path, bodies: int, seed: int) -> Readers:
    """Reads that many bodies; stops after MAX_FAILURES failures."""
    generator = random.Random(seed)
    readers = Readers(models)
    for _ in range(bodies):
        readers.read(draw_body(generator))
        if len(readers.failures) >= MAX_FAILURES:
            break
    return readers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rlway-fuzz-") as folder:
        readers = fuzz(Path(folder) / "models", options.bodies, options.seed)
    report = {"bodies": options.bodies, "read": dict(sorted(readers.counts.items()))}
    print(json.dumps(report | {"failures": len(readers.failures), "wall_s": round(time.perf_counter() - began_s, 1)}))
    for failure in readers.failures:
        print(failure, file=sys.stderr)
    sys.exit(bool(readers.failures))


if __name__ == "__main__":
    main()
