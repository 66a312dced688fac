"""Policies of a few operators, made by hand, and run as ONNX and as C over the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.c_program import FLAGS, CRunner
from rlway_client.local.runners import OnnxRunner
from rlway_export.formats.c.source import write_c

NEXT = "next_"
# GCC fuses by itself where a program is not compiled with -std=c99; every aarch64 processor can.
FUSING = (*(flag for flag in FLAGS if flag != "-O2"), "-O3", "-march=native", "-ffp-contract=fast")


def make_manifest(**fields: Any) -> Manifest:
    """A continuous policy from three numbers to four."""
    common: dict[str, Any] = {
        "schema_version": MANIFEST_SCHEMA,
        "policy": "by-hand",
        "version": 7,
        "algorithm": "sac",
        "env": "Somewhere-v0",
        "observation": [TensorSpec("observation", (3,), "float32", -1, [1, None, 2])],
        "action": TensorSpec("action", (4,), "float32", -2, 2),
        "noise": TensorSpec("noise", (4,), "float32"),
    }
    return Manifest(**common | fields)


def node(kind: str, *inputs: str, out: str = "action", **attributes: Any) -> Any:
    name = f"the_{kind}" if out == "action" else f"{kind}_{out}"
    return helper.make_node(kind, inputs, [out], name=name, **attributes)


def model(nodes: list[Any], constants: dict[str, AnyArray], manifest: Manifest) -> Any:
    """A graph between the tensors that the manifest names."""
    infos = [[_info(spec) for spec in specs] for specs in (manifest.interface.inputs, manifest.interface.results)]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", *infos, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def runners(made: Any, manifest: Manifest, folder: Path) -> tuple[OnnxRunner, CRunner]:
    """The policy in onnxruntime and as a compiled program."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    write_c(made, manifest, folder)
    return OnnxRunner(folder / "model.onnx"), CRunner(folder / "policy.c", manifest)


def answers(made: Any, manifest: Manifest, inputs: Arrays, folder: Path) -> tuple[Arrays, Arrays]:
    """The answers of both to the same rows, one by one."""
    known, compiled = runners(made, manifest, folder)
    rows = [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(len(next(iter(inputs.values()))))]
    found = [[runner.run(row) for row in rows] for runner in (known, compiled)]
    together = [{name: np.concatenate([row[name] for row in part]) for name in part[0]} for part in found]
    return together[0], together[1]


def draw(spec: TensorSpec, rows: int, generator: np.random.Generator) -> AnyArray:
    """Random rows of a tensor: normal numbers, whole numbers of all sizes, flags."""
    shape = (rows, *spec.shape)
    if spec.dtype == "float32":
        return 3 * generator.standard_normal(shape, np.float32)
    top = 2 if spec.dtype == "bool" else min(1000, int(np.iinfo(spec.dtype).max) + 1)
    return generator.integers(0, top, shape).astype(spec.dtype)


def _info(spec: TensorSpec) -> Any:
    return helper.make_tensor_value_info(
        spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), ["batch", *spec.shape]
    )
