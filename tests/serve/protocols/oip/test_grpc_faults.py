"""Messages that no client should send: each is refused in one sentence, and the connection and its streams stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from rlway_client.protos.inference_pb2 import ModelInferRequest
from tests.bundles import gaussian_policy, linear_policy, summing_policy
from tests.rpc import INFER, INFERENCE, RIGHT, STREAM, call, channel_to, infer, infer_request, read_streamed
from tests.servers import ANSWER_S, running_server

RAW = np.array([RIGHT], "<f4").tobytes()
MALFORMED, MISSING, LARGE = "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """One connection for all tests."""
    models = tmp_path_factory.mktemp("oip-faults") / "models"
    linear_policy(models)
    summing_policy(models)
    gaussian_policy(models, "brittle", brittle=True)
    log = models.with_name("log")
    with running_server(models, log, "--grpc-port", "0", "--max-rows", "1000") as server, channel_to(server) as made:
        yield made
        assert "Traceback" not in log.read_text()


class Fault(NamedTuple):
    """A message, the status and a part of the sentence that it must meet."""

    name: str
    code: str
    says: str
    message: bytes


def raw(octets: bytes | list[bytes] = RAW, **changes: Any) -> bytes:
    """A request with one input and raw contents."""
    tensor = {"name": "observation", "datatype": "FP32", "shape": [1, 4]} | changes
    contents = octets if isinstance(octets, list) else [octets]
    return infer(inputs=[tensor], raw_input_contents=contents)


def typed(contents: dict[str, Any] | None, datatype: str = "FP32", shape: Any = (1, 4), **changes: Any) -> bytes:
    """A request with one input and typed contents."""
    tensor = {"name": "observation", "datatype": datatype, "shape": shape, "contents": contents} | changes
    return infer(inputs=[tensor], raw_input_contents=[])


def asking(**parameters: Any) -> bytes:
    return infer(parameters=parameters)


def several(*tensors: dict[str, Any]) -> bytes:
    shared = {"name": "observation", "datatype": "FP32", "shape": [1, 4]}
    return infer(inputs=[shared | tensor for tensor in tensors], raw_input_contents=[RAW] * len(tensors))


FAULTS = [
    Fault("no protobuf", MALFORMED, "expected a ModelInferRequest", b"\xff\xff\xff\xff"),
    Fault("half a message", MALFORMED, "expected a ModelInferRequest", infer()[:-3]),
    Fault("text that is no UTF-8", MALFORMED, "expected a ModelInferRequest", b"\x0a\x02\xff\xfe"),
    Fault("deep nesting", MALFORMED, "expected a ModelInferRequest", b"\x0b" * 100_000),
    Fault("a length beyond the message", MALFORMED, "expected a ModelInferRequest", b"\x3a\xff\xff\xff\xff\x0f"),
    Fault("nothing", MISSING, "not served here", b""),
    Fault("unknown model", MISSING, "not served here", infer(model="nothing")),
    Fault("path as model", MISSING, "not served here", infer(model="../../etc/passwd")),
    Fault("unknown version", MISSING, "version 7", infer(model_version="7")),
    Fault("version that is no number", MISSING, "whole number", infer(model_version="one")),
    Fault("version of a hundred digits", MISSING, "whole number", infer(model_version="9" * 100)),
    Fault("unknown label", MISSING, "label", asking(label={"string_param": "nothing"})),
    # Names, shapes, datatypes.
    Fault("no inputs", MALFORMED, "observation: expected", infer(inputs=[], raw_input_contents=[])),
    Fault("unknown name", MALFORMED, "colour", raw(name="colour")),
    Fault("a name twice", MALFORMED, "each input once", several({}, {})),
    Fault("a spelling twice", MALFORMED, "0/observation", several({}, {"name": "0/observation"})),
    Fault("too many inputs", MALFORMED, "at most 1024", several(*[{"name": str(i)} for i in range(1025)])),
    Fault("no batch dimension", MALFORMED, "[B, 4]", raw(shape=[4])),
    Fault("other shape", MALFORMED, "[B, 4]", raw(shape=[2, 2])),
    Fault("negative dimension", MALFORMED, "observation.shape", raw(shape=[-1, 4])),
    Fault("no rows", MALFORMED, "observation.shape", raw([b""], shape=[0, 4])),
    Fault("huge dimension", MALFORMED, "observation.shape", raw(shape=[2**62, 4])),
    Fault("dimensions whose product overflows", MALFORMED, "observation.shape", raw(shape=[2**32, 2**32, 2**32])),
    Fault("product that wraps to 4", MALFORMED, "observation.shape", raw(shape=[2**62 + 1, 4])),
    Fault("thousands of dimensions", MALFORMED, "at most 32 dimensions", raw(shape=[1] * 5000)),
    Fault("too many rows", LARGE, "1000", raw(np.zeros((1001, 4), "<f4").tobytes(), shape=[1001, 4])),
    Fault("unknown datatype", MALFORMED, "observation.datatype", raw(datatype="FP31")),
    Fault("no datatype", MALFORMED, "observation.datatype", raw(datatype="")),
    Fault("text", MALFORMED, "no policy takes text", raw(datatype="BYTES")),
    Fault("bfloat16", MALFORMED, "no policy takes bfloat16", raw(datatype="BF16")),
    # Raw contents.
    Fault("truncated contents", MALFORMED, "16 bytes of raw_input_contents", raw(RAW[:-1])),
    Fault("longer contents", MALFORMED, "16 bytes of raw_input_contents", raw(RAW + b"\0")),
    Fault("empty contents", MALFORMED, "16 bytes of raw_input_contents", raw([b""])),
    Fault("lying datatype", MALFORMED, "32 bytes of raw_input_contents", raw(datatype="FP64")),
    Fault("more contents than inputs", MALFORMED, "1, one for each input", raw([RAW, RAW])),
    Fault("contents without inputs", MALFORMED, "0, one for each input", infer(inputs=[])),
    Fault("raw and typed contents", MALFORMED, "either raw", raw(contents={"fp32_contents": RIGHT})),
    Fault("NaN", MALFORMED, "observation[0][1]", infer([[0, np.nan, 0, 0]])),
    Fault("infinity", MALFORMED, "observation[0][2]", infer([[0, 0, -np.inf, 0]])),
    Fault("NaN among rows", MALFORMED, "observation[1][0]", infer([RIGHT, [np.nan, 0, 0, 0]])),
    Fault("float64 beyond float32", MALFORMED, "observation", raw(np.full((1, 4), 1e300).tobytes(), datatype="FP64")),
    Fault("action that is not finite", MALFORMED, "a finite action", infer([[1e30, 0, 0, 0]], "brittle")),
    # Typed contents.
    Fault("no contents", MALFORMED, "4 values in fp32_contents", typed({})),
    Fault("too few values", MALFORMED, "4 values in fp32_contents", typed({"fp32_contents": [1.0]})),
    Fault("another list", MALFORMED, "fp32_contents, as the datatype", typed({"fp64_contents": RIGHT})),
    Fault(
        "two lists",
        MALFORMED,
        "fp32_contents, as the datatype",
        typed({"fp32_contents": RIGHT, "int_contents": [1]}),
    ),
    Fault("texts", MALFORMED, "fp32_contents, as the datatype", typed({"bytes_contents": [b"x"] * 4})),
    Fault("beyond the datatype", MALFORMED, "INT8", typed({"int_contents": [0, 128, 0, 0]}, "INT8")),
    Fault("negative for unsigned", MALFORMED, "uint_contents", typed({"int_contents": [0, -1, 0, 0]}, "UINT8")),
    Fault("typed float16", MALFORMED, "FP16 has no contents", typed({"fp32_contents": RIGHT}, "FP16")),
    Fault("typed NaN", MALFORMED, "observation[0][0]", typed({"fp32_contents": [np.nan, 0, 0, 0]})),
    Fault("a huge shape with one value", MALFORMED, "8000 values", typed({"fp32_contents": [1.0]}, shape=(2000, 4))),
    # Parameters and outputs.
    Fault("unknown parameter", MALFORMED, "colour", asking(colour={"int64_param": 1})),
    Fault("too many parameters", MALFORMED, "parameters: expected at", asking(**{str(i): {} for i in range(1025)})),
    Fault("parameter without a value", MALFORMED, "parameters.seed: expected a value", asking(seed={})),
    Fault("parameter of another type", MALFORMED, "parameters.seed", asking(seed={"string_param": "x"})),
    Fault("fractional seed", MALFORMED, "parameters.seed", asking(seed={"double_param": 1.5})),
    Fault("negative timeout", MALFORMED, "parameters.timeout", asking(timeout={"int64_param": -1})),
    Fault("a seed of 64 bits", MALFORMED, "parameters.seed", asking(seed={"uint64_param": 2**64 - 1})),
    Fault("sequence without an id", MALFORMED, "sequence_start", asking(sequence_start={"bool_param": True})),
    Fault("id of a thousand letters", MALFORMED, "128", asking(sequence_id={"string_param": "x" * 1000})),
    Fault("explore that is no JSON", MALFORMED, "explore", asking(explore={"string_param": "{"})),
    Fault("shared memory", MALFORMED, "shared memory", raw(parameters={"shared_memory_region": {"string_param": "x"}})),
    Fault("parameter of an input", MALFORMED, "colour", raw(parameters={"colour": {"int64_param": 1}})),
    Fault("unknown output", MALFORMED, "outputs", infer(outputs=[{"name": "colour"}])),
    Fault("an output twice", MALFORMED, "each name once", infer(outputs=[{"name": "action"}] * 2)),
    Fault(
        "parameter of an output",
        MALFORMED,
        "classification",
        infer(outputs=[{"name": "action", "parameters": {"classification": {"int64_param": 3}}}]),
    ),
    # Episodes.
    Fault("a step without a sequence", MALFORMED, "parameters.sequence_id", infer(model="summing")),
    Fault(
        "a step of an unknown sequence",
        MISSING,
        "not known here",
        infer(model="summing", parameters={"sequence_id": {"int64_param": 9}}),
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_and_the_connection_stays(channel: grpc.Channel, fault: Fault) -> None:
    """The status that the error has everywhere, and a sentence of less than 300 characters."""
    outcome = call(channel, INFER, fault.message)
    assert (outcome.code, fault.says in outcome.sentence) == (fault.code, True), outcome
    assert len(outcome.sentence) < 300
    assert call(channel, INFER, infer()).action == [0]


def test_a_stream_outlives_all_faults(channel: grpc.Channel) -> None:
    """Each is answered in its place by its sentence, with valid requests between them."""
    messages = [message for fault in FAULTS for message in (fault.message, infer(id=fault.name))]
    answers = [read_streamed(answer) for answer in channel.stream_stream(STREAM)(iter(messages), ANSWER_S)]
    assert len(answers) == len(messages)
    for fault, refused, answered in zip(FAULTS, answers[::2], answers[1::2], strict=True):
        assert fault.says in refused.error_message
        assert (answered.error_message, answered.infer_response.id) == ("", fault.name)


@pytest.mark.parametrize(
    "method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex", "ServerMetadata"]
)
def test_other_methods_refuse_what_is_no_message(channel: grpc.Channel, method: str) -> None:
    """As ModelInfer does."""
    outcome = call(channel, f"{INFERENCE}/{method}", b"\xff\xff")
    assert (outcome.code, outcome.sentence) == (MALFORMED, f"message: expected a {method}Request, got other bytes.")


def test_unknown_fields_are_ignored(channel: grpc.Channel) -> None:
    """A client of a later version of the protocol may send them."""
    request = infer_request()
    assert isinstance(request, ModelInferRequest)
    assert call(channel, INFER, request.SerializeToString() + b"\xf8\x07\x01").action == [0]


def test_the_largest_message_is_read(channel: grpc.Channel) -> None:
    """4 MiB of rows are too many for this server, which says so after reading them."""
    outcome = call(channel, INFER, infer(np.zeros((262_000, 4), np.float32)))
    assert (outcome.code, "1000" in outcome.sentence) == (LARGE, True)
