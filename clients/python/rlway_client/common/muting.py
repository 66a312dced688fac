"""Libraries that print, without what they print: a command's stdout is for its result.

In:      a block that calls them.
Out:     nothing on stdout or stderr from within the block, be it Python's print() or C's printf(); exceptions pass.
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

# Two threads that redirect the same descriptors could each restore the other's nowhere.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def muted() -> Iterator[None]:
    """Sends what the block writes, warnings included, to nowhere."""
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
    """Before code of somebody's own is imported, which may import TensorFlow: errors only, and no advice on gym."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", ".*with a literal", SyntaxWarning)  # of TF-Agents' own files
    with suppress(ImportError):  # TF-Agents imports the old gym, which prints these when it is imported
        import_module("gym_notices.notices").notices.clear()


def _flush() -> None:
    """Into a pipe, C writes when its buffer is full or the program ends: after the descriptors are back."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
