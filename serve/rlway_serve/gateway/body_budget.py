"""How many bytes of large request bodies the server holds at once.

In:      the size of a body that is about to be read, its release once it is answered.
Out:     nothing: it may be read.
Refuses: QueueFull, when all connections together would hold more than the server may.
"""

from __future__ import annotations

from rlway_client.contract.errors import QueueFull

SMALL_BYTES = 64 * 1024  # bodies up to this count by the number of connections


class BodyBudget:
    """One per process."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    def hold(self) -> Hold:
        """For a body whose size shows while it is read."""
        return Hold(self)

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


class Hold:
    """What one body has reserved."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._bytes = 0

    def grow_to(self, size: int) -> None:
        """Raises QueueFull when this is too much for all together."""
        if size > self._bytes:
            self._budget.release(self._bytes)
            self._bytes = 0
            self._bytes = self._budget.reserve(size)

    def release(self) -> None:
        self._budget.release(self._bytes)
        self._bytes = 0
