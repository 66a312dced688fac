"""ONNX's operators that move data in TensorFlow: shapes, axes, parts, look-ups.

In:      tensors; axes and bounds, mostly constant.
Out:     tensors.
Refuses: arguments that are computed where TensorFlow needs constants (NotLowered).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlway_export.formats.lowering.values import TO_FIRST, TO_LAST, Node, NotLowered, Value


def identity(node: Node) -> Value:
    return node.value()


def constant(node: Node) -> Value:
    """`value`, or one of the attributes for numbers."""
    import onnx

    if node.get("value") is not None:
        return Value(onnx.numpy_helper.to_array(node.get("value")))
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    found = next(((name, dtype) for name, dtype in kinds.items() if node.get(name) is not None), None)
    if found is None:
        raise NotLowered("text, or a sparse tensor")
    return Value(np.array(node.get(found[0]), found[1]))


def constant_of_shape(node: Node) -> Value:
    import onnx
    import tensorflow as tf

    value = node.get("value")
    number = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return Value(tf.fill(node.value().plain, tf.constant(number.ravel()[0], number.dtype)))


def shape(node: Node) -> Value:
    """A constant where the shape is known."""
    import tensorflow as tf

    rank = len(node.value().shape)
    part = slice(*slice(node.get("start", 0), node.get("end")).indices(rank))
    known = node.value().shape[part]
    if None not in known:
        return Value(np.array(known, np.int64))
    return Value(tf.shape(node.value().plain, out_type=tf.int64)[part])


def size(node: Node) -> Value:
    import tensorflow as tf

    return Value(tf.size(node.value().plain, out_type=tf.int64))


def reshape(node: Node) -> Value:
    """0 keeps a dimension, −1 is the rest."""
    import tensorflow as tf

    value, wanted = node.value(), node.value(1)
    if not wanted.is_constant:
        return Value(tf.reshape(value.plain, wanted.plain))
    sizes: list[Any] = wanted.whole
    if not node.get("allowzero"):
        kept = [value.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        if sum(size in (None, -1) for size in kept) <= 1:
            sizes = [-1 if size is None else size for size in kept]
        else:
            sizes = [tf.shape(value.plain)[i] if size is None else size for i, size in enumerate(kept)]
    return Value(tf.reshape(value.plain, sizes))


def flatten(node: Node) -> Value:
    import tensorflow as tf

    known = node.value().shape
    axis = int(node.get("axis", 1))
    axis = axis + len(known) if axis < 0 else axis
    sides = [known[:axis], known[axis:]]
    sizes = [None if None in side else math.prod(size or 0 for size in side) for side in sides]
    if sizes == [None, None]:
        raise NotLowered("two free dimensions")
    return Value(tf.reshape(node.value().plain, [-1 if size is None else size for size in sizes]))


def squeeze(node: Node) -> Value:
    import tensorflow as tf

    axes = node.value(1).whole if node.has(1) else [i for i, size in enumerate(node.value().shape) if size == 1]
    return Value(tf.squeeze(node.value().plain, axes)) if axes else node.value()


def unsqueeze(node: Node) -> Value:
    import tensorflow as tf

    axes = node.value(1).whole
    rank = len(node.value().shape) + len(axes)
    value = node.value().plain
    for axis in sorted(axis % rank for axis in axes):
        value = tf.expand_dims(value, axis)
    return Value(value)


def transpose(node: Node) -> Value:
    """Between the two layouts of an image nothing has to move yet."""
    import tensorflow as tf

    value = node.value()
    order = node.get("perm", list(range(len(value.shape)))[::-1])
    if order == TO_FIRST and not value.is_constant:
        return Value(last=value.plain)
    if order == TO_LAST and value.is_image:
        return Value(value.channels_last)
    return Value(tf.transpose(value.plain, order))


def expand(node: Node) -> Value:
    """To the shape that both broadcast to."""
    import tensorflow as tf

    value, wanted = node.value(), node.value(1)
    if wanted.is_constant and all(size == 1 for size in wanted.whole) and len(wanted.whole) <= len(value.shape):
        return value
    if wanted.is_constant and None not in value.shape:
        known = np.broadcast_shapes(tuple(int(size or 0) for size in value.shape), tuple(wanted.whole))
        return Value(tf.broadcast_to(value.plain, known))
    both = tf.broadcast_dynamic_shape(tf.shape(value.plain, out_type=tf.int64), tf.cast(wanted.plain, tf.int64))
    return Value(tf.broadcast_to(value.plain, both))


def tile(node: Node) -> Value:
    import tensorflow as tf

    return Value(tf.tile(node.value().plain, node.value(1).plain))


def concat(node: Node) -> Value:
    import tensorflow as tf

    values = [node.value(place) for place in range(len(node.inputs))]
    axis = node.axis(0, len(values[0].shape))
    if all(value.is_image for value in values) and axis == 1:
        return Value(last=tf.concat([value.channels_last for value in values], 3))
    return Value(tf.concat(node.tensors(), axis))


def split(node: Node) -> list[Value]:
    import tensorflow as tf

    known = node.value().shape
    axis = node.axis(0, len(known))
    if node.has(1):
        parts: Any = node.value(1).whole
    else:
        whole = known[axis]
        if whole is None:
            raise NotLowered("parts of a free dimension")
        largest = -(-whole // node.outputs)
        parts = [min(largest, whole - i * largest) for i in range(node.outputs)]
    parts = node.outputs if len(set(parts)) == 1 else parts
    return [Value(part) for part in tf.split(node.value().plain, parts, axis)]


def slice_axes(node: Node) -> Value:
    """Starts, ends and steps along some of the axes."""
    value, rank = node.value(), len(node.value().shape)
    starts, ends = node.value(1).whole, node.value(2).whole
    axes = node.value(3).whole if node.has(3) else list(range(len(starts)))
    steps = node.value(4).whole if node.has(4) else [1] * len(starts)
    parts = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = value.shape[axis]
        if length is not None:
            first, last, stride = slice(start, end, step).indices(length)
            parts[axis] = slice(first, None if last < 0 else last, stride)
        elif step < 0:
            raise NotLowered("a free dimension backwards")
        else:
            parts[axis] = slice(start, None if end > 2**31 - 2 else end, step)
    return Value(value.plain[tuple(parts)])


def gather(node: Node) -> Value:
    """Constant places count from the end if negative; computed ones have to be in the table."""
    import tensorflow as tf

    value, places = node.value(), node.value(1)
    axis = node.axis(0, len(value.shape))
    if not places.is_constant:
        return Value(tf.gather(value.plain, places.plain, axis=axis))
    array, length = places.array, value.shape[axis]
    if length is None and (array < 0).any():
        raise NotLowered("places from the end of a free dimension")
    array = np.where(array < 0, array + (length or 0), array)
    if array.ndim == 0:
        parts = [slice(None)] * len(value.shape)
        return Value(value.plain[(*parts[:axis], int(array))])
    return Value(tf.gather(value.plain, array.astype(np.int32), axis=axis))


def gather_nd(node: Node) -> Value:
    import tensorflow as tf

    return Value(tf.gather_nd(node.value().plain, node.value(1).plain, batch_dims=int(node.get("batch_dims", 0))))


def gather_elements(node: Node) -> Value:
    """One element along the axis for each place."""
    import tensorflow as tf

    value, places = node.value(), node.value(1)
    axis, rank = node.axis(0, len(value.shape)), len(value.shape)
    if axis != rank - 1 or value.shape[:-1] != places.shape[:-1]:
        raise NotLowered("places along another axis than the last")
    return Value(tf.gather(value.plain, places.plain, axis=axis, batch_dims=rank - 1))


def one_hot(node: Node) -> Value:
    """Negative indices count from the end, as ONNX has it."""
    import tensorflow as tf

    (depth,), values = node.value(1).whole, node.value(2).array
    indices = tf.cast(node.value().plain, tf.int64)
    indices = tf.where(indices < 0, indices + depth, indices)
    axis = int(node.get("axis", -1))
    off, on = values
    return Value(tf.one_hot(indices, depth, on, off, axis, dtype=tf.as_dtype(values.dtype)))


def pad(node: Node) -> Value:
    import tensorflow as tf

    value, pads = node.value(), node.value(1).whole
    rank, mode = len(value.shape), node.get("mode", b"constant").decode()
    axes = node.value(3).whole if node.has(3) else list(range(rank))
    around = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        around[axis] = (pads[place], pads[place + len(axes)])
    if mode not in ("constant", "reflect") or min(map(min, around)) < 0:
        raise NotLowered(f"padding of the mode {mode}, or negative padding")
    if mode == "reflect":
        return Value(tf.pad(value.plain, around, "REFLECT"))
    number = node.value(2).plain if node.has(2) else tf.constant(0, value.plain.dtype)
    return Value(tf.pad(value.plain, around, constant_values=tf.reshape(number, [])))


def number_range(node: Node) -> Value:
    import tensorflow as tf

    return Value(tf.range(*(tf.reshape(tensor, []) for tensor in node.tensors())))
