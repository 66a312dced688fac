"""Plays episodes in a gymnasium environment, with actions from any policy.

In:      an environment's name, as rlway_client.envs.find takes it; a policy.
Out:     `PlayedEpisodes`: the return of every episode, and how fast they were played.
Refuses: what rlway_client.envs.find refuses; an environment that cannot be made, or that fails (EnvironmentFault).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault, SpecViolated, UsageError
from rlway_client.contract.specs import TensorSpec
from rlway_client.contract.time_step import time_step_of
from rlway_client.envs.find import find_environment
from rlway_client.envs.named import NamedEnv, told

if TYPE_CHECKING:
    import gymnasium


class PlayedEpisodes(msgspec.Struct, frozen=True):
    """The outcome of some episodes. Returns are undiscounted sums of rewards, in the order of the episodes' seeds."""

    mean_return: float
    returns: list[float]
    steps: int
    wall_s: float
    actions_per_s: float


def summarize(returns: list[float], steps: int, started_s: float) -> PlayedEpisodes:
    """The outcome of episodes that began at `started_s`, a reading of time.perf_counter()."""
    wall_s = time.perf_counter() - started_s
    return PlayedEpisodes(float(np.mean(returns)), returns, steps, wall_s, steps / wall_s)


def open_env(
    name: str, action_values: list[float] | None = None, max_episode_steps: int | None = None, frame_stack: int = 1
) -> NamedEnv:
    """The environment as the policy was trained in it, wrapped so that its failures name it."""
    return NamedEnv(name, make_env(name, action_values, max_episode_steps, frame_stack))


def make_env(
    env_id: str, action_values: list[float] | None = None, max_episode_steps: int | None = None, frame_stack: int = 1
) -> gymnasium.Env[Any, Any]:
    """The environment as the policy was trained in it.

    With `action_values`, an action is an index into them; `max_episode_steps` replaces the environment's time limit;
    with a `frame_stack`, so many frames are one observation.
    Raises UsageError if a package is missing, EnvironmentFault if the environment cannot be made.
    """
    spec = find_environment(env_id)
    import gymnasium

    if max_episode_steps is not None:
        spec = replace(spec, max_episode_steps=max_episode_steps)
    try:
        # gymnasium's own checker prints many lines about what it finds; `rlway env check` reports it in order.
        env = gymnasium.make(spec, disable_env_checker=True)
        space = env.action_space
    except UsageError:  # what it needs is not installed
        raise
    except (Exception, SystemExit) as error:  # anything that an environment's constructor raises is its own fault
        raise EnvironmentFault(f"{env_id}: could not be made: {told(error)}.") from error
    if frame_stack > 1:
        from rlway_client.envs.frame_stack import FrameStack

        try:
            env = FrameStack(env_id, env, frame_stack)
        except EnvironmentFault:
            env.close()
            raise
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
    act: Callable[..., Any],
    episodes: int,
    seed: int,
    on_episode: Callable[[float], None],
    begin: Callable[[], None] = lambda: None,
    time_step: Sequence[TensorSpec] = (),
) -> PlayedEpisodes:
    """Plays one episode after the other, and closes the environment; episode i starts from `reset(seed=seed + i)`.

    `begin` is called before each episode, for a policy with state. `act` is given the parts of the `time_step` that the
    policy reads, by this keyword. `on_episode` is given each return. Raises EnvironmentFault.
    """
    returns, steps = [], 0
    started_s = time.perf_counter()
    with env:
        for i in range(episodes):
            begin()
            observation = env.reset(seed + i)
            total, reward, ended, first = 0.0, 0.0, False, True
            while not ended:
                options = {"time_step": time_step_of(time_step, reward, first)} if time_step else {}
                with observed(env):
                    action = act(observation, **options)
                observation, reward, ended = env.step(action)
                total += reward
                steps += 1
                first = False
            returns.append(total)
            on_episode(total)
    return summarize(returns, steps, started_s)


@contextmanager
def observed(env: NamedEnv) -> Iterator[None]:
    """A block in which a policy acts on an observation; if the observation does not fit, the error names `env`."""
    try:
        yield
    except SpecViolated as error:
        if not error.faults[0].path.startswith("observation"):
            raise
        raise EnvironmentFault(f"{env.name}: does not give what the policy observes: {error}.") from error
