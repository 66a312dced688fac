"""The rows that int8's ranges are taken from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlway_export.formats.tflite import CALIBRATION_ROWS, MOST_ENDS, calibrating_rows


@given(rows=st.integers(1, 2_000), width=st.integers(1, 12), seed=st.integers(0, 1_000))
def test_the_ends_of_every_element_are_among_the_rows(rows: int, width: int, seed: int) -> None:
    """Also where they stand between the rows that are evenly spread. No row counts twice."""
    observations = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    chosen = calibrating_rows({"observation": observations})
    np.testing.assert_array_equal(observations[chosen].min(axis=0), observations.min(axis=0))
    np.testing.assert_array_equal(observations[chosen].max(axis=0), observations.max(axis=0))
    assert len(set(chosen.tolist())) == len(chosen) <= CALIBRATION_ROWS + 2 * width


def test_an_image_adds_no_rows_for_its_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1_000, MOST_ENDS + 1), np.uint8)
    assert len(calibrating_rows({"observation": images})) == CALIBRATION_ROWS
