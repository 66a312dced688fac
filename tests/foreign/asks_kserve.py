"""Asks through KServe's own clients: `rest-v1`, `rest-v2`, `rest-v2-json`, `grpc` or `grpc-contents`.

`rest-v2-json` sends tensors as JSON numbers, `grpc-contents` as lists of a type.

In:      the transport, the address, a folder, tasks (tests/foreign/tasks.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

from tests.foreign.tasks import KEY, Arrays, Step, carry_out

DATATYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8", "int64": "INT64"}


class OpenInferenceClient:
    """Either client with `InferRequest`: the Open Inference Protocol."""

    takes_rows = True

    def __init__(self, runner: asyncio.Runner, transport: str, address: str) -> None:
        self._runner = runner
        self._transport = transport
        self._url = f"http://{address}" if transport.startswith("rest") else None
        self._client = runner.run(self._connect(address))

    async def _connect(self, address: str) -> Any:
        return InferenceRESTClient(RESTConfig(protocol="v2")) if self._url else InferenceGRPCClient(address)

    def act(self, policy: str, observation: Arrays) -> Any:
        return self._runner.run(self._infer(policy, observation, {}))

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        async def all_steps() -> list[Any]:
            return await asyncio.gather(
                *(self._infer(policy, {"observation": step.observation[None]}, _sequence(step)) for step in steps)
            )

        return self._runner.run(all_steps())

    def describe(self, policy: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            at = {"base_url": self._url} if self._url else {}
            return {
                "live": await self._client.is_server_live(**at),
                "ready": await self._client.is_server_ready(**at),
                "model_ready": await self._client.is_model_ready(**at, model_name=policy),
            }

        return self._runner.run(ask())

    async def _infer(self, policy: str, observation: Arrays, parameters: dict[str, Any]) -> Any:
        inputs = []
        for name, value in observation.items():
            tensor = InferInput(name, list(value.shape), DATATYPES[value.dtype.name])
            if self._transport == "grpc-contents":
                tensor.data = value.ravel().tolist()
            else:
                tensor.set_data_from_numpy(value, binary_data=self._transport != "rest-v2-json")
            inputs.append(tensor)
        if self._transport == "rest-v2":
            parameters = {**parameters, "binary_data_output": True}
        request = InferRequest(policy, inputs, parameters=parameters or None)
        if self._url:
            headers = {"authorization": f"Bearer {KEY}"} if KEY else None
            response = await self._client.infer(self._url, request, model_name=policy, headers=headers)
        else:
            metadata = [("authorization", f"Bearer {KEY}")] if KEY else None
            response = await self._client.infer(request, headers=metadata)
        return response.get_output_by_name("action").as_numpy()


class V1Client:
    """The REST client with dicts: KServe's v1 protocol, which is TensorFlow Serving's."""

    takes_rows = True

    def __init__(self, runner: asyncio.Runner, address: str) -> None:
        self._runner = runner
        self._url = f"http://{address}"
        self._client = InferenceRESTClient(RESTConfig(protocol="v1"))

    def act(self, policy: str, observation: Arrays) -> Any:
        return self._runner.run(self._infer(policy, observation))

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        async def all_steps() -> list[Any]:
            return await asyncio.gather(*(self._infer(policy, _time_step(step)) for step in steps))

        return self._runner.run(all_steps())

    def describe(self, policy: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            return {
                "live": await self._client.is_server_live(self._url),
                "model_ready": await self._client.is_model_ready(self._url, policy),
            }

        return self._runner.run(ask())

    async def _infer(self, policy: str, inputs: Arrays) -> Any:
        rows = len(next(iter(inputs.values())))
        instances: list[Any] = [{name: value[i].tolist() for name, value in inputs.items()} for i in range(rows)]
        if list(inputs) == ["observation"]:
            instances = inputs["observation"].tolist()
        answer = await self._client.infer(self._url, {"instances": instances}, model_name=policy)
        return np.asarray(answer["predictions"])


def _sequence(step: Step) -> dict[str, Any]:
    return {
        "sequence_id": step.number if step.episode % 2 else step.name,
        "sequence_start": step.first,
        "sequence_end": step.last,
    }


def _time_step(step: Step) -> Arrays:
    return {
        "0/observation": step.observation[None],
        "0/step_type": np.array([step.step_type]),
        "episode": np.array([step.name]),
    }


def main(transport: str, address: str, folder: str, *tasks: str) -> None:
    with asyncio.Runner() as runner:
        client = (
            V1Client(runner, address) if transport == "rest-v1" else OpenInferenceClient(runner, transport, address)
        )
        carry_out(client, Path(folder), tasks, {})
        runner.run(client._client.close())


if __name__ == "__main__":
    main(*sys.argv[1:])
