"""Stretches of experience, for learners whose policy remembers.

In:      transition rows float32[E, width], one per environment and step, see collector; how each step ended.
Out:     rows of `length` steps each: length + 1 frames one after the other, see `frame_width`.

A stretch ends with every step that was taken, so two that follow each other share all but one of their steps. A frame
is step_type, observation, action, reward, discount, as in a trajectory of TF-Agents: the last two say what the action
led to. Where an episode ends, its last observation is a frame of its own (LAST, whose action leads nowhere), and the
next frame begins the next episode (FIRST). A stretch may hold the end of one episode and the beginning of the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlway_client.contract.specs import FloatArray

FIRST, MID, LAST = 0.0, 1.0, 2.0  # TF-Agents' StepType


def frame_width(obs_dim: int, action_dim: int) -> int:
    """The columns of one frame."""
    return obs_dim + action_dim + 3


class SequenceAdder:
    """Holds the last `length` frames of each environment."""

    def __init__(self, length: int, envs: int, obs_dim: int, action_dim: int) -> None:
        self._obs_dim = obs_dim
        frame = frame_width(obs_dim, action_dim)
        self.width = (length + 1) * frame
        self._frames = np.zeros((envs, length, frame), np.float32)
        self._held = np.zeros(envs, np.int64)
        self._begins = np.ones(envs, np.bool_)

    def push(self, rows: FloatArray, ended: NDArray[np.bool_], real: NDArray[np.bool_]) -> FloatArray:  # -> [m, width]
        """The stretches that end with these steps. Where `real` is False the environment took no step."""
        d = self._obs_dim
        types = np.where(self._begins, FIRST, MID).astype(np.float32)
        self._append(np.concatenate([types[:, None], rows[:, :-d]], axis=1), real)
        final = np.zeros_like(self._frames[:, 0])
        final[:, 0], final[:, 1 : d + 1], final[:, -1] = np.where(ended, LAST, MID), rows[:, -d:], 1.0
        whole = real & (self._held >= self._frames.shape[1])
        stretches = np.concatenate([self._frames[whole], final[whole, None]], axis=1)
        self._append(final, real & ended)
        self._begins = np.where(real, ended, self._begins)
        rows_of_them: FloatArray = stretches.reshape(-1, self.width)
        return rows_of_them

    def _append(self, frames: FloatArray, where: NDArray[np.bool_]) -> None:  # [E, frame]
        self._frames[where, :-1] = self._frames[where, 1:]
        self._frames[where, -1] = frames[where]
        self._held[where] += 1
