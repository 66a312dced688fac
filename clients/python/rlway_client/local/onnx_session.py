"""onnxruntime's session of a file.

In:      the path of an ONNX file.
Out:     the session, on one thread of the CPU.
Refuses: a machine without onnxruntime (RuntimeMissing), a file that it cannot load (BundleInvalid).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rlway_client.common.packages import missing
from rlway_client.common.quote import reason
from rlway_client.contract.errors import BundleInvalid, RuntimeMissing


def open_session(path: Path) -> Any:
    """onnxruntime's session of a file, on one thread of the CPU."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads this on import; it would send telemetry
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise RuntimeMissing(missing("running ONNX files", "onnxruntime", "onnxruntime")) from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated kinds
        raise BundleInvalid(f"{path}: onnxruntime cannot load it: {reason(error, most=160)}.") from error
