"""What the load test sends, read by the packages of those who made the protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httptools
import msgpack
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from msgspec.structs import replace
from ovmsclient import make_tensor_proto
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2
from tritonclient.grpc import service_pb2

from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import DTYPES, TensorSpec
from rlway_client.load.asker import Dialect, Episode, Unreadable, check_action
from rlway_client.load.dialects.native import Native, Stream
from rlway_client.load.dialects.oip import Oip
from rlway_client.load.dialects.oip_grpc import OipGrpc
from rlway_client.load.dialects.openpi import Openpi
from rlway_client.load.dialects.tfs import Tfs
from rlway_client.load.dialects.tfs_grpc import TfsGrpc
from rlway_client.load.observations import sample_columns
from rlway_client.load.target import Target
from rlway_client.load.websocket_asker import BINARY, frame
from rlway_client.remote.http import Address
from rlway_serve.transport.websocket.frames import FrameReader

FIRST, LATER = Episode("robot", True), Episode("robot", False)
OCTETS = np.array([0.5, -1], np.float32).tobytes()  # an action
ACTION = TensorSpec("action", (2,), "float32", -1, 1)
ALL_DTYPES = [TensorSpec(dtype, (2, 3), dtype, path=("all", dtype)) for dtype in DTYPES]
SCALARS = [TensorSpec(dtype, (), dtype, path=(dtype,)) for dtype in DTYPES]
PLAIN = [TensorSpec("observation", (4,), "float32")]
LAYOUTS = pytest.mark.parametrize("specs", [PLAIN, ALL_DTYPES, SCALARS], ids=["plain", "tensors", "scalars"])


def target_of(specs: Sequence[TensorSpec], state: Sequence[TensorSpec] = ()) -> Target:
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="arm",
        version=1,
        algorithm=None,
        env=None,
        observation=[*specs],
        action=ACTION,
        noise=None,
        state=[*state],
    )
    columns = sample_columns(specs, 5, 0)
    return Target(Address.parse("http://host:8080/prefix"), "arm", manifest, columns, "key", in_episodes=bool(state))


class Request:
    """A request over HTTP, as a server reads it."""

    def __init__(self, octets: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(octets)
        self.method = parser.get_method()
        assert self.complete

    def on_url(self, url: bytes) -> None:
        self.url = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def message_in(framed: bytes) -> bytes:
    ((kind, payload),) = FrameReader(1 << 24).read(framed)
    assert kind == BINARY
    return payload


@LAYOUTS
def test_native_requests_nest_the_observation(specs: Sequence[TensorSpec]) -> None:
    """With the key, and the prefix of the server's URL."""
    target = target_of(specs)
    request = Request(Native(target).request(2, None))
    assert (request.method, request.url) == (b"POST", "/prefix/v1/policies/arm/act")
    assert request.headers["authorization"] == "Bearer key"
    value = msgspec.json.decode(request.body)["observation"]
    for spec in specs:
        part = value
        for key in spec.path:
            part = part[key]
        np.testing.assert_array_equal(np.asarray(part, spec.dtype), target.columns[spec.name][2])


def test_native_requests_name_the_episode_of_a_policy_with_state() -> None:
    """And its first step."""
    dialect = Native(target_of(PLAIN, [TensorSpec("sum", (4,), "float32")]))
    assert dialect.names_episodes
    body = msgspec.json.decode(Request(dialect.request(0, FIRST)).body)
    assert (body["episode"], body["first"]) == ("robot", True)
    assert msgspec.json.decode(Request(dialect.request(0, LATER)).body)["first"] is False


@LAYOUTS
def test_stream_frames_are_the_tensors_one_after_the_other(specs: Sequence[TensorSpec]) -> None:
    """In the order of the manifest."""
    target = target_of(specs)
    expected = b"".join(target.columns[spec.name][1].tobytes() for spec in specs)
    assert message_in(Stream(target).request(1, None)) == expected


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 100_001])
def test_frames_are_masked_at_every_length(length: int) -> None:
    """A server reads back what was framed."""
    payload = np.random.default_rng(0).bytes(length)
    assert message_in(frame(BINARY, payload)) == payload


