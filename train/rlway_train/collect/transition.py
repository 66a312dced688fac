"""The columns of the rows that replay keeps. No other module knows their order or their width.

In:      the sizes of an observation and of an action.
Out:     the columns of each value, by name; rows [n, width] from values, and values from rows. Rows are float32; those
         with images are uint8.

    transition   observation, action, reward, discount, successor
    image        the same, where the observation and its successor are bytes, and each number is four of them
    sequence     length + 1 frames, each: step type, observation, action, reward, discount

The discount is 0 where the task terminated. It is 1 where the episode went on, and where the time limit ended it: the
last observation of a truncated episode still has a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.config.settings import DqnSettings, TrainingSettings

if TYPE_CHECKING:
    from rlway_train.envs.domain import Domain


NUMBER = 4  # bytes of a float32
REWARD, DISCOUNT = -2, -1  # among the numbers of a row
FIRST, MID, LAST = 0.0, 1.0, 2.0  # TF-Agents' StepType


class Columns(Protocol):
    """The columns of one kind of row."""

    width: int
    dtype: Any  # of a row

    def observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [N, obs_dim]
        """The observations of all steps in these rows."""

    def rewards_and_discounts(self, rows: AnyArray) -> tuple[FloatArray, FloatArray]:  # [n, width] -> [N], [N]
        """The rewards in these rows, summed over as many steps as the rows sum up, and the discount after each."""


class TransitionColumns:
    """The columns of a transition, which is one step, or the sum of n steps."""

    dtype: Any = np.float32

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        self.observation = slice(0, obs_dim)
        self.action = slice(obs_dim, obs_dim + action_dim)
        self.reward = self.action.stop
        self.discount = self.reward + 1
        self.successor = slice(self.discount + 1, self.discount + 1 + obs_dim)
        self.width: int = self.successor.stop

    def observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [n, obs_dim]
        return rows[:, self.observation]

    def rewards_and_discounts(self, rows: AnyArray) -> tuple[FloatArray, FloatArray]:  # [n, width] -> [n], [n]
        numbers = self.numbers(rows)
        return numbers[:, REWARD], numbers[:, DISCOUNT]

    def join(
        self, observation: AnyArray, action: AnyArray, reward: AnyArray, discount: AnyArray, successor: AnyArray
    ) -> FloatArray:  # [n, obs_dim], [n, …], [n], [n], [n, obs_dim] -> [n, width]
        flat = action.reshape(len(action), -1).astype(np.float32)
        rows: FloatArray = np.concatenate((observation, flat, reward[:, None], discount[:, None], successor), axis=1)
        return rows

    def numbers(self, rows: AnyArray) -> FloatArray:  # [n, width] -> [n, action_dim + 2]
        """A view of actions, rewards and discounts, in this order: what is written to it is written to the rows."""
        numbers: FloatArray = rows[:, self.action.start : self.successor.start]
        return numbers


class ImageColumns(TransitionColumns):
    """The columns of a transition between images: bytes."""

    dtype = np.uint8

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        super().__init__(obs_dim, action_dim)
        # `reward` and `discount` are the first of their bytes.
        self.action = slice(obs_dim, obs_dim + NUMBER * action_dim)
        self.reward = self.action.stop
        self.discount = self.reward + NUMBER
        self.successor = slice(self.discount + NUMBER, self.discount + NUMBER + obs_dim)
        self.width = self.successor.stop

    def join(
        self, observation: AnyArray, action: AnyArray, reward: AnyArray, discount: AnyArray, successor: AnyArray
    ) -> AnyArray:  # [n, obs_dim], [n, …], [n], [n], [n, obs_dim] -> uint8[n, width]
        rows = np.empty((len(action), self.width), np.uint8)
        rows[:, self.observation], rows[:, self.successor] = observation, successor
        self.numbers(rows)[:] = np.concatenate((action.reshape(len(action), -1), reward[:, None], discount[:, None]), 1)
        return rows

    def numbers(self, rows: AnyArray) -> FloatArray:  # uint8[n, width] -> [n, action_dim + 2]
        return super().numbers(rows).view(np.float32)


class SequenceColumns:
    """The columns of one frame, and how frames follow each other in the row of a sequence."""

    dtype: Any = np.float32

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

    def differences(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [N, obs_dim]
        """By how much the observation changed, at each step within an episode."""
        frames = rows.reshape(len(rows), self.frames, self.frame_width)
        changes: FloatArray = np.diff(frames[..., self.observation], axis=1)[frames[:, 1:, self.step_type] != FIRST]
        return changes

    def rewards_and_discounts(self, rows: AnyArray) -> tuple[FloatArray, FloatArray]:  # [n, width] -> [N], [N]
        steps = rows.reshape(len(rows), self.frames, self.frame_width)[:, :-1]
        steps = steps[steps[..., self.step_type] != LAST]  # the others are successors, whose reward is none
        return steps[:, self.reward], steps[:, self.discount]

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
    return step_columns(domain.obs_dim, domain.action.size, domain.is_image)


def step_columns(obs_dim: int, action_dim: int, is_image: bool) -> TransitionColumns:
    """The columns of a single step."""
    return (ImageColumns if is_image else TransitionColumns)(obs_dim, action_dim)
