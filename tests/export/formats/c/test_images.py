"""Policies that observe images, as C: every kind of window gives what onnxruntime gives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_policies import answers, draw, make_manifest, model, node

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def image_policy(shape: tuple[int, int, int], size: int, dtype: str = "uint8") -> Manifest:
    """From an image to that many numbers."""
    observation = [TensorSpec("camera", shape, dtype, 0, 255)]
    return make_manifest(observation=observation, noise=None, action=TensorSpec("action", (size,), "float32"))


@st.composite
def windows(draw_from: st.DrawFn) -> tuple[tuple[int, int, int], int, dict[str, Any]]:
    """An image, a number of filters, and the attributes of a Conv that fit it."""
    kernel, steps, dilations = draw_from(pairs), draw_from(pairs), draw_from(pairs)
    pads = [draw_from(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    height, width = (n + draw_from(st.integers(0, 4)) for n in least)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": steps, "dilations": dilations}
    chosen = draw_from(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if chosen == "pads":
        attributes["pads"] = pads
    else:
        attributes |= {"auto_pad": chosen, "dilations": (1, 1)}
    return (height, width, draw_from(st.integers(1, 6))), draw_from(st.integers(1, 9)), attributes


@settings(max_examples=25, deadline=None, derandomize=True)
@given(windows())
def test_a_convolution_gives_what_onnxruntime_gives(window: tuple[tuple[int, int, int], int, dict[str, Any]]) -> None:
    """Any kernel, stride, dilation and padding, with a bias; then a ReLU, the largest of pixels, and a dense layer."""
    shape, filters, attributes = window
    generator = np.random.default_rng(2)
    kernel = generator.standard_normal((filters, shape[2], *attributes["kernel_shape"]), np.float32)
    bias = generator.standard_normal(filters, np.float32)
    nodes = [
        node("Cast", "camera", out="float", to=TensorProto.FLOAT),
        node("Div", "float", "most", out="bright"),
        node("Transpose", "bright", out="channels_first", perm=[0, 3, 1, 2]),
        node("Conv", "channels_first", "kernel", "bias", out="conv", **attributes),
        node("Relu", "conv", out="relu"),
        node("MaxPool", "relu", out="pool", kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[1, 2]),
        node("Transpose", "pool", out="channels_last", perm=[0, 2, 3, 1]),
        node("Flatten", "channels_last", out="flat"),
        node("ReduceSum", "channels_last", "pixels", out="sums", keepdims=0),
        node("ReduceMax", "flat", out="most_of_all", axes=[1], keepdims=1),
        node("Sub", "sums", "most_of_all"),
    ]
    constants: dict[str, AnyArray] = {"kernel": kernel, "bias": bias, "most": np.array(255.0, np.float32)}
    manifest = image_policy(shape, filters)
    made = model(nodes, constants | {"pixels": np.array([1, 2])}, manifest)
    images = draw(manifest.observation[0], 5, generator)
    images[0], images[1] = 0, 255
    with tempfile.TemporaryDirectory() as folder:
        expected, found = answers(made, manifest, {"camera": images}, Path(folder))
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-5)


def test_an_image_with_its_channels_first_is_reordered(tmp_path: Path) -> None:
    """PyTorch's layout: no Transpose, float32 pixels."""
    kernel = np.random.default_rng(3).standard_normal((4, 2, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "camera", "kernel", out="conv", kernel_shape=[3, 3]), node("Flatten", "conv")]
    manifest = image_policy((2, 5, 4), 4 * 3 * 2, "float32")
    images = draw(manifest.observation[0], 20, np.random.default_rng(4))
    expected, found = answers(model(nodes, {"kernel": kernel}, manifest), manifest, {"camera": images}, tmp_path)
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-5)


def test_groups_of_channels_are_refused(tmp_path: Path) -> None:
    """The sentence names a convolution of each channel by itself."""
    kernel = np.ones((2, 1, 3, 3), np.float32)
    nodes = [node("Conv", "camera", "kernel", out="conv", kernel_shape=[3, 3], group=2), node("Flatten", "conv")]
    manifest = image_policy((2, 3, 3), 2, "float32")
    with pytest.raises(ExportRefused, match=r"Conv \(Conv_conv\) with weights of \[2, 1, 3, 3\] in 2 groups"):
        write_c(model(nodes, {"kernel": kernel}, manifest), manifest, tmp_path)