@LAYOUTS
def test_openpi_messages_unpack_as_its_client_packs(specs: Sequence[TensorSpec]) -> None:
    """Arrays under keys with slashes, each a map with binary keys."""
    target = target_of(specs)
    found = msgpack.unpackb(message_in(Openpi(target).request(3, None)))
    for spec in specs:
        part = found["/".join(spec.path) or spec.name]
        assert part[b"__ndarray__"] is True
        array = np.ndarray(buffer=part[b"data"], dtype=np.dtype(part[b"dtype"]), shape=part[b"shape"])
        np.testing.assert_array_equal(array, target.columns[spec.name][3])
        assert array.dtype == spec.numpy_dtype


@LAYOUTS
def test_inference_requests_are_those_of_tritonclient(specs: Sequence[TensorSpec]) -> None:
    """The same bytes, except for the order and the blanks of the JSON."""
    target = target_of(specs)
    inputs = []
    for name, array in target.tensors(4).items():
        described = triton.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype))
        inputs.append(described.set_data_from_numpy(array, binary_data=True))
    expected, length = triton.InferenceServerClient.generate_request_body(inputs)
    request = Request(Oip(target, True).request(4, None))
    assert request.url == "/prefix/v2/models/arm/infer"
    mine = int(request.headers["inference-header-content-length"])
    assert msgspec.json.decode(request.body[:mine]) == msgspec.json.decode(expected[:length])
    assert request.body[mine:] == expected[length:]


@LAYOUTS
def test_inference_requests_in_json_hold_the_data(specs: Sequence[TensorSpec]) -> None:
    """Flat, in row-major order."""
    target = target_of(specs)
    request = Request(Oip(target, False).request(4, None))
    assert "inference-header-content-length" not in request.headers
    for given in msgspec.json.decode(request.body)["inputs"]:
        spec = next(spec for spec in specs if spec.name == given["name"])
        found = np.array(given["data"], spec.dtype).reshape(given["shape"])
        np.testing.assert_array_equal(found, target.tensors(4)[spec.name])


@LAYOUTS
def test_inference_messages_are_those_of_tritonclient(specs: Sequence[TensorSpec]) -> None:
    """Read by its own message classes, and equal to what its client makes."""
    target = target_of(specs)
    message = service_pb2.ModelInferRequest.FromString(OipGrpc(target).request(4, None))
    expected = service_pb2.ModelInferRequest(model_name="arm")
    for name, array in target.tensors(4).items():
        described = triton_grpc.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype))
        described.set_data_from_numpy(array)
        expected.inputs.append(described._get_tensor())
        expected.raw_input_contents.append(described._get_content())
    assert message == expected


def test_sequences_have_the_parameters_of_the_protocol() -> None:
    """`sequence_id` and `sequence_start`, over REST and gRPC."""
    target = target_of(PLAIN, [TensorSpec("sum", (4,), "float32")])
    for binary in (True, False):
        request = Request(Oip(target, binary).request(0, FIRST))
        end = int(request.headers.get("inference-header-content-length", len(request.body)))
        parameters = msgspec.json.decode(request.body[:end])["parameters"]
        assert (parameters["sequence_id"], parameters["sequence_start"]) == ("robot", True)
    message = service_pb2.ModelInferRequest.FromString(OipGrpc(target).request(0, LATER))
    assert message.parameters["sequence_id"].string_param == "robot"
    assert message.parameters["sequence_start"].bool_param is False


@LAYOUTS
def test_predict_messages_are_those_of_the_official_clients(specs: Sequence[TensorSpec]) -> None:
    """Tensors as make_tensor_proto makes them, read by the API's own message classes."""
    target = target_of(specs)
    message = predict_pb2.PredictRequest.FromString(TfsGrpc(target).request(4, None))
    assert message.model_spec.name == "arm"
    assert set(message.inputs) == {spec.name for spec in specs}
    for spec in specs:
        array, tensor = target.tensors(4)[spec.name], message.inputs[spec.name]
        assert tensor.dtype == make_tensor_proto(array).dtype
        assert [dim.size for dim in tensor.tensor_shape.dim] == [1, *spec.shape]
        if spec.size > 1:
            assert tensor.tensor_content == array.tobytes()


def test_predict_messages_of_a_policy_with_state_name_the_episode() -> None:
    """As inputs: clients of this protocol can send nothing else."""
    target = target_of(PLAIN, [TensorSpec("sum", (4,), "float32")])
    first, later = (predict_pb2.PredictRequest.FromString(TfsGrpc(target).request(0, e)) for e in (FIRST, LATER))
    assert first.inputs["episode"].string_val == [b"robot"] == later.inputs["episode"].string_val
    assert first.inputs["step_type"].int_val == [0]
    assert "step_type" not in later.inputs


