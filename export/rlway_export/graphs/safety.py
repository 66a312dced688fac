"""What a SavedModel may not do when it is loaded and run: a policy computes, and touches nothing else.

In:      the message of `saved_model.pb`.
Refuses: operations that read or write files, run programs or code of Python; constants of more than `MOST_ELEMENTS`
         elements; assets outside of the SavedModel's folder (ExportRefused, with the operation's name); constants that
         contradict themselves (RunInvalid).

Every SavedModel has functions that save and restore its variables. They are not run: the check follows only the
functions that loading and acting run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused, RunInvalid

MOST_ELEMENTS = 2**28
# Operations that TensorFlow does not call stateful, and that are more than arithmetic.
TOUCHES = re.compile(
    r"ReadFile|MatchingFiles|ImmutableConst|InitializeTableFromTextFile|GenerateVocabRemapping|PyFunc|(De|En)codeProto|"
    r".*Dataset|Print|Abort|Debug|Remote|_?(Send|Recv)|.*Summary|XlaCustomCall|TRTEngineOp|_?\w*TPU"
)
# Stateful ones that keep to variables, random numbers, tables, lists of tensors and functions.
KEEPS_TO_ITSELF = re.compile(
    r"_?(Read)?Variable|VarHandleOp|VarIsInitialized|TemporaryVariable|Assign\w*Variable|Resource(Gather|Scatter|Strided)|"
    r"(Random(?!SeedGenerator|ShuffleQueue)|Multinomial|(Parameterized)?TruncatedNormal|Stateful(Standard|Uniform|Trunc|Random))"
    r"|StatelessRandomGetAlg|Rng|NonDeterministicInts|"
    r"(Anonymous)?(Mutable)?(Dense)?HashTable|LookupTable|InitializeTableV2|TensorArray|Stack|DestroyResource|"
    r"StatefulPartitionedCall|_?(If|While|Case)$|Assert|CheckNumerics|Empty$|DeepCopy|GuaranteeConst|CudnnRNN|DeviceIndex|"
    r"DisableCopyOnRead|IsTensorFloat32Enabled|Timestamp|_Arg|_Retval"
)
RUN_ON_LOAD = ("_initialize", "_create_resource")  # children of a SavedModel's objects that loading calls


def check_model(meta: Any, roots: list[str], name: str) -> None:
    """`roots` are the functions that an export runs; `name` is the SavedModel's name in messages."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    check_constants([node for function in functions.values() for node in function.node_def], name)
    roots = [*roots, *_run_on_load(meta)]
    check_nodes(reachable(functions, roots), name)
    for asset in meta.asset_file_def:
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts:
            raise ExportRefused(f"{name}: its asset {asset.filename[:64]!r} lies outside of its folder.")


def check_nodes(nodes: Iterable[Any], name: str) -> None:
    """Raises ExportRefused unless these operations only compute."""
    for node in nodes:
        if _touches_more(node.op):
            raise ExportRefused(
                f"{name}: its {short_name(node.name)} is a {node.op}, and a policy may only compute; save the policy "
                f"without it."
            )
        if node.op == "Const":
            shape = node.attr["value"].tensor.tensor_shape
            elements = math.prod(dim.size for dim in shape.dim)
            if elements > MOST_ELEMENTS:
                raise ExportRefused(
                    f"{name}: its constant {short_name(node.name)}: expected at most {MOST_ELEMENTS:,} elements, got "
                    f"{elements:,}."
                )


def check_constants(nodes: list[Any], name: str) -> None:
    """Refuses constants whose content is of another type than they say: TensorFlow would end the process."""
    for node in nodes:
        if node.op == "Const" and node.attr["value"].tensor.dtype != node.attr["dtype"].type:
            raise RunInvalid(f"{name}: its constant {short_name(node.name)} is damaged; save or copy it again.")


def _touches_more(op: str) -> bool:
    """Whether an operation does more than compute. One that TensorFlow does not know cannot run."""
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(op)
    stateful = known is not None and known.is_stateful
    return TOUCHES.match(op) is not None or (stateful and KEEPS_TO_ITSELF.match(op) is None)


def _run_on_load(meta: Any) -> Iterator[str]:
    nodes = meta.object_graph_def.nodes
    for node in nodes:
        for child in node.children:
            if child.local_name in RUN_ON_LOAD and child.node_id < len(nodes):
                called = nodes[child.node_id]
                yield from called.function.concrete_functions
                if called.bare_concrete_function.concrete_function_name:
                    yield called.bare_concrete_function.concrete_function_name


def reachable(functions: dict[str, Any], roots: list[str]) -> Iterator[Any]:
    """The nodes of these functions and of all that they call."""
    seen, unseen = set[str](), [*roots]
    while unseen:
        name = unseen.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        yield from functions[name].node_def
        unseen += called(functions[name].node_def)


def called(nodes: Iterable[Any]) -> list[str]:
    """The names of the functions that these nodes call."""
    attributes = [attribute for node in nodes for attribute in node.attr.values()]
    names = [name for found in attributes for name in (found.func.name, *(one.name for one in found.list.func))]
    return [name for name in names if name]
