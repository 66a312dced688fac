"""Weights outside of the ONNX file: read where they may lie, and refused elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.onnx.file import read_onnx
from tests.export.onnx_forms import cleanrl_ppo


def _external(folder: Path, location: str = "weights.bin", **facts: Any) -> Path:
    """A policy whose first weights are at the location; `facts` replace what the file says of them."""
    model = cleanrl_ppo().model
    tensor = model.graph.initializer[0]
    content = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": 8, "length": len(content)} | facts).items():
        tensor.external_data.add(key=key, value=str(value))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(bytes(8) + content)
    return path


def test_weights_beside_the_file_become_part_of_the_model(tmp_path: Path) -> None:
    """Nothing of the model is outside of it afterwards."""
    read = read_onnx(_external(tmp_path))
    expected = numpy_helper.to_array(cleanrl_ppo().model.graph.initializer[0])
    assert np.array_equal(numpy_helper.to_array(read.model.graph.initializer[0]), expected)
    assert not any(onnx.external_data_helper.uses_external_data(one) for one in read.model.graph.initializer)


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/hostname", "a/../../weights.bin", "..\\weights.bin", "C:\\weights.bin", "", "\0"],
)
def test_weights_outside_of_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    """Not even where they exist, and whatever they hold."""
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    path = _external(tmp_path / "in", location)
    with pytest.raises(RunInvalid, match="is not in the folder of the file; it is not read"):
        read_onnx(path)


@pytest.mark.parametrize("place", ["weights.bin", "folder/weights.bin"])
def test_a_link_is_not_followed(place: str, tmp_path: Path) -> None:
    """Neither a linked file nor a linked folder: it may lead anywhere."""
    path = _external(tmp_path / "in", place)
    (tmp_path / "in/weights.bin").rename(tmp_path / "weights.bin")
    (tmp_path / "in" / Path(place).parts[0]).symlink_to(tmp_path if "/" in place else tmp_path / "weights.bin")
    with pytest.raises(RunInvalid, match="which is a link"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"length": 4}, "expected 1024 bytes of weights, got 4"),
        ({"offset": -8}, "got 1024 at -8 of weights.bin"),
        ({"offset": 9999}, "end after weights.bin does"),
        ({"offset": "first"}, "no number as offset or length"),
        ({"location": "missing.bin"}, "is no file here"),
    ],
)
def test_weights_that_are_not_there_are_refused(facts: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """The sentence names the tensor and the file."""
    with pytest.raises(RunInvalid, match=sentence) as refusal:
        read_onnx(_external(tmp_path, **facts))
    assert "constant_0" in str(refusal.value)


def test_a_pipe_is_no_file_of_weights(tmp_path: Path) -> None:
    """Reading it would never end."""
    path = _external(tmp_path, "pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunInvalid, match="is no file here"):
        read_onnx(path)


def test_weights_of_an_operators_attribute_are_checked_likewise(tmp_path: Path) -> None:
    """A constant within the graph may name a file as well."""
    model = cleanrl_ppo().model
    value = numpy_helper.from_array(np.zeros(3, np.float32), "inner")
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=value))
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RunInvalid, match="the weights of inner are in '/etc/hostname'"):
        read_onnx(path)
