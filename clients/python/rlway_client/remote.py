"""Playing episodes in several environments at once, each asking a server for its actions over HTTP.

In:      a client, environments.
Out:     `Played`.
Refuses: what the client refuses.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rlway_client.aio import AsyncPolicyClient
from rlway_client.episodes import Played, summarize

if TYPE_CHECKING:
    import gymnasium


async def play_remotely(
    client: AsyncPolicyClient,
    environments: list[gymnasium.Env[Any, Any]],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
    remembers: bool = False,
    **options: Any,
) -> Played:
    """Each environment takes the next episode when it has ended one; episode i starts from seed + i.

    A policy that `remembers` is told which episode a request is of. `options` go with every request, such as `explore`.
    """
    waiting = iter(range(episodes))
    returns = [0.0] * episodes
    steps = 0
    started_s = time.perf_counter()
    session = uuid.uuid4().hex  # others may play with the same policy

    async def play_in(env: Any) -> None:
        nonlocal steps
        for i in waiting:
            observation, _ = env.reset(seed=seed + i)
            episode: dict[str, Any] = {"episode": f"{session}-{i}", "first": True} if remembers else {}
            ended = False
            while not ended:
                action = (await client.ask(observation, **episode, **options)).action
                episode.pop("first", None)
                observation, reward, terminated, truncated, _ = env.step(action)
                returns[i] += float(reward)
                steps += 1
                ended = terminated or truncated
            on_episode(returns[i])
        env.close()

    # A plain gather would leave the other environments running after one has failed.
    players = [asyncio.ensure_future(play_in(env)) for env in environments]
    try:
        await asyncio.gather(*players)
    finally:
        for player in players:
            player.cancel()
        await asyncio.gather(*players, return_exceptions=True)
    return summarize(returns, steps, started_s)
