"""When a file was written.

In:      a path.
Out:     UTC, ISO 8601.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path


def file_time(path: Path) -> str:
    """The time of the file's last change, which some copies keep and some do not."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
