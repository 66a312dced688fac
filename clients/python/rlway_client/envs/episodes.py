"""Playing episodes in a gymnasium environment, whoever decides on the actions.

In:      an environment's name, as rlway_client.envs.find takes it; a policy.
Out:     `Played`: the return of every episode, and how fast it went.
Refuses: what rlway_client.envs.find refuses; an environment that cannot be made, or that fails (EnvironmentFault).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.contract.errors import EnvironmentFault, SpecViolated, UsageError
from rlway_client.envs.find import find_environment
from rlway_client.envs.named import NamedEnv, clipped, told

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


def open_env(name: str, action_values: list[float] | None = None, max_episode_steps: int | None = None) -> NamedEnv:
    """The environment as the policy was trained in it, to be played: its failures are told by its name."""
    return NamedEnv(name, make_env(name, action_values, max_episode_steps))


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
        # `rlway env check` is for what gymnasium's own checker says, in many lines, of whatever it finds.
        env = gymnasium.make(spec, disable_env_checker=True)
        space = env.action_space
    except UsageError:  # what it needs is not installed
        raise
    except (Exception, SystemExit) as error:  # whatever an environment's constructor raises is its fault, not ours
        raise EnvironmentFault(f"{env_id}: could not be made: {told(error)}.") from error
    if action_values is None:
        return env
    if not isinstance(space, gymnasium.spaces.Box) or math.prod(space.shape) != 1:
        env.close()
        raise EnvironmentFault(
            f"{env_id}: its action_space is {clipped(space)}, and the policy's actions stand for "
            f"{len(action_values)} values of one number."
        )
    values = np.array(action_values, space.dtype).reshape(-1, *space.shape)
    return gymnasium.wrappers.TransformAction(env, lambda i: values[i], gymnasium.spaces.Discrete(len(values)))


def play_locally(
    env: NamedEnv,
    act: Callable[[Any], Any],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
    begin: Callable[[], None] = lambda: None,
) -> Played:
    """Episodes one after the other; episode i starts from `reset(seed=seed + i)`. The environment is closed then.

    `begin` is called before each, for a policy that remembers.
    """
    returns, steps = [], 0
    started_s = time.perf_counter()
    with env:
        for i in range(episodes):
            begin()
            observation = env.reset(seed + i)
            total, ended = 0.0, False
            while not ended:
                with observed(env):
                    action = act(observation)
                observation, reward, ended = env.step(action)
                total += reward
                steps += 1
            returns.append(total)
            on_episode(total)
    return summarize(returns, steps, started_s)


@contextmanager
def observed(env: NamedEnv) -> Iterator[None]:
    """A block in which a policy acts on what the environment gave: if that does not fit, this says whose it is."""
    try:
        yield
    except SpecViolated as error:
        if not error.faults[0].path.startswith("observation"):
            raise
        raise EnvironmentFault(f"{env.name}: does not give what the policy observes: {error}.") from error
