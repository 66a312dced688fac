"""Frames are cut as the protocol library would cut them, wherever packets end."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from rlway_serve.transport.websocket.frames import FrameReader, write_frame

MAX_BYTES = 70_000
PAYLOADS = st.one_of(st.binary(max_size=130), st.sampled_from((125, 126, 127, 65_535, 65_536, MAX_BYTES)).map(bytes))
FRAMES = st.builds(
    Frame,
    st.sampled_from((Opcode.TEXT, Opcode.BINARY, Opcode.CONT)),
    PAYLOADS,
    st.booleans(),
) | st.builds(Frame, st.sampled_from((Opcode.PING, Opcode.PONG)), st.binary(max_size=125), st.just(True))


def by_library(data: bytes, max_bytes: int = MAX_BYTES) -> list[tuple[Opcode, bytes, bool]]:
    """The frames of a client that the protocol takes before it finds a mistake."""
    protocol = ServerProtocol(state=OPEN, max_size=max_bytes)
    protocol.receive_data(data)
    return [(f.opcode, bytes(f.data), f.fin) for f in protocol.events_received() if isinstance(f, Frame)]


def by_reader(data: bytes, cuts: list[int], max_bytes: int = MAX_BYTES) -> list[tuple[Opcode, bytes, bool]]:
    """The same by the reader, and by the library what the reader leaves to it."""
    protocol, reader = ServerProtocol(state=OPEN, max_size=max_bytes), FrameReader(max_bytes)
    found: list[tuple[Opcode, bytes, bool]] = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in pairwise(edges):
        packet = data[begin:end]
        whole = reader.read_whole(packet)
        if whole is not None:
            found.append((Opcode(packet[0] & 0x0F), whole, True))
            continue
        for kind, part in reader.read(packet):
            if kind is not None:
                if protocol.parser_exc is None:
                    found.append((kind, part, True))
                continue
            protocol.receive_data(part)
            frames = [frame for frame in protocol.events_received() if isinstance(frame, Frame)]
            found += [(frame.opcode, bytes(frame.data), frame.fin) for frame in frames]
            reader.within_message = protocol.current_size is not None
    return found


@given(
    frames=st.lists(FRAMES, max_size=5),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=6),
    max_bytes=st.sampled_from((5, 100, 125, MAX_BYTES)),
)
def test_frames_are_cut_as_by_the_library(frames: list[Frame], cuts: list[int], max_bytes: int) -> None:
    data = b"".join(frame.serialize(mask=True) for frame in frames)
    assert by_reader(data, cuts, max_bytes) == by_library(data, max_bytes)


@given(
    frames=st.lists(FRAMES, max_size=3),
    junk=st.binary(min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    max_bytes=st.sampled_from((0, 3, 100, MAX_BYTES)),
)
def test_mistakes_are_found_where_the_library_finds_them(
    frames: list[Frame], junk: bytes, cuts: list[int], max_bytes: int
) -> None:
    data = b"".join(frame.serialize(mask=True) for frame in frames) + junk
    assert by_reader(data, cuts, max_bytes) == by_library(data, max_bytes)


@given(data=st.binary(max_size=40))
def test_a_mistake_is_given_to_the_library_as_soon_as_it_shows(data: bytes) -> None:
    """Whatever makes the library give up, it gets to see, although the frame it is in never ends."""
    alone, behind, reader = ServerProtocol(state=OPEN), ServerProtocol(state=OPEN), FrameReader(1 << 20)
    alone.receive_data(data)
    for kind, part in reader.read(data):
        behind.receive_data(part if kind is None else write_masked(kind, part))
        reader.within_message = behind.current_size is not None
    given_up = isinstance(alone.parser_exc, ProtocolError) and alone.current_size is None
    assert not given_up or behind.parser_exc is not None


def write_masked(kind: Opcode, payload: bytes) -> bytes:
    return Frame(kind, payload).serialize(mask=True)


@given(kind=st.sampled_from((Opcode.TEXT, Opcode.BINARY)), payload=PAYLOADS)
def test_answers_are_written_as_by_the_library(kind: Opcode, payload: bytes) -> None:
    assert write_frame(kind, payload) == Frame(kind, payload).serialize(mask=False)
