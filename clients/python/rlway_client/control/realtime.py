"""What a control loop asks of the operating system: a core, a priority, memory that is never paged out.

In:      the habits that are wanted.
Out:     this process has them.
Refuses: what the operating system does not permit, or this machine does not have (UsageError, with what is needed).
"""

from __future__ import annotations

import ctypes
import os
import sys

from rlway_client.contract.errors import UsageError

MCL_CURRENT, MCL_FUTURE = 1, 2  # of mlockall(2), on Linux


def apply_habits(lock_memory: bool, fifo: int | None, cpu: int | None) -> None:
    """Pins this process to a core, gives it a real-time priority, and locks its memory. Raises UsageError."""
    if (lock_memory or fifo is not None or cpu is not None) and not sys.platform.startswith("linux"):
        raise UsageError(f"--lock-memory, --fifo and --cpu: expected Linux, got {sys.platform}; leave them out.")
    if cpu is not None:
        pin(cpu)
    if fifo is not None:
        schedule_fifo(fifo)
    if lock_memory:
        lock()


def pin(cpu: int) -> None:
    """Keeps this process on one core. Raises UsageError for one that it may not use."""
    allowed = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        cores = ", ".join(map(str, allowed[:16]))
        raise UsageError(f"--cpu: expected a core that this process may use ({cores}), got {cpu}.") from None


def schedule_fifo(priority: int) -> None:
    """Runs this process before every other one of a lower priority. Raises UsageError."""
    low, high = os.sched_get_priority_min(os.SCHED_FIFO), os.sched_get_priority_max(os.SCHED_FIFO)
    if not low <= priority <= high:
        raise UsageError(f"--fifo: expected a priority from {low} to {high}, got {priority}.")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        raise UsageError(
            f"--fifo {priority}: not permitted: expected CAP_SYS_NICE or an rtprio limit of at least {priority} "
            f"(ulimit -r); allow it in /etc/security/limits.conf, or leave --fifo out."
        ) from None


def lock() -> None:
    """Keeps all memory of this process, now and later, from being paged out. Raises UsageError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(MCL_CURRENT | MCL_FUTURE):
        why = os.strerror(ctypes.get_errno())
        raise UsageError(
            f"--lock-memory: not permitted ({why}): expected CAP_IPC_LOCK, or a memlock limit (ulimit -l) above what "
            f"this process takes; allow it in /etc/security/limits.conf, or leave --lock-memory out."
        )