def test_predict_requests_have_rows() -> None:
    """A sole input without its name, several in an object; the first step of an episode says so."""
    target = target_of(PLAIN)
    request = Request(Tfs(target).request(1, None))
    assert request.url == "/prefix/v1/models/arm:predict"
    (row,) = msgspec.json.decode(request.body)["instances"]
    np.testing.assert_array_equal(np.float32(row), target.columns["observation"][1])
    (row,) = msgspec.json.decode(Request(Tfs(target_of(ALL_DTYPES)).request(1, None)).body)["instances"]
    assert set(row) == set(DTYPES)
    first, later = (msgspec.json.decode(Request(Tfs(target).request(1, e)).body) for e in (FIRST, LATER))
    assert first["instances"][0]["step_type"] == 0
    assert first["episode"] == later["episode"] == "robot"
    assert isinstance(later["instances"][0], list)


GOOD: dict[type[Any], list[bytes]] = {
    Native: [b'{"action": [0.5, -1], "version": 1}'],
    Stream: [OCTETS],
    Openpi: [
        msgpack.packb(
            {
                "actions": {
                    b"__ndarray__": True,
                    b"data": OCTETS,
                    b"dtype": "<f4",
                    b"shape": (1, 2),
                }
            }
        )
    ],
    Oip: [
        b'{"outputs": [{"name": "action", "shape": [1, 2], "datatype": "FP32", "data": [0.5, -1]}]}',
        b'{"id": "}\\"{", "outputs": [{"name": "action", "shape": [1, 2], "datatype": "FP32", "parameters": '
        b'{"binary_data_size": 8}}]}' + OCTETS,
    ],
    Tfs: [b'{"predictions": [[0.5, -1]]}'],
}


def make(kind: type[Any], target: Target) -> Dialect:
    dialect: Dialect = kind(target, True) if kind is Oip else kind(target)
    return dialect


@pytest.mark.parametrize(("kind", "answer"), [(kind, answer) for kind, answers in GOOD.items() for answer in answers])
def test_an_answer_gives_the_action(kind: type[Any], answer: bytes) -> None:
    """In each protocol's own form."""
    found = make(kind, target_of(PLAIN)).read(answer)
    check_action(found, [ACTION])
    assert found["action"].tolist() == [0.5, -1.0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"action": "up", "actions": 3, "predictions": [[1], [2]], "outputs": [{"name": "action"}]}',
        b'{"action": [1, 2, 3], "predictions": [{"a": 1}], "outputs": [{"name": "a", "datatype": "FP1", "shape": []}]}',
        msgpack.packb({"actions": 3}),
        msgpack.packb({"actions": {b"__ndarray__": True}}),
        b"\x0a\xff",
    ],
)
@pytest.mark.parametrize("kind", [Native, Stream, Openpi, Oip, OipGrpc, Tfs, TfsGrpc])
def test_anything_else_is_said_to_be_unreadable(kind: type[Any], answer: bytes) -> None:
    """In a sentence, whatever the server sends."""
    with pytest.raises(Unreadable):
        check_action(make(kind, target_of(PLAIN)).read(answer), [ACTION])


@pytest.mark.parametrize(
    ("found", "spec", "words"),
    [
        ({}, ACTION, "expected action, got nothing"),
        ({"action": np.zeros(2), "more": np.zeros(1)}, ACTION, "got action, more"),
        ({"action": np.zeros(3)}, ACTION, r"expected float32\[2\]"),
        ({"action": np.array([0, np.nan])}, ACTION, "NaN"),
        ({"action": np.array([0, 1.1])}, ACTION, "expected -1 to 1"),
        ({"action": np.array(2)}, TensorSpec("action", (), "int64", 0, 1), "expected 0 to 1"),
        ({"action": np.array(0.5)}, TensorSpec("action", (), "int64", 0, 1), "expected int64, got 0.5"),
    ],
)
def test_actions_are_held_against_the_spec(found: dict[str, Any], spec: TensorSpec, words: str) -> None:
    """Names, shape, type and bounds; a bound may be exceeded by what float32 rounds."""
    with pytest.raises(Unreadable, match=words):
        check_action(found, [spec])
    check_action({"action": np.array([1.000001, -1])}, [replace(ACTION, dtype="float64")])
