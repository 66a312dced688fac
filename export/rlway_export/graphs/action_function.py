"""Which tensor of a saved `action` is what: observation, time step, policy state, action, information.

In:      a SavedModel of PolicySaver, of any version of TF-Agents.
Out:     `ActionFunction`: the function to run, and what each of its inputs and outputs is, in order.
Refuses: a SavedModel without `action`, one whose `action` is not that of a policy, one that takes or gives other things
         than tensors (ExportRefused).

The nests come from the description of the function `action`. Where there is none, they come from the signature of that
name.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from rlway_client.common.quote import named
from rlway_client.contract.errors import ExportRefused
from rlway_export.graphs import nests
from rlway_export.graphs.nests import Leaf, UnknownType, field
from rlway_export.graphs.policy_specs import read_specs
from rlway_export.graphs.ports import SAVE, TIME_STEP, Port, Role, port_of
from rlway_export.graphs.saved_model import SavedModel
from rlway_export.graphs.signature_roles import SignatureRoles


class ActionFunction(NamedTuple):
    """The function that acts, and its tensors in order."""

    function: Any  # a concrete function of TensorFlow
    inputs: list[Port]
    outputs: list[Port]
    notes: list[str]  # what was assumed, a sentence each

    @classmethod
    def of(cls, model: SavedModel, name: str) -> ActionFunction:
        """`name` is the SavedModel's name in messages."""
        try:
            return _described(model, name) or _named(model, name)
        except UnknownType as unknown:
            raise ExportRefused(
                f"{name}: its `action` takes or gives a {str(unknown)[:64]}; expected dense tensors of numbers."
            ) from None

    def taken(self, role: Role) -> list[Leaf]:
        """The inputs of one part, in order."""
        return [port.leaf for port in self.inputs if port.role == role]

    def given(self, role: Role) -> list[Leaf]:
        """The outputs of one part, in order."""
        return [port.leaf for port in self.outputs if port.role == role]


def _described(model: SavedModel, name: str) -> ActionFunction | None:
    """From the description of the function `action`; None if there is none."""
    nodes = model.meta.object_graph_def.nodes
    child = next((child for child in (nodes[0].children if nodes else []) if child.local_name == "action"), None)
    functions = getattr(getattr(model.loaded, "action", None), "concrete_functions", None)
    if child is None or not functions:
        return None
    names = list(nodes[child.node_id].function.concrete_functions)
    for called, function in zip(names, functions, strict=True):
        described = model.meta.object_graph_def.concrete_functions[called]
        inputs = _inputs(described.canonicalized_input_signature)
        if inputs is not None:
            return ActionFunction(function, inputs, _outputs(described.output_signature, function, name), [])
    raise ExportRefused(f"{name}: its `action` takes no time step; save it without input_fn_and_spec.")


def _inputs(signature: Any) -> list[Port] | None:
    """The ports of `action(time_step, policy_state)`; None for a function of something else."""
    args, kwargs = (field(signature, key) for key in ("0", "1"))
    by_place = [part for _, part in nests.parts(args)] if args is not None else []
    by_name = dict(nests.parts(kwargs)) if kwargs is not None else {}
    time_step = by_place[0] if by_place else by_name.get("time_step")
    if time_step is None or field(time_step, "observation") is None:
        return None
    ports = []
    for key, part in nests.parts(time_step):
        if key not in TIME_STEP:
            return None
        ports += [Port(key, leaf) for leaf in nests.leaves(part)]
    rest = [("policy_state", part) for part in by_place[1:]] + [
        (key, part) for key, part in by_name.items() if key != "time_step"
    ]
    for _, part in rest:
        ports += [Port("state", leaf) for leaf in nests.leaves(part)]
    return ports


def _outputs(signature: Any, function: Any, name: str) -> list[Port]:
    if field(signature, "action") is None:
        raise ExportRefused(f"{name}: its `action` gives no policy step, so it is not a policy's; {SAVE}.")
    ports = [Port("action", leaf) for leaf in nests.leaves(field(signature, "action"))]
    state, info = field(signature, "state"), field(signature, "info")
    ports += [Port("state", leaf) for leaf in (nests.leaves(state) if state is not None else [])]
    # The information comes last, so that the others keep their places where it has types that are not known.
    with suppress(UnknownType):
        ports += [Port("info", leaf) for leaf in (nests.leaves(info) if info is not None else [])]
    return ports + [port_of("info", (str(i),), tensor) for i, tensor in enumerate(function.outputs[len(ports) :])]


def _named(model: SavedModel, name: str) -> ActionFunction:
    """From the names in the signature `action`."""
    signatures = getattr(model.loaded, "signatures", {})
    if "action" not in signatures:
        there = f"it has {named(sorted(signatures))}" if signatures else "it has no signature"
        raise ExportRefused(f"{name}: has no `action` signature ({there[:120]}), so it is not a policy; {SAVE}.")
    function = signatures["action"]
    found = SignatureRoles(function, read_specs(model.folder), name)
    return ActionFunction(function, found.inputs, found.outputs, found.notes)
