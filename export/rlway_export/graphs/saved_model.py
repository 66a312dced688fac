"""A SavedModel, loaded without the Python types that its program had.

In:      a folder with `saved_model.pb`, from TensorFlow 2.1 on.
Out:     `SavedModel`: the message, and TensorFlow's object with its functions.
Refuses: a file that is damaged or missing a part (RunInvalid); one that would do more than compute (ExportRefused).

A policy's functions name the types of their results: distributions of TensorFlow Probability, which later versions know
no more, or types of somebody's own. Only the result of `distribution` has them, which no export calls. In the copy that
is loaded, `None` stands in their place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import reason
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid
from rlway_export.graphs.nests import forget_types
from rlway_export.graphs.safety import check_model
from rlway_export.graphs.version1 import check_version1

SAVED_MODEL = "saved_model.pb"
SERVE = "serve"


class SavedModel(NamedTuple):
    """A SavedModel; `meta` is the message of its graphs, functions and objects."""

    folder: Path
    meta: Any
    loaded: Any

    @classmethod
    def open(cls, folder: Path, name: str) -> SavedModel:
        """`name` is its name in messages."""
        meta = read_meta(folder, name)
        check_model(meta, exported_functions(meta), name)
        check_version1(meta, name)
        return cls(folder, meta, _load(folder, meta, name))

    @property
    def train_step(self) -> int | None:
        """The train step at which it was saved: −1 if nobody counted, None if it has none, or it is no variable."""
        step: Any = getattr(self.loaded, "train_step", None)
        return int(step.numpy()) if hasattr(step, "numpy") else None


def read_meta(folder: Path, name: str) -> Any:
    """The message of the SavedModel's graph for serving, or of its first graph. Raises RunInvalid."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Message

    try:
        message = Message.FromString((folder / SAVED_MODEL).read_bytes())
    except OSError as error:
        raise RunInvalid(f"{name}: its {SAVED_MODEL} cannot be read: {error.strerror}.") from error
    except DecodeError:
        raise RunInvalid(f"{name}: its {SAVED_MODEL} is damaged, or no SavedModel; save or copy it again.") from None
    graphs = list(message.meta_graphs)
    if not graphs:
        raise RunInvalid(f"{name}: its {SAVED_MODEL} has no graph; save or copy it again.")
    return next((graph for graph in graphs if SERVE in graph.meta_info_def.tags), graphs[0])


def exported_functions(meta: Any) -> list[str]:
    """The names of the functions that an export may run: those of `action`, and of every signature."""
    nodes = meta.object_graph_def.nodes
    names: list[str] = []
    for child in nodes[0].children if nodes else []:
        called = nodes[child.node_id] if child.node_id < len(nodes) else None
        if called is not None and child.local_name in ("action", "act"):
            names += called.function.concrete_functions
        if called is not None and child.local_name == "signatures":
            owned = [nodes[part.node_id] for part in called.children if part.node_id < len(nodes)]
            names += [part.bare_concrete_function.concrete_function_name for part in owned]
            names += [name for part in owned for name in part.function.concrete_functions]
    return [name for name in names if name]


def _load(folder: Path, meta: Any, name: str) -> Any:
    """TensorFlow's object, from a copy of the message that names no unknown types."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Message

    copy = Message(saved_model_schema_version=1)
    copy.meta_graphs.add().CopyFrom(meta)
    _forget_types(copy.meta_graphs[0].object_graph_def)
    scratch = ""
    try:
        with tempfile.TemporaryDirectory(prefix="rlway-saved-model-") as scratch:
            for entry in folder.iterdir():
                if entry.name in ("variables", "assets", "assets.extra"):
                    (Path(scratch) / entry.name).symlink_to(entry.resolve())
            (Path(scratch) / SAVED_MODEL).write_bytes(copy.SerializeToString())
            return tf.saved_model.load(scratch, tags=list(meta.meta_info_def.tags))
    except RlwayError:
        raise
    except MemoryError:
        raise ExportRefused(f"{name}: does not fit into this machine's memory.") from None
    except Exception as error:  # TensorFlow has no single error for damaged files
        told = str(error)
        for place in filter(None, (scratch, str(folder))):  # the folder may be a draft, which nobody knows
            told = told.replace(place, name)
        raise RunInvalid(f"{name}: cannot be loaded: {reason(told)}.") from error


def _forget_types(objects: Any) -> None:
    for function in objects.concrete_functions.values():
        forget_types(function.canonicalized_input_signature, _is_known)
        forget_types(function.output_signature, _is_known)
    for node in objects.nodes:
        spec = node.function.function_spec if node.WhichOneof("kind") == "function" else None
        if spec is not None:
            forget_types(spec.fullargspec, _is_known)
            forget_types(spec.input_signature, _is_known)


def _is_known(spec: Any) -> bool:
    """Whether the type is TensorFlow's own, and of this version."""
    registered = spec.TypeSpecClass.Value("REGISTERED_TYPE_SPEC")
    return spec.type_spec_class in spec.TypeSpecClass.values() and spec.type_spec_class not in (0, registered)
