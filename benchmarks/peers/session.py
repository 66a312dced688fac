"""The same session for every peer, over the ONNX file that RLWAY_ONNX names; and the settings of their batches."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime as ort

ROWS, WAIT_S = int(os.environ["RLWAY_ROWS"]), float(os.environ["RLWAY_WAIT_S"])


class Session:
    """observations [B, 4] -> actions [B], greedy, on one thread."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["RLWAY_ONNX"], options, providers=["CPUExecutionProvider"])
        self._noise_size = self._session.get_inputs()[1].shape[1]

    def act(self, observations: Any) -> Any:
        rows = np.asarray(observations, np.float32)
        noise = np.zeros((len(rows), self._noise_size), np.float32)
        return self._session.run(["action"], {"observation": rows, "noise": noise})[0]
