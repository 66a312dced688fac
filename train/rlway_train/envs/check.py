"""Checks an environment against its own specs.

In:      an environment, a number of episodes to play with random actions.
Out:     `Checked`: its specs, and statistics of the episodes.
Refuses: EnvironmentFault, with the step and the value, for an observation outside of its own space (structure, shape,
         dtype, bounds, not finite), a reward that is not a finite number, a reset() or step() that raises or returns
         something other than gymnasium's API says, and two resets of one seed that differ.

A TF-Agents environment that does not begin a new episode when it is stepped after the last one passes with a warning:
TF-Agents' drivers rely on that, and RLway resets by itself.

It does the same as TF-Agents' validate_py_environment, but says where the fault is, and does not start TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium.spaces import Box, Dict, Tuple
from gymnasium.utils.env_checker import data_equivalence

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import TensorSpec, describe
from rlway_client.envs.find import sentence
from rlway_client.envs.py_environment import Adapted
from rlway_train.envs.spaces import leaves

LONGEST_EPISODE = 10_000  # steps


class Checked(msgspec.Struct, frozen=True):
    """The specs of an environment that passed, and statistics of episodes with uniformly random actions."""

    env: str
    observation: list[TensorSpec]
    action: list[TensorSpec]
    max_episode_steps: int | None
    reward_minimum: float
    reward_maximum: float
    episodes: int
    steps: int
    mean_return: float
    mean_length: float
    terminated: int  # episodes that the task ended
    truncated: int  # episodes that the time limit ended
    warnings: list[str] = []  # what does not matter here, but in TF-Agents' own programs


def check_environment(name: str, env: gymnasium.Env[Any, Any], episodes: int, seed: int) -> Checked:
    """Plays `episodes` with random actions, and compares all values with the environment's spaces."""
    check = _Check(name, env)
    for space, what in ((env.observation_space, "observation_space"), (env.action_space, "action_space")):
        if not isinstance(space, gymnasium.Space):
            raise EnvironmentFault(f"{name}: {what}: expected one of gymnasium.spaces, got a {type(space).__name__}.")
    observation, action = leaves(name, env.observation_space), leaves(name, env.action_space, "action")
    env.action_space.seed(seed)
    for episode in range(episodes):
        check.play(seed + episode)
    check.repeat(seed)
    return Checked(
        env=name,
        observation=observation,
        action=action,
        max_episode_steps=env.spec.max_episode_steps if env.spec else None,
        reward_minimum=min(check.rewards),
        reward_maximum=max(check.rewards),
        episodes=episodes,
        steps=len(check.rewards),
        mean_return=math.fsum(check.rewards) / episodes,
        mean_length=len(check.rewards) / episodes,
        terminated=check.terminated,
        truncated=episodes - check.terminated,
        warnings=[] if check.warning is None else [check.warning],
    )


