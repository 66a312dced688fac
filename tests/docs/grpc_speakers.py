"""Speaks the two protocols over gRPC with the words of docs/protocols.md.

In, Out, Refuses: as in speakers.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from rlway_client.load.dialects import tfs_grpc
from rlway_client.protos import inference_pb2, tensorflow_pb2, tensorflow_serving_pb2
from tests.docs.words import DATATYPES, Arrays, Refused, Words
from tests.servers import ANSWER_S, Server


class Grpc:
    """What the two protocols over gRPC share."""

    def __init__(self, server: Server, grpc_port: int, column: Mapping[str, str], key: str | None = None) -> None:
        self._channel = grpc.insecure_channel(f"{server.host}:{grpc_port}")
        self._metadata = [("authorization", f"Bearer {key}")] if key is not None else []
        self._words = Words(column, self.default_place)

    default_place = "input"

    def call(self, method: str, request: Any, kind: Any, timeout_s: float = ANSWER_S) -> Any:
        """The answer to one message."""
        ask = self._channel.unary_unary(method, lambda message: message.SerializeToString(), kind.FromString)
        try:
            return ask(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details() or "") from None

    def close(self) -> None:
        self._channel.close()


class OipGrpc(Grpc):
    """ModelInfer, or ModelStreamInfer if `streamed`."""

    default_place = "parameter"
    streamed = False

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        version, outputs, octets = said.pop("version", ""), said.pop("outputs", []), said.pop("octets", True)
        placed = self._words.place(said)
        request = inference_pb2.ModelInferRequest(model_name=policy, model_version=str(version))
        assert octets
        for name, value in (inputs | placed["input"]).items():
            request.inputs.add(name=name, datatype=DATATYPES[value.dtype.name], shape=value.shape)
            request.raw_input_contents.append(value.tobytes())
        for name, value in placed["parameter"].items():
            kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
            setattr(request.parameters[name], kind, value)
        for name in outputs:
            request.outputs.add(name=name)
        answer = self._stream(request) if self.streamed else self._call(request)
        dtypes = {datatype: np.dtype(dtype) for dtype, datatype in DATATYPES.items()}
        return {
            output.name: np.frombuffer(raw, dtypes[output.datatype]).reshape(output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    def _call(self, request: Any) -> Any:
        return self.call("/inference.GRPCInferenceService/ModelInfer", request, inference_pb2.ModelInferResponse)

    def _stream(self, request: Any) -> Any:
        ask = self._channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            lambda message: message.SerializeToString(),
            inference_pb2.ModelStreamInferResponse.FromString,
        )
        try:
            (answer,) = ask(iter([request]), timeout=ANSWER_S, metadata=self._metadata)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details() or "") from None
        if answer.error_message:
            raise Refused("error_message", answer.error_message)
        return answer.infer_response


class OipStream(OipGrpc):
    """A stream for each request."""

    streamed = True


class TfsGrpc(Grpc):
    """Predict."""

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        version, label, outputs = said.pop("version", None), said.pop("label", None), said.pop("outputs", [])
        assert said.pop("octets", True)
        placed = self._words.place(said)
        request = tensorflow_serving_pb2.PredictRequest()
        request.model_spec.name = policy
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for name, value in (inputs | placed["input"]).items():
            _write(request.inputs[name], value)
        request.output_filter.extend(outputs)
        answer = self.call(
            "/tensorflow.serving.PredictionService/Predict", request, tensorflow_serving_pb2.PredictResponse
        )
        return {name: tfs_grpc._read(name, tensor) for name, tensor in answer.outputs.items()}


def _write(tensor: Any, value: Any) -> None:
    """A text, a number or an array as tf.make_tensor_proto writes it; an object as JSON text."""
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, str):
        tensor.dtype = tensorflow_pb2.DataType.DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.string_val.append(value.encode())
        return
    tfs_grpc._write(tensor, np.atleast_1d(np.asarray(value)))
