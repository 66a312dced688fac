"""Free ports for the servers that tests start, and waiting for a condition.

In:      nothing; a condition.
Out:     a port that nobody listens on; or the condition has come true.
Refuses: to wait longer than `patience_s`, and says for what it waited.
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


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = 120.0) -> None:
    """Asks every 10 ms until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.01)  # leaves the core to the process that is waited for
