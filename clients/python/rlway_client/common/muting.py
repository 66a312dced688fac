"""Keeps libraries from printing: a command's stdout is for its result.

In:      a block that calls them.
Out:     nothing on stdout or stderr, neither from Python's print() nor from C's printf(); exceptions pass.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path

# Two threads that redirect the same descriptors could each restore the other's /dev/null.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def muted() -> Iterator[None]:
    """Discards what the block writes, warnings included."""
    with _ONE_AT_A_TIME, Path(os.devnull).open("w") as nowhere:
        _flush()
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            _flush()
            for descriptor, original in enumerate(kept, start=1):
                os.dup2(original, descriptor)
                os.close(original)


def quiet_tensorflow() -> None:
    """Limits TensorFlow to errors and removes gym's advice: to be called before importing a user's code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", ".*with a literal", SyntaxWarning)  # of TF-Agents' own files
    with suppress(ImportError):  # TF-Agents imports the old gym, which prints these when it is imported
        import_module("gym_notices.notices").notices.clear()


def _flush() -> None:
    """Empties all buffers now: C would write its own to a pipe later, after the descriptors have been restored."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
