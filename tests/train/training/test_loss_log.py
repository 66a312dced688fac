"""When the loss is written, and which mean."""

from __future__ import annotations

from typing import Any

import pytest

from rlway_train.training.loss_log import LOSS, RATE, LossLog

Logged = list[tuple[int, dict[str, float]]]


@pytest.fixture
def logged() -> Logged:
    return []


def test_the_loss_is_written_at_the_end_of_the_first_block_after_so_many_updates(logged: Logged) -> None:
    """Blocks of 64, every 200: after 256, 448 and 640 updates, the mean since the last one."""
    log = LossLog(200, 0, lambda step, values: logged.append((step, values)))
    for block in range(1, 11):
        log.add(1_000 + 64 * block, 64, float(block), None)
    assert logged == [(1_256, {LOSS: 2.5}), (1_448, {LOSS: 6.0}), (1_640, {LOSS: 9.0})]


def test_longer_blocks_are_written_one_by_one(logged: Logged) -> None:
    """There is no value in between: the updates of a block are one call."""
    log = LossLog(10, 0, lambda step, values: logged.append((step, values)))
    for block in (1, 2):
        log.add(64 * block, 64, float(block), None)
    assert logged == [(64, {LOSS: 1.0}), (128, {LOSS: 2.0})]


def test_a_resumed_training_continues_to_count(logged: Logged) -> None:
    """It was interrupted 10 updates before the next value was due."""
    log = LossLog(100, 190, lambda step, values: logged.append((step, values)))
    log.add(1, 8, 1.0, None)
    assert logged == []
    log.add(2, 8, 3.0, None)
    assert logged == [(2, {LOSS: 2.0})]


def test_the_speed_is_that_of_the_blocks_that_were_timed(logged: Logged) -> None:
    """The first block compiles, so it is not timed."""
    log = LossLog(30, 0, lambda step, values: logged.append((step, values)))
    for took_s in (None, 0.5, 0.75):
        log.add(1, 10, 1.0, took_s)
    assert logged == [(1, {LOSS: 1.0, RATE: 16.0})]


def test_no_loss_is_written_twice(logged: Logged) -> None:
    """An evaluation flushes the log, perhaps just after a value. With Reverb, TF-Agents writes the speed."""
    written: dict[str, Any] = {"write": lambda step, values: logged.append((step, values)), "rate": False}
    log = LossLog(10, 0, **written)
    log.add(1, 10, 1.0, 0.5)
    log.flush(1)
    log.add(2, 5, 2.0, 0.5)
    log.flush(2)
    assert logged == [(1, {LOSS: 1.0}), (2, {LOSS: 2.0})]
