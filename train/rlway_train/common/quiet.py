"""Keeps libraries quiet, so that what a terminal shows is only ours.

In:      nothing; call `silence` before the first import of TensorFlow, and `silence_compiler` after it.
Out:     TensorFlow's, TF-Agents', absl's and gymnasium's notices are off; errors still show. Rendering is headless.
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
    """Quiets what speaks through environment variables, warnings and loggers."""
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
    with suppress(ImportError):  # TF-Agents imports the old gym, which prints these when it is imported
        import_module("gym_notices.notices").notices.clear()


def quiet_compiler() -> None:
    """Has XLA write its notice, which it does once a process and past every setting, where nobody sees it."""
    import tensorflow as tf

    # In a notebook, TensorFlow has set this to INFO while it was imported.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with native_stderr_muted():
        tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(0.0))


def mute_native_stderr() -> None:
    """Sends what C++ writes to stderr nowhere, for good: Reverb tells of every hundred rows that it restores."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


@contextmanager
def native_stderr_muted() -> Iterator[None]:
    """Sends file descriptor 2 nowhere: C++ does not write through `sys.stderr`."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
