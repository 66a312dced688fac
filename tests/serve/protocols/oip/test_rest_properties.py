"""What Triton's client encodes is what the server reads, for any spec, dtype and values."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import DTYPES, AnyArray
from rlway_serve.protocols.oip.datatypes import NAMES, dtype_of
from rlway_serve.protocols.oip.rest.answer import JSON_LENGTH, RestAnswers
from rlway_serve.protocols.oip.rest.request import RequestReader, json_length
from rlway_serve.protocols.oip.tensor_data import read_lists
from tests.bundles import linear_policy
from tests.serve.protocols.oip.decoding import Decoding

SHAPES = npst.array_shapes(min_dims=1, max_dims=4, max_side=5)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, SHAPES))
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays=st.lists(st.tuples(ARRAYS, st.booleans()), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_arrays_come_through_unchanged(arrays: list[tuple[AnyArray, bool]]) -> None:
    """Of every datatype and shape, to the bit; each as JSON or as octets, NaN and infinities included."""
    sent = []
    for i, (array, binary) in enumerate(arrays):
        given_input = triton.InferInput(f"x{i}", [*array.shape], NAMES[array.dtype.name])
        sent.append(given_input.set_data_from_numpy(array, binary_data=binary))
    body, size = triton.InferenceServerClient.generate_request_body(sent)
    start = json_length(None if size is None else str(size).encode(), len(body))
    request = RequestReader().read(body[:start], has_octets=True)
    read = request.tensors(body, start)
    assert [*read] == [f"x{i}" for i in range(len(arrays))]
    for (array, _), found in zip(arrays, read.values(), strict=True):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


@given(array=ARRAYS)
@settings(max_examples=100, deadline=None)
def test_nested_data_are_the_same_as_flat_data(array: AnyArray) -> None:
    """Row-major, whatever the number of dimensions."""
    dtype = dtype_of(NAMES[array.dtype.name], "x")
    flat, nested = (read_lists(data, array.shape, dtype, "x") for data in (array.ravel().tolist(), array.tolist()))
    np.testing.assert_array_equal(flat, nested)
    np.testing.assert_array_equal(flat, array)


@given(places=st.sets(st.integers(0, 23), min_size=1), value=st.sampled_from(["x", None, True, 10**400]))
@settings(max_examples=100, deadline=None)
def test_the_first_value_that_does_not_fit_is_named(places: set[int], value: object) -> None:
    """By its place in the declared shape, whatever is wrong behind it."""
    shape = (4, 3, 2)
    data = [value if place in places else 0 for place in range(24)]
    first = "".join(f"[{index}]" for index in np.unravel_index(min(places), shape))
    with pytest.raises(SpecViolated, match=re.escape(f"x{first}: expected FP32, got")):
        read_lists(data, shape, dtype_of("FP32", "x"), "x")


@given(array=ARRAYS, cut=st.integers(1, 64), more=st.binary(max_size=8))
@settings(max_examples=100, deadline=None)
def test_octets_of_another_length_are_refused(array: AnyArray, cut: int, more: bytes) -> None:
    """Cut short anywhere, or with anything behind them."""
    sent = triton.InferInput("x", [*array.shape], NAMES[array.dtype.name]).set_data_from_numpy(array)
    body, size = triton.InferenceServerClient.generate_request_body([sent])
    request = RequestReader().read(body[:size], has_octets=True)
    for wrong in (body[: max(size, len(body) - cut)], body + more + b"x"):
        try:
            request.tensors(wrong, size)
        except SpecViolated:
            continue
        raise AssertionError(f"{len(wrong) - size} bytes were read as {array.nbytes}")


@cache
def linear() -> Decoding:
    models = Path(tempfile.mkdtemp(prefix="rlway-oip-"))
    linear_policy(models)
    return Decoding(models)


@given(row=st.lists(FINITE, min_size=4, max_size=4), binary=st.booleans(), request_id=st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_the_plain_way_reads_the_same_numbers(row: list[float], binary: bool, request_id: str) -> None:
    """Any finite row and any id, as Triton's client sends them; octets with an id go the general way."""
    array = np.array([row], np.float32)
    sent = triton.InferInput("observation", [1, 4], "FP32").set_data_from_numpy(array, binary_data=binary)
    body, size = triton.InferenceServerClient.generate_request_body([sent], request_id=request_id)
    header = None if size is None else str(size).encode()
    read = linear().read("linear", body, header)
    np.testing.assert_array_equal(read.call.observations, array)
    plain = linear().take_plain("linear", body, header)
    assert (plain is None) == (binary and request_id != "")
    if plain is not None:
        found = np.frombuffer(plain.observations, "<f4") if binary else np.array(plain.observations, np.float32)
        np.testing.assert_array_equal(found, array[0])


@given(
    q_values=npst.arrays("<f4", st.tuples(st.integers(1, 5), st.just(2))),
    binary=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=100, deadline=None)
def test_answers_come_through_unchanged(q_values: AnyArray, binary: tuple[bool, bool]) -> None:
    """Triton's client reads each output as it was, as JSON or as octets."""
    manifest = linear().route("linear").policy.manifest
    results = {"q_values": q_values, "action": np.arange(len(q_values))}
    wanted = dict(zip(results, binary, strict=True))
    response = RestAnswers(manifest).write(results, [*results], lambda name: wanted[name], "id")
    size = dict(response.headers).get(JSON_LENGTH)
    found = triton.InferenceServerClient.parse_response_body(
        response.body, header_length=None if size is None else int(size)
    )
    for name, array in results.items():
        finite = np.isfinite(array) if not wanted[name] else np.ones(array.shape, bool)  # JSON has no other numbers
        np.testing.assert_array_equal(found.as_numpy(name)[finite], array[finite])
        assert found.as_numpy(name).dtype == array.dtype
