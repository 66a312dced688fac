"""Calls back at a time on the clock of `time.perf_counter`, to some tens of microseconds.

In:      a time in seconds.
Out:     a call on the event loop.

The timers of event loops have a resolution of a millisecond, in which a server answers a dozen requests. On Linux the
kernel's timerfd is more exact; elsewhere the loop's timer has to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

CLOCK_MONOTONIC, ABSOLUTE = 1, 1
NONBLOCK, CLOSE_ON_EXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)


class Alarm:
    """One alarm at a time; setting it again replaces it."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._file = -1
        if self._libc is not None and hasattr(self._libc, "timerfd_create"):
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCK | CLOSE_ON_EXEC)
        if self._file >= 0:
            self._loop.add_reader(self._file, self._ring)

    def set(self, due_s: float) -> None:
        """Calls back once `time.perf_counter()` has reached this."""
        if self._file >= 0 and self._libc is not None:
            whole_s = int(due_s)
            # itimerspec: the interval of a repeated alarm, which is none, then the time; zero would switch it off.
            when = (ctypes.c_long * 4)(0, 0, whole_s, max(1, int((due_s - whole_s) * 1e9)))
            self._libc.timerfd_settime(self._file, ABSOLUTE, when, None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, due_s - time.perf_counter()), self._callback)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _ring(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it has been set again since it rang
            return
        self._callback()
