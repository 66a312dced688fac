"""Ctrl-C and SIGTERM, kept from falling between two things that belong together.

In:      a block of code that must run whole.
Out:     the signal, once the block has ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds both signals back; a second one of the same kind is the same wish."""
    if threading.current_thread() is not threading.main_thread():  # where Python never runs handlers
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    earlier = {number: signal.signal(number, lambda *what: came.append(what)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    if came:
        handler = earlier[signal.Signals(came[0][0])]
        if callable(handler):
            handler(*came[0])
        elif handler == signal.SIG_DFL:
            signal.raise_signal(came[0][0])
