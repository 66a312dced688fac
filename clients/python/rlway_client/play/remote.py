"""Plays episodes in several environments at once, with a server's actions over HTTP.

In:      a client, environments.
Out:     `PlayedEpisodes`.
Refuses: what the client refuses; an environment that fails (EnvironmentFault), which also ends the other episodes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rlway_client.contract.interface import Interface
from rlway_client.contract.time_step import time_step_of
from rlway_client.envs.episodes import PlayedEpisodes, observed, summarize
from rlway_client.envs.named import NamedEnv
from rlway_client.remote.aio import AsyncPolicyClient


async def play_remotely(
    client: AsyncPolicyClient,
    environments: list[NamedEnv],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
    interface: Interface,
    in_episodes: bool,
    **options: Any,
) -> PlayedEpisodes:
    """Plays until each environment has ended its last episode, and closes them; episode i starts from seed + i.

    An environment that has ended an episode takes the next. With `in_episodes`, every request names its episode, as a
    policy with state needs it, and one whose guard limits changes. A policy that reads more of the time step than the
    observation is told the reward of the action before. `options`, such as `explore`, go with every request.
    `on_episode` is given each return.
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
            episode: dict[str, Any] = {"episode": f"{session}-{i}", "first": True} if in_episodes else {}
            reward, ended, first = 0.0, False, True
            while not ended:
                if interface.time_step:
                    episode["time_step"] = time_step_of(interface.time_step, reward, first)
                with observed(env):
                    action = (await client.ask(observation, **episode, **options)).action
                episode.pop("first", None)
                observation, reward, ended = env.step(action)
                returns[i] += reward
                steps += 1
                first = False
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
