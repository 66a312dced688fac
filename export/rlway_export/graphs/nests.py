"""The nests of tensors that a saved function takes and gives, read from its protobuf message alone.

In:      a StructuredValue of a SavedModel.
Out:     its leaves in TensorFlow's order, each with its path of keys; which type specs are not known here.

A SavedModel describes each function's arguments and results by messages. TensorFlow makes Python objects of them, for
which every class that they name must be imported first. The messages themselves have all that an export needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

KeyPath = tuple[str, ...]


class Leaf(NamedTuple):
    """One tensor. `shape` has None for a size that is not known, and is None where nothing is known."""

    path: KeyPath
    name: str
    shape: tuple[int | None, ...] | None
    dtype: str  # numpy's name
    low: Any = -float("inf")
    high: Any = float("inf")


class UnknownType(ValueError):
    """A type that belongs to a program: how many tensors it consists of cannot be told."""


def leaves(value: Any, path: KeyPath = ()) -> Iterator[Leaf]:
    """The tensors of a nest. Raises UnknownType."""
    kind = value.WhichOneof("kind")
    if kind in ("tensor_spec_value", "bounded_tensor_spec_value"):
        yield _leaf(getattr(value, kind), path)
    elif kind == "type_spec_value":
        raise UnknownType(value.type_spec_value.type_spec_class_name)
    else:
        for key, part in parts(value):
            yield from leaves(part, (*path, key))


def parts(value: Any) -> list[tuple[str, Any]]:
    """The parts of a dict, tuple or list, in TensorFlow's order: the keys of a dict are sorted."""
    match value.WhichOneof("kind"):
        case "dict_value":
            return sorted(value.dict_value.fields.items())
        case "tuple_value":
            return [(str(i), part) for i, part in enumerate(value.tuple_value.values)]
        case "list_value":
            return [(str(i), part) for i, part in enumerate(value.list_value.values)]
        case "named_tuple_value":
            return [(pair.key, pair.value) for pair in value.named_tuple_value.values]
    return []


def field(value: Any, name: str) -> Any | None:
    """One part by its key."""
    return dict(parts(value)).get(name)


def _leaf(spec: Any, path: KeyPath) -> Leaf:
    import tensorflow as tf

    shape = None if spec.shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in spec.shape.dim)
    dtype = tf.as_dtype(spec.dtype).name
    if not hasattr(spec, "minimum"):
        return Leaf(path, spec.name, shape, dtype)
    return Leaf(path, spec.name, shape, dtype, tf.make_ndarray(spec.minimum), tf.make_ndarray(spec.maximum))


def forget_types(structured: Any, is_known: Any) -> None:
    """Puts None in place of every type spec that TensorFlow does not know here, however deep."""
    kind = structured.WhichOneof("kind")
    if kind == "type_spec_value":
        if not is_known(structured.type_spec_value):
            structured.none_value.SetInParent()
        return
    for _, part in parts(structured):
        forget_types(part, is_known)
