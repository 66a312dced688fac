"""Connections that say nearly the same again and again, and then something else, while others do likewise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.in_process import HANDSHAKE, TURNS, InProcessServer, masked_frame
from tests.servers import act_request, get_request

pytestmark = pytest.mark.slow

SOUND = b'{"observation": [0.5, 0, 0, 0]}'
OTHER = b'{"observation": [0, 0.5, 0, 0]}'
BODIES = [
    SOUND,
    OTHER,
    b'{"observation": [0, 0, 1, 2], "deadline_ms": 60000}',
    b'{"observation": [0, 0, 1, 2], "deadline_ms": 1e-9}',  # nobody can meet that
    b'{"observation": [0, 0, 1, 2], "deadline_ms": -1}',
    b'{"observation": [0, 0, 1, 1e39]}',
    b'{"observation": [0, 0, 1]}',
    b'{"observation": [0, 0, 1, "x"]}',
    b'{"observation": [0, 0, 1, 2], "outputs": ["q_values"]}',
    b'{"observation": [0, 0, 1, 2], "version": 7}',
    b'{"observations": [[0, 0, 1, 2], [0.5, 0, 0, 0]]}',
    b"not JSON",
    b"",
]
ALIKE = [act_request(body.ljust(80)) for body in BODIES]  # all with the same headers
UNALIKE = [
    act_request(SOUND),
    act_request(OTHER, lane="query"),
    get_request("/healthz"),
    ALIKE[0][:-40],
    b"nonsense\r\n\r\n",
]
BEFORE = [(ALIKE[0], TURNS)] * 2  # as from then on the headers are known

NAN = np.array([0, np.nan, 0, 0], "<f4").tobytes()
ROW = np.array([0.5, 0, 0, 0], "<f4").tobytes()
FRAMES = [masked_frame(0x82, octets) for octets in (ROW, ROW[::-1], NAN, ROW * 2, ROW[:7])]
FRAMES += [masked_frame(0x81, body) for body in BODIES if len(body) < 126]
FRAMES += [FRAMES[0] * 2, masked_frame(0x02, ROW[:8]) + masked_frame(0x80, ROW[8:])]

packets = st.sampled_from(ALIKE) | st.sampled_from(ALIKE[:2]) | st.sampled_from([None, *ALIKE[:2], *UNALIKE])
conversations = st.lists(st.tuples(packets, st.integers(0, 4)), max_size=6)


@pytest.fixture(scope="module", params=[True, False], ids=["express", "ordinary"])
def lanes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> InProcessServer:
    return InProcessServer(tmp_path_factory.mktemp("lanes"), express=request.param)


@given(st.lists(conversations, min_size=1, max_size=4))
@example([[(ALIKE[0], 1), (ALIKE[1], 0)], [(ALIKE[1], 1), (ALIKE[0], 0)]])  # the second while the first waits
@example([[(ALIKE[0], 0), (UNALIKE[2], 0)], [(ALIKE[5], 0)], [(ALIKE[1], 0)]])
@settings(max_examples=300, deadline=None)
def test_every_connection_is_answered_as_if_it_were_alone(
    lanes: InProcessServer, drawn: list[list[tuple[bytes | None, int]]]
) -> None:
    """In order, with the same bytes, whatever the others ask and whenever the next packet comes."""
    alone = [lanes.exchange_all([[*BEFORE, *((packet, TURNS) for packet, _ in packets)]])[0] for packets in drawn]
    assert lanes.exchange_all([[*BEFORE, *packets] for packets in drawn]) == alone


@given(st.lists(st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 4)), max_size=6), min_size=1, max_size=4))
@example([[(FRAMES[0], 1), (FRAMES[1], 0)], [(FRAMES[2], 1), (FRAMES[5], 0)]])
@settings(max_examples=300, deadline=None)
def test_each_stream_is_answered_as_if_it_were_alone(
    lanes: InProcessServer, drawn: list[list[tuple[bytes, int]]]
) -> None:
    """Likewise, in binary frames and in text."""
    handshake, end = (HANDSHAKE % b"linear", TURNS), (masked_frame(0x8A, b"still here"), TURNS)
    alone = [lanes.exchange([packet for packet, _ in [handshake, *packets, end]]) for packets in drawn]
    assert lanes.exchange_all([[handshake, *packets, end] for packets in drawn]) == alone


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("protocol", ["http", "stream"])
def test_requests_of_a_connection_take_effect_in_order(lanes: InProcessServer, protocol: str, turns: int) -> None:
    """The second goes on with the episode that the first begins, however soon it comes and whoever asks meanwhile."""
    steps = [
        b'{"observation": [0, 0, 1, 2], "episode": "e", "first": true}',
        b'{"observation": [0, 0, 1, 2], "episode": "e"}',
    ]
    if protocol == "http":
        before, sound, asked = BEFORE, ALIKE[0], [act_request(step.ljust(80)) for step in steps]
    else:
        before, sound = [(HANDSHAKE % b"linear", TURNS), (FRAMES[0], TURNS)], FRAMES[5]
        asked = [masked_frame(0x81, step) for step in steps]
    company = [*before, (sound, TURNS)]
    answers = lanes.exchange_all([company, company, [*before, (asked[0], turns), (asked[1], TURNS)], company])
    assert answers[2].count(b'{"action":') == (4 if protocol == "http" else 2)
    assert b'"status":' not in answers[2]


@pytest.mark.parametrize("last", [*ALIKE, None])
@pytest.mark.parametrize("turns", [0, 1, TURNS])
def test_nothing_keeps_a_connection_that_has_ended(lanes: InProcessServer, last: bytes | None, turns: int) -> None:
    """Neither what it asked, nor the slot that this took."""
    lanes.exchange_all([[*BEFORE, (ALIKE[0], turns), (last, turns), (ALIKE[1], turns)]] * 4)
    assert lanes.count_living() == 0
