"""Specs of tensors: their bounds, and the faults of values that do not fit them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlway_client import TensorSpec
from rlway_client.contract.specs import beyond, compact_bound, describe, find_faults, find_lookup_faults, make_spec
from tests.clients.contract.generated import THOROUGH, specs

NAN = float("nan")


@THOROUGH
@given(data=st.data())
def test_bounds_survive_being_compacted(data: st.DataObject) -> None:
    """`make_spec` from arrays, then `bounds()`: the same arrays, infinite where they were."""
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    element = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([math.inf, -math.inf])
    flat = st.lists(element, min_size=math.prod(shape), max_size=math.prod(shape))
    low, high = (np.array(data.draw(flat), np.float32).reshape(shape) for _ in range(2))
    low[low == math.inf], high[high == -math.inf] = -math.inf, math.inf
    spec = make_spec("observation", shape, "float32", low, high)
    for found, given_bound in zip(spec.bounds(), (low, high), strict=True):
        assert found.shape == shape
        np.testing.assert_array_equal(found, given_bound.astype(np.float64))


def test_equal_bounds_are_one_number() -> None:
    """The largest numbers of float32, which spaces use for infinity, are None."""
    assert compact_bound(np.full((2, 3), -2.5)) == -2.5
    assert compact_bound([-1.0, math.inf]) == [-1.0, None]
    assert compact_bound(np.finfo(np.float32).max) is None


@pytest.mark.parametrize(
    ("value", "spec", "paths"),
    [
        ([1, 2.5, -3, 0], ((4,), "float32"), []),
        ([1, 2, 3, NAN], ((4,), "float32"), ["x[3]"]),
        ([1e39, "a", None, True], ((4,), "float32"), ["x[0]", "x[1]", "x[2]", "x[3]"]),
        ([[1, 2], [3, NAN]], ((2, 2), "float32"), ["x[1][1]"]),
        ([[1, 2], [3]], ((2, 2), "float32"), ["x[1]"]),
        ([[1, 2], 3], ((2, 2), "float32"), ["x[1]"]),
        ([1e39, 1e308], ((2,), "float64"), []),
        ([70_000, 1], ((2,), "float16"), ["x[0]"]),
        ([0, 255, 256, -1], ((4,), "uint8"), ["x[2]", "x[3]"]),
        ([1.0, 1.5, NAN, math.inf], ((4,), "int64"), ["x[1]", "x[2]", "x[3]"]),
        ([2**63 - 1, 2**63], ((2,), "int64"), ["x[1]"]),
        ([True, False, 1, 0.0], ((4,), "bool"), ["x[2]", "x[3]"]),
        (3, ((), "int64"), []),
        ([3], ((), "int64"), ["x"]),
    ],
    ids=str,
)
def test_faults_are_found_where_they_are(value: Any, spec: tuple[tuple[int, ...], str], paths: list[str]) -> None:
    """Each by its path, for every kind of dtype."""
    assert [fault.path for fault in find_faults(value, TensorSpec("x", *spec), "x")] == paths


WHOLE = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
NEAR_LIMITS = [sign * 2.0**bits + step for bits in (0, 7, 8, 31, 32, 63, 64) for sign in (1, -1) for step in (-1, 0, 1)]


@THOROUGH
@given(
    numbers=st.lists(st.floats() | st.sampled_from(NEAR_LIMITS), min_size=1, max_size=4).map(np.array)
    | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4).map(lambda n: np.array(n, np.int64))
    | st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4).map(lambda n: np.array(n, np.uint64)),
    dtype=st.sampled_from(WHOLE),
)
@example(numbers=np.array([2.0**63]), dtype="int64")  # to which an ARM processor gives 2**63 - 1
@example(numbers=np.array([2.0**64]), dtype="uint64")
def test_a_number_beyond_a_dtype_is_found_on_every_processor(numbers: Any, dtype: str) -> None:
    """As Python's whole numbers of any size have it; what a conversion makes of it differs between processors."""
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    expected = [not (math.isfinite(n) and n == int(n) and low <= int(n) <= high) for n in numbers.tolist()]
    assert beyond(numbers, np.dtype(dtype)).tolist() == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1_234_567, "0 to 1234567"),
        (None, 9, "at most 9"),
        (-3, None, "at least -3"),
        ([0, None, -5], [9, None, -1], "-5 to -1"),
    ],
)
@pytest.mark.parametrize("value", [[0, 0, 2_000_000], [0, 0, -2_000_000]], ids=["above", "below"])
def test_a_value_outside_its_table_is_refused_with_the_table(
    low: Any, high: Any, expected: str, value: list[int]
) -> None:
    """Lists and arrays alike; on a side without a bound, any value is looked up."""
    spec = TensorSpec("x", (3,), "int32", lookup_minimum=low, lookup_maximum=high)
    outside = high is not None if value[2] > 0 else low is not None
    sentence = f"x[2]: expected {expected}, as the policy looks it up in a table, got {value[2]}"
    assert [fault.sentence for fault in find_faults(value, spec, "x")] == [sentence] * outside
    found = find_lookup_faults(np.array(value, np.int32), spec, "x")
    assert [fault.sentence for fault in found] == [sentence] * outside


def test_the_faults_are_cut_at_twenty() -> None:
    """An image of NaN is not read to its end."""
    assert len(find_faults([[NAN] * 84] * 84, TensorSpec("x", (84, 84), "float32"), "x")) == 20


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (10**23, "100000000000000000000000"),
        (10**39, "a number of 40 digits"),
        (-(10**39), "a number of 40 digits"),
        (1.5e39, "1.5e+39"),
    ],
)
def test_a_number_is_told_whole_or_by_its_length(value: float, words: str) -> None:
    """Its first digits alone would be another number."""
    assert describe(value) == words


@THOROUGH
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=12,
    ),
    spec=specs(),
)
def test_any_value_either_fits_or_has_faults(value: Any, spec: TensorSpec) -> None:
    """A value without faults becomes a finite array of the spec's shape and dtype; nothing raises."""
    if not find_faults(value, spec, "x"):
        array = np.array(value, spec.numpy_dtype)
        assert array.shape == spec.shape
        assert np.isfinite(array).all()


def test_a_single_number_outside_of_its_table_is_named() -> None:
    """As numpy's or Python's: neither can be indexed like an array."""
    place = TensorSpec("place", (), "int64", lookup_minimum=1, lookup_maximum=9)
    for number in (0, np.int64(0), np.array(0)):
        (fault,) = find_lookup_faults(np.asarray(number).astype(object)[()], place, "place")
        assert fault.sentence == "place: expected 1 to 9, as the policy looks it up in a table, got 0"
