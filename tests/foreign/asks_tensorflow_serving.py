"""Asks through tensorflow-serving-api: `default`, or the signature `action` with its time steps.

In:      the signature, the address, a folder, tasks (tests/foreign/tasks.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.foreign.tasks import KEY, Arrays, Step, carry_out

TIMEOUT_S = 60.0


class ServingClient:
    """The official stubs."""

    takes_rows = True

    def __init__(self, signature: str, address: str) -> None:
        channel = grpc.insecure_channel(address)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._signature = signature
        self._sums: dict[int, Any] = {}  # the policy state of the episodes that the client keeps itself
        self._sum, self._next_sum = ("1", "state") if signature == "action" else ("sum", "next_sum")

    def act(self, policy: str, observation: Arrays) -> Any:
        inputs = self._time_step(observation) if self._signature == "action" else observation
        metadata = [("authorization", f"Bearer {KEY}")] if KEY else None
        response = self._prediction.Predict(self._request(policy, inputs), TIMEOUT_S, metadata=metadata)
        return tf.make_ndarray(response.outputs["action"])

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        inputs = [self._keep(step) if step.episode % 2 else self._name(step) for step in steps]
        futures = [self._prediction.Predict.future(self._request(policy, each), TIMEOUT_S) for each in inputs]
        actions = []
        for step, future in zip(steps, futures, strict=True):
            outputs = future.result().outputs
            if step.episode % 2:
                self._sums[step.episode] = tf.make_ndarray(outputs[self._next_sum])
            actions.append(tf.make_ndarray(outputs["action"]))
        return actions

    def describe(self, policy: str) -> dict[str, Any]:
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = policy
        told = self._prediction.GetModelMetadata(metadata, TIMEOUT_S)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert told.metadata["signature_def"].Unpack(signatures)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = policy
        return {
            "spec": MessageToDict(told.model_spec),
            "signatures": MessageToDict(signatures)["signatureDef"],
            "status": MessageToDict(self._models.GetModelStatus(status, TIMEOUT_S)),
        }

    def outputs(self) -> Arrays:
        """Names an output beside the action."""
        observation = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
        request = self._request("balancing", {"observation": observation})
        request.output_filter.extend(["action", "q_values"])
        response = self._prediction.Predict(request, TIMEOUT_S)
        facts = {"spec": MessageToDict(response.model_spec)}
        got = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        return {"observation": observation, **got, "facts": facts}

    def _keep(self, step: Step) -> Arrays:
        """The state in the request; a first step has none, or zeros."""
        inputs = {"0/observation": step.observation[None], "0/step_type": _step_type(step)}
        if self._signature == "action" and step.first:
            return inputs
        return {**inputs, self._sum: np.zeros((1, 4), np.float32) if step.first else self._sums[step.episode]}

    def _name(self, step: Step) -> Arrays:
        """The episode's name in the request."""
        return {
            "0/observation": step.observation[None],
            "0/step_type": _step_type(step),
            "episode": np.array([step.name]),
        }

    def _time_step(self, observation: Arrays) -> Arrays:
        rows = len(next(iter(observation.values())))
        names = {"joints_arm": "joints/arm"}
        inputs = {f"0/observation/{names.get(name, name)}": value for name, value in observation.items()}
        if list(observation) == ["observation"]:
            inputs = {"0/observation": observation["observation"]}
        return {
            **inputs,
            "0/step_type": np.ones(rows, np.int32),
            "0/reward": np.zeros(rows, np.float32),
            "0/discount": np.ones(rows, np.float32),
        }

    def _request(self, policy: str, inputs: Arrays) -> Any:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = policy
        if self._signature == "action":
            request.model_spec.signature_name = self._signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return request


def _step_type(step: Step) -> Any:
    return np.array([step.step_type], np.int32)


def main(signature: str, address: str, folder: str, *tasks: str) -> None:
    client = ServingClient(signature, address)
    carry_out(client, Path(folder), tasks, {"outputs": client.outputs})


if __name__ == "__main__":
    main(*sys.argv[1:])
