"""Asks through Intel's ovmsclient, a light client of the TensorFlow Serving API: `http` or `grpc`.

In:      the transport, the address, a folder, tasks (tests/foreign/tasks.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ovmsclient import make_grpc_client, make_http_client

from tests.foreign.tasks import Arrays, Step, carry_out


class OvmsClient:
    """Both clients have the same methods. They return one output bare, and several as a dict."""

    takes_rows = True

    def __init__(self, transport: str, address: str) -> None:
        self._client = make_grpc_client(address) if transport == "grpc" else make_http_client(address)
        self._sums: dict[int, Any] = {}  # the policy state of the episodes that the client keeps itself

    def act(self, policy: str, observation: Arrays) -> Any:
        return self._client.predict(observation, policy)

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        return [self._keep(policy, step) if step.episode % 2 else self._name(policy, step) for step in steps]

    def describe(self, policy: str) -> dict[str, Any]:
        return {"status": self._client.get_model_status(policy), "metadata": self._client.get_model_metadata(policy)}

    def _keep(self, policy: str, step: Step) -> Any:
        state = np.zeros((1, 4), np.float32) if step.first else self._sums[step.episode]
        outputs = self._client.predict({"observation": step.observation[None], "sum": state}, policy)
        self._sums[step.episode] = outputs["next_sum"].astype(np.float32)
        return outputs["action"]

    def _name(self, policy: str, step: Step) -> Any:
        inputs = {
            "0/observation": step.observation[None],
            "0/step_type": np.array([step.step_type], np.int32),
            "episode": [step.name],
        }
        return self._client.predict(inputs, policy)


def main(transport: str, address: str, folder: str, *tasks: str) -> None:
    carry_out(OvmsClient(transport, address), Path(folder), tasks, {})


if __name__ == "__main__":
    main(*sys.argv[1:])
