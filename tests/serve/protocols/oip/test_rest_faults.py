"""Requests that no client should send: each is refused in one sentence, in the protocol's form, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rlway_serve.protocols.oip.rest.request import MAX_TENSORS
from tests.bundles import linear_policy
from tests.serve.protocols.oip.infer_requests import INFER, ROW, Infer, in_json, in_octets, tensor
from tests.servers import LANES, Server, running_server

ROWS = np.array([ROW], "<f4")
SIZE = {"binary_data_size": 16}


class Fault(NamedTuple):
    """A request, the status and a part of the sentence that it must meet."""

    name: str
    status: int
    says: str
    infer: Infer
    path: str = INFER


def one(**changes: Any) -> Infer:
    return in_json(tensor(**changes))


def asking(**parameters: Any) -> Infer:
    return in_json(tensor(), parameters=parameters)


def behind(octets: bytes, json_bytes: Any = None, **changes: Any) -> Infer:
    """An input whose data are these octets, as its JSON says or not."""
    text = json.dumps({"inputs": [tensor(**{"data": None, "parameters": SIZE} | changes)]}).encode()
    return Infer(text + octets, len(text) if json_bytes is None else json_bytes)


OCTETS = ROWS.tobytes()
FAULTS = [
    Fault("no body", 400, "not JSON", Infer(b"")),
    Fault("half a body", 400, "not JSON", Infer(in_json(tensor()).body[:-3])),
    Fault("no object", 400, "an object with `inputs`", Infer(b"[1]")),
    Fault("not UTF-8", 400, "not UTF-8", Infer(b'{"id": "\xff"}')),
    Fault("deep nesting", 400, "nested too deeply", Infer(b'{"inputs": ' + b"[" * 50_000)),
    Fault("no inputs", 400, "inputs", Infer(b"{}")),
    Fault("empty inputs", 422, "observation: expected float32[4], got nothing", in_json()),
    Fault("unknown field", 400, "colour", in_json(tensor(), colour=1)),
    Fault("unknown field of an input", 400, "colour", one(colour=1)),
    Fault("another model's name", 400, "model_name", in_json(tensor(), model_name="other")),
    Fault("id that is no text", 400, "id", in_json(tensor(), id=7)),
    Fault("half a surrogate pair", 400, "Unicode", Infer(in_json(tensor(), id="x").body.replace(b'"x"', b'"\\ud800"'))),
    Fault("too many inputs", 400, "inputs", in_json(*[tensor(name=f"x{i}") for i in range(MAX_TENSORS + 1)])),
    # Names, shapes, datatypes.
    Fault("unknown name", 422, "colour", one(name="colour")),
    Fault(
        "unknown name that is no text",
        422,
        "expected an input of the policy",
        Infer(one(name="§").body.replace(b"\\u00a7", b"\\ud800")),
    ),
    Fault("a name twice", 422, "observation: expected each input once", in_json(tensor(), tensor())),
    Fault("a spelling twice", 422, "0/observation", in_json(tensor(), tensor(name="0/observation"))),
    Fault("no batch dimension", 422, "[B, 4]", one(shape=[4])),
    Fault("other shape", 422, "[B, 4]", one(shape=[2, 2])),
    Fault("shape that the data do not fill", 422, "8 values", one(shape=[2, 4])),
    Fault("negative dimension", 422, "observation.shape", one(shape=[-1, 4])),
    Fault("no rows", 422, "observation.shape", one(shape=[0, 4], data=[])),
    Fault("huge dimension", 422, "observation.shape", one(shape=[2**62, 4])),
    Fault("dimensions whose product overflows", 422, "observation.shape", one(shape=[2**32, 2**32, 2**32])),
    Fault("dimension of a hundred digits", 422, "observation.shape", one(shape=[10**100, 4])),
    Fault("thousands of dimensions", 422, "dimensions", one(shape=[1] * 5000)),
    Fault("fractional dimension", 400, "shape", one(shape=[1.5, 4])),
    Fault("too many rows", 413, "1000", in_octets({"observation": np.zeros((1001, 4), "<f4")})),
    Fault("unknown datatype", 422, "observation.datatype", one(datatype="FP8")),
    Fault("text", 422, "BYTES", one(datatype="BYTES", data=["a", "b", "c", "d"])),
    Fault("bfloat16", 422, "BF16", one(datatype="BF16")),
    # Values.
    Fault("NaN", 422, "observation[0][2]: expected finite float32, got NaN", one(data=[0, 0, float("nan"), 0])),
    Fault(
        "infinity", 422, "observation[0][0]: expected finite float32, got Infinity", one(data=[float("inf"), 0, 0, 0])
    ),
    Fault("too large for float32", 422, "finite float32", one(data=[0, 0, 0, 1e39])),
    Fault("too large for float64", 422, "FP32", one(data=[0, 0, 0, 10**400])),
    Fault("text among numbers", 422, "observation[0][1]: expected FP32, got a string", one(data=[0, "1", 0, 0])),
    Fault("true among numbers", 422, "observation[0][3]: expected FP32, got true", one(data=[0, 0, 0, True])),
    Fault("null among numbers", 422, "got null", one(data=[0, 0, None, 0])),
    Fault("data that are no array", 422, "observation.data: expected an array", one(data={"a": 1})),
    Fault("no data", 422, "observation: expected `data`", one(data=None)),
    Fault("ragged data", 422, "along dimension 1", one(data=[[1, 2, 3]])),
    Fault("data nested too deeply", 422, "observation", one(data=[[[1], [2], [3], [4]]])),
    Fault("half nested data", 422, "along dimension 0", one(data=[[1, 2, 3, 4], 5])),
    Fault("half for a whole number", 422, "INT64", one(datatype="INT64", data=[0.5, 0, 0, 0])),
    Fault("whole number beyond its width", 422, "INT8", one(datatype="INT8", data=[300, 0, 0, 0])),
    Fault("number for a bool", 422, "BOOL", one(datatype="BOOL", data=[1, 0, 0, 0])),
    Fault("NaN in octets", 422, "finite float32, got NaN", behind(np.array([0, np.nan, 0, 0], "<f4").tobytes())),
    # Octets.
    Fault("octets cut short", 422, "16 bytes behind the JSON", behind(OCTETS[:-1])),
    Fault("octets too many", 422, "16 bytes behind the JSON", behind(OCTETS + b"x")),
    Fault("no octets", 422, "16 bytes behind the JSON", behind(b"")),
    Fault("size that is not the shape's", 422, "binary_data_size", behind(OCTETS, parameters={"binary_data_size": 12})),
    Fault("size that is no number", 422, "binary_data_size", behind(OCTETS, parameters={"binary_data_size": "16"})),
    Fault("size with a fraction", 422, "binary_data_size", behind(OCTETS, parameters={"binary_data_size": 16.0})),
    Fault("negative size", 422, "binary_data_size", behind(OCTETS, parameters={"binary_data_size": -16})),
    Fault(
        "huge size", 422, "observation.shape", behind(OCTETS, shape=[2**60, 4], parameters={"binary_data_size": 2**64})
    ),
    Fault("data and octets", 422, "both", behind(OCTETS, data=ROW)),
    Fault("octets without the header", 400, "not JSON", Infer(behind(OCTETS).body)),
    Fault("header of no number", 400, "inference-header-content-length", behind(OCTETS, "x")),
    Fault("negative header", 400, "inference-header-content-length", behind(OCTETS, -5)),
    Fault("header beyond the body", 400, "inference-header-content-length", behind(OCTETS, 10**6)),
    Fault("header of thirty digits", 400, "inference-header-content-length", behind(OCTETS, "1" * 30)),
    Fault("header too small", 400, "not JSON", behind(OCTETS, 20)),
    Fault("header of nothing", 400, "not JSON", behind(OCTETS, 0)),
    Fault("shared memory", 400, "shared memory", one(data=None, parameters={"shared_memory_region": "a"})),
    Fault("unknown parameter of an input", 400, "colour", one(parameters={"colour": 1})),
    # Outputs.
    Fault("unknown output", 422, "colour", in_json(tensor(), outputs=[{"name": "colour"}])),
    Fault("output twice", 400, "once", in_json(tensor(), outputs=[{"name": "action"}, {"name": "action"}])),
    Fault("output without a name", 400, "name", in_json(tensor(), outputs=[{}])),
    Fault(
        "classification",
        400,
        "classification",
        in_json(tensor(), outputs=[{"name": "action", "parameters": {"classification": 2}}]),
    ),
    Fault(
        "output in shared memory",
        400,
        "shared memory",
        in_json(tensor(), outputs=[{"name": "action", "parameters": {"shared_memory_region": "a"}}]),
    ),
    Fault(
        "binary_data that is no bool",
        400,
        "binary_data",
        in_json(tensor(), outputs=[{"name": "action", "parameters": {"binary_data": 1}}]),
    ),
    # Parameters.
    Fault("unknown parameter", 400, "colour", asking(colour=1)),
    Fault("parameters that are no object", 400, "parameters", in_json(tensor(), parameters=[1])),
    Fault("binary_data_output that is no bool", 400, "binary_data_output", asking(binary_data_output=1)),
    Fault("sequence_id that is a fraction", 400, "sequence_id", asking(sequence_id=1.5)),
    Fault("sequence_id that is negative", 400, "sequence_id", asking(sequence_id=-1)),
    Fault("sequence_id of 129 characters", 400, "sequence_id", asking(sequence_id="x" * 129)),
    Fault("sequence_start without an id", 400, "sequence_id", asking(sequence_start=True)),
    Fault("sequence_end without an id", 400, "sequence_id", asking(sequence_id=0, sequence_end=True)),
    Fault("two ids", 400, "either", asking(sequence_id=1, episode="2")),
    Fault("sequence that has not begun", 404, "not known here", asking(sequence_id=12345)),
    Fault("priority that is no number", 400, "priority", asking(priority="high")),
    Fault("timeout that is negative", 400, "timeout", asking(timeout=-1)),
    Fault("timeout that is a fraction", 400, "timeout", asking(timeout=0.5)),
    Fault("seed that is negative", 400, "seed", asking(seed=-1)),
    Fault("exploration that does not fit", 422, "explore", asking(explore={"sigma": 1.0})),
    Fault("exploration that is no object", 400, "explore", asking(explore="much")),
    Fault("unknown label", 404, "label", asking(label="nobody")),
    Fault("label and version", 400, "either", asking(label="old"), "/v2/models/linear/versions/1/infer"),
    Fault("unknown version", 404, "version 9", one(), "/v2/models/linear/versions/9/infer"),
    Fault("version 0", 404, "version", one(), "/v2/models/linear/versions/0/infer"),
    Fault("version of thirty digits", 404, "version", one(), f"/v2/models/linear/versions/{'1' * 30}/infer"),
    Fault("version that is no number", 404, "version", one(), "/v2/models/linear/versions/new/infer"),
    Fault("unknown model", 404, "not served here", one(), "/v2/models/nobody/infer"),
    Fault(
        "action that is not finite",
        422,
        "observation: expected values with a finite action",
        one(data=[1e9, 0, 0, 0]),
        "/v2/models/brittle/infer",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_alike_on_every_lane(policies: Server, fault: Fault) -> None:
    """Status, sentence and form; the connection serves the next request, and the same fault the second time, too."""
    for lane in LANES:
        with policies.connect() as wire:
            for _ in range(2):
                wire.send(fault.infer.request(fault.path, lane))
                answer = wire.answer()
                assert (answer.status, [*answer.json]) == (fault.status, ["error"]), answer.body
                sentence = answer.json["error"]
                assert fault.says in sentence
                assert len(sentence) < 300
                assert answer.headers["content-type"] == "application/json"
            wire.send(in_json(tensor()).request())
            assert wire.answer().json["outputs"][0]["data"] == [0]
    assert "Traceback" not in policies.log.read_text()


def test_encoded_and_large_bodies_are_refused(policies: Server) -> None:
    """Compressed bodies, more JSON than `--max-json-bytes`, and bodies beyond `--max-body-bytes`."""
    packed = in_json(tensor()).request().replace(b"host:", b"content-encoding: gzip\r\nhost:")
    answer = policies.ask(packed)
    assert (answer.status, "content-encoding" in answer.json["error"]) == (415, True)
    long = in_json(tensor(), parameters={"x" * 2**20: 1})
    octets = in_octets({"observation": ROWS}, parameters={"x" * 2**20: 1})
    huge = in_octets({"observation": np.zeros((2**18, 4), "<f4")})
    for infer in (long, octets, huge):
        for lane in ("hot", "chunked"):
            answer = policies.ask(infer.request(lane=lane))
            assert (answer.status, [*answer.json]) == (413, ["error"])


def test_a_body_of_nearly_four_megabytes_is_read(policies: Server) -> None:
    """All of its rows are counted before one is computed; within the limit of rows it is answered."""
    fits = in_octets({"observation": np.zeros((1000, 4), "<f8")})
    assert policies.ask(fits.request()).json["outputs"][0]["shape"] == [1000]
    many = in_octets({"observation": np.zeros((2**17 - 100, 4), "<f8")})
    assert len(many.body) > 4_190_000
    assert policies.ask(many.request()).status == 413


def test_clients_that_vanish_leave_nothing_behind(policies: Server) -> None:
    """In the middle of a body, and before their answer."""
    whole = in_octets({"observation": np.zeros((500, 4), "<f4")}).request()
    for cut in (len(whole) // 2, len(whole) - 1, len(whole)):
        for _ in range(5):
            with policies.connect() as wire:
                wire.send(whole[:cut])
    assert policies.ask(in_json(tensor()).request()).status == 200
    assert "Traceback" not in policies.log.read_text()


def test_a_full_queue_says_when_to_come_back(tmp_path: Path, log: Path) -> None:
    """429 with `Retry-After`, in the protocol's form; the requests that found a place are answered."""
    linear_policy(tmp_path)
    with running_server(tmp_path, log, "--queue-capacity", "2") as server, server.connect() as wire:
        wire.send(in_json(tensor()).request() * 20)
        answers = [wire.answer() for _ in range(20)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        assert {answer.status for answer in answers} == {200, 429}
        assert [*refused[0].json] == ["error"]
        assert int(refused[0].headers["retry-after"]) >= 1
