"""Playing episodes in several environments at once, each asking a server for its actions over HTTP.

In:      a client, environments.
Out:     `Played`.
Refuses: what the client refuses; an environment that fails (EnvironmentFault), which ends the others' episodes, too.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rlway_client.envs.episodes import Played, observed, summarize
from rlway_client.envs.named import NamedEnv
from rlway_client.remote.aio import AsyncPolicyClient


async def play_remotely(
    client: AsyncPolicyClient,
    environments: list[NamedEnv],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
    remembers: bool = False,
    **options: Any,
) -> Played:
    """Each environment takes the next episode when it has ended one; episode i starts from seed + i.

    All are closed in the end. A policy that `remembers` is told which episode a request is of. `options` go with every
    request, such as `explore`.
    """
    waiting = iter(range(episodes))
    returns = [0.0] * episodes
    steps = 0
    started_s = time.perf_counter()
    session = uuid.uuid4().hex  # others may play with the same policy

    async def play_in(env: NamedEnv) -> None:
        nonlocal steps
        for i in waiting:
            observation = env.reset(seed + i)
            episode: dict[str, Any] = {"episode": f"{session}-{i}", "first": True} if remembers else {}
            ended = False
            while not ended:
                with observed(env):
                    action = (await client.ask(observation, **episode, **options)).action
                episode.pop("first", None)
                observation, reward, ended = env.step(action)
                returns[i] += reward
                steps += 1
            on_episode(returns[i])

    with ExitStack() as opened:
        for env in environments:
            opened.enter_context(env)
        # A plain gather would leave the other environments running after one has failed.
        players = [asyncio.ensure_future(play_in(env)) for env in environments]
        try:
            await asyncio.gather(*players)
        finally:
            for player in players:
                player.cancel()
            await asyncio.gather(*players, return_exceptions=True)
    return summarize(returns, steps, started_s)
