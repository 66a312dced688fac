"""What the server's processes say: their own lines from INFO on, other libraries' warnings, on stderr."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """For this process, once."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("rlway_serve").setLevel(logging.INFO)
