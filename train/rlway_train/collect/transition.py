"""The columns of the rows that replay keeps. No other module knows their order or their width.

In:      the sizes of an observation and of an action.
Out:     the columns of each value, by name; rows float32[n, width] from values, and values from rows.

    transition   observation, action, reward, discount, successor
    sequence     length + 1 frames, each: step type, observation, action, reward, discount

The discount is 0 where the task terminated. It is 1 where the episode went on, and where the time limit ended it: the
last observation of a truncated episode still has a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.config.settings import DqnSettings, TrainingSettings

if TYPE_CHECKING:
    from rlway_train.envs.domain import Domain


class Columns(Protocol):
    """The columns of one kind of row."""

    width: int

    def observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [N, obs_dim]
        """The observations of all steps in these rows."""


class TransitionColumns:
    """The columns of a transition, which is one step, or the sum of n steps."""

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        self.observation = slice(0, obs_dim)
        self.action = slice(obs_dim, obs_dim + action_dim)
        self.reward = self.action.stop
        self.discount = self.reward + 1
        self.successor = slice(self.discount + 1, self.discount + 1 + obs_dim)
        self.width: int = self.successor.stop

    def observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [n, obs_dim]
        return rows[:, self.observation]

    def join(
        self, observation: AnyArray, action: AnyArray, reward: AnyArray, discount: AnyArray, successor: AnyArray
    ) -> FloatArray:  # [n, obs_dim], [n, …], [n], [n], [n, obs_dim] -> [n, width]
        flat = action.reshape(len(action), -1).astype(np.float32)
        rows: FloatArray = np.concatenate((observation, flat, reward[:, None], discount[:, None], successor), axis=1)
        return rows


class SequenceColumns:
    """The columns of one frame, and how frames follow each other in the row of a sequence."""

    def __init__(self, length: int, obs_dim: int, action_dim: int) -> None:
        self._transition = TransitionColumns(obs_dim, action_dim)
        self.frames = length + 1
        self.step_type = 0
        self.observation = slice(1, 1 + obs_dim)
        self.action = slice(self.observation.stop, self.observation.stop + action_dim)
        self.reward = self.action.stop
        self.discount = self.reward + 1
        self.frame_width: int = self.discount + 1
        self.width = self.frames * self.frame_width

    def observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [n · frames, obs_dim]
        frames = rows.reshape(len(rows), self.frames, self.frame_width)
        return frames[..., self.observation].reshape(-1, self.observation.stop - self.observation.start)

    def frame(self, step_type: FloatArray, transitions: FloatArray) -> FloatArray:  # [n], [n, …] -> [n, frame_width]
        """The frame of each transition: all of it but the successor, which is in the frame that follows."""
        rest = transitions[:, : self._transition.successor.start]
        frames: FloatArray = np.concatenate((step_type[:, None], rest), axis=1)
        return frames

    def successor_frame(self, step_type: AnyArray, transitions: FloatArray) -> FloatArray:  # [n], [n, …]
        """A frame of each transition's successor. Its action and reward are zeros, its discount is 1."""
        frames = np.zeros((len(transitions), self.frame_width), np.float32)
        frames[:, self.step_type] = step_type
        frames[:, self.observation] = transitions[:, self._transition.successor]
        frames[:, self.discount] = 1.0
        return frames


def make_columns(settings: TrainingSettings, domain: Domain) -> TransitionColumns | SequenceColumns:
    """The columns of the rows that these settings learn from."""
    if isinstance(settings, DqnSettings) and settings.lstm:
        return SequenceColumns(settings.sequence_length, domain.obs_dim, domain.action.size)
    return TransitionColumns(domain.obs_dim, domain.action.size)
