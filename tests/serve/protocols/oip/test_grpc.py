"""The Open Inference Protocol over gRPC, asked by Triton's own client and message by message."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from rlway_client.contract.specs import AnyArray
from rlway_client.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from tests.bundles import BIAS, WEIGHTS, gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.rpc import INFER, INFERENCE, LEFT, RIGHT, Talk, call, channel_to, infer, infer_request, read_streamed
from tests.servers import ANSWER_S, Server, running_server

TYPES = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "uint8": "UINT8", "int64": "INT64"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Policies with one input and with several, and one with a state; two versions of one of them."""
    models = tmp_path_factory.mktemp("oip-grpc") / "models"
    for policy in (gaussian_policy, linear_policy, robot_policy, summing_policy):
        policy(models)
    linear_policy(models, version=2, bias=100.0)
    (models / "linear" / "labels.json").write_text('{"stable": 2, "old": 1}')
    options = ["--grpc-port", "0", "--max-rows", "1000"]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def client(served: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.grpc) as connected:
        yield connected


@pytest.fixture
def channel(served: Server) -> Iterator[grpc.Channel]:
    with channel_to(served) as connected:
        yield connected


def inputs(**tensors: AnyArray) -> list[triton.InferInput]:
    """Inputs as Triton's client takes them."""
    made = []
    for name, array in tensors.items():
        made.append(triton.InferInput(name, list(array.shape), TYPES[array.dtype.name]))
        made[-1].set_data_from_numpy(array)
    return made


def asked(*names: str) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name) for name in names]


def rows(count: int) -> AnyArray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


# What the server and its models say of themselves.


def test_the_server_is_live_and_ready(client: triton.InferenceServerClient) -> None:
    """And so are its models, with a version or without one."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    assert client.is_model_ready("linear", "1")
    for name, version in (("nothing", ""), ("linear", "3")):
        with pytest.raises(triton.InferenceServerException, match="not served"):
            client.is_model_ready(name, version)


def test_metadata_equal_those_of_rest(served: Server, client: triton.InferenceServerClient) -> None:
    """Name, versions, inputs and outputs; the configuration has the protocol's names of types."""
    import tritonclient.http

    with tritonclient.http.InferenceServerClient(f"{served.host}:{served.port}") as rest:
        assert client.get_server_metadata(as_json=True) == rest.get_server_metadata()
        for model in ("linear", "robot", "summing", "gaussian"):
            told = client.get_model_metadata(model, as_json=True)
            expected = rest.get_model_metadata(model)
            for tensor in [*expected["inputs"], *expected["outputs"]]:
                tensor["shape"] = [str(length) for length in tensor["shape"]]  # 64-bit numbers in protobuf's JSON
            assert told == expected
    config = client.get_model_config("summing").config
    assert (config.input[0].name, config.input[0].data_type, [*config.input[0].dims]) == ("observation", 11, [4])
    assert config.HasField("sequence_batching")


def test_statistics_and_the_index_list_all_models(client: triton.InferenceServerClient) -> None:
    """Of one model, of one version, or of everything."""
    client.infer("linear", inputs(observation=rows(3)), model_version="1")
    statistics = client.get_inference_statistics("linear", "1").model_stats
    assert [(one.name, one.version) for one in statistics] == [("linear", "1")]
    assert statistics[0].inference_count >= 3
    assert {one.name for one in client.get_inference_statistics().model_stats} >= {"linear", "robot"}
    index = client.get_model_repository_index().models
    assert {(one.name, one.version, one.state) for one in index} >= {("linear", "2", "READY"), ("robot", "1", "READY")}


def test_models_are_neither_loaded_nor_unloaded(client: triton.InferenceServerClient) -> None:
    """The server follows its folder, and says so."""
    for ask in (client.load_model, client.unload_model):
        with pytest.raises(triton.InferenceServerException, match="follows its models folder") as caught:
            ask("linear")
        assert "UNIMPLEMENTED" in caught.value.status()


# Actions.


@pytest.mark.parametrize("count", [1, 2, 100])
def test_actions_equal_the_policys_own(client: triton.InferenceServerClient, count: int) -> None:
    """One observation or many, discrete or continuous, alone or with further outputs."""
    given = rows(count)
    scores = given @ WEIGHTS + BIAS
    answer = client.infer("linear", inputs(observation=given), "1", asked("action", "q_values"))
    assert answer.as_numpy("action").tolist() == scores.argmax(1).tolist()
    np.testing.assert_allclose(answer.as_numpy("q_values"), scores, rtol=1e-5, atol=1e-6)
    assert (
        client.infer("linear", inputs(observation=given), "1").as_numpy("action").tolist() == scores.argmax(1).tolist()
    )
    actions = client.infer("gaussian", inputs(observation=given)).as_numpy("action")
    np.testing.assert_allclose(actions, 2 * np.tanh(given @ WEIGHTS), rtol=1e-4, atol=1e-5)


