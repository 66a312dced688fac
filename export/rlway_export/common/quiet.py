"""Keeps TensorFlow, its converters and absl quiet: what they report is not for the user of a command.

In:      a block that imports and calls them.
Out:     nothing of theirs on stderr, but errors.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """To be entered before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads this on import, and sends nothing then
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a conversion needs no GPU
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs tracebacks before it tries another way. What it cannot convert at all it raises.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with suppress(ModuleNotFoundError):
        import_module("gym_notices.notices").notices.clear()  # old gym, which TF-Agents imports, prints to stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
