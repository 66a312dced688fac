"""Gives the readers of infer requests nearly valid bytes, in this process.

In:      how many, a seed.
Out:     how many were read and how many refused, by the error. The exit status is 1 where a reader fails in any other
         way, a refusal is no sentence in JSON, or the plain way and the general way differ.

    python -m tests.serve.protocols.oip.fuzz_rest --inputs 300000
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_serve.protocols.oip.rest.answer import refuse
from tests.bundles import linear_policy, robot_policy, summing_policy
from tests.serve.protocols.oip.decoding import Decoding, read_answer

NUMBERS: list[Any] = [0, 1, -1, 4, 1.5, 1e39, -1e39, 2**31, 2**62, 2**63, 2**64, 10**30, float("nan"), float("inf")]
ODD: list[Any] = [None, True, False, "", "x", "\ud800", [], {}, [[]], {"a": 1}, *NUMBERS]
NAMES = ["observation", "observation", "0/observation", "camera", "joints_arm", "noise", "sum", "reset", "0/step_type"]
TYPES = ["FP32", "FP32", "FP32", "FP64", "FP16", "INT64", "UINT8", "INT8", "BOOL", "BYTES", "BF16", "x"]
DTYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "INT64": "<i8", "UINT8": "u1", "INT8": "i1", "BOOL": "?"}
PARAMETERS: dict[str, list[Any]] = {
    "sequence_id": [0, 1, 7, "a", "x" * 200],
    "sequence_start": [True, False],
    "sequence_end": [True, False],
    "priority": [0, 1],
    "timeout": [0, 1000, 60_000_000],
    "explore": [{"epsilon": 0.1}, '{"epsilon": 0.1}', {"sigma": 1}, "x"],
    "seed": [0, 7],
    "label": ["stable", "old"],
    "first": [True],
    "episode": ["e"],
    "binary_data_output": [True, False],
    "colour": [1],
}
POLICIES = ("linear", "linear", "robot", "summing")
RESULTS = {
    "action": np.array([1]),
    "q_values": np.zeros((1, 2), np.float32),
    "next_sum": np.zeros((1, 4), np.float32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rlway-fuzz-") as folder:
        outcomes, failures = fuzz(open_decoding(Path(folder)), options.inputs, options.seed)
    wall_s = round(time.perf_counter() - began_s, 1)
    print(json.dumps({"inputs": outcomes.total(), "outcomes": outcomes, "failures": len(failures), "wall_s": wall_s}))
    for failure in failures:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(failures))


def open_decoding(folder: Path) -> Decoding:
    """The policies that are asked."""
    for policy in (linear_policy, robot_policy, summing_policy):
        policy(folder / "models")
    return Decoding(folder / "models", max_rows=100)


def fuzz(decoding: Decoding, inputs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Reads this many inputs; returns the outcomes and the failures."""
    generator = random.Random(seed)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    for _ in range(inputs):
        policy = generator.choice(POLICIES)
        body, header = draw(generator)
        try:
            outcomes[read(decoding, policy, body, header)] += 1
        except Exception as error:
            outcomes["failure"] += 1
            failures.append(f"{policy} {header!r} {body!r}: {error!r}")
    return outcomes, failures


def read(decoding: Decoding, policy: str, body: bytes, header: bytes | None) -> str:
    """Reads one input in both ways; returns what became of it."""
    plain = decoding.take_plain(policy, body, header)
    try:
        asked = decoding.read(policy, body, header)
    except RlwayError as error:
        assert plain is None, "read on the plain way, and refused on the general one"
        response = refuse(error)
        sentence = json.loads(response.body)["error"]
        assert 400 <= response.status < 500
        assert 10 < len(sentence) < 300, len(sentence)
        return type(error).__name__
    if plain is None:
        plain = decoding.take_plain(policy, body, header)  # what the general way has read is known now
    if plain is None:
        return "read"
    spec = decoding.route(policy).policy.manifest.observation[0]
    row = plain.observations
    array = np.frombuffer(row, spec.numpy_dtype) if plain.raw else np.array(row, spec.numpy_dtype)
    np.testing.assert_array_equal(array.reshape(spec.shape), np.asarray(asked.call.observations)[0])
    assert (plain.deadline_s is None) == (asked.call.deadline_s is None)
    assert plain.wire is not None
    [written] = plain.wire.write_actions(RESULTS["action"])
    assert read_answer(written) == read_answer(asked.answer(RESULTS))
    return "plain"


