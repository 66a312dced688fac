"""Frames with details hold what was written, and anything else is refused."""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.contract.detailed_frames import HEAD, read_frame, write_frame
from rlway_client.contract.errors import RlwayError

RULES = st.dictionaries(st.text(min_size=1), st.lists(st.sampled_from(["out_of_range", "too_fast"]), min_size=1))


@given(st.binary(), st.integers(0, 2**64 - 1), RULES)
def test_what_was_written_is_what_is_read(actions: bytes, version: int, rules: dict[str, list[str]]) -> None:
    """Whatever the bytes of the actions look like; they begin where numbers of 8 bytes may begin."""
    frame = write_frame(actions, version, json.dumps(rules).encode() if rules else b"")
    assert read_frame(frame) == (actions, version, rules)
    assert HEAD.size % 8 == 0
    assert frame[HEAD.size :].startswith(actions)


def test_a_frame_has_the_written_bytes() -> None:
    """For clients in other languages."""
    frame = bytes.fromhex("0300000000000000 1900000000000000 0000003f") + b'{"action": ["too_fast"]}\n'
    assert read_frame(frame) == (struct.pack("<f", 0.5), 3, {"action": ["too_fast"]})


@given(st.binary(max_size=64))
def test_any_other_bytes_are_read_or_refused(frame: bytes) -> None:
    """A frame without details is mostly too short, or says that it has more rules than bytes."""
    with suppress(RlwayError):
        assert len(read_frame(frame).actions) <= len(frame) - HEAD.size


@pytest.mark.parametrize(
    "frame", [b"", b"\1" + bytes(7), HEAD.pack(1, 1), HEAD.pack(1, 2**64 - 1) + b"1", HEAD.pack(1, 1) + b"\xff"]
)
def test_a_frame_of_another_form_is_refused(frame: bytes) -> None:
    """One without details, one that is cut off, and one whose rules are none."""
    with pytest.raises(RlwayError, match=r"opened with the subprotocol `rlway\.details`, got"):
        read_frame(frame)
