"""Keeps TensorFlow, its converters and absl quiet: what they report is not for the user of a command.

In:      a block that imports and calls them.
Out:     nothing of theirs on stderr, except errors.
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rlway_client.common.muting import quiet_tensorflow

PATIENT = (200_000, 50, 1000)  # new objects, and collections of the younger generations, before Python collects


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """To be entered before TensorFlow is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads this on import, and sends nothing then
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a conversion needs no GPU
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs tracebacks before it tries another way. What it cannot convert at all it raises.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        quiet_tensorflow()
        warnings.simplefilter("ignore")
        yield


@contextmanager
def patient_collector() -> Iterator[None]:
    """For a process that ends with its export: a fifth of TensorFlow's import, and the end, take no time.

    The import makes a million objects that stay. Python's garbage collector would look at all of them several times
    meanwhile, and once more when the process ends.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*PATIENT)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*usual)