def draw(generator: random.Random) -> tuple[bytes, bytes | None]:
    """A body and its header."""
    sound = generator.random() < 0.5  # before it is spoilt
    drawn = [draw_input(generator, sound) for _ in range(1 if sound else generator.choice([1, 1, 1, 2, 3, 0]))]
    octets = b"".join(own for _, own in drawn)
    request: dict[str, Any] = {"inputs": [fields for fields, _ in drawn]}
    if generator.random() < 0.2:
        request["id"] = generator.choice(["a", "é", "", "\ud800", 'q"'])
    if generator.random() < 0.2:
        known = ["timeout", "binary_data_output", "priority"] if sound else [*PARAMETERS]
        names = generator.sample(known, generator.randrange(1, 3))
        request["parameters"] = {name: deepcopy(generator.choice(PARAMETERS[name])) for name in names}
    if generator.random() < 0.2:
        outputs = ["action"] if sound else generator.sample(["action", "q_values", "next_sum", "x"], 2)
        request["outputs"] = [draw_output(generator, name) for name in outputs]
    if generator.random() < 0.1:
        request["model_name"] = generator.choice(["linear", "robot", "x"])
    for _ in range(generator.choice([0, 0, 0, 1, 2])):
        spoil(generator, request)
    text = json.dumps(request).encode()
    if generator.random() < 0.1:
        text = damage(generator, text)
    if generator.random() < 0.05:
        octets = damage(generator, octets)
    header = str(len(text)).encode() if octets or generator.random() < 0.3 else None
    if generator.random() < 0.05:
        header = generator.choice([b"", b"x", b"-1", b"0", b"1", b"9" * 30, str(len(text) - 1).encode(), None])
    return text + octets, header


def draw_input(generator: random.Random, sound: bool) -> tuple[dict[str, Any], bytes]:
    """One of `inputs`, and its octets if it has any."""
    rows = 1 if sound else generator.choice([1, 1, 1, 2, 101])
    width = 4 if sound else generator.choice([4, 4, 2, 3])
    datatype = "FP32" if sound else generator.choice(TYPES)
    dtype = np.dtype(DTYPES.get(datatype, "<f4"))
    values = np.array([generator.choice([0, 1, 1, 0.5, 2]) for _ in range(rows * width)]).astype(dtype)
    if dtype.kind == "f" and generator.random() < 0.05:
        values[0] = generator.choice([np.nan, np.inf, 1e4])
    name = "observation" if sound else generator.choice(NAMES)
    fields: dict[str, Any] = {"name": name, "shape": [rows, width], "datatype": datatype}
    if generator.random() < 0.4:
        return fields | {"parameters": {"binary_data_size": values.nbytes}}, values.tobytes()
    nested = generator.random() < 0.4
    return fields | {"data": (values.reshape(rows, width) if nested else values).tolist()}, b""


def draw_output(generator: random.Random, name: str) -> dict[str, Any]:
    if generator.random() < 0.5:
        return {"name": name}
    parameter = generator.choice(["binary_data", "binary_data", "classification", "shared_memory_region", "x"])
    return {"name": name, "parameters": {parameter: generator.choice([True, False, 1])}}


def spoil(generator: random.Random, value: Any) -> None:
    """Replaces, removes or doubles one part, somewhere in lists and dicts."""
    while value:
        key = generator.choice([*value] if isinstance(value, dict) else range(len(value)))
        if isinstance(value[key], dict | list) and generator.random() < 0.7:
            value = value[key]
            continue
        kind = generator.random()
        if kind < 0.6:
            value[key] = deepcopy(generator.choice(ODD))
        elif kind < 0.8:
            del value[key]
        elif isinstance(value, list):
            value.append(deepcopy(value[key]))
        else:
            value[generator.choice(["colour", "data", "shape", "\ud800"])] = deepcopy(generator.choice(ODD))
        return


def damage(generator: random.Random, content: bytes) -> bytes:
    """Changes the bytes at one place."""
    place = generator.randrange(len(content) + 1)
    kind = generator.randrange(4)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + generator.randbytes(1) + content[place + 1 :]
    if kind == 2:
        return content[:place] + content[place + generator.randrange(1, 9) :]
    return content[:place] + content[: generator.randrange(20)] + content[place:]


if __name__ == "__main__":
    main()