def test_an_observation_of_several_inputs_takes_their_dtypes(client: triton.InferenceServerClient) -> None:
    """Under the manifest's names or those of TF-Agents' signature, and in wider types."""
    camera, arm = np.array([[10, 250]], np.uint8), np.array([[0.5, 0.0, 1.0]])
    expected = int((camera * 0.01 + arm @ WEIGHTS[:3]).argmax())
    for given in (
        {"camera": camera, "joints_arm": arm.astype(np.float32)},
        {"0/observation/camera": camera.astype(np.int64), "0/observation/joints/arm": arm},
    ):
        assert client.infer("robot", inputs(**given)).as_numpy("action").tolist() == [expected]


def test_a_version_is_named_by_number_or_label(client: triton.InferenceServerClient) -> None:
    """Without one the active version answers, and says which it is."""
    given = inputs(observation=rows(1))
    assert client.infer("linear", given).get_response().model_version == "2"
    assert client.infer("linear", given, "1").get_response().model_version == "1"
    assert client.infer("linear", given, parameters={"label": "old"}).get_response().model_version == "1"


def test_an_id_comes_back(client: triton.InferenceServerClient, channel: grpc.Channel) -> None:
    """Whether the request is plain or not, in a call or a stream, however long it is."""
    for request_id in ("", "7", "x" * 300, "ö"):
        assert (
            client.infer("linear", inputs(observation=rows(1)), request_id=request_id).get_response().id == request_id
        )
        assert (
            client.infer("linear", inputs(observation=rows(2)), request_id=request_id).get_response().id == request_id
        )
        talk = Talk(channel)
        talk.send(infer(id=request_id))
        answer = read_streamed(talk.receive()).infer_response
        assert (answer.id, answer.outputs[0].name, len(answer.raw_output_contents)) == (request_id, "action", 1)
        talk.end()


def test_explore_and_seed_draw_the_same_actions_twice(client: triton.InferenceServerClient) -> None:
    """As parameters; noise may also come as a tensor."""

    def draw(seed: int) -> list[Any]:
        options = {"explore": '{"sigma": 1.0}', "seed": seed}
        drawn: list[Any] = (
            client.infer("gaussian", inputs(observation=rows(1)), parameters=options).as_numpy("action").tolist()
        )
        return drawn

    assert draw(1) == draw(1) != draw(2)
    noise = np.array([[1.0, -1.0]], np.float32)
    noisy = client.infer("gaussian", inputs(observation=rows(1), noise=noise)).as_numpy("action")
    np.testing.assert_allclose(noisy, 2 * np.tanh(rows(1) @ WEIGHTS + 0.5 * noise), rtol=1e-4, atol=1e-5)


# Contents.


def typed(name: str, field: str, datatype: str, values: list[Any], shape: list[int]) -> Any:
    """An input whose values are in a list."""
    return ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents={field: values})


def test_typed_contents_are_answered_with_typed_contents(channel: grpc.Channel) -> None:
    """And raw ones with raw ones, as the protocol has it."""
    for observation, action in ((LEFT, 1), (RIGHT, 0)):
        request = infer_request(
            raw_input_contents=[],
            inputs=[typed("observation", "fp32_contents", "FP32", observation, [1, 4])],
            model_version="1",
            outputs=[{"name": "q_values"}, {"name": "action"}],
        )
        answer = ModelInferResponse.FromString(call(channel, INFER, request.SerializeToString()).answer)
        assert [output.name for output in answer.outputs] == ["q_values", "action"]
        assert len(answer.outputs[0].contents.fp32_contents) == 2
        assert (list(answer.outputs[1].contents.int64_contents), len(answer.raw_output_contents)) == ([action], 0)


