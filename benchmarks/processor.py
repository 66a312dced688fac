"""The processor that a measurement was made on.

Out:     its name as Linux gives it, and the number of cores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")


def processor() -> dict[str, Any]:
    """For the record of a measurement."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"processor": names[0] if names else "unknown processor", "cpus": os.cpu_count()}
