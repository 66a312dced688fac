"""Ports for servers that tests start, and waiting for what only asking reveals.

In:      nothing; a condition.
Out:     a port that nobody listens on; or the condition has come true.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
    """Asks again and again."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)  # a process that is waited for needs the core more
