"""Several environments that step together.

In:      actions int64[E], or float32[E, action_dim].
Out:     `VectorStep`: observations float32[E, obs_dim], or uint8 of images; rewards, and how each step ended.
Refuses: EnvironmentFault for an environment that raises, for a reward that is not finite, and for an observation that
         is not finite or lies outside of its own space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec, describe
from rlway_client.envs.find import sentence

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class VectorStep:
    """One step of E environments."""

    observation: AnyArray  # [E, obs_dim], to act on next: where an episode ended, the first of the next one
    successor: AnyArray  # [E, obs_dim], that the action led to: where an episode ended, its last one
    reward: FloatArray  # [E]
    terminated: BoolArray  # [E], the task ended: the successor has no value
    truncated: BoolArray  # [E], the time limit ended the episode: the successor keeps its value
    real: BoolArray  # [E], False where the environment only began its next episode and took no action
    begins: BoolArray  # [E], whether `observation` is the first of an episode


class Environments:
    """E environments that step together. Each begins its next episode by itself."""

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
        # Physics in float32 may exceed its own bounds by a rounding error.
        low, high = spec.bounds() if spec is not None else (-np.inf, np.inf)
        self._low = np.asarray(low - 1e-5 * (1 + np.nan_to_num(np.abs(low), posinf=0.0)), np.float32)
        self._high = np.asarray(high + 1e-5 * (1 + np.nan_to_num(np.abs(high), posinf=0.0)), np.float32)
        self._bounded = bool(np.isfinite(self._low).any() or np.isfinite(self._high).any())
        # An image's bytes are whole numbers within the bounds of their dtype: there is nothing to check.
        self._is_image = spec is not None and spec.dtype == "uint8"

    @property
    def are_vectorized(self) -> bool:
        """Whether they are of a vectorised form, in which a step of many costs hardly more than a step of few."""
        return not isinstance(self._vector, SyncVectorEnv)

    def reset(self, seed: int) -> AnyArray:  # -> [E, obs_dim]
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
        # With next-step autoreset, the step after an end ignores its action and returns the next episode's first
        # observation.
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

    def _checked(self, raw: Any) -> AnyArray:
        if self._is_image:
            return np.array(raw, np.uint8)
        observation = np.array(raw, np.float32)  # a copy: some environments reuse their buffers
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
