"""A robot that speaks to a server as openpi's client does.

In:      observations.
Out:     answers.
Refuses: RuntimeError with the server's sentence, where the answer is text.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from websockets.sync.client import ClientConnection, connect

from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.openpi.packing import pack, unpack
from tests.servers import ANSWER_S, Server

ROWS = np.random.default_rng(7).normal(size=(64, 4)).astype(np.float32)
EXPECTED = (ROWS @ WEIGHTS + BIAS).argmax(axis=1).tolist()
ROW = ROWS[0]
MESSAGES = [pack({"observation": row}) for row in ROWS]


class Robot:
    """One connection. The server speaks first: `metadata`."""

    def __init__(
        self, server: Server, policy: str | None = None, key: str | None = None, query: str = "", **options: Any
    ) -> None:
        path = "/" if policy is None else f"/v1/policies/{policy}/openpi"
        headers = {"Authorization": f"Api-Key {key}"} if key else None
        usual: dict[str, Any] = {"compression": None, "max_size": None, "additional_headers": headers}
        url = f"ws://{server.host}:{server.port}{path}{query}"
        self._connecting = connect(url, open_timeout=ANSWER_S, **(usual | options))
        self.connection: ClientConnection = self._connecting.__enter__()
        self.metadata: dict[str, Any] = unpack(self.receive())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: Any) -> None:
        self._connecting.__exit__(*ended)

    def receive(self) -> Any:
        return self.connection.recv(ANSWER_S)

    def send(self, observation: Any) -> None:
        self.connection.send(observation if isinstance(observation, bytes | str) else pack(observation))

    def answer(self) -> Any:
        """The next answer."""
        answer = self.receive()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return unpack(answer)

    def infer(self, observation: Any) -> Any:
        """The answer to an observation, or to any message."""
        self.send(observation)
        return self.answer()

    def refusal(self, observation: Any) -> str:
        """The sentence with which the server refuses it."""
        self.send(observation)
        answer = self.receive()
        assert isinstance(answer, str), answer
        assert 0 < len(answer) < 300
        return answer
