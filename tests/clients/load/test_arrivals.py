"""When the requests of an open loop are due."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlway_client.load.arrivals import Arrivals, due_times


def test_even_arrivals_are_one_interval_apart() -> None:
    """From the start until the end, which is no longer part of it; also beyond the times that are drawn together."""
    np.testing.assert_allclose([*due_times(10, 0.5, Arrivals.EVEN, 0)], [0.0, 0.1, 0.2, 0.3, 0.4])
    times = [*due_times(1000, 10.0, Arrivals.EVEN, 0)]
    assert len(times) == 10_000
    np.testing.assert_allclose(np.diff(times), 0.001, rtol=1e-6)


def test_poisson_arrivals_have_the_rate_and_independent_gaps() -> None:
    """The mean and the standard deviation of an exponential distribution are equal."""
    times = [*due_times(2000, 20.0, Arrivals.POISSON, 3)]
    gaps = np.diff(times)
    assert len(times) / 20 == pytest.approx(2000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps >= 0).all()
    assert times[-1] < 20.0


def test_a_seed_repeats_the_arrivals() -> None:
    """Two runs are due at the same times; another seed gives others."""
    first, again, other = ([*itertools.islice(due_times(5, 1e9, Arrivals.POISSON, seed), 10_000)] for seed in (1, 1, 2))
    assert first == again
    assert first != other
