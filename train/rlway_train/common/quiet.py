"""Keeps libraries quiet, so that a terminal shows only our own lines.

In:      nothing. Call `quiet_libraries` before the first import of TensorFlow, and `quiet_compiler` after it.
Out:     no notices of TensorFlow, TF-Agents, absl and gymnasium. Errors still show. Rendering is headless.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module


def quiet_libraries() -> None:
    """Turns off notices through environment variables, warnings and loggers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    warnings.filterwarnings("ignore")
    for name in ("tensorflow", "imageio_ffmpeg", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import absl.logging
    import gymnasium

    absl.logging.set_verbosity(absl.logging.ERROR)
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    with suppress(ImportError):  # TF-Agents imports the old gym, which prints these notices
        import_module("gym_notices.notices").notices.clear()


def quiet_compiler() -> None:
    """Makes XLA write its notice while stderr is muted. It writes one per process, and no setting prevents it."""
    import tensorflow as tf

    # In a notebook, TensorFlow sets this to INFO at import.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with native_stderr_muted():
        tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(0.0))


def mute_native_stderr() -> None:
    """Discards what C++ writes to stderr from now on: Reverb logs every hundred rows that it restores."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


@contextmanager
def native_stderr_muted() -> Iterator[None]:
    """Discards what C++ writes to file descriptor 2. It does not write through `sys.stderr`."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
