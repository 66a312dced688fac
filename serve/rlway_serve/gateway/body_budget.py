"""Limits the bytes of large request bodies that the server holds at once.

In:      the size of a body before it is read; its release once it is answered.
Out:     nothing if the body may be read.
Refuses: QueueFull if the bodies of all connections together would exceed the limit.
"""

from __future__ import annotations

from rlway_client.contract.errors import QueueFull

SMALL_BYTES = 64 * 1024  # smaller bodies are not counted: the number of connections limits them


class BodyBudget:
    """The budget of one process."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    def hold(self) -> BodyReservation:
        """A reservation for a body whose size shows while it is read."""
        return BodyReservation(self)

    def reserve(self, size: int) -> int:
        """Reserves a body's bytes. Returns how many to release later: `size`, or 0 for a small body.

        While no other large body is held, a body may have any size. Otherwise raises QueueFull beyond the limit.
        """
        if size <= SMALL_BYTES:
            return 0
        if self._held_bytes and self._held_bytes + size > self._max_bytes:
            raise QueueFull(f"body: {self._held_bytes} bytes of others are being read already; try again in a second.")
        self._held_bytes += size
        return size

    def release(self, size: int) -> None:
        """Gives back the bytes that `reserve` returned."""
        self._held_bytes -= size


class BodyReservation:
    """The bytes that one body has reserved."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._bytes = 0

    def grow_to(self, size: int) -> None:
        """Enlarges the reservation; raises QueueFull if all bodies together would exceed the limit."""
        if size > self._bytes:
            self._budget.release(self._bytes)
            self._bytes = 0
            self._bytes = self._budget.reserve(size)

    def release(self) -> None:
        self._budget.release(self._bytes)
        self._bytes = 0
