"""Calls over gRPC for tests, message by message: also messages that no client would send.

In:      a server with `--grpc-port`.
Out:     `Outcome` of a call: the octets of its answer, or the status with its sentence.
Refuses: to wait longer than ANSWER_S.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np

from rlway_client.protos.inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from rlway_client.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse
from tests.servers import ANSWER_S, Server, get_request

INFERENCE = "/inference.GRPCInferenceService"
INFER, STREAM = f"{INFERENCE}/ModelInfer", f"{INFERENCE}/ModelStreamInfer"
PREDICTION, MODEL = "/tensorflow.serving.PredictionService", "/tensorflow.serving.ModelService"
PREDICT = f"{PREDICTION}/Predict"
HEALTH = "/grpc.health.v1.Health"
LEFT, RIGHT = [-1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]  # observations for actions 1 and 0 of `linear_policy`
FLOAT = 1  # of TensorFlow's data types


class Outcome(NamedTuple):
    """How a call ended."""

    code: str
    sentence: str
    answer: bytes = b""
    trailing: dict[str, str] = {}  # noqa: RUF012  # never changed

    @property
    def action(self) -> Any:
        """The action in an answer to ModelInfer."""
        assert self.code == "OK", self
        response = ModelInferResponse.FromString(self.answer)
        return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()


@contextmanager
def channel_to(server: Server, *options: tuple[str, Any], credentials: Any = None) -> Iterator[grpc.Channel]:
    """A connection of its own to the server."""
    assert server.grpc is not None
    arguments = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), *options]
    if credentials is None:
        channel = grpc.insecure_channel(server.grpc, arguments)
    else:
        channel = grpc.secure_channel(server.grpc, credentials, arguments)
    with channel:
        yield channel


def call(
    channel: grpc.Channel,
    path: str,
    message: bytes = b"",
    *,
    metadata: Sequence[tuple[str, str]] = (),
    timeout_s: float = ANSWER_S,
    **options: Any,
) -> Outcome:
    """Makes a call with one message."""
    try:
        return Outcome("OK", "", channel.unary_unary(path)(message, timeout_s, tuple(metadata), **options))
    except grpc.RpcError as error:
        return failure(error)


def call_with(channel: grpc.Channel, path: str, messages: Iterable[bytes], timeout_s: float = ANSWER_S) -> Outcome:
    """Makes a call of one answer with any number of messages."""
    try:
        return Outcome("OK", "", channel.stream_unary(path)(iter(messages), timeout_s))
    except grpc.RpcError as error:
        return failure(error)


def ask(server: Server, path: str, message: bytes = b"", **options: Any) -> Outcome:
    """Makes a call over a connection of its own."""
    with channel_to(server) as channel:
        return call(channel, path, message, **options)


def failure(error: Any) -> Outcome:
    """The status of a call that failed."""
    trailing = {key: str(value) for key, value in error.trailing_metadata() or ()}
    return Outcome(error.code().name, error.details() or "", b"", trailing)


def infer_request(observations: Any = (RIGHT,), model: str = "linear", **fields: Any) -> ModelInferRequest:
    """A request with raw contents of float32."""
    array = np.asarray(observations, np.float32)
    tensor = ModelInferRequest.InferInputTensor(name="observation", datatype="FP32", shape=array.shape)
    raw = array.astype("<f4").tobytes()
    return ModelInferRequest(**{"model_name": model, "inputs": [tensor], "raw_input_contents": [raw], **fields})


def infer(observations: Any = (RIGHT,), model: str = "linear", **fields: Any) -> bytes:
    """The octets of `infer_request`."""
    octets: bytes = infer_request(observations, model, **fields).SerializeToString()
    return octets


def predict_request(observations: Any = (RIGHT,), model: str = "linear", **fields: Any) -> PredictRequest:
    """A request with tensor_content of float32."""
    array = np.asarray(observations, np.float32)
    request = PredictRequest(model_spec={"name": model}, **fields)
    tensor = request.inputs["observation"]
    tensor.dtype, tensor.tensor_content = FLOAT, array.astype("<f4").tobytes()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return request


def predict(observations: Any = (RIGHT,), model: str = "linear", **fields: Any) -> bytes:
    """The octets of `predict_request`."""
    octets: bytes = predict_request(observations, model, **fields).SerializeToString()
    return octets


def read_prediction(answer: bytes) -> PredictResponse:
    """The answer to Predict."""
    prediction: PredictResponse = PredictResponse.FromString(answer)
    return prediction


def read_streamed(message: bytes) -> ModelStreamInferResponse:
    """One message of a stream."""
    streamed: ModelStreamInferResponse = ModelStreamInferResponse.FromString(message)
    return streamed


class Talk:
    """A stream whose messages are sent and received one by one."""

    def __init__(self, channel: grpc.Channel, path: str = STREAM) -> None:
        self._asked: queue.Queue[bytes | None] = queue.Queue()
        self.call = channel.stream_stream(path)(iter(self._asked.get, None), ANSWER_S)

    def send(self, message: bytes) -> None:
        self._asked.put(message)

    def receive(self) -> bytes:
        answer: bytes = next(self.call)
        return answer

    def end(self) -> None:
        """Ends sending, which also ends the thread that sends."""
        self._asked.put(None)


def open_streams(server: Server) -> float:
    """How many streams of ModelStreamInfer are open."""
    lines = server.ask(get_request("/metrics")).body.decode().splitlines()
    prefix = f'rlway_grpc_streams{{method="{STREAM.removeprefix("/")}"}} '
    return sum(float(line.removeprefix(prefix)) for line in lines if line.startswith(prefix))
