"""Gymnasium environments, several at once, as DQN and SAC need them.

In:      an environment id; actions int64[E], or float32[E, action_dim].
Out:     `Step`: observations float32[E, obs_dim], rewards, and how each step ended.
Refuses: EnvironmentFault for an unknown or unsuitable environment, for one that raises, and for an observation that is
         not finite.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rlway_client.errors import EnvironmentFault
from rlway_client.specs import AnyArray, FloatArray, TensorSpec, describe, make_spec

BoolArray = NDArray[np.bool_]


class DiscreteActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Offers `n` evenly spaced values of a one-dimensional continuous action as a discrete one."""

    def __init__(self, env: gymnasium.Env[Any, Any], n: int) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box) or space.shape != (1,) or not space.is_bounded():
            raise EnvironmentFault(
                f"--discretize: expected a bounded continuous action of one dimension, got {space}; "
                f"wrap the environment to choose among its actions yourself."
            )
        self.values = np.linspace(space.low, space.high, n, dtype=space.dtype)  # [n, 1]
        self.action_space = Discrete(n)

    def action(self, action: Any) -> Any:
        return self.values[int(action)]


@dataclass(frozen=True)
class Domain:
    """An environment that can be learned: its id, and what it takes and gives."""

    env: str
    observation: TensorSpec
    action: TensorSpec
    discretize: int | None
    max_episode_steps: int | None
    reward_threshold: float | None
    action_values: list[float] | None  # with `discretize`: the value behind each action

    @property
    def obs_dim(self) -> int:
        return self.observation.size

    @property
    def n_actions(self) -> int:
        """How many discrete actions there are."""
        return int(self.action.bounds()[1]) + 1

    def make(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment."""
        env = gymnasium.make(self.env, render_mode="rgb_array" if render else None, disable_env_checker=True)
        return env if self.discretize is None else DiscreteActions(env, self.discretize)

    def make_many(self, n: int) -> Environments:
        """`n` environments that step together: the environment's own vectorised form where it has one."""
        if _find_spec(self.env).vector_entry_point is not None and self.discretize is None:
            vector = gymnasium.make_vec(self.env, n, vectorization_mode="vector_entry_point")
            if vector.metadata.get("autoreset_mode") in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
                return Environments(self.env, vector)
            vector.close()
        return Environments(self.env, gymnasium.vector.SyncVectorEnv([self.make] * n))


def find_domain(env: str, discretize: int | None = None, continuous: bool = False) -> Domain:
    """The environment of this id, checked to be one that DQN can learn, or with `continuous` SAC."""
    spec = _find_spec(env)
    try:
        one = gymnasium.make(env, disable_env_checker=True)
    except Exception as error:  # whatever an environment's constructor raises is its fault, not ours
        raise EnvironmentFault(f"{env}: could not be made: {_sentence(error)}") from error
    try:
        if discretize is not None:
            one = DiscreteActions(one, discretize)
        values = one.values[:, 0].tolist() if isinstance(one, DiscreteActions) else None
        return Domain(
            env=env,
            observation=_observation_spec(env, one.observation_space),
            action=(_continuous_action if continuous else _discrete_action)(env, one.action_space),
            discretize=discretize,
            max_episode_steps=spec.max_episode_steps,
            reward_threshold=spec.reward_threshold,
            action_values=values,
        )
    finally:
        one.close()


def _find_spec(env: str) -> Any:
    module, _, name = env.rpartition(":")  # gymnasium's own form for environments that a module registers
    if module:
        try:
            import_module(module)
        except Exception as error:
            raise EnvironmentFault(f"--env: {module}: could not be imported: {_sentence(error)}") from error
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error as error:
        lower = {known.lower(): known for known in gymnasium.registry}
        near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
        remedy = f"did you mean {' or '.join(near)}?" if near else "name one of gymnasium's, or module:Id for your own."
        raise EnvironmentFault(f"--env: there is no environment {env!r}; {remedy}") from error


def _observation_spec(env: str, space: Any) -> TensorSpec:
    if not isinstance(space, Box) or len(space.shape) != 1 or np.dtype(space.dtype).kind not in "fiu":
        raise EnvironmentFault(
            f"{env}: expected observations that are a vector of numbers (Box of rank 1), got {space}; "
            f"flatten them with gymnasium.wrappers.FlattenObservation."
        )
    return make_spec("observation", space.shape, "float32", space.low, space.high)


def _discrete_action(env: str, space: Any) -> TensorSpec:
    if isinstance(space, Box):
        raise EnvironmentFault(
            f"{env}: DQN chooses among a few actions, and this environment's are continuous ({space}); "
            f"use SAC (rlway train sac), or --discretize N to choose among N of its values."
        )
    if not isinstance(space, Discrete) or space.start != 0:
        raise EnvironmentFault(
            f"{env}: expected actions Discrete(n) that start at 0, got {space}; wrap the environment."
        )
    return TensorSpec("action", (), "int64", 0, int(space.n) - 1)


def _continuous_action(env: str, space: Any) -> TensorSpec:
    if isinstance(space, Discrete):
        raise EnvironmentFault(
            f"{env}: SAC chooses continuous actions, and this environment's are {space}; use DQN (rlway train dqn)."
        )
    if not isinstance(space, Box) or len(space.shape) != 1 or np.dtype(space.dtype).kind != "f":
        raise EnvironmentFault(
            f"{env}: expected actions that are a vector of floats (Box of rank 1), got {space}; wrap the environment."
        )
    spec = make_spec("action", space.shape, "float32", space.low, space.high)
    if not np.isfinite(spec.bounds()).all():
        raise EnvironmentFault(
            f"{env}: SAC needs bounds on every action, got {space}; "
            f"wrap the environment in a gymnasium.ActionWrapper whose action_space has them."
        )
    return spec


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


@dataclass(frozen=True)
class Step:
    """One step of E environments."""

    observation: FloatArray  # [E, obs_dim], what to act on next: after an end, the new episode's first
    successor: FloatArray  # [E, obs_dim], what the action led to: at an end, the last of its episode
    reward: FloatArray  # [E]
    terminated: BoolArray  # [E], the task ended: nothing is worth anything after it
    truncated: BoolArray  # [E], the clock ended it: the successor has the value that it has
    real: BoolArray  # [E], False where the environment took no action and only began its next episode


class Environments:
    """E environments that step together and begin anew by themselves."""

    def __init__(self, env: str, vector: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        self.n = vector.num_envs
        self._env = env
        self._vector = vector
        self._same_step = vector.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP
        self._ended = np.zeros(self.n, np.bool_)
        self._steps = 0

    def reset(self, seed: int) -> FloatArray:  # -> [E, obs_dim]
        try:
            observation, _ = self._vector.reset(seed=seed)
        except Exception as error:
            raise EnvironmentFault(f"{self._env}: its reset() raised {_sentence(error)}") from error
        self._ended = np.zeros(self.n, np.bool_)
        return self._checked(observation)

    def step(self, actions: AnyArray) -> Step:  # [E, …]
        try:
            raw, reward, terminated, truncated, infos = self._vector.step(actions)
        except Exception as error:
            raise EnvironmentFault(f"{self._env}: its step() raised {_sentence(error)}") from error
        self._steps += self.n
        observation = self._checked(raw)
        ended = np.logical_or(terminated, truncated)
        successor = observation
        # Next-step autoreset: the step after an end ignores its action and returns the next episode's beginning.
        real = np.ones(self.n, np.bool_) if self._same_step else ~self._ended
        if self._same_step and ended.any():
            successor = observation.copy()
            for i in np.flatnonzero(ended):
                successor[i] = infos["final_obs"][i]
            self._checked(successor)
        self._ended = ended
        rewards = np.asarray(reward, np.float32)
        if not np.isfinite(rewards).all():
            raise EnvironmentFault(f"{self._env}: the reward of step {self._steps} is {self._bad(rewards)[1]}")
        return Step(observation, successor, rewards, terminated.copy(), truncated.copy(), real)

    def close(self) -> None:
        self._vector.close()

    def _checked(self, raw: Any) -> FloatArray:
        observation = np.array(raw, np.float32)  # a copy: some environments reuse their buffer
        if not np.isfinite(observation).all():
            where, value = self._bad(observation)
            raise EnvironmentFault(f"{self._env}: observation[{where}] is {value} at step {self._steps}")
        return observation

    def _bad(self, values: FloatArray) -> tuple[int, str]:
        first = np.argwhere(~np.isfinite(values))[0]
        return int(first[-1]), describe(float(values[tuple(first)]))
