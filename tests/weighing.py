"""A policy over any observation, in ONNX and TFLite, whose answers show which value has reached which input.

`weighing_policy`: sum = Σ weight · value, where value j of tensor i has the weight 1 + j + 10 · i;
                   q_values = [sum, 0], action = argmax(q_values), which is 0 unless the sum is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.bundles import write_bundle
from tests.lite_models import LiteModel
from tests.onnx_models import ACTION, Values, make_model

BLACKJACK = [TensorSpec(f"observation_{i}", (), "int64", 0, n - 1, (str(i),)) for i, n in enumerate((32, 11, 2))]
# {"pose": (float32[2], float32), "flags": (int64,), "camera": uint8[2, 2]}
ROBOT = [
    TensorSpec("camera", (2, 2), "uint8", 0, 255, ("camera",)),
    TensorSpec("flag", (), "int64", 0, 1, ("flags", "0")),
    TensorSpec("arm", (2,), "float32", None, None, ("pose", "0")),
    TensorSpec("speed", (), "float32", None, None, ("pose", "1")),
]
# (float32[2], {"hit": bool, "near": float32[1]})
PAIR = [
    TensorSpec("at", (2,), "float32", None, None, ("0",)),
    TensorSpec("hit", (), "bool", None, None, ("1", "hit")),
    TensorSpec("near", (1,), "float32", None, None, ("1", "near")),
]


def weights(specs: Sequence[TensorSpec]) -> AnyArray:  # -> [values, 2]
    parts = [1.0 + np.arange(max(1, spec.size)) + 10 * i for i, spec in enumerate(specs)]
    column = np.concatenate(parts).astype(np.float32)
    return np.stack([column, np.zeros_like(column)], axis=1)


def weigh(specs: Sequence[TensorSpec], *parts: Any) -> float:
    """The sum that the policy must compute from one observation's parts, in the order of the specs."""
    values = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])
    return float(values @ weights(specs)[:, 0])


def weighing_policy(
    models: Path, specs: Sequence[TensorSpec], name: str = "weighing", env: str | None = None, actions: int = 2
) -> Bundle:
    """The bundle. Of its `actions`, the policy takes only the first two."""
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="dqn",
        env=env,
        observation=list(specs),
        action=TensorSpec("action", (), "int64", 0, actions - 1),
        noise=None,
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )
    return write_bundle(models, manifest, _onnx(specs), {"model.tflite": _tflite(specs)})


def _onnx(specs: Sequence[TensorSpec]) -> bytes:
    nodes, columns = [], []
    for spec in specs:
        columns.append(f"{spec.name}.column")
        nodes.append(helper.make_node("Cast", [spec.name], [f"{spec.name}.float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{spec.name}.float", f"{spec.name}.shape"], columns[-1:]))
    nodes.append(helper.make_node("Concat", columns, ["values"], axis=1))
    nodes.append(helper.make_node("MatMul", ["values", "weights"], ["q_values"]))
    nodes.append(helper.make_node("ArgMax", ["q_values"], ["action"], axis=1, keepdims=0))
    constants = {f"{spec.name}.shape": np.array([-1, max(1, spec.size)], np.int64) for spec in specs}
    inputs: Values = [
        (spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), ["B", *spec.shape]) for spec in specs
    ]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2])]
    return make_model(nodes, inputs, outputs, constants | {"weights": weights(specs)})


def _tflite(specs: Sequence[TensorSpec]) -> bytes:
    model = LiteModel()
    inputs, columns = {}, []
    for spec in specs:
        size = max(1, spec.size)
        given = inputs[spec.name] = model.tensor(spec.name, (1, *spec.shape), spec.dtype)
        if spec.dtype != "float32":
            types = {"inDataType": model.type_of(spec.dtype), "outDataType": model.type_of("float32")}
            real = model.tensor(f"{spec.name}.float", (1, *spec.shape), "float32")
            given = model.operate("CAST", [given], real, **types)
        shape = model.constant(f"{spec.name}.shape", np.array([1, size], np.int32))
        column = model.tensor(f"{spec.name}.column", (1, size), "float32")
        columns.append(model.operate("RESHAPE", [given, shape], column, newShape=[1, size]))
    values = sum(max(1, spec.size) for spec in specs)
    joined = model.operate("CONCATENATION", columns, model.tensor("values", (1, values), "float32"), axis=1)
    weighed = model.constant("weights", weights(specs).T.copy())
    q_values = model.tensor("q_values", (1, 2), "float32")
    model.operate("FULLY_CONNECTED", [joined, weighed, -1], q_values)
    return model.finish(inputs, {"action": model.best_of(q_values), "q_values": q_values})
