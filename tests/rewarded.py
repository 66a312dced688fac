"""A policy that reads its time step, in ONNX and TFLite.

`rewarded_policy`: action = [Σ observation + reward, discount, step type].

A `brittle` one (ONNX) looks the reward up, so that its model fails above 9, and gives an infinite action where the
discount is above 1e8. A `remembering` one (ONNX) adds up the rewards of its episode; that sum takes the reward's place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import write_bundle
from tests.lite_models import LiteModel
from tests.onnx_models import Values, make_model

PLACES = np.array([[1, 0, 0]] * 4, np.float32)  # [4, 3]: the sum of the observation is the action's first value


def rewarded_policy(
    models: Path,
    name: str = "rewarded",
    *,
    read: tuple[str, ...] = tuple(TIME_STEP),
    lite: bool = False,
    brittle: bool = False,
    remembering: bool = False,
) -> Bundle:
    """The bundle. What it does not `read` of the time step is 0 in the action."""
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (4,), "float32")],
        action=TensorSpec("action", (3,), "float32"),
        noise=None,
        time_step=[TensorSpec(part, (), TIME_STEP[part]) for part in read],
        state=[TensorSpec("rewards", (), "float32")] if remembering else [],
    )
    if lite:
        return write_bundle(models, manifest, None, {"model.tflite": _tflite(read)})
    return write_bundle(models, manifest, _onnx(read, brittle, remembering))


def _onnx(read: tuple[str, ...], brittle: bool, remembering: bool) -> bytes:
    nodes = [helper.make_node("MatMul", ["observation", "places"], ["observed"])]
    constants: dict[str, Any] = {"places": PLACES, "last": np.array([1], np.int64), "zero": np.zeros(1, np.float32)}
    columns = dict.fromkeys(TIME_STEP, "nothing")
    nodes += [
        helper.make_node("ReduceSum", ["observation", "last"], ["sum"], keepdims=0),
        helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
    ]
    for part in read:
        columns[part] = f"{part}.float"
        nodes.append(helper.make_node("Cast", [part], [columns[part]], to=TensorProto.FLOAT))
    if brittle:
        constants |= {"table": np.arange(10, dtype=np.float32), "large": np.array([1e30], np.float32)}
        nodes += [
            helper.make_node("Cast", ["reward"], ["reward.whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "reward.whole"], ["reward.found"]),
            helper.make_node("Mul", ["discount", "large"], ["discount.large"]),
            helper.make_node("Div", ["discount.large", "large"], ["discount.same"]),
        ]
        columns |= {"reward": "reward.found", "discount": "discount.same"}
    if remembering:
        nodes += [
            helper.make_node("Where", ["reset", "zero", "rewards"], ["rewards.before"]),
            helper.make_node("Add", ["rewards.before", columns["reward"]], ["next_rewards"]),
        ]
        columns["reward"] = "next_rewards"
    for part, column in columns.items():
        nodes.append(helper.make_node("Unsqueeze", [column, "last"], [f"{part}.column"]))
    nodes.append(helper.make_node("Concat", [f"{part}.column" for part in TIME_STEP], ["step"], axis=1))
    nodes.append(helper.make_node("Add", ["observed", "step"], ["action"]))
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 4])]
    inputs += [(part, helper.np_dtype_to_tensor_dtype(np.dtype(TIME_STEP[part])), ["B"]) for part in read]
    outputs: Values = [("action", TensorProto.FLOAT, ["B", 3])]
    if remembering:
        inputs += [("rewards", TensorProto.FLOAT, ["B"]), ("reset", TensorProto.BOOL, ["B"])]
        outputs.append(("next_rewards", TensorProto.FLOAT, ["B"]))
    return make_model(nodes, inputs, outputs, constants)


def _tflite(read: tuple[str, ...]) -> bytes:
    model = LiteModel()
    inputs = {"observation": model.tensor("observation", (1, 4), "float32")}
    shape = model.constant("shape", np.array([1, 1], np.int32))
    columns = []
    for part, dtype in TIME_STEP.items():
        if part not in read:
            columns.append(model.constant(f"{part}.column", np.zeros((1, 1), np.float32)))
            continue
        given = inputs[part] = model.tensor(part, (1,), dtype)
        if dtype != "float32":
            types = {"inDataType": model.type_of(dtype), "outDataType": model.type_of("float32")}
            given = model.operate("CAST", [given], model.tensor(f"{part}.float", (1,), "float32"), **types)
        column = model.tensor(f"{part}.column", (1, 1), "float32")
        columns.append(model.operate("RESHAPE", [given, shape], column, newShape=[1, 1]))
    step = model.operate("CONCATENATION", columns, model.tensor("step", (1, 3), "float32"), axis=1)
    weights = model.constant("places", PLACES.T.copy())
    observed = model.tensor("observed", (1, 3), "float32")
    model.operate("FULLY_CONNECTED", [inputs["observation"], weights, -1], observed)
    action = model.operate("ADD", [observed, step], model.tensor("action", (1, 3), "float32"))
    return model.finish(inputs, {"action": action})
