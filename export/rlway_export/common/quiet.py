"""TensorFlow, its converters and absl report on themselves at length; none of it is for the user of a command."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Must be entered before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime would report home, and reads this on import
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a conversion needs no GPU
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs the traceback of what it then converts in another way; what it cannot convert is raised.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with suppress(ModuleNotFoundError):
        import_module("gym_notices.notices").notices.clear()  # old gym, which TF-Agents imports, prints to stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
