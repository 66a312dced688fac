"""The columns of rows: each value has its own, and a row has no others."""

from __future__ import annotations

import numpy as np

from rlway_train.collect.transition import SequenceColumns, TransitionColumns


def indices(*columns: slice | int) -> list[int]:
    """The single columns, in this order."""
    spans = [range(c, c + 1) if isinstance(c, int) else range(c.start, c.stop) for c in columns]
    return [index for span in spans for index in span]


def test_the_columns_of_a_transition_follow_each_other_and_fill_it() -> None:
    """In the order that the documentation of the module says."""
    of = TransitionColumns(obs_dim=3, action_dim=2)
    assert indices(of.observation, of.action, of.reward, of.discount, of.successor) == list(range(of.width))


def test_a_joined_row_has_each_value_in_its_columns() -> None:
    """Actions may be whole numbers by themselves, or arrays of any shape."""
    of = TransitionColumns(obs_dim=2, action_dim=4)
    values = np.random.default_rng(0).random((5, 10), np.float32)
    observation, action, successor = values[:, :2], values[:, 2:6].reshape(5, 2, 2), values[:, 6:8]
    rows = of.join(observation, action, values[:, 8], values[:, 9], successor)
    assert rows.shape == (5, of.width)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:, of.observation], observation)
    np.testing.assert_array_equal(rows[:, of.action], action.reshape(5, 4))
    np.testing.assert_array_equal(rows[:, of.reward], values[:, 8])
    np.testing.assert_array_equal(rows[:, of.discount], values[:, 9])
    np.testing.assert_array_equal(rows[:, of.successor], successor)
    np.testing.assert_array_equal(of.observations(rows), observation)


def test_frames_have_the_values_of_their_transitions() -> None:
    """The successor is the observation of a frame that follows."""
    step, of = TransitionColumns(obs_dim=3, action_dim=1), SequenceColumns(2, obs_dim=3, action_dim=1)
    assert indices(of.step_type, of.observation, of.action, of.reward, of.discount) == list(range(of.frame_width))
    rows = np.random.default_rng(0).random((4, step.width), np.float32)
    frames = of.frame(np.full(4, 7, np.float32), rows)
    assert (frames[:, of.step_type] == 7).all()
    for name in ("observation", "action", "reward", "discount"):
        np.testing.assert_array_equal(frames[:, getattr(of, name)], rows[:, getattr(step, name)])
    last = of.successor_frame(np.full(4, 2.0), rows)
    np.testing.assert_array_equal(last[:, of.observation], rows[:, step.successor])
    assert (last[:, of.step_type] == 2).all()
    assert (last[:, of.discount] == 1).all()
    assert not last[:, indices(of.action, of.reward)].any()
    sequences = np.concatenate([frames, frames, last], axis=1)
    assert sequences.shape[1] == of.width
    np.testing.assert_array_equal(of.observations(sequences)[2::3], rows[:, step.successor])
