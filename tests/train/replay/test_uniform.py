"""The replay in TensorFlow's graph: what it keeps and samples."""

from __future__ import annotations

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_train.replay.uniform import Ring


def rows(first: int, last: int) -> FloatArray:
    """Rows that hold their own number, first to last."""
    return np.repeat(np.arange(first, last + 1, dtype=np.float32)[:, None], 3, axis=1)


def drawn(ring: Ring, seed: int = 0) -> set[int]:
    return {int(number) for number in ring.sample((40, 20), [seed, 1]).numpy()[..., 0].ravel()}


def test_only_written_rows_are_sampled() -> None:
    """A ring that is not full never samples its empty places."""
    ring = Ring(100, 3)
    ring.write(rows(1, 5))
    assert ring.size == 5
    assert drawn(ring) == {1, 2, 3, 4, 5}


def test_the_oldest_rows_make_room_for_new_ones() -> None:
    """Past its capacity the ring holds the latest rows, across its seam."""
    ring = Ring(10, 3)
    for first in range(1, 22, 3):
        ring.write(rows(first, first + 2))
    assert ring.size == 10
    assert drawn(ring) == set(range(12, 22))


def test_of_more_rows_than_fit_the_latest_are_kept() -> None:
    """A write that is larger than the ring fills it with its last rows."""
    ring = Ring(10, 3)
    ring.write(rows(1, 27))
    assert drawn(ring) == set(range(18, 28))


def test_the_same_seed_samples_the_same_rows() -> None:
    """Sampling follows from its seed alone."""
    ring = Ring(1_000, 3)
    ring.write(rows(1, 1_000))
    np.testing.assert_array_equal(ring.sample((8, 4), [7, 1]), ring.sample((8, 4), [7, 1]))
    assert (ring.sample((8, 4), [7, 1]).numpy() != ring.sample((8, 4), [7, 2]).numpy()).any()
