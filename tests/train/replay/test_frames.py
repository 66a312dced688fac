"""The replay of images: what it keeps, samples, saves and restores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.specs import AnyArray
from rlway_train.collect.transition import ImageColumns
from rlway_train.replay.frames import FrameReplay, FrameStacks

PLACES = 2  # pixels


def transitions(lengths: list[int], stacks: FrameStacks, brightness: int, seed: int) -> AnyArray:
    """The rows of episodes of these lengths. With little brightness, many frames are equal."""
    rng = np.random.default_rng(seed)
    columns = ImageColumns(stacks.places * stacks.channels * stacks.stack, 1)
    rows: list[AnyArray] = []
    for length in lengths:
        frames = rng.integers(0, brightness, (length + 1, stacks.places, stacks.channels), np.uint8)
        frames = np.concatenate([frames[:1].repeat(stacks.stack - 1, 0), frames])
        images = [np.concatenate(frames[i : i + stacks.stack], -1).ravel() for i in range(length + 1)]
        numbers = [rng.random(length, np.float32) for _ in range(3)]
        rows.append(columns.join(np.stack(images[:-1]), numbers[0], numbers[1], numbers[2], np.stack(images[1:])))
    return np.concatenate(rows)


def make(capacity: int, stacks: FrameStacks) -> FrameReplay:
    return FrameReplay(capacity, ImageColumns(stacks.places * stacks.channels * stacks.stack, 1), stacks)


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    stack=st.integers(1, 3),
    channels=st.integers(1, 2),
    brightness=st.sampled_from([2, 256]),
    capacity=st.integers(1, 60),
    chunk=st.integers(1, 80),
)
def test_it_keeps_the_latest_rows_as_a_list_would(
    lengths: list[int], stack: int, channels: int, brightness: int, capacity: int, chunk: int
) -> None:
    """Byte for byte, however they arrive. It keeps fewer than its capacity only where episodes are very short."""
    stacks = FrameStacks(PLACES, channels, stack)
    rows, replay = transitions(lengths, stacks, brightness, seed=1), make(capacity, stacks)
    for start in range(0, len(rows), chunk):
        replay.write(rows[start : start + chunk])
        so_far = rows[: start + chunk]
        np.testing.assert_array_equal(replay.rows(), so_far[len(so_far) - replay.size :])
        assert replay.size <= min(len(so_far), capacity)
    if min(lengths) >= 8 * 2:
        assert replay.size == min(len(rows), capacity)
    else:
        assert replay.size >= 1


@pytest.fixture(scope="module")
def stacks() -> FrameStacks:
    return FrameStacks(PLACES, channels=2, stack=2)


def test_a_sample_consists_of_what_was_written(stacks: FrameStacks) -> None:
    """Every row is sampled, none that was dropped is, and the same seed samples the same rows."""
    rows, replay = transitions([20, 20, 20], stacks, 256, seed=2), make(30, stacks)
    replay.write(rows)
    columns = ImageColumns(8, 1)

    def sampled(seed: int) -> list[bytes]:
        frames, numbers = replay.sample((400,), [seed, 1])
        observations, successors = (part.numpy() for part in replay.images(frames))
        action, reward, discount = numbers.numpy().T
        again = columns.join(observations, action, reward, discount, successors)
        return [row.tobytes() for row in again]

    assert set(sampled(1)) == {row.tobytes() for row in rows[-30:]}
    assert sampled(1) == sampled(1) != sampled(2)


def test_a_restored_replay_goes_on_as_the_saved_one(stacks: FrameStacks, tmp_path: Path) -> None:
    """It has the same rows, and drops and keeps the same ones later."""
    rows = transitions([5, 1, 9, 40, 3, 30], stacks, 3, seed=3)
    saved, restored = make(25, stacks), make(25, stacks)
    saved.write(rows[:60])
    saved.save(tmp_path)
    restored.restore(tmp_path)
    for replay in (saved, restored):
        replay.write(rows[60:])
    assert saved.size == 25
    np.testing.assert_array_equal(restored.rows(), saved.rows())


def test_each_frame_is_stored_once(stacks: FrameStacks, tmp_path: Path) -> None:
    """A checkpoint has one frame for each step, and one for each episode's beginning."""
    rows, replay = transitions([50, 50], stacks, 256, seed=4), make(200, stacks)
    replay.write(rows)
    replay.save(tmp_path)
    with np.load(tmp_path / "replay.npz") as kept:
        assert kept["frames"].shape == (102, PLACES * 2)
