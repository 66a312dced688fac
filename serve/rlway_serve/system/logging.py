"""Logging to stderr: the server's own lines from INFO on, other libraries' from WARNING on."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Configures this process; call it once."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("rlway_serve").setLevel(logging.INFO)
