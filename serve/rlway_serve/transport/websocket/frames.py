"""Reads and writes the frames of RFC 6455; fast for the usual ones, which are one whole masked message each.

In:      bytes of a WebSocket, as they arrive.
Out:     messages; the bytes of every other frame, for the protocol of `websockets`; answers as frames.
Refuses: nothing. Frames without a mask or with too many bytes go to that protocol as well, which refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # there, the one written in C

LONGEST_SHORT = 125  # the second byte holds a length up to this; 126 and 127 say that the length follows
LONG, LONGER = LONGEST_SHORT + 1, LONGEST_SHORT + 2  # in two bytes, and in eight
LONGEST_LONG = 0xFFFF
MASKED, FINAL = 0x80, 0x80
MASK_BYTES = 4
SHORT_HEAD_BYTES = 2 + MASK_BYTES
LONG_HEAD_BYTES = 4 + MASK_BYTES
PARTS = {first | opcode for first in (0, FINAL) for opcode in (Opcode.CONT, Opcode.TEXT, Opcode.BINARY)}
KNOWN = PARTS | {FINAL | opcode for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG)}  # these are always short
MESSAGES = {FINAL | opcode: opcode for opcode in (Opcode.TEXT, Opcode.BINARY)}


class FrameReader:
    """Cuts what a client sends into frames."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._longest_short = min(LONGEST_SHORT, max_bytes)
        self._longest_long = min(LONGEST_LONG, max_bytes)
        self._rest = bytearray()  # the bytes of an unfinished frame
        self._whole_bytes = 0  # how many bytes it needs before it is read again
        self._lost = False  # after an invalid frame: where the next one begins is unknown
        self.within_message = False  # inside a fragmented message: every frame is passed on as its bytes

    def clear(self) -> None:
        """Forgets what has come of a frame."""
        self._rest.clear()

    def read_whole(self, data: bytes) -> bytes | None:
        """The payload, if these bytes are exactly one message of at most `LONGEST_LONG` bytes, as most packets are."""
        size, start = len(data) - SHORT_HEAD_BYTES, SHORT_HEAD_BYTES
        if size > LONGEST_SHORT:
            size, start = size - 2, LONG_HEAD_BYTES
            if not size <= self._longest_long or data[1] != MASKED | LONG or int.from_bytes(data[2:4], "big") != size:
                return None
        elif not 0 <= size <= self._longest_short or data[1] != MASKED + size:
            return None
        if data[0] not in MESSAGES or self._rest or self._lost or self.within_message:
            return None
        return apply_mask(data[start:], data[start - MASK_BYTES : start])

    def read(self, data: bytes) -> Iterator[tuple[Opcode | None, bytes]]:
        """Kind and payload of each message; None and the bytes of every other frame."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._whole_bytes:
                return
            data = bytes(self._rest)
            self._rest.clear()
        begin, size = 0, len(data)
        while begin < size:
            start, end = self._measure(data, begin)
            if self._lost:
                yield None, data[begin:]
                return
            if end > size:
                self._rest += data[begin:]
                self._whole_bytes = end - begin
                return
            kind = MESSAGES.get(data[begin])
            if kind is None or self.within_message:
                yield None, data[begin:end]
            else:
                yield kind, apply_mask(data[start:end], data[start - MASK_BYTES : start])
            begin = end

    def _measure(self, data: bytes, begin: int) -> tuple[int, int]:
        """Where the payload of the frame at `begin` starts and ends; the end of its header while that is unfinished.

        An invalid frame sets `_lost`.
        """
        start, size = begin + SHORT_HEAD_BYTES, len(data)
        second = data[begin + 1] if size > begin + 1 else MASKED
        length = second & ~MASKED
        self._lost |= not second & MASKED or data[begin] not in (KNOWN if length <= LONGEST_SHORT else PARTS)
        if length > LONGEST_SHORT:
            start += 2 if length == LONG else 8
            length = int.from_bytes(data[begin + 2 : start - MASK_BYTES], "big") if start <= size else 0
        self._lost |= length > self._max_bytes
        return start, start + length


class Fragments:
    """Joins the frames of a message that comes in several."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._kind = Opcode.TEXT  # the kind of the message

    @property
    def unfinished(self) -> bool:
        """Whether more frames of a message have to come."""
        return bool(self._pieces)

    def add(self, frame: Frame) -> tuple[Opcode, bytes] | None:
        """Kind and payload of the message that this frame ends, if it ends one."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._kind = frame.opcode
        elif frame.opcode != Opcode.CONT:
            return None
        self._pieces.append(bytes(frame.data))
        if not frame.fin:
            return None
        message = b"".join(self._pieces)
        self._pieces.clear()
        return self._kind, message

    def clear(self) -> None:
        """Forgets what has come of a message."""
        self._pieces.clear()


def write_frame(kind: Opcode, payload: bytes) -> bytes:
    """A server's message as one frame, without a mask."""
    length = len(payload)
    if length <= LONGEST_SHORT:
        head = bytes((FINAL | kind, length))
    elif length <= LONGEST_LONG:
        head = bytes((FINAL | kind, LONG)) + length.to_bytes(2, "big")
    else:
        head = bytes((FINAL | kind, LONGER)) + length.to_bytes(8, "big")
    return head + payload
