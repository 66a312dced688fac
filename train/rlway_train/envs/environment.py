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
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec, describe
from rlway_client.envs.find import find_environment, sentence
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.learnable import continuous_action, discrete_action, observation_leaves
from rlway_train.envs.spaces import OneVector, is_one_vector, one_vector
from rlway_train.envs.wrappers import DiscreteActions, FlatActions, FromZero, OneEpisode

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Domain:
    """An environment that can be learned: its name, and what it takes and gives."""

    env: str
    spec: EnvSpec = field(repr=False)
    leaves: list[TensorSpec]  # of the observation as the environment gives it
    action: TensorSpec  # as the environment takes it: discrete ones may begin at another number than 0
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
        lowest, highest = (int(bound.item()) for bound in self.action.bounds())
        return highest - lowest + 1

    @property
    def first_action(self) -> int:
        """The number of the first discrete action; agents count from 0 all the same."""
        return int(self.action.bounds()[0].item())

    def make(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment, as agents take it: it observes one vector, and acts by one, or by a number from 0 on."""
        modes: dict[str, Any] = (
            {"render_mode": "rgb_array"} if render else {}
        )  # a class of one's own need not know the argument
        env = gymnasium.make(self.spec, disable_env_checker=True, **modes)
        if not is_one_vector(self.leaves):
            env = OneVector(env, self.leaves)
        if self.discretize is not None:
            return DiscreteActions(env, self.discretize)
        if self._acts_plainly:
            return env
        return FromZero(env, self.action) if self.action.is_discrete else FlatActions(env)

    def make_many(self, n: int, one_episode: bool = False) -> Environments:
        """`n` environments that step together: the environment's own vectorised form where it has one.

        Others rest after `one_episode`, for whoever resets them all with a seed and looks at no second one.
        """
        if self.spec.vector_entry_point is not None and self._is_plain:
            vector = gymnasium.make_vec(self.spec, n, vectorization_mode="vector_entry_point")
            if vector.metadata.get("autoreset_mode") in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
                return Environments(self.env, vector, self.observation)
            vector.close()
        make = (lambda: OneEpisode(self.make())) if one_episode else self.make
        return Environments(self.env, gymnasium.vector.SyncVectorEnv([make] * n), self.observation)

    @property
    def _is_plain(self) -> bool:
        """Whether it is learned from as it is, with nothing around it."""
        return self.discretize is None and is_one_vector(self.leaves) and self._acts_plainly

    @property
    def _acts_plainly(self) -> bool:
        """Whether its actions are as agents give them: numbers from 0 on, or a vector of floats."""
        rank = len(self.action.shape)
        return (rank == 0 and self.first_action == 0) if self.action.is_discrete else rank == 1


def find_domain(
    env: str, discretize: int | None = None, time_limit: int | None = None, continuous: bool = False
) -> Domain:
    """The environment of this name, checked to be one that DQN can learn, or with `continuous` SAC.

    `time_limit` in steps replaces its own.
    """
    spec = find_spec(env, time_limit)
    one = make_one(env, spec, discretize)
    try:
        values = one.values.ravel().tolist() if isinstance(one, DiscreteActions) else None
        return Domain(
            env=env,
            spec=spec,
            leaves=observation_leaves(env, one),
            action=(continuous_action if continuous else discrete_action)(env, one),
            discretize=discretize,
            action_values=values,
        )
    finally:
        one.close()


def domain_of(env: str, settings: TrainingSettings) -> Domain:
    """The environment of this name as these settings want it, checked to be one that their algorithm can learn."""
    discretize = settings.discretize if isinstance(settings, DqnSettings) else None
    return find_domain(env, discretize, settings.time_limit, continuous=isinstance(settings, SacSettings))


def find_spec(env: str, time_limit: int | None = None) -> EnvSpec:
    """The environment of this name, whatever its spaces; `time_limit` in steps replaces its own."""
    spec = find_environment(env)
    return spec if time_limit is None else replace(spec, max_episode_steps=time_limit)


def make_one(env: str, spec: EnvSpec, discretize: int | None) -> gymnasium.Env[Any, Any]:
    """One environment. Whatever its constructor raises is its fault, not ours."""
    try:
        one = gymnasium.make(spec, disable_env_checker=True)
    except UsageError:  # what it needs is not installed
        raise
    except Exception as error:
        raise EnvironmentFault(f"{env}: could not be made: {sentence(error)}") from error
    return one if discretize is None else DiscreteActions(one, discretize)


@dataclass(frozen=True)
class VectorStep:
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

    def step(self, actions: AnyArray) -> VectorStep:  # [E, …]
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
        return VectorStep(observation, successor, rewards, terminated.copy(), truncated.copy(), real, begins)

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
