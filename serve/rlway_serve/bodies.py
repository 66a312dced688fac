"""How many bytes of large request bodies the server holds at once.

In:      the size of a body that is about to be read, its release once it is answered.
Out:     nothing: it may be read.
Refuses: QueueFull, when all connections together would hold more than the server may.
"""

from __future__ import annotations

from rlway_client.errors import QueueFull

SMALL_BYTES = 64 * 1024  # bodies up to this count by the number of connections


class BodyBudget:
    """One per process."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    def reserve(self, size: int) -> int:
        """What to release when the body is done with: `size`, or 0 for a small one. A lone body may have any size."""
        if size <= SMALL_BYTES:
            return 0
        if self._held_bytes and self._held_bytes + size > self._max_bytes:
            raise QueueFull(f"body: {self._held_bytes} bytes of others are being read already; try again in a second.")
        self._held_bytes += size
        return size

    def release(self, size: int) -> None:
        self._held_bytes -= size