@pytest.mark.parametrize(
    ("datatype", "field"),
    [("FP32", "fp32_contents"), ("FP64", "fp64_contents"), ("INT8", "int_contents"), ("INT32", "int_contents"),
     ("INT64", "int64_contents"), ("UINT8", "uint_contents"), ("UINT64", "uint64_contents"), ("BOOL", "bool_contents")],
)  # fmt: skip
def test_each_datatype_has_its_list(channel: grpc.Channel, datatype: str, field: str) -> None:
    """Numbers that the policy's own type can hold are cast to it."""
    tensor = typed("observation", field, datatype, [0, 0, 1, 0], [1, 4])
    outcome = call(channel, INFER, infer_request(raw_input_contents=[], inputs=[tensor]).SerializeToString())
    answer = ModelInferResponse.FromString(outcome.answer)
    assert (outcome.code, list(answer.outputs[0].contents.int64_contents)) == ("OK", [0])


@pytest.mark.parametrize("dtype", ["<f2", "<f8", "<i2", "u1", "?"])
def test_raw_contents_may_have_any_datatype(channel: grpc.Channel, dtype: str) -> None:
    """Also FP16, which has no list."""
    array = np.array([[0, 0, 1, 0]], dtype)
    name = {"<f2": "FP16", "<f8": "FP64", "<i2": "INT16", "u1": "UINT8", "?": "BOOL"}[dtype]
    tensor = {"name": "observation", "datatype": name, "shape": [1, 4]}
    request = infer_request(inputs=[tensor], raw_input_contents=[array.tobytes()])
    assert call(channel, INFER, request.SerializeToString()).action == [0]


# Sequences.


@contextmanager
def streaming(client: triton.InferenceServerClient) -> Iterator[queue.Queue[Any]]:
    """The answers of a stream of Triton's client, as they come."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put(result if error is None else error))
    try:
        yield answers
    finally:
        client.stop_stream()


@pytest.mark.parametrize("sequences", [(1,), ("left", "right"), tuple(range(1, 9))])
def test_sequences_are_played_side_by_side_in_one_stream(
    client: triton.InferenceServerClient, sequences: tuple[Any, ...]
) -> None:
    """Each has its own sum of observations, whether its id is a number or a text, and ends when it says so."""
    steps = rows(5)
    with streaming(client) as answers:
        for step in range(5):
            for i, sequence in enumerate(sequences):
                client.async_stream_infer(
                    "summing",
                    inputs(observation=steps[step : step + 1] * (i + 1)),
                    sequence_id=sequence,
                    sequence_start=step == 0,
                    sequence_end=step == 4,
                    outputs=asked("next_sum"),
                )
            for i in range(len(sequences)):
                total = answers.get(timeout=ANSWER_S).as_numpy("next_sum")
                np.testing.assert_allclose(total[0], steps[: step + 1].sum(0) * (i + 1), rtol=1e-5, atol=1e-5)
        client.async_stream_infer("summing", inputs(observation=rows(1)), sequence_id=sequences[0])
        assert "not known here" in str(answers.get(timeout=ANSWER_S))


def test_steps_sent_ahead_stay_in_order(client: triton.InferenceServerClient) -> None:
    """A sequence whose steps are all sent before the first answer is played as it was sent."""
    steps = rows(20)
    with streaming(client) as answers:
        for step in range(20):
            given = inputs(observation=steps[step : step + 1])
            options = {"sequence_id": 77, "sequence_start": step == 0, "sequence_end": step == 19}
            client.async_stream_infer("summing", given, outputs=asked("next_sum"), **options)
        sums = [answers.get(timeout=ANSWER_S).as_numpy("next_sum")[0] for _ in range(20)]
    np.testing.assert_allclose(sums, steps.cumsum(0), rtol=1e-4, atol=1e-4)


def test_a_request_may_hold_the_state_itself(client: triton.InferenceServerClient) -> None:
    """Its answer then holds the next one."""
    total = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    answer = client.infer("summing", inputs(observation=rows(1), sum=total))
    np.testing.assert_allclose(answer.as_numpy("next_sum"), total + rows(1), rtol=1e-5)
    assert answer.as_numpy("action").shape == (1,)


def test_methods_have_the_protocols_names(channel: grpc.Channel) -> None:
    """Each answers an empty message, or says what it lacks."""
    codes = {"ServerLive": "OK", "ServerReady": "OK", "ServerMetadata": "OK", "RepositoryIndex": "OK"}
    codes |= {"ModelStatistics": "OK", "ModelReady": "NOT_FOUND", "ModelMetadata": "NOT_FOUND"}
    codes |= {"ModelConfig": "NOT_FOUND", "ModelInfer": "NOT_FOUND", "RepositoryModelLoad": "UNIMPLEMENTED"}
    assert {name: call(channel, f"{INFERENCE}/{name}").code for name in codes} == codes
