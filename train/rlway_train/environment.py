"""Gymnasium environments, several at once, as DQN and SAC need them.

In:      an environment's name; actions int64[E], or float32[E, action_dim].
Out:     `Step`: observations float32[E, obs_dim], rewards, and how each step ended.
Refuses: EnvironmentFault for an unknown or unsuitable environment, for one that raises, and for an observation that is
         not finite or not within its own space.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rlway_client.environments import find_environment, sentence
from rlway_client.errors import EnvironmentFault
from rlway_client.specs import AnyArray, FloatArray, TensorSpec, describe, make_spec
from rlway_train.py_environment import adapt
from rlway_train.settings import DqnSettings, SacSettings, Settings
from rlway_train.spaces import OneVector, leaves, one_vector
from rlway_train.wrappers import DiscreteActions, OneEpisode

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Domain:
    """An environment that can be learned: its name, and what it takes and gives."""

    env: str
    spec: EnvSpec = field(repr=False)
    leaves: list[TensorSpec]  # of the observation as the environment gives it
    action: TensorSpec
    discretize: int | None
    action_values: list[float] | None  # with `discretize`: the value behind each action

    @property
    def max_episode_steps(self) -> int | None:
        return self.spec.max_episode_steps

    @property
    def reward_threshold(self) -> float | None:
        return self.spec.reward_threshold

    @property
    def observation(self) -> TensorSpec:
        """The observation as one vector, which is how experience is collected."""
        return one_vector(self.leaves)

    @property
    def obs_dim(self) -> int:
        return self.observation.size

    @property
    def n_actions(self) -> int:
        """How many discrete actions there are."""
        return int(self.action.bounds()[1]) + 1

    def make(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment."""
        modes: dict[str, Any] = (
            {"render_mode": "rgb_array"} if render else {}
        )  # a class of one's own need not know the argument
        env = gymnasium.make(self.spec, disable_env_checker=True, **modes)
        if isinstance(env.observation_space, Dict):
            env = OneVector(env, self.leaves)
        return env if self.discretize is None else DiscreteActions(env, self.discretize)

    def make_many(self, n: int, one_episode: bool = False) -> Environments:
        """`n` environments that step together: the environment's own vectorised form where it has one.

        Others rest after `one_episode`, for whoever resets them all with a seed and looks at no second one.
        """
        if self.spec.vector_entry_point is not None and self.discretize is None:
            vector = gymnasium.make_vec(self.spec, n, vectorization_mode="vector_entry_point")
            if vector.metadata.get("autoreset_mode") in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
                return Environments(self.env, vector, self.observation)
            vector.close()
        make = (lambda: OneEpisode(self.make())) if one_episode else self.make
        return Environments(self.env, gymnasium.vector.SyncVectorEnv([make] * n), self.observation)


def find_domain(
    env: str, discretize: int | None = None, time_limit: int | None = None, continuous: bool = False
) -> Domain:
    """The environment of this name, checked to be one that DQN can learn, or with `continuous` SAC.

    `time_limit` in steps replaces its own.
    """
    spec = find_spec(env, time_limit)
    one = make_one(env, spec, discretize)
    try:
        values = one.values[:, 0].tolist() if isinstance(one, DiscreteActions) else None
        return Domain(
            env=env,
            spec=spec,
            leaves=_observation_leaves(env, one.observation_space),
            action=(_continuous_action if continuous else _discrete_action)(env, one.action_space),
            discretize=discretize,
            action_values=values,
        )
    finally:
        one.close()


def domain_of(env: str, settings: Settings) -> Domain:
    """The environment of this name as these settings want it, checked to be one that their algorithm can learn."""
    discretize = settings.discretize if isinstance(settings, DqnSettings) else None
    return find_domain(env, discretize, settings.time_limit, continuous=isinstance(settings, SacSettings))


def find_spec(env: str, time_limit: int | None = None) -> EnvSpec:
    """The environment of this name, whatever its spaces; `time_limit` in steps replaces its own."""
    spec = find_environment(env, adapt)
    return spec if time_limit is None else replace(spec, max_episode_steps=time_limit)


def make_one(env: str, spec: EnvSpec, discretize: int | None) -> gymnasium.Env[Any, Any]:
    """One environment. Whatever its constructor raises is its fault, not ours."""
    try:
        one = gymnasium.make(spec, disable_env_checker=True)
    except Exception as error:
        raise EnvironmentFault(f"{env}: could not be made: {sentence(error)}") from error
    return one if discretize is None else DiscreteActions(one, discretize)


