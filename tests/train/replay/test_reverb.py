"""The replay on a Reverb server: what it keeps, samples and refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.config.settings import DqnSettings
from rlway_train.replay.reverb import ReplayStalled, ReverbReplay, TableOptions

WIDTH = 3
Open = Callable[..., ReverbReplay]


@pytest.fixture
def replay() -> Iterator[Open]:
    """Opens replays on servers of this process."""
    opened: list[ReverbReplay] = []

    def opening(patience_s: float = 60.0, **options: object) -> ReverbReplay:
        opened.append(ReverbReplay(TableOptions(**options), WIDTH, patience_s))  # type: ignore[arg-type]
        return opened[-1]

    yield opening
    for one in opened:
        one.close()


def rows(first: int, last: int) -> FloatArray:
    """Rows of three columns that follow from their own number, first to last."""
    return np.arange(first, last + 1, dtype=np.float32)[:, None] + np.array([0.0, 0.25, 0.5], np.float32)


def drawn(replay: ReverbReplay, batches: int, batch_size: int = 50) -> FloatArray:  # -> [batches * batch_size, WIDTH]
    return np.concatenate([sample.data.numpy() for sample in replay.dataset(batch_size).take(batches)])


def numbers(rows: FloatArray) -> AnyArray:
    return rows[:, 0].astype(np.int64)


def test_only_written_rows_are_sampled(replay: Open) -> None:
    """Every row comes back whole, and no other does."""
    one = replay(capacity=1_000)
    one.write(rows(1, 100))
    got = drawn(one, 40)
    np.testing.assert_array_equal(got, rows(1, 100)[numbers(got) - 1])
    assert set(numbers(got)) == set(range(1, 101))


def test_every_row_is_as_likely_as_any_other(replay: Open) -> None:
    """Of 20,000 samples each of 50 rows gets its share, within five standard deviations."""
    one = replay(capacity=50)
    one.write(rows(1, 50))
    counts = np.bincount(numbers(drawn(one, 400)), minlength=51)[1:]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_the_oldest_rows_make_room_for_new_ones(replay: Open) -> None:
    """Past its capacity the table holds the latest rows, and still knows how many were ever written."""
    one = replay(capacity=10)
    for first in range(1, 62, 4):
        one.write(rows(first, first + 3))
    assert (one.size, one.inserted) == (10, 64)
    assert set(numbers(drawn(one, 10))) == set(range(55, 65))


def test_of_more_rows_than_fit_the_latest_are_written(replay: Open) -> None:
    """The others would be replaced at once, but the limiter would wait until they were sampled."""
    one = replay(patience_s=0.5, capacity=20, min_size=20, samples_per_insert=4.0, ahead=5)
    one.write(rows(1, 100))
    assert (one.size, one.inserted) == (20, 20)
    assert set(numbers(drawn(one, 2, batch_size=10))) <= set(range(81, 101))


def test_a_prioritized_table_samples_by_priority_to_the_power_of_its_exponent(replay: Open) -> None:
    """With an exponent of 0.5, rows with sixteen times the priority are sampled four times as often."""
    one = replay(capacity=100, selector="prioritized", priority_exponent=0.5)
    one.write(rows(1, 10))
    one.priority = 16.0
    one.write(rows(11, 20))
    often = (numbers(drawn(one, 200)) > 10).mean()
    assert often == pytest.approx(0.8, abs=0.03)


def test_nothing_is_sampled_before_the_initial_rows_are_there(replay: Open) -> None:
    """With fewer rows the dataset ends after `patience_s`."""
    one = replay(patience_s=0.5, capacity=100, min_size=20)
    one.write(rows(1, 19))
    assert len(list(one.dataset(5).take(1))) == 0
    one.write(rows(20, 20))
    assert len(list(one.dataset(5).take(1))) == 1


def test_a_ratio_keeps_writers_from_running_ahead(replay: Open) -> None:
    """Rows that are not sampled are taken up to the slack, then refused in a sentence that says how long it waited."""
    one = replay(patience_s=0.5, capacity=1_000, min_size=10, samples_per_insert=4.0, ahead=20)
    one.write(rows(1, 30))
    with pytest.raises(ReplayStalled, match=r"took no rows for 0.5 s, .*; is a learner running\?$"):
        one.write(rows(31, 32))


def test_blocks_of_any_size_fit_the_ratio_that_follows_from_the_settings(replay: Open) -> None:
    """Writing a block and then sampling its share never waits, block after block."""
    settings = DqnSettings(
        replay="reverb", limiter="ratio", block_steps=7, block_iterations=3, batch_size=50, initial_steps=5
    )
    table = TableOptions.of(settings)
    assert table.samples_per_insert == pytest.approx(150 / 7)
    one = replay(patience_s=5.0, **{name: getattr(table, name) for name in TableOptions.__dataclass_fields__})
    one.write(rows(1, 5))
    batches = iter(one.dataset(50))
    for first in range(6, 6 + 40 * 7, 7):
        one.write(rows(first, first + 6))
        assert len([next(batches) for _ in range(3)]) == 3
