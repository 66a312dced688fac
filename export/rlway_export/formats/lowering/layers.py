"""ONNX's layers in TensorFlow: products, convolutions, pooling.

In:      tensors, weights.
Out:     a tensor; of an image with its channels last.
Refuses: other than one or two dimensions, rounded-up sizes, padding that TensorFlow does not have (NotLowered).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlway_export.formats.lowering.values import Node, NotLowered, Value

Pads = list[tuple[int, int]]


def matmul(node: Node) -> Value:
    """A product; of a constant matrix as a dense layer, whatever the number of dimensions before."""
    import tensorflow as tf

    x, y = node.tensors()
    shapes = [node.value(place).shape for place in (0, 1)]
    if node.value(1).is_constant and len(shapes[1]) == 2 and len(shapes[0]) > 2:
        n, m = node.value(1).array.shape
        rows = tf.matmul(tf.reshape(x, [-1, n]), y)
        return Value(tf.reshape(rows, [*_free(x, shapes[0][:-1]), m]))
    if len(shapes[0]) == 1 or len(shapes[1]) == 1:
        left = x[tf.newaxis] if len(shapes[0]) == 1 else x
        right = y[:, tf.newaxis] if len(shapes[1]) == 1 else y
        product = tf.matmul(left, right)
        axes = [axis for axis, shape in zip((-2, -1), shapes, strict=True) if len(shape) == 1]
        return Value(tf.squeeze(product, axes))
    return Value(tf.matmul(x, y))


def _free(x: Any, shape: Sequence[int | None]) -> list[Any]:
    """The shape with at most one free dimension as −1."""
    import tensorflow as tf

    if sum(size is None for size in shape) <= 1:
        return [-1 if size is None else size for size in shape]
    return [tf.shape(x)[i] if size is None else size for i, size in enumerate(shape)]


def gemm(node: Node) -> Value:
    """A dense layer; factors and transposed inputs have been taken out before."""
    import tensorflow as tf

    x, weights = node.value().plain, node.value(1)
    if weights.is_constant and node.get("transB"):
        product = tf.matmul(x, np.ascontiguousarray(weights.array.T))
    else:
        product = tf.matmul(x, weights.plain, transpose_b=bool(node.get("transB")))
    if not node.has(2):
        return Value(product)
    bias = node.value(2)
    if bias.is_constant and bias.shape == [product.shape[-1]]:
        return Value(tf.nn.bias_add(product, bias.plain))
    return Value(product + bias.plain)


def conv(node: Node) -> Value:
    """In one or two dimensions, in one group, one per channel, or others."""
    import tensorflow as tf

    weights, groups = node.value(1).array, int(node.get("group", 1))
    if weights.ndim not in (3, 4):
        raise NotLowered(f"{weights.ndim - 2} dimensions")
    flat = weights.ndim == 3
    image = tf.transpose(node.value().plain, [0, 2, 1])[:, tf.newaxis] if flat else node.value().channels_last
    if flat:
        weights = weights[:, :, np.newaxis]
    window = _Window.of(node, weights.shape[2:], [1, *node.value().shape[2:]] if flat else node.value().shape[2:], flat)
    image, padding = window.padded(image, 0.0)
    kernel = np.ascontiguousarray(weights.transpose(2, 3, 1, 0))  # height, width, in, out
    channels = weights.shape[1] * groups
    steps, dilations = window.steps, window.dilations
    if groups == 1:
        result = tf.nn.conv2d(image, kernel, steps, padding, dilations=dilations)
    elif groups == channels:
        many = weights.shape[0] // channels
        deep = kernel.reshape(*kernel.shape[:2], channels, many)
        result = tf.nn.depthwise_conv2d(image, deep, [1, *steps, 1], padding, dilations=dilations)
    else:
        images = tf.split(image, groups, axis=3)
        kernels = np.split(kernel, groups, axis=3)
        parts = zip(images, kernels, strict=True)
        result = tf.concat([tf.nn.conv2d(one, own, steps, padding, dilations=dilations) for one, own in parts], axis=3)
    if node.has(2):
        result = tf.nn.bias_add(result, node.value(2).array)
    return Value(tf.transpose(result[:, 0], [0, 2, 1])) if flat else Value(last=result)


def maxpool(node: Node) -> Value:
    import tensorflow as tf

    window, image = _pool_window(node)
    lowest = image.dtype.min if not image.dtype.is_floating else -np.inf
    image, padding = window.padded(image, lowest)
    if any(step != 1 for step in window.dilations):
        raise NotLowered("dilations")
    return Value(last=tf.nn.max_pool2d(image, window.kernel, window.steps, padding))


def average_pool(node: Node) -> Value:
    """Padding counts, or it does not: then each sum is divided by the pixels within the image."""
    import tensorflow as tf

    window, image = _pool_window(node)
    ones = np.ones((1, *image.shape[1:3], 1), np.float32)
    image, padding = window.padded(image, 0.0)
    mean = tf.nn.avg_pool2d(image, window.kernel, window.steps, padding)
    if padding == "SAME" and not node.get("count_include_pad", 0):
        return Value(last=mean)
    if not any(side != (0, 0) for side in window.pads) or node.get("count_include_pad", 0):
        if padding == "SAME":
            raise NotLowered("padding that counts")
        return Value(last=mean)
    with tf.init_scope():  # a constant: of each window the part that is within the image
        inside, _ = window.padded(tf.constant(ones), 0.0)
        share = tf.nn.avg_pool2d(inside, window.kernel, window.steps, padding).numpy()
    return Value(last=mean / tf.constant(share, mean.dtype))


def _pool_window(node: Node) -> tuple[_Window, Any]:
    if len(node.value().shape) != 4 or node.outputs > 1:
        raise NotLowered("places of the largest, or other than two dimensions")
    if node.get("ceil_mode", 0):
        raise NotLowered("sizes that are rounded up")
    return _Window.of(node, node.get("kernel_shape"), node.value().shape[2:], False), node.value().channels_last


class _Window:
    """A window over an image: its steps, and the padding around the image."""

    def __init__(self, kernel: list[int], steps: list[int], dilations: list[int], pads: Pads | str) -> None:
        self.kernel, self.steps, self.dilations = kernel, steps, dilations
        self._auto = pads if isinstance(pads, str) else ""
        self.pads: Pads = [] if isinstance(pads, str) else pads

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int], image: Sequence[int | None], flat: bool) -> _Window:
        """`flat`: the node has one dimension, and the image a height of 1."""
        before = [1] if flat else []
        steps = [*before, *node.get("strides", [1] * (1 if flat else 2))]
        dilations = [*before, *node.get("dilations", [1] * (1 if flat else 2))]
        auto = node.get("auto_pad", b"NOTSET").decode()
        if auto == "VALID":
            return cls(list(kernel), steps, dilations, [(0, 0), (0, 0)])
        if auto == "SAME_UPPER":
            return cls(list(kernel), steps, dilations, "SAME")
        spans = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
        if auto == "SAME_LOWER":
            if any(size is None for size in image):
                raise NotLowered("an image of unknown size")
            missing = [
                max(0, (-(-int(size or 0) // step) - 1) * step + span + 1 - int(size or 0))
                for size, step, span in zip(image, steps, spans, strict=True)
            ]
            return cls(list(kernel), steps, dilations, [((n + 1) // 2, n // 2) for n in missing])
        given = node.get("pads", [0] * (2 if flat else 4))
        pads = [(0, 0), (given[0], given[1])] if flat else [(given[0], given[2]), (given[1], given[3])]
        if steps == [1, 1] and pads == [(span // 2, span // 2) for span in spans] and all(s % 2 == 0 for s in spans):
            return cls(list(kernel), steps, dilations, "SAME" if any(spans) else pads)
        return cls(list(kernel), steps, dilations, pads)

    def padded(self, image: Any, value: float) -> tuple[Any, str]:
        """The image with its padding, and the padding that TensorFlow is to add."""
        import tensorflow as tf

        if self._auto:
            return image, self._auto
        if any(min(side) < 0 for side in self.pads):
            raise NotLowered("negative padding")
        if any(side != (0, 0) for side in self.pads):
            around = [(0, 0), *self.pads, (0, 0)]
            return tf.pad(image, around, constant_values=tf.constant(value, image.dtype)), "VALID"
        return image, "VALID"
