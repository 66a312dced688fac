"""The bundles' folder as a Triton model repository, read with Triton's own protobuf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_export.bundle.triton import OURS, publish_config, triton_config

pytestmark = pytest.mark.slow


def parse(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def facts(**fields: Any) -> Manifest:
    common: dict[str, Any] = {
        "schema_version": MANIFEST_SCHEMA,
        "policy": "arm",
        "version": 1,
        "algorithm": "sac",
        "env": None,
        "observation": [TensorSpec("camera", (84, 84, 4), "uint8"), TensorSpec("joints", (7,), "float32")],
        "action": TensorSpec("action", (2,), "float32", -1, 1),
        "noise": TensorSpec("noise", (2,), "float32"),
    }
    return Manifest(**common | fields)


def test_the_configuration_is_that_of_the_onnx_file(models: Path) -> None:
    """Names, types and dimensions, one by one, as onnxruntime's backend compares them."""
    config = parse((models / "cartpole/config.pbtxt").read_text())
    assert (config.name, config.platform) == ("cartpole", "onnxruntime_onnx")
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    graph = onnx.load(models / "cartpole/1/model.onnx").graph
    for told, found in ((config.input, graph.input), (config.output, graph.output)):
        by_name = {value.name: value.type.tensor_type for value in found}
        assert {tensor.name for tensor in told} == set(by_name)
        for tensor in told:
            kind = by_name[tensor.name]
            name = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            assert np.dtype(triton_to_np_dtype(name)) == onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
            assert dims == [dim.dim_value for dim in kind.shape.dim[1:]]  # the first is the batch


def test_a_scalar_is_a_tensor_of_one_that_is_reshaped(models: Path) -> None:
    """Triton has no tensors without dimensions."""
    config = parse((models / "cartpole/config.pbtxt").read_text())
    (action,) = (tensor for tensor in config.output if tensor.name == "action")
    assert list(action.dims) == [1]
    assert action.HasField("reshape")
    assert list(action.reshape.shape) == []


def test_the_configuration_has_all_inputs_and_their_types() -> None:
    """Several observations of several types, and a policy without noise."""
    config = parse(triton_config(facts(noise=None)))
    assert [(t.name, list(t.dims)) for t in config.input] == [("camera", [84, 84, 4]), ("joints", [7])]
    assert [t.data_type for t in config.input] == [model_config_pb2.TYPE_UINT8, model_config_pb2.TYPE_FP32]


@pytest.mark.parametrize("edited", [False, True], ids=["ours", "edited"])
def test_a_configuration_that_the_user_took_over_stays(edited: bool, tmp_path: Path) -> None:
    """It is written again with every version, unless its first line is gone."""
    publish_config(tmp_path, facts())
    path = tmp_path / "config.pbtxt"
    before = path.read_text() + "instance_group { count: 2 }\n"
    path.write_text(before.removeprefix(OURS) if edited else before)
    publish_config(tmp_path, facts(action=TensorSpec("action", (3,), "float32")))
    config = parse(path.read_text())
    assert (list(config.output[0].dims), len(config.instance_group)) == (([2], 1) if edited else ([3], 0))
    assert [p.name for p in tmp_path.iterdir()] == ["config.pbtxt"]
