"""TensorFlow Serving's API over gRPC, asked by ovmsclient and message by message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from ovmsclient import make_grpc_client

from rlway_client.contract.specs import AnyArray
from rlway_client.protos import tensorflow_serving_pb2 as pb
from rlway_client.protos.tensorflow_pb2 import DataType, TensorProto
from tests.bundles import BIAS, WEIGHTS, gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.rpc import (
    LEFT,
    MODEL,
    PREDICT,
    PREDICTION,
    RIGHT,
    call,
    channel_to,
    predict,
    predict_request,
    read_prediction,
)
from tests.servers import Server, running_server

DTYPES = {DataType.DT_INT64: "<i8", DataType.DT_FLOAT: "<f4"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Policies with one input and with several, and one with a state; two versions of one of them."""
    models = tmp_path_factory.mktemp("tfs-grpc") / "models"
    for policy in (gaussian_policy, linear_policy, robot_policy, summing_policy):
        policy(models)
    linear_policy(models, version=2, bias=100.0)
    (models / "linear" / "labels.json").write_text('{"stable": 2, "old": 1}')
    with running_server(models, models.with_name("log"), "--grpc-port", "0") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def client(served: Server) -> Any:
    return make_grpc_client(served.grpc)


@pytest.fixture
def channel(served: Server) -> Iterator[grpc.Channel]:
    with channel_to(served) as connected:
        yield connected


def rows(count: int) -> AnyArray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def outputs(channel: grpc.Channel, request: pb.PredictRequest | bytes) -> dict[str, Any]:
    """What a request is answered with, by name."""
    message = request if isinstance(request, bytes) else request.SerializeToString()
    outcome = call(channel, PREDICT, message)
    assert outcome.code == "OK", outcome
    prediction = read_prediction(outcome.answer)
    return {
        name: np.frombuffer(tensor.tensor_content, DTYPES[tensor.dtype])
        .reshape([dim.size for dim in tensor.tensor_shape.dim])
        .tolist()
        for name, tensor in prediction.outputs.items()
    }


# ovmsclient.


@pytest.mark.parametrize("count", [1, 2, 100])
def test_actions_equal_the_policys_own(client: Any, count: int) -> None:
    """One observation or many, discrete or continuous, in float32 or float64."""
    given = rows(count)
    expected = (given @ WEIGHTS + BIAS).argmax(1).tolist()
    assert client.predict({"observation": given}, "linear", 1).tolist() == expected
    assert client.predict({"observation": given.astype(np.float64)}, "linear", 1).tolist() == expected
    actions = client.predict({"0/observation": given}, "gaussian")
    np.testing.assert_allclose(actions, 2 * np.tanh(given @ WEIGHTS), rtol=1e-4, atol=1e-5)


def test_an_observation_of_several_inputs_takes_their_dtypes(client: Any) -> None:
    """Under the manifest's names or those of TF-Agents' signature."""
    camera, arm = np.array([[10, 250]], np.uint8), np.array([[0.5, 0.0, 1.0]], np.float32)
    expected = [int((camera * 0.01 + arm @ WEIGHTS[:3]).argmax())]
    assert client.predict({"camera": camera, "joints_arm": arm}, "robot").tolist() == expected
    named = {"0/observation/camera": camera, "0/observation/joints/arm": arm, "0/step_type": np.zeros(1, np.int32)}
    assert client.predict(named, "robot").tolist() == expected


def test_status_and_metadata_are_told(client: Any) -> None:
    """Of all versions, of one, and of the signatures."""
    assert client.get_model_status("linear") == {
        number: {"state": "AVAILABLE", "error_code": 0, "error_message": ""} for number in (1, 2)
    }
    assert [*client.get_model_status("linear", 1)] == [1]
    metadata = client.get_model_metadata("summing")
    assert metadata["model_version"] == 1
    assert metadata["inputs"]["sum"] == {"shape": [-1, 4], "dtype": "DT_FLOAT"}
    assert metadata["outputs"]["action"] == {"shape": [-1], "dtype": "DT_INT64"}


def test_a_state_goes_back_and_forth(client: Any) -> None:
    """FIRST begins, and the answer's next state is the next request's state."""
    steps = rows(5)
    first = {"0/step_type": np.zeros(1, np.int32)}
    answer = client.predict({"observation": steps[:1], **first}, "summing")
    for step in range(1, 5):
        answer = client.predict({"observation": steps[step : step + 1], "sum": answer["next_sum"]}, "summing")
        np.testing.assert_allclose(answer["next_sum"][0], steps[: step + 1].sum(0), rtol=1e-5, atol=1e-5)


# Messages.


def test_the_answer_names_the_version_and_the_signature(channel: grpc.Channel) -> None:
    """Of a plain request as of others."""
    for request in (predict_request([LEFT]), predict_request([LEFT, RIGHT]), predict_request(output_filter=["action"])):
        for signature in ("", "serving_default", "action"):
            request.model_spec.signature_name = signature
            spec = read_prediction(call(channel, PREDICT, request.SerializeToString()).answer).model_spec
            assert (spec.name, spec.version.value) == ("linear", 2)
            assert spec.signature_name == (signature or "serving_default")


