"""A policy whose run takes a given time whatever its batch, as a large policy's does on a GPU.

In:      milliseconds per run.
Out:     a bundle; its model repeats a small product as often as it takes on this machine.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import WEIGHTS, write_bundle
from tests.onnx_models import make_model

TRIED_STEPS = 2000
WIDTH = 16


def slow_policy(models: Path, run_ms: float, name: str = "slow") -> Bundle:
    """A continuous policy over float32[4], float32[2]."""
    steps = round(TRIED_STEPS * run_ms / _measure_ms(_model(TRIED_STEPS)))
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (4,), "float32")],
        action=TensorSpec("action", (2,), "float32", -100.0, 100.0),
        noise=None,
        outputs=[],
    )
    return write_bundle(models, manifest, _model(steps))


def _model(steps: int) -> bytes:
    number = TensorProto.FLOAT, [WIDTH, WIDTH]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "turn"], ["after"]),
            helper.make_node("Identity", ["going"], ["goes_on"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", *number),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", *number),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["steps", "true", "start"], ["end"], body=body),
        helper.make_node("ReduceSum", ["end"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("MatMul", ["observation", "weights"], ["moved"]),
        helper.make_node("Add", ["moved", "zero"], ["action"]),
    ]
    constants = {
        "steps": np.array(steps, np.int64),
        "true": np.array(True),
        "start": np.eye(WIDTH, dtype=np.float32),
        "turn": np.eye(WIDTH, dtype=np.float32)[::-1].copy(),  # two turns give the start again
        "nothing": np.array(0, np.float32),
        "weights": WEIGHTS,
    }
    inputs = [("observation", TensorProto.FLOAT, ["B", 4])]
    return make_model(nodes, inputs, [("action", TensorProto.FLOAT, ["B", 2])], constants)


def _measure_ms(model: bytes) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    times_s = []
    for _ in range(9):
        start_s = time.perf_counter()
        session.run(None, {"observation": np.zeros((1, 4), np.float32)})
        times_s.append(time.perf_counter() - start_s)
    return sorted(times_s)[len(times_s) // 2] * 1e3
