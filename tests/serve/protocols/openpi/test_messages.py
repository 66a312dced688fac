"""openpi's messages are read and written as its own client does; nothing else is read, and nothing large is built."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rlway_client.contract.errors import RequestMalformed
from rlway_serve.protocols.openpi.messages import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_KEY_CHARACTERS,
    MAX_LIST_BYTES,
    read_message,
    write_message,
)
from tests.serve.protocols.openpi.fuzzing import are_alike, fuzz
from tests.serve.protocols.openpi.packing import pack, unpack

KINDS = st.sampled_from(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
ORDERS = st.sampled_from("<>")
DTYPES = st.builds(lambda order, kind: np.dtype(order + kind), ORDERS, KINDS)
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4)))
SCALARS = ARRAYS.filter(lambda array: array.size == 1).map(lambda array: array.ravel()[0])
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.booleans() | st.none() | st.text(max_size=20)
LEAVES = ARRAYS | SCALARS | NUMBERS | st.lists(NUMBERS, max_size=5)
VALUES = st.recursive(LEAVES, lambda parts: st.dictionaries(st.text(max_size=9), parts, max_size=4), max_leaves=8)
ROW = np.arange(4, dtype=np.float32)


def refusal(message: bytes) -> str:
    with pytest.raises(RequestMalformed) as refused:
        read_message(message)
    sentence = str(refused.value)
    assert len(sentence) < 300
    return sentence


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_what_the_client_packs_is_read_as_it_was(value: dict[str, Any]) -> None:
    """Arrays of every dtype and byte order, numpy scalars, numbers, texts, lists and nested maps."""
    read = read_message(pack(value))
    assert are_alike(unpack(pack(value)), read)
    for part in read.values():
        assert not isinstance(part, np.ndarray) or part.dtype.byteorder != ">"


@given(st.dictionaries(st.text(max_size=9), ARRAYS.filter(lambda array: array.dtype.byteorder != ">") | NUMBERS))
def test_what_the_server_writes_is_what_the_client_would_write(value: dict[str, Any]) -> None:
    """To the byte, so that the client's `msgpack_numpy` finds its binary keys."""
    assert write_message(value) == pack(value)


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3).T, np.arange(8)[::2], np.float64(2.5), np.bool_(True)])
def test_arrays_that_are_no_block_of_memory_are_read(array: Any) -> None:
    assert np.array_equal(read_message(pack({"x": array}))["x"], array)


def test_the_keys_of_an_array_may_be_text() -> None:
    """As other MessagePack libraries write them."""
    fields = {"__ndarray__": True, "data": ROW.tobytes(), "dtype": b"<f4", "shape": [4]}
    assert np.array_equal(read_message(pack({"x": fields}))["x"], ROW)


def array(**fields: Any) -> bytes:
    """A message of one array with some of its fields replaced."""
    usual = {"__ndarray__": True, "data": ROW.tobytes(), "dtype": "<f4", "shape": [4]}
    return pack({"x": {name.encode(): value for name, value in (usual | fields).items()}})


REFUSED = [
    (array(dtype="|O"), "dtype"),
    (array(dtype="|V16"), "dtype"),
    (array(dtype="<c16"), "dtype"),
    (array(dtype="<U4"), "dtype"),
    (array(dtype="<M8[s]"), "dtype"),
    (array(dtype="f4,f4"), "dtype"),
    (array(dtype="<f4" * 1000), "dtype"),
    (array(dtype=[["x", "<f4"]]), "dtype"),
    (array(shape=[5]), "expected 20 bytes"),
    (array(shape=[2**62, 4]), "bytes"),
    (array(shape=[2**63, 2**63]), "bytes"),
    (array(shape=[2**32, 2**32, 2**32]), "bytes"),
    (array(shape=[4, 0]), "from 1 on"),
    (array(shape=[-4]), "from 1 on"),
    (array(shape=[1] * 33), "32 dimensions"),
    (array(shape=[1] * 100_000), "32 dimensions"),
    (array(shape="4"), "Expected `array`"),
    (array(shape=[4.0]), "Expected `int`"),
    (array(data="text"), "Expected `bytes`"),
    (array(data=ROW.tobytes()[:-1]), "got 15"),
    (array(more=1), "something else"),
    (pack({"x": {b"__ndarray__": True}}), "something else"),
    (array(__ndarray__=False), "something else"),
    (array(__ndarray__=b""), "something else"),
    (pack({"x": {b"__npgeneric__": True, b"data": 256, b"dtype": "|u1"}}), "|u1 holds"),
    (pack({"x": {b"__npgeneric__": True, b"data": 0.5, b"dtype": "<i4"}}), "another type"),
    (pack({"x": {b"__npgeneric__": True, b"data": b"12345678", b"dtype": "<f8"}}), "another type"),
    (pack({"x": {b"other": 1}}), "binary"),
    (pack({"x": b"bytes"}), "bare bytes"),
    (pack({b"x": 1}), "binary"),
    (pack(ROW), "without a name"),
    (b"\x81\x01\x01", "Expected `str`"),
    (b"\x82\xa1x\x01\xa1x\x02", "twice"),
    (b"\x81\xa1x\xd4\x01\x00", "ext type"),
    (b"\x81\xa1x\xc7\x04\x01abcd", "ext type"),
    (b"\x81\xa1x\xd6\xff\x00\x00\x00\x00", "ext type"),
    (b"\x81\xa1x\x91\xd6\xff\x00\x00\x00\x00", "ext type"),
    (b"\x81\xa1x\x91\xd4\x01\x00", "ext type"),
    (b"\x81\xa1x\xc1", "cannot be read"),
    (b"\x81\xa1x\xa1\xff", "UTF-8"),
    (b"\x81\xa1\xff\x01", "UTF-8"),
    (b"\x80\x80", "trailing"),
    (b"", "got nothing"),
    (b"\x93\x01\x02\x03", "0x93"),
    (b"hello", "0x68"),
]


