"""SavedModels of TensorFlow 1, which have one graph for everything and no objects.

In:      the message of such a SavedModel.
Out:     the graph between two sets of its tensors, with its weights as constants.
Refuses: operations that do more than compute (ExportRefused); one that cannot be loaded (RunInvalid).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlway_client.common.quote import reason
from rlway_client.contract.errors import RunInvalid
from rlway_export.graphs.frozen import FrozenGraph, base
from rlway_export.graphs.safety import check_constants, check_nodes, reachable

INIT_OPS = ("saved_model_main_op", "legacy_init_op")  # collections


def is_version1(meta: Any) -> bool:
    """Whether TensorFlow 1 saved it."""
    return not meta.object_graph_def.nodes


def check_version1(meta: Any, name: str) -> None:
    """Checks what loading and acting run; `name` is the SavedModel's name in messages."""
    if is_version1(meta):
        check_constants(meta.graph_def.node, name)
        own = base(meta.saver_def.filename_tensor_name)
        check_nodes((node for node in _run(meta) if not _reads(node, own)), name)


def graph_between(folder: Path, meta: Any, inputs: list[str], outputs: list[str], name: str) -> FrozenGraph:
    """From these tensors to those, without inputs that no output depends on."""
    import tensorflow as tf

    check_version1(meta, name)
    one = tf.compat.v1
    try:
        with tf.Graph().as_default() as graph, one.Session(graph=graph) as session:
            one.saved_model.loader.load(session, list(meta.meta_info_def.tags), str(folder))
            nodes = [base(output) for output in outputs]
            frozen = one.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
    except Exception as error:  # TensorFlow has no single error for damaged files
        raise RunInvalid(f"{name}: cannot be loaded: {reason(error)}.") from error
    there = {node.name for node in frozen.node}
    return FrozenGraph(frozen, [tensor for tensor in inputs if base(tensor) in there], outputs).pruned()


def _reads(node: Any, file: str) -> bool:
    """Whether it reads the SavedModel's own variables; `file` is the node that is given their path."""
    return node.op == "RestoreV2" and len(node.input) > 0 and base(node.input[0]) == file


def _run(meta: Any) -> Iterator[Any]:
    """The nodes on which outputs, initialisation and restoring depend, and those of the functions that they call."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    nodes, seen = {node.name: node for node in meta.graph_def.node}, set[str]()
    unseen = [tensor.name for signature in meta.signature_def.values() for tensor in signature.outputs.values()]
    for key in INIT_OPS:
        if key in meta.collection_def:
            unseen += meta.collection_def[key].node_list.value
    unseen.append(meta.saver_def.restore_op_name)
    while unseen:
        name = base(unseen.pop())
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            unseen += nodes[name].input
            called = (attribute.func.name for attribute in nodes[name].attr.values())
            yield from reachable(functions, [function for function in called if function])
