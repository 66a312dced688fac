"""The simplest peer: one ONNX session behind one FastAPI route, with pydantic and without batching.

RLWAY_ONNX=model.onnx uvicorn plain_fastapi:app
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["RLWAY_ONNX"], options, providers=["CPUExecutionProvider"])
NO_NOISE = np.zeros((1, session.get_inputs()[1].shape[1]), np.float32)
app = FastAPI()


class ActRequest(BaseModel):
    """One observation."""

    observation: list[float]


class ActReply(BaseModel):
    """One action."""

    action: int


@app.post("/act")
async def act(request: ActRequest) -> ActReply:
    """Runs the model for this request alone."""
    observation = np.asarray([request.observation], np.float32)
    action = session.run(["action"], {"observation": observation, "noise": NO_NOISE})[0]
    return ActReply(action=int(action[0]))
