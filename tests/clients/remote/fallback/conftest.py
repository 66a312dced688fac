"""Clients with a fallback, and what they answer while a server is broken and mended."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_client.remote.fallback.arbiter import Fallback
from rlway_client.remote.messages import Reply, Source
from tests.bundles import BIAS, WEIGHTS
from tests.clients.conftest import AnyClient, Awaited
from tests.ports import wait_for

PROMPT_MS = 500.0  # a server that works answers sooner, also on a busy machine
SOON_MS = 60.0  # for servers that do not answer
OBSERVATIONS: FloatArray = np.random.default_rng(3).normal(size=(64, 4)).astype(np.float32)
ACTIONS = (OBSERVATIONS @ WEIGHTS + BIAS).argmax(axis=1)


def fallback_of(client: AnyClient) -> Fallback[Any]:
    assert client.fallback is not None
    return client.fallback


def wait_for_server(client: AnyClient, timeout_s: float = 30.0) -> None:
    if isinstance(client, Awaited):
        client.wait_for_server(timeout_s)
    else:
        assert client.fallback is not None
        client.fallback.wait_for_server(timeout_s)


def ask_until(client: AnyClient, source: Source, actions: Any = ACTIONS) -> list[Reply]:
    """Asks for one observation after the other until this source answers; each reply has the action for its own."""
    replies: list[Reply] = []

    def asked() -> bool:
        row = len(replies) % len(OBSERVATIONS)
        replies.append(client.ask(OBSERVATIONS[row]))
        assert replies[-1].action == actions[row]
        return replies[-1].source == source

    wait_for(asked, f"an answer from {source}")
    return replies
