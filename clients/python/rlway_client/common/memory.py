"""How much memory this process has taken at most.

In:      nothing.
Out:     megabytes of resident memory.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_memory_mb() -> float:
    """The peak since the program began. `getrusage` would count what its parent had as well, where that started it."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:  # not on Linux
        found = None
    kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024
