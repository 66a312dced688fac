"""Keeps TensorFlow, its converters and absl quiet: what they report is not for the user of a command.

In:      a block that imports and calls them.
Out:     nothing of theirs on stderr, except errors.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rlway_client.common.muting import quiet_tensorflow


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
