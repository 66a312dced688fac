"""Playing episodes in a gymnasium environment, whoever decides on the actions.

In:      an environment's name, as rlway_client.environments takes it; a policy.
Out:     `Played`: the return of every episode, and how fast it went.
Refuses: what rlway_client.environments refuses, and an environment that cannot be made (EnvironmentFault).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.environments import find_environment, sentence
from rlway_client.errors import EnvironmentFault

if TYPE_CHECKING:
    import gymnasium


class Played(msgspec.Struct, frozen=True):
    """Some episodes' outcome. Returns are undiscounted sums of rewards, in the order of the episodes' seeds."""

    mean_return: float
    returns: list[float]
    steps: int
    wall_s: float
    actions_per_s: float


def summarize(returns: list[float], steps: int, started_s: float) -> Played:
    """`started_s` as time.perf_counter() gave it."""
    wall_s = time.perf_counter() - started_s
    return Played(float(np.mean(returns)), returns, steps, wall_s, steps / wall_s)


def make_env(
    env_id: str, action_values: list[float] | None = None, max_episode_steps: int | None = None
) -> gymnasium.Env[Any, Any]:
    """The environment as the policy was trained in it.

    With `action_values` it takes their index; `max_episode_steps` replaces its own clock.
    """
    spec = find_environment(env_id)
    import gymnasium

    if max_episode_steps is not None:
        spec = replace(spec, max_episode_steps=max_episode_steps)
    try:
        env = gymnasium.make(spec)
    except Exception as error:  # whatever an environment's constructor raises is its fault, not ours
        raise EnvironmentFault(f"environment {env_id!r}: could not be made: {sentence(error)}.") from error
    if action_values is None:
        return env
    space = env.action_space
    values = np.array(action_values, space.dtype)
    return gymnasium.wrappers.TransformAction(env, lambda i: values[i : i + 1], gymnasium.spaces.Discrete(len(values)))


def play_locally(
    env: gymnasium.Env[Any, Any],
    act: Callable[[Any], Any],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
) -> Played:
    """Episodes one after the other; episode i starts from `reset(seed=seed + i)`."""
    returns, steps = [], 0
    started_s = time.perf_counter()
    for i in range(episodes):
        observation, _ = env.reset(seed=seed + i)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += float(reward)
            steps += 1
            ended = terminated or truncated
        returns.append(total)
        on_episode(total)
    env.close()
    return summarize(returns, steps, started_s)