class _Check:
    """Plays episodes and counts their steps, so that each error can name its step."""

    def __init__(self, name: str, env: gymnasium.Env[Any, Any]) -> None:
        self._name, self._env = name, env
        self.rewards: list[float] = []
        self.terminated = 0
        self.warning: str | None = None

    def play(self, seed: int) -> None:
        self._reset(seed)
        for _ in range(LONGEST_EPISODE):
            terminated, truncated = self._step()
            if terminated or truncated:
                self.terminated += terminated
                self._step_on()
                return
        self._refuse(f"an episode did not end within {LONGEST_EPISODE:,} steps; set --time-limit")

    def repeat(self, seed: int) -> None:
        """Resets twice with one seed, if the environment takes seeds. Both observations must be equal."""
        inner, remedy = self._env.unwrapped, "draw from self.np_random"
        if isinstance(inner, Adapted):
            if not inner.seedable:
                return
            remedy = "draw from np.random, or override seed()"
        first, again = self._reset(seed), self._reset(seed)
        if not data_equivalence(first, again):
            self._refuse(f"reset(seed=…) gave two different observations for one seed; {remedy}")

    def _step_on(self) -> None:
        """Steps a TF-Agents environment once more after an episode's last step."""
        inner = self._env.unwrapped
        if self.warning is not None or not isinstance(inner, Adapted):
            return
        try:
            got = inner.step_on(inner.action_space.sample())
        except Exception as error:
            got = sentence(error)
        if got not in (None, "FIRST"):
            self.warning = (
                f"step() after an episode's last step: expected the FIRST of a new one, on which TF-Agents' drivers "
                f"rely, got {clipped(got)}; return self.reset() there, or call super().__init__"
                f"(handle_auto_reset=True)."
            )

    def _reset(self, seed: int) -> Any:
        try:
            answer: Any = self._env.reset(seed=seed)
        except Exception as error:
            raise EnvironmentFault(f"{self._name}: its reset() raised {sentence(error)}") from error
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            self._refuse(f"reset(): expected (observation, info), got {_shown(answer)}")
        self._compare(answer[0], "reset()")
        return answer[0]

    def _step(self) -> tuple[bool, bool]:
        action = self._env.action_space.sample()
        where = f"step {len(self.rewards) + 1}"
        try:
            answer: Any = self._env.step(action)
        except Exception as error:
            raise EnvironmentFault(f"{self._name}: its step() raised {sentence(error)} at {where}") from error
        if not (isinstance(answer, tuple) and len(answer) == 5):
            self._refuse(
                f"step(): expected (observation, reward, terminated, truncated, info), got {_shown(answer)} at {where}"
            )
        observation, reward, terminated, truncated, _ = answer
        self._compare(observation, where)
        if isinstance(reward, bool) or not isinstance(reward, int | float | np.integer | np.floating):
            self._refuse(f"reward: expected a number, got {_shown(reward)} at {where}")
        if not math.isfinite(reward):
            self._refuse(f"reward: expected a finite number, got {describe(float(reward))} at {where}")
        for flag, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_):
                self._refuse(f"{flag}: expected a bool, got {_shown(value)} at {where}")
        self.rewards.append(float(reward))
        return bool(terminated), bool(truncated)

    def _compare(self, observation: Any, where: str) -> None:
        for fault in _faults(observation, self._env.observation_space, "observation"):
            self._refuse(f"{fault} at {where}")

    def _refuse(self, fault: str) -> None:
        raise EnvironmentFault(f"{self._name}: {fault}.")


def _faults(value: Any, space: Any, path: str) -> Iterator[str]:
    """One sentence for each place where a value does not fit its space, without a full stop."""
    if isinstance(space, Dict):
        if not isinstance(value, dict) or set(value) != set(space.spaces):
            got = f"a dict of {', '.join(map(str, value))}" if isinstance(value, dict) else _shown(value)
            yield f"{path}: expected a dict of {', '.join(space.spaces)}, got {got}"
            return
        for key, inner in space.spaces.items():
            yield from _faults(value[key], inner, f"{path}[{key!r}]")
    elif isinstance(space, Tuple):
        if not isinstance(value, tuple) or len(value) != len(space.spaces):
            yield f"{path}: expected a tuple of {len(space.spaces)}, got {_shown(value)}"
            return
        for i, inner in enumerate(space.spaces):
            yield from _faults(value[i], inner, f"{path}[{i}]")
    elif isinstance(space, Box):
        yield from _box_faults(value, space, path)
    elif not space.contains(value):
        yield f"{path}: expected a member of {space}, got {_shown(value)}"


def _box_faults(value: Any, space: Box, path: str) -> Iterator[str]:
    expected = f"{space.dtype}{list(space.shape)}"
    if not isinstance(value, np.ndarray | np.generic):
        yield f"{path}: expected an array {expected}, got {_shown(value)}"
    elif value.shape != space.shape or not np.can_cast(value.dtype, space.dtype):
        yield f"{path}: expected {expected}, got {value.dtype}{list(value.shape)}"
    else:
        outside = ~((value >= space.low) & (value <= space.high))  # true for NaN, too
        if value.dtype.kind == "f":
            outside |= ~np.isfinite(value)
        for place in np.argwhere(outside)[:1]:
            index = tuple(int(i) for i in place)
            low, high = float(space.low[index]), float(space.high[index])
            finite = "a finite number" if math.isinf(low) and math.isinf(high) else f"{low:g} to {high:g}"
            at = "".join(f"[{i}]" for i in index)
            yield f"{path}{at}: expected {finite}, got {describe(np.asarray(value)[index].item())}"


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} {str(value)[:60]}"