@pytest.mark.parametrize(("message", "words"), REFUSED, ids=[f"{i} {words}" for i, (_, words) in enumerate(REFUSED)])
def test_what_is_no_such_message_is_refused_in_a_sentence(message: bytes, words: str) -> None:
    """Pickles, ext types, texts as dtypes, lying sizes, products that overflow, and other keys."""
    assert words in refusal(message)


def test_a_message_that_is_cut_off_is_refused() -> None:
    """Wherever."""
    message = pack({"observation": ROW, "more": {"x": [1, 2.5], "y": "text"}, "z": np.int64(3)})
    for size in range(len(message)):
        refusal(message[:size])


BOMBS = [
    b"\xdf\xff\xff\xff\xff",
    b"\x81\xa1x\xdd\xff\xff\xff\xff",
    b"\x81\xa1x\xdd\x00\x40\x00\x00" + b"\xc0" * 2**22,
    b"\x81\xa1x\xdd\x00\x40\x00\x00" + b"\x90" * 2**22,
    b"\x81\xa1x\xdf\x00\x40\x00\x00" + b"\x80" * 2**22,
    b"\x81\xa1x" + b"\xdd\x00\x10\x00\x00" * 2**19,
    b"\x81\xa1x" + b"\xdc\xff\xff" * 2**19,
    b"\x81\xa1x" * 2**19,
    b"\x81\xa1x" + b"\x91" * 2**20 + b"\x01",
    b"\x81\xa1x\xc6\xff\xff\xff\xff" + b"\x00" * 1000,
    b"\x81\xa1x\xdb\x00\x40\x00\x00" + b"a" * 2**22,
    b"\x81" + b"\xdd\x00\x10\x00\x00" + b"\x90" * 2**20 + b"\x01",
    array(shape=[2**60] * 30),
    pack({"x": {b"__ndarray__": True, b"data": [0] * 2**20, b"dtype": "<f4", b"shape": [1]}}),
    pack({f"{i}": {f"{j}": i for j in range(100)} for i in range(100)}),
    pack({"x" * 2**20: {f"{i}": i for i in range(4000)}}),  # its paths would have 4 GB
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_refused_before_it_is_built(bomb: bytes) -> None:
    """Neither what a header promises nor what small elements add up to takes more than a message's own size twice."""
    tracemalloc.start()
    try:
        refusal(bomb)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * len(bomb) + 4_000_000


def test_limits_are_what_they_say() -> None:
    """Depth, keys and their lengths, and the bytes of lists."""
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = {"x": deep}
    assert read_message(pack(deep)) == deep
    refusal(pack({"x": deep}))
    assert len(read_message(pack({str(i): i for i in range(MAX_ENTRIES)}))) == MAX_ENTRIES
    refusal(pack({str(i): i for i in range(MAX_ENTRIES + 1)}))
    assert read_message(pack({"é" * MAX_KEY_CHARACTERS: 1})) == {"é" * MAX_KEY_CHARACTERS: 1}
    assert f"at most {MAX_KEY_CHARACTERS} characters" in refusal(pack({"x": {"é" * (MAX_KEY_CHARACTERS + 1): 1}}))
    assert len(read_message(pack({"x": [0] * (MAX_LIST_BYTES - 3)}))["x"]) == MAX_LIST_BYTES - 3
    refusal(pack({"x": [0] * (MAX_LIST_BYTES - 3), "y": [0]}))


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_messages_are_refused_and_nothing_else(seed: int) -> None:
    """A few seconds of what `python -m tests.serve.protocols.openpi.fuzzing` does for hours."""
    findings = fuzz(4000, seed)
    assert findings.failures == []
    assert findings.outcomes["taken"] > 100
    assert findings.outcomes["refused: RequestMalformed"] > 1000
