"""TensorFlow Serving over gRPC: `Predict`, with tensors as `tf.make_tensor_proto` makes them.

In:      observations.
Out:     serialized requests; the action in a serialized answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_client.load.asker import Asker, Episode, Listener, Unreadable
from rlway_client.load.dialects.oip import row_of
from rlway_client.load.dialects.tfs import FIRST
from rlway_client.load.grpc_asker import connect_grpc
from rlway_client.load.target import Target
from rlway_client.protos.tensorflow_pb2 import DataType, TensorProto
from rlway_client.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse

METHOD = "/tensorflow.serving.PredictionService/Predict"
DATA_TYPES = {
    "float32": DataType.DT_FLOAT,
    "float64": DataType.DT_DOUBLE,
    "float16": DataType.DT_HALF,
    "int8": DataType.DT_INT8,
    "int16": DataType.DT_INT16,
    "int32": DataType.DT_INT32,
    "int64": DataType.DT_INT64,
    "uint8": DataType.DT_UINT8,
    "uint16": DataType.DT_UINT16,
    "uint32": DataType.DT_UINT32,
    "uint64": DataType.DT_UINT64,
    "bool": DataType.DT_BOOL,
}
DTYPE_OF = {number: np.dtype(name).newbyteorder("<") for name, number in DATA_TYPES.items()}
# Where tf.make_tensor_proto puts a single element; several go into tensor_content.
LISTS = {
    "float32": "float_val",
    "float64": "double_val",
    "float16": "half_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}


class TfsGrpc:
    """A policy with state is told the episode by the input `episode`, and by FIRST as the step type."""

    def __init__(self, target: Target) -> None:
        self.names_episodes = target.in_episodes
        self.count = target.observations
        self._target = target

    def request(self, place: int, episode: Episode | None) -> bytes:
        message = PredictRequest()
        message.model_spec.name = self._target.name
        for name, array in self._target.tensors(place).items():
            _write(message.inputs[name], array)
        if episode is not None:
            named = message.inputs["episode"]
            named.dtype = DataType.DT_STRING
            named.tensor_shape.SetInParent()
            named.string_val.append(episode.name.encode())
            if episode.first:
                _write(message.inputs["step_type"], np.full(1, FIRST, np.int32))
        octets: bytes = message.SerializeToString()
        return octets

    async def connect(self, listener: Listener) -> Asker:
        target = self._target
        assert target.grpc_port is not None
        return await connect_grpc(target.address, target.grpc_port, METHOD, target.key, listener)

    def read(self, answer: bytes) -> Arrays:
        try:
            message = PredictResponse.FromString(answer)
        except DecodeError:
            raise Unreadable("expected a PredictResponse") from None
        return {name: row_of(_read(name, tensor)) for name, tensor in message.outputs.items()}


def _write(tensor: TensorProto, array: AnyArray) -> None:
    """Fills in a tensor as tf.make_tensor_proto does."""
    dtype = array.dtype.name
    tensor.dtype = DATA_TYPES[dtype]
    for length in array.shape:
        tensor.tensor_shape.dim.add(size=length)
    if array.size > 1:
        tensor.tensor_content = array.tobytes()
        return
    value = array.view(np.uint16).item() if dtype == "float16" else array.item()
    getattr(tensor, LISTS.get(dtype, "int_val")).append(value)


def _read(name: str, tensor: TensorProto) -> AnyArray:
    dtype = DTYPE_OF.get(tensor.dtype)
    if dtype is None:
        raise Unreadable(f"{name}: an unknown dtype")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    try:
        if tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
        values = np.array(list(getattr(tensor, LISTS.get(dtype.name, "int_val"))))
        listed = values.astype(np.uint16).view(np.float16) if dtype.name == "float16" else values.astype(dtype)
        return np.broadcast_to(listed, shape) if listed.size == 1 else listed.reshape(shape)
    except ValueError as error:
        raise Unreadable(f"{name}: {error}") from None
