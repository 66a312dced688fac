"""Messages that no client should send: each is refused in one sentence, and the connection stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from rlway_client.protos import tensorflow_serving_pb2 as pb
from rlway_client.protos.tensorflow_pb2 import TensorProto
from tests.bundles import gaussian_policy, linear_policy, summing_policy
from tests.rpc import MODEL, PREDICT, PREDICTION, RIGHT, call, channel_to, predict, predict_request
from tests.servers import running_server

RAW = np.array([RIGHT], "<f4").tobytes()
MALFORMED, MISSING, LARGE = "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"
METADATA = f"{PREDICTION}/GetModelMetadata"
STATUS = f"{MODEL}/GetModelStatus"


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """One connection for all tests."""
    models = tmp_path_factory.mktemp("tfs-faults") / "models"
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


def tensor(shape: Any = (1, 4), name: str = "observation", **fields: Any) -> bytes:
    """A request with this tensor, of float32 unless it says otherwise."""
    request = predict_request()
    del request.inputs["observation"]
    made = TensorProto(**{"dtype": "DT_FLOAT", **fields})
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    request.inputs[name].CopyFrom(made)
    return serialized(request)


def serialized(message: Any) -> bytes:
    octets: bytes = message.SerializeToString()
    return octets


def of_model(name: str = "linear", **spec: Any) -> bytes:
    request = predict_request()
    request.model_spec.CopyFrom(pb.ModelSpec(name=name, **spec))
    return serialized(request)


def with_input(name: str, given: TensorProto, model: str = "linear") -> bytes:
    request = predict_request(model=model)
    request.inputs[name].CopyFrom(given)
    return serialized(request)


def text(*values: bytes) -> TensorProto:
    made = TensorProto(dtype="DT_STRING", string_val=values)
    made.tensor_shape.dim.add(size=len(values))
    return made


def without_inputs() -> bytes:
    return serialized(pb.PredictRequest(model_spec={"name": "linear"}))


def repeating(inputs: int, values: int) -> bytes:
    """A request with as many inputs, each of which repeats one value."""
    request = pb.PredictRequest(model_spec={"name": "linear"})
    for i in range(inputs):
        given = request.inputs[f"input-{i}"]
        given.dtype = 1
        given.tensor_shape.dim.add(size=values)
        given.float_val.append(1.0)
    return serialized(request)


def of_unknown_rank() -> bytes:
    request = predict_request()
    request.inputs["observation"].tensor_shape.unknown_rank = True
    return serialized(request)


FAULTS = [
    Fault("no protobuf", MALFORMED, "expected a PredictRequest", b"\xff\xff\xff\xff"),
    Fault("half a message", MALFORMED, "expected a PredictRequest", predict()[:-3]),
    Fault("deep nesting", MALFORMED, "expected a PredictRequest", b"\x0b" * 100_000),
    Fault("nothing", MISSING, "Servable not found for request: Latest()", b""),
    Fault("unknown model", MISSING, "Servable not found for request: Latest(nothing)", of_model("nothing")),
    Fault("unknown version", MISSING, "Specific(linear, 7)", of_model(version={"value": 7})),
    Fault("negative version", MISSING, "Specific(linear, -1)", of_model(version={"value": -1})),
    Fault("unknown label", MALFORMED, "Unrecognized servable version label", of_model(version_label="nothing")),
    Fault("unknown signature", MALFORMED, "not found in signature def", of_model(signature_name="nothing")),
    # Names, shapes, types.
    Fault("no inputs", MALFORMED, "observation: expected", without_inputs()),
    Fault("unknown name", MALFORMED, "colour", tensor(name="colour", tensor_content=RAW)),
    Fault(
        "a spelling twice",
        MALFORMED,
        "observation",
        with_input("0/observation", predict_request().inputs["observation"]),
    ),
    Fault("no batch dimension", MALFORMED, "[B, 4]", tensor([4], tensor_content=RAW)),
    Fault("other shape", MALFORMED, "[B, 4]", tensor([2, 2], tensor_content=RAW)),
    Fault("no rows", MALFORMED, "dimensions of at least 1", tensor([0, 4])),
    Fault("negative dimension", MALFORMED, "dimensions of at least 1", tensor([-1, 4], tensor_content=RAW)),
    Fault("huge dimension", MALFORMED, "observation.tensor_shape", tensor([2**62, 4], float_val=[1.0])),
    Fault("product that overflows", MALFORMED, "observation.tensor_shape", tensor([2**32] * 3, float_val=[1.0])),
    Fault("product that wraps to 4", MALFORMED, "observation.tensor_shape", tensor([2**62 + 1, 4], tensor_content=RAW)),
    Fault("thousands of dimensions", MALFORMED, "at most 32 dimensions", tensor([1] * 5000, tensor_content=RAW)),
    Fault("unknown rank", MALFORMED, "an unknown rank", of_unknown_rank()),
    Fault("too many rows", LARGE, "1000", tensor([1001, 4], float_val=[1.0])),
    Fault("no type", MALFORMED, "observation.dtype", tensor(dtype="DT_INVALID", tensor_content=RAW)),
    Fault("complex numbers", MALFORMED, "DT_COMPLEX64", tensor(dtype="DT_COMPLEX64", tensor_content=RAW)),
    Fault("unknown type", MALFORMED, "99", tensor(dtype=99, tensor_content=RAW)),
    Fault("texts", MALFORMED, "observation", tensor([1], dtype="DT_STRING", string_val=[b"x"])),
    # Values.
    Fault("truncated content", MALFORMED, "16 bytes of tensor_content", tensor(tensor_content=RAW[:-1])),
    Fault("longer content", MALFORMED, "16 bytes of tensor_content", tensor(tensor_content=RAW + b"\0")),
    Fault("lying type", MALFORMED, "32 bytes of tensor_content", tensor(dtype="DT_DOUBLE", tensor_content=RAW)),
    Fault("content and list", MALFORMED, "either tensor_content", tensor(tensor_content=RAW, float_val=RIGHT)),
    Fault("no values", MALFORMED, "1 to 4 values in float_val", tensor()),
    Fault("too many values", MALFORMED, "1 to 4 values in float_val", tensor(float_val=[1.0] * 5)),
    Fault("a bomb of one value", MALFORMED, "at most", tensor([2**28, 4], float_val=[1.0])),
    Fault("bombs that explode together", MALFORMED, "tensor_shape: expected at most 0 elements", repeating(9, 2**20)),
    Fault("thousands of inputs", MALFORMED, "inputs: expected at most 1024, got 5000", repeating(5000, 1)),
    Fault("another list", MALFORMED, "float_val, as the dtype", tensor(double_val=RIGHT)),
    Fault("two lists", MALFORMED, "float_val, as the dtype", tensor(float_val=RIGHT, int_val=[1])),
    Fault("beyond the type", MALFORMED, "int8", tensor(dtype="DT_INT8", int_val=[0, 128, 0, 0])),
    Fault("beyond 16 bits", MALFORMED, "uint16", tensor(dtype="DT_HALF", half_val=[65536])),
    Fault("NaN", MALFORMED, "observation[0][1]", predict([[0, np.nan, 0, 0]])),
    Fault("infinity", MALFORMED, "observation[1][2]", predict([RIGHT, [0, 0, -np.inf, 0]])),
    Fault("repeated NaN", MALFORMED, "observation[0][0]", tensor(float_val=[np.nan])),
    Fault("action that is not finite", MALFORMED, "a finite action", predict([[1e30, 0, 0, 0]], "brittle")),
    # Options and outputs.
    Fault("unknown output", MALFORMED, "output tensor alias not found", predict(output_filter=["colour"])),
    Fault("an output twice", MALFORMED, "duplicate output tensor alias", predict(output_filter=["action", "action"])),
    Fault("episode that is no text", MALFORMED, "UTF-8", with_input("episode", text(b"\xff"), "summing")),
    Fault("two episodes", MALFORMED, "the same for all rows", with_input("episode", text(b"a", b"b"), "summing")),
    Fault("an unknown episode", MISSING, "not known here", with_input("episode", text(b"a"), "summing")),
    Fault("neither episode nor state", MALFORMED, "episode", predict(model="summing")),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_and_the_connection_stays(channel: grpc.Channel, fault: Fault) -> None:
    """The status that TensorFlow Serving has for it, and a sentence of less than 300 characters."""
    outcome = call(channel, PREDICT, fault.message)
    assert (outcome.code, fault.says in outcome.sentence) == (fault.code, True), outcome
    assert len(outcome.sentence) < 300
    assert call(channel, PREDICT, predict()).code == "OK"


@pytest.mark.parametrize(
    ("path", "message", "code", "says"),
    [
        (METADATA, b"\xff", MALFORMED, "expected a GetModelMetadataRequest"),
        (METADATA, pb.GetModelMetadataRequest(model_spec={"name": "linear"}), MALFORMED, "must specify"),
        (METADATA, pb.GetModelMetadataRequest(metadata_field=["colour"]), MALFORMED, "colour is not supported"),
        (METADATA, pb.GetModelMetadataRequest(metadata_field=["signature_def"]), MISSING, "Servable not found"),
        (STATUS, b"\xff", MALFORMED, "expected a GetModelStatusRequest"),
        (STATUS, pb.GetModelStatusRequest(model_spec={"name": "nothing"}), MISSING, "Servable not found"),
        (STATUS, pb.GetModelStatusRequest(model_spec={"name": "linear", "version": {"value": 9}}), MISSING, "9"),
    ],
)
def test_other_methods_refuse_likewise(channel: grpc.Channel, path: str, message: Any, code: str, says: str) -> None:
    """What is no message, and models and versions that are not there."""
    outcome = call(channel, path, message if isinstance(message, bytes) else message.SerializeToString())
    assert (outcome.code, says in outcome.sentence) == (code, True), outcome


def test_unknown_fields_are_ignored(channel: grpc.Channel) -> None:
    """TensorFlow Serving's own message has more of them."""
    assert call(channel, PREDICT, predict() + b"\x32\x04test").code == "OK"
