"""TensorFlow Serving's REST API, in its row format.

In:      observations.
Out:     predict requests; the action in an answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.load.asker import Asker, Episode, Listener, Unreadable
from rlway_client.load.dialects.native import JSON, field, read_json
from rlway_client.load.http_asker import connect_http
from rlway_client.load.target import Target

FIRST = 0  # TF-Agents' step type at the beginning of an episode


class Tfs:
    """`POST /v1/models/{policy}:predict`. A policy with state is told the episode."""

    def __init__(self, target: Target) -> None:
        self.names_episodes = target.in_episodes
        self.count = target.observations
        self._target = target
        self._path = f"/v1/models/{target.quoted_name}:predict"

    def request(self, place: int, episode: Episode | None) -> bytes:
        columns = self._target.columns
        row: Any = {name: column[place].tolist() for name, column in columns.items()}
        if episode is not None and episode.first:
            row["step_type"] = FIRST
        if len(row) == 1:  # a sole input goes without its name
            (row,) = row.values()
        content = {"instances": [row]} if episode is None else {"instances": [row], "episode": episode.name}
        body = msgspec.json.encode(content)
        return self._target.address.request("POST", self._path, body, JSON, self._target.key)

    async def connect(self, listener: Listener) -> Asker:
        return await connect_http(self._target.address, listener)

    def read(self, answer: bytes) -> Arrays:
        predictions = field(read_json(answer), "predictions")
        if not isinstance(predictions, list) or len(predictions) != 1:
            raise Unreadable("expected one prediction")
        names = [spec.name for spec in self._target.manifest.actions]
        parts = {names[0]: predictions[0]} if len(names) == 1 else predictions[0]
        try:
            return {name: np.asarray(part) for name, part in parts.items()}
        except (ValueError, AttributeError):
            raise Unreadable(f"expected {', '.join(names)} in an object") from None
