"""The Open Inference Protocol over gRPC: `ModelInfer`, with raw contents as tritonclient sends them.

In:      observations.
Out:     serialized requests; the action in a serialized answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

import math

import numpy as np
from google.protobuf.message import DecodeError

from rlway_client.contract.parity import Arrays
from rlway_client.load.asker import Asker, Episode, Listener, Unreadable
from rlway_client.load.dialects.oip import DATATYPES, DTYPE_OF, row_of
from rlway_client.load.grpc_asker import connect_grpc
from rlway_client.load.target import Target
from rlway_client.protos.inference_pb2 import ModelInferRequest, ModelInferResponse

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class OipGrpc:
    """A policy with state is told the sequence."""

    def __init__(self, target: Target) -> None:
        self.names_episodes = target.in_episodes
        self.count = target.observations
        self._target = target

    def request(self, place: int, episode: Episode | None) -> bytes:
        message = ModelInferRequest(model_name=self._target.name)
        if episode is not None:
            message.parameters["sequence_id"].string_param = episode.name
            message.parameters["sequence_start"].bool_param = episode.first
        for name, array in self._target.tensors(place).items():
            message.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
            message.raw_input_contents.append(array.tobytes())
        octets: bytes = message.SerializeToString()
        return octets

    async def connect(self, listener: Listener) -> Asker:
        target = self._target
        assert target.grpc_port is not None
        return await connect_grpc(target.address, target.grpc_port, METHOD, target.key, listener)

    def read(self, answer: bytes) -> Arrays:
        try:
            message = ModelInferResponse.FromString(answer)
        except DecodeError:
            raise Unreadable("expected a ModelInferResponse") from None
        if len(message.raw_output_contents) != len(message.outputs):
            raise Unreadable("expected raw_output_contents for each output, as the request had raw contents")
        found: Arrays = {}
        for output, octets in zip(message.outputs, message.raw_output_contents, strict=True):
            dtype = DTYPE_OF.get(output.datatype)
            if dtype is None or len(octets) != math.prod(output.shape) * dtype.itemsize:
                raise Unreadable(f"{output.name}: its octets do not fill {output.datatype}{list(output.shape)}")
            found[output.name] = row_of(np.frombuffer(octets, dtype).reshape(tuple(output.shape)))
        return found