def test_a_version_is_named_by_number_or_label(channel: grpc.Channel) -> None:
    """Version 0 stands for none."""

    def answered_by(**spec: Any) -> int:
        message = pb.ModelSpec(name="linear", **spec)
        request = predict_request()
        request.model_spec.CopyFrom(message)
        return int(read_prediction(call(channel, PREDICT, request.SerializeToString()).answer).model_spec.version.value)

    assert answered_by(version={"value": 1}) == answered_by(version_label="old") == 1
    assert answered_by(version={"value": 0}) == answered_by(version_label="stable") == answered_by() == 2


def test_outputs_are_those_asked_for(channel: grpc.Channel) -> None:
    """By default the action."""
    assert outputs(channel, predict([LEFT])) == {"action": [1]}
    assert set(outputs(channel, predict([LEFT], output_filter=["q_values"]))) == {"q_values"}
    assert set(outputs(channel, predict([LEFT, LEFT], output_filter=["q_values", "action"]))) == {"q_values", "action"}


def typed(field: str, kind: str, values: list[Any], shape: list[int]) -> pb.PredictRequest:
    """A request whose values are in a list."""
    request = predict_request()
    fields: dict[str, Any] = {field: values}
    tensor = TensorProto(dtype=kind, **fields)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    request.inputs["observation"].CopyFrom(tensor)
    return request


@pytest.mark.parametrize(
    ("field", "kind", "one"),
    [("float_val", "DT_FLOAT", 1.0), ("double_val", "DT_DOUBLE", 1.0), ("half_val", "DT_HALF", 0x3C00),
     ("int_val", "DT_INT32", 1), ("int_val", "DT_INT8", 1), ("int_val", "DT_UINT16", 1), ("int64_val", "DT_INT64", 1),
     ("bool_val", "DT_BOOL", True), ("uint32_val", "DT_UINT32", 1), ("uint64_val", "DT_UINT64", 1)],
)  # fmt: skip
def test_each_type_has_its_list_and_the_last_value_is_repeated(
    channel: grpc.Channel, field: str, kind: str, one: Any
) -> None:
    """As `tf.make_tensor_proto` writes constants."""
    zero = type(one)(0)
    assert outputs(channel, typed(field, kind, [zero, zero, one, zero], [1, 4])) == {"action": [0]}
    repeated = outputs(channel, typed(field, kind, [zero, one], [2, 4]))
    assert repeated == outputs(channel, predict([[0, 1, 1, 1], [1, 1, 1, 1]]))


def test_episodes_have_a_text_as_id(channel: grpc.Channel) -> None:
    """As an input `episode`; where the step type is FIRST it begins."""

    def step(first: bool) -> list[Any]:
        request = predict_request([RIGHT], "summing", output_filter=["next_sum"])
        episode = TensorProto(dtype="DT_STRING", string_val=[b"kitchen"])
        request.inputs["episode"].CopyFrom(episode)
        if first:
            request.inputs["0/step_type"].CopyFrom(
                TensorProto(dtype="DT_INT32", int_val=[0], tensor_shape={"dim": [{"size": 1}]})
            )
        total: list[Any] = outputs(channel, request)["next_sum"]
        return total

    assert [step(i in (0, 2)) for i in range(4)] == [[RIGHT], [[2.0, 0, 0, 0]], [RIGHT], [[2.0, 0, 0, 0]]]


def test_metadata_hold_both_signatures(channel: grpc.Channel) -> None:
    """In an Any, as TensorFlow Serving packs them."""
    request = pb.GetModelMetadataRequest(model_spec={"name": "summing"}, metadata_field=["signature_def"])
    outcome = call(channel, f"{PREDICTION}/GetModelMetadata", request.SerializeToString())
    held = pb.GetModelMetadataResponse.FromString(outcome.answer).metadata["signature_def"]
    assert held.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = pb.SignatureDefMap.FromString(held.value).signature_def
    assert {name: signature.method_name for name, signature in signatures.items()} == {
        "serving_default": "tensorflow/serving/predict",
        "action": "tensorflow/serving/predict",
    }
    assert {"0/observation", "0/step_type", "1"} <= set(signatures["action"].inputs)


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_what_a_policy_cannot_do_is_unimplemented(channel: grpc.Channel, method: str) -> None:
    """With a sentence that says what it can."""
    outcome = call(channel, f"{PREDICTION}/{method}")
    assert (outcome.code, "use predict" in outcome.sentence) == ("UNIMPLEMENTED", True)


def test_the_configuration_is_not_reloaded(channel: grpc.Channel) -> None:
    """The server follows its folder."""
    outcome = call(channel, f"{MODEL}/HandleReloadConfigRequest")
    assert (outcome.code, "follows its models folder" in outcome.sentence) == ("UNIMPLEMENTED", True)
