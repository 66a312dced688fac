"""Holds SIGINT and SIGTERM back while a block of code runs.

In:      a block that must run to its end.
Out:     the signal, once the block has ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held() -> Iterator[None]:
    """Holds both signals back until the block ends. A second signal is delivered at once."""
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers only there
        yield
        return
    received: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if received:
            _deliver(earlier[signal.Signals(number)], number, frame)
        received.append((number, frame))

    earlier = {number: signal.signal(number, hold) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    if received:
        _deliver(earlier[signal.Signals(received[0][0])], *received[0])


def _deliver(handler: Any, number: int, frame: FrameType | None) -> None:
    if callable(handler):
        handler(number, frame)
    elif handler == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
