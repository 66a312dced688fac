"""SavedModels as other versions of TensorFlow wrote them, made of today's.

Until 2021 TF-Agents named the distributions that a policy's `distribution` returns by types which later versions of
TensorFlow have given up. Everything else in the file is as it is today.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

GIVEN_UP = 275837168  # the number that the types had among TensorFlow's own
AGES = {"distribution": ("_DistributionTypeSpec", "2.3.0"), "tfp": ("_TFPTypeSpec", "2.5.0")}


def aged(source: Path, destination: Path, age: str) -> Path:
    """A copy as TensorFlow 2.3 (`distribution`) or 2.5 (`tfp`) wrote it."""
    title, version = AGES[age]

    def change(model: Any) -> None:
        for spec in type_specs(model.meta_graphs[0].object_graph_def):
            spec.type_spec_class, spec.type_spec_class_name = GIVEN_UP, title
        model.meta_graphs[0].meta_info_def.tensorflow_version = version

    copy = changed(source, destination, change)
    (copy / "fingerprint.pb").unlink(missing_ok=True)
    return copy


def changed(source: Path, destination: Path, change: Callable[[Any], None]) -> Path:
    """A copy whose saved_model.pb has been changed."""
    shutil.copytree(source, destination)
    model = SavedModel.FromString((source / "saved_model.pb").read_bytes())
    change(model)
    (destination / "saved_model.pb").write_bytes(model.SerializeToString())
    return destination


def type_specs(objects: Any) -> Iterator[Any]:
    """Every type spec that the functions of a SavedModel name."""
    for function in objects.concrete_functions.values():
        yield from _named(function.canonicalized_input_signature)
        yield from _named(function.output_signature)


def _named(value: Any) -> Iterator[Any]:
    match value.WhichOneof("kind"):
        case "type_spec_value":
            yield value.type_spec_value
        case "dict_value":
            for part in value.dict_value.fields.values():
                yield from _named(part)
        case "tuple_value" | "list_value" as kind:
            for part in getattr(value, kind).values:
                yield from _named(part)
        case "named_tuple_value":
            for pair in value.named_tuple_value.values:
                yield from _named(pair.value)
