"""Robots that send nearly the same again and again, and then something else, while others do likewise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.in_process import HANDSHAKE, TURNS, InProcessServer, masked_frame
from tests.serve.protocols.openpi.packing import pack

pytestmark = pytest.mark.slow

ROW = np.array([0.5, 0, 0, 0], np.float32)
OPENPI, STREAM = HANDSHAKE.replace(b"/stream", b"/openpi") % b"linear", HANDSHAKE % b"linear"
PARTS: list[Any] = [
    {"observation": ROW},
    {"observation": -ROW},
    {"observation": ROW.astype(np.float64)},
    {"observation": ROW * np.float32(np.nan)},
    {"observation": ROW, "prompt": "go"},
    {"observation": ROW, "prompt": "g" * 100},  # a longer frame
    {"observation": ROW, "outputs": ["q_values"]},
    {"observation": ROW, "deadline_ms": 1e-9},
    {"observation": ROW, "version": 7},
    {"observation": ROW[:3]},
    {"observation": ROW.tolist()},
]
FRAMES = [masked_frame(0x82, pack(parts)) for parts in PARTS]
FRAMES += [FRAMES[0] * 2, masked_frame(0x81, b"text"), masked_frame(0x82, b"\xc1")]
FRAMES += [masked_frame(0x02, pack(PARTS[0])[:30]) + masked_frame(0x80, pack(PARTS[0])[30:])]
NATIVE = [masked_frame(0x82, ROW.tobytes()), masked_frame(0x81, b'{"observation": [0.5, 0, 0, 0]}')]
END = (masked_frame(0x8A, b"still here"), TURNS)

robots = st.tuples(st.just(OPENPI), st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 4)), max_size=6))
others = st.tuples(st.just(STREAM), st.lists(st.tuples(st.sampled_from(NATIVE), st.integers(0, 4)), max_size=6))


@pytest.fixture(scope="module", params=[True, False], ids=["express", "ordinary"])
def lanes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> InProcessServer:
    return InProcessServer(tmp_path_factory.mktemp("lanes"), express=request.param)


@given(st.lists(robots | robots | others, min_size=1, max_size=4))
@example([(OPENPI, [(FRAMES[0], 1), (FRAMES[1], 0)]), (STREAM, [(NATIVE[0], 1)])])
@example([(OPENPI, [(FRAMES[3], 0)]), (OPENPI, [(FRAMES[0], 0)]), (OPENPI, [(FRAMES[2], 0)])])
@settings(max_examples=100, deadline=None)
def test_each_robot_is_answered_as_if_it_were_alone(
    lanes: InProcessServer, drawn: list[tuple[bytes, list[tuple[bytes, int]]]]
) -> None:
    """In order, with the same bytes, whatever others ask by this protocol or the native one, and whenever."""
    alone = [lanes.exchange([packet for packet, _ in [(hand, 0), *packets, END]]) for hand, packets in drawn]
    assert lanes.exchange_all([[(hand, TURNS), *packets, END] for hand, packets in drawn]) == alone


@pytest.mark.parametrize("turns", range(5))
def test_messages_of_a_robot_take_effect_in_order(lanes: InProcessServer, turns: int) -> None:
    """The second goes on with the episode that the first begins, however soon it comes and whoever asks meanwhile."""
    steps = [{"observation": ROW, "episode": "e", "first": True}, {"observation": ROW, "episode": "e"}]
    asked = [masked_frame(0x82, pack(step)) for step in steps]
    before = [(OPENPI, TURNS), (FRAMES[0], TURNS)]
    company = [*before, (FRAMES[0], TURNS)]
    answers = lanes.exchange_all([company, company, [*before, (asked[0], turns), (asked[1], TURNS)], company])
    assert answers[2].count(b"\xa7actions\x84") == 3


@pytest.mark.parametrize("turns", [0, 1, TURNS])
@pytest.mark.parametrize("last", [*FRAMES, None])
def test_nothing_keeps_a_robot_that_has_gone(lanes: InProcessServer, last: bytes | None, turns: int) -> None:
    """Neither what it asked, nor the route that it took."""
    lanes.exchange_all([[(OPENPI, TURNS), (FRAMES[0], turns), (last, turns), (FRAMES[1], turns)]] * 4)
    assert lanes.count_living() == 0
