"""Asks through NVIDIA's tritonclient: `http`, `http-json` (tensors as JSON numbers), `grpc` or `grpc-stream`.

In:      the transport, the address, a folder, tasks (tests/foreign/tasks.py).
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.foreign.tasks import KEY, Arrays, Step, carry_out

HEADERS = {"headers": {"authorization": f"Bearer {KEY}"}} if KEY else {}


def sequence(step: Step) -> dict[str, Any]:
    """Triton's words for a step: ids are numbers or strings."""
    return {
        "sequence_id": step.number if step.episode % 2 else step.name,
        "sequence_start": step.first,
        "sequence_end": step.last,
    }


class HttpClient:
    """tritonclient.http."""

    takes_rows = True

    def __init__(self, address: str, binary: bool) -> None:
        self._client = httpclient.InferenceServerClient(address)
        self._binary = binary

    def act(self, policy: str, observation: Arrays) -> Any:
        return self._client.infer(policy, self._inputs(observation), **self._outputs(), **HEADERS).as_numpy("action")

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        actions = []
        for step in steps:  # async_infer sleeps for 10 ms after each request
            inputs = self._inputs({"observation": step.observation[None]})
            result = self._client.infer(policy, inputs, **self._outputs(), **sequence(step))
            actions.append(result.as_numpy("action"))
        return actions

    def describe(self, policy: str) -> dict[str, Any]:
        client = self._client
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(policy),
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata(policy),
            "config": client.get_model_config(policy),
            "statistics": client.get_inference_statistics(policy),
            "index": client.get_model_repository_index(),
        }

    def _inputs(self, observation: Arrays) -> list[Any]:
        inputs = []
        for name, value in observation.items():
            tensor = httpclient.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
            tensor.set_data_from_numpy(value, binary_data=self._binary)
            inputs.append(tensor)
        return inputs

    def _outputs(self) -> dict[str, Any]:
        # Without outputs the client asks for all of them in binary.
        return {} if self._binary else {"outputs": [httpclient.InferRequestedOutput("action", binary_data=False)]}


class GrpcClient:
    """tritonclient.grpc, a call for each request."""

    takes_rows = True

    def __init__(self, address: str) -> None:
        self._client = grpcclient.InferenceServerClient(address)

    def act(self, policy: str, observation: Arrays) -> Any:
        return self._client.infer(policy, self._inputs(observation), **HEADERS).as_numpy("action")

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        inputs = [self._inputs({"observation": step.observation[None]}) for step in steps]
        return [
            self._client.infer(policy, tensors, **sequence(step)).as_numpy("action")
            for tensors, step in zip(inputs, steps, strict=True)
        ]

    def describe(self, policy: str) -> dict[str, Any]:
        client = self._client
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(policy),
            "server": client.get_server_metadata(as_json=True),
            "model": client.get_model_metadata(policy, as_json=True),
            "config": client.get_model_config(policy, as_json=True)["config"],
            "statistics": client.get_inference_statistics(policy, as_json=True),
            "index": client.get_model_repository_index(as_json=True)["models"],
        }

    def _inputs(self, observation: Arrays) -> list[Any]:
        inputs = []
        for name, value in observation.items():
            tensor = grpcclient.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
            tensor.set_data_from_numpy(value)
            inputs.append(tensor)
        return inputs


class StreamClient(GrpcClient):
    """tritonclient.grpc, all requests over one stream."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)), **HEADERS)

    def act(self, policy: str, observation: Arrays) -> Any:
        with contextlib.suppress(InferenceServerException):  # of a stream that has ended: the callback knows why
            self._client.async_stream_infer(policy, self._inputs(observation))
        return self._next_result().as_numpy("action")

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        for i, step in enumerate(steps):
            inputs = self._inputs({"observation": step.observation[None]})
            self._client.async_stream_infer(policy, inputs, request_id=str(i), **sequence(step))
        results = [self._next_result() for _ in steps]
        by_id = {int(result.get_response().id): result.as_numpy("action") for result in results}
        return [by_id[i] for i in range(len(steps))]

    def close(self) -> None:
        self._client.stop_stream()

    def _next_result(self) -> Any:
        result, error = self._answers.get(timeout=60)
        if error is not None:
            raise error
        return result


def main(transport: str, address: str, folder: str, *tasks: str) -> None:
    client: HttpClient | GrpcClient
    if transport.startswith("http"):
        client = HttpClient(address, binary=transport == "http")
    else:
        client = StreamClient(address) if transport == "grpc-stream" else GrpcClient(address)
    carry_out(client, Path(folder), tasks, {"outputs": lambda: all_outputs(client)})
    if isinstance(client, StreamClient):
        client.close()
        # The interpreter's end may wait for ever for gRPC's own threads, once a stream was refused.
        sys.stdout.flush()
        os._exit(0)


def all_outputs(client: HttpClient | GrpcClient) -> Arrays:
    """Names an output beside the action."""
    library = httpclient if isinstance(client, HttpClient) else grpcclient
    observation = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    names = ("action", "q_values")
    outputs = [library.InferRequestedOutput(name) for name in names]
    result = client._client.infer("balancing", client._inputs({"observation": observation}), outputs=outputs)
    return {"observation": observation, **{name: result.as_numpy(name) for name in names}}


if __name__ == "__main__":
    main(*sys.argv[1:])