def _observation_leaves(env: str, space: Any) -> list[TensorSpec]:
    found = leaves(env, space) if isinstance(space, Box | Dict) else []
    numbers = all(np.dtype(leaf.dtype).kind in "fiu" for leaf in found)
    if not found or not numbers or not (isinstance(space, Dict) or len(space.shape) == 1) or not _all_boxes(space):
        raise EnvironmentFault(
            f"{env}: expected observations that are a vector of numbers (Box of rank 1), or a Dict of Boxes, "
            f"got {space}; flatten them with gymnasium.wrappers.FlattenObservation."
        )
    names = [leaf.name for leaf in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EnvironmentFault(f"{env}: two of its arrays would both be called {twice}; rename one of their keys.")
    return [msgspec.structs.replace(leaf, dtype="float32") for leaf in found]


def _all_boxes(space: Any) -> bool:
    return all(map(_all_boxes, space.spaces.values())) if isinstance(space, Dict) else isinstance(space, Box)


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


@dataclass(frozen=True)
class Step:
    """One step of E environments."""

    observation: FloatArray  # [E, obs_dim], what to act on next: after an end, the new episode's first
    successor: FloatArray  # [E, obs_dim], what the action led to: at an end, the last of its episode
    reward: FloatArray  # [E]
    terminated: BoolArray  # [E], the task ended: nothing is worth anything after it
    truncated: BoolArray  # [E], the clock ended it: the successor has the value that it has
    real: BoolArray  # [E], False where the environment took no action and only began its next episode
    begins: BoolArray  # [E], whether `observation` is the first of an episode


class Environments:
    """E environments that step together and begin anew by themselves."""

    def __init__(
        self, env: str, vector: gymnasium.vector.VectorEnv[Any, Any, Any], spec: TensorSpec | None = None
    ) -> None:
        self.n = vector.num_envs
        self.action_dim = int(np.prod(vector.single_action_space.shape or ()))  # 1 of a discrete action
        self._env = env
        self._vector = vector
        self._same_step = vector.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP
        self._ended = np.zeros(self.n, np.bool_)
        self._steps = 0
        # Physics in float32 may miss its own bound by a rounding error.
        low, high = spec.bounds() if spec is not None else (-np.inf, np.inf)
        self._low = np.asarray(low - 1e-5 * (1 + np.nan_to_num(np.abs(low), posinf=0.0)), np.float32)
        self._high = np.asarray(high + 1e-5 * (1 + np.nan_to_num(np.abs(high), posinf=0.0)), np.float32)
        self._bounded = bool(np.isfinite(self._low).any() or np.isfinite(self._high).any())

    def reset(self, seed: int) -> FloatArray:  # -> [E, obs_dim]
        try:
            observation, _ = self._vector.reset(seed=seed)
        except Exception as error:
            raise EnvironmentFault(f"{self._env}: its reset() raised {sentence(error)}") from error
        self._ended = np.zeros(self.n, np.bool_)
        return self._checked(observation)

    def step(self, actions: AnyArray) -> Step:  # [E, …]
        try:
            raw, reward, terminated, truncated, infos = self._vector.step(actions)
        except Exception as error:
            raise EnvironmentFault(
                f"{self._env}: its step() raised {sentence(error)} at step {self._steps + self.n}"
            ) from error
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
        begins = ended if self._same_step else ~real
        return Step(observation, successor, rewards, terminated.copy(), truncated.copy(), real, begins)

    def close(self) -> None:
        self._vector.close()

    def _checked(self, raw: Any) -> FloatArray:
        observation = np.array(raw, np.float32)  # a copy: some environments reuse their buffer
        if not np.isfinite(observation).all():
            where, value = self._bad(observation)
            raise EnvironmentFault(f"{self._env}: observation[{where}] is {value} at step {self._steps}")
        if self._bounded and ((observation < self._low) | (observation > self._high)).any():
            self._refuse(observation)
        return observation

    def _refuse(self, observation: FloatArray) -> None:
        row, where = np.argwhere((observation < self._low) | (observation > self._high))[0]
        low, high = (np.broadcast_to(bound, observation.shape[1:])[where] for bound in (self._low, self._high))
        raise EnvironmentFault(
            f"{self._env}: observation[{where}] is {observation[row, where]:.6g} at step {self._steps}, outside of its "
            f"own observation_space ({low:.6g} to {high:.6g}); widen the space, or mend the environment."
        )

    def _bad(self, values: FloatArray) -> tuple[int, str]:
        first = np.argwhere(~np.isfinite(values))[0]
        return int(first[-1]), describe(float(values[tuple(first)]))
