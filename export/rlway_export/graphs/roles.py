"""Which tensor of a saved `action` is what: observation, time step, policy state, action, information.

In:      a SavedModel of PolicySaver, of any version of TF-Agents.
Out:     `Roles`: the function to run, and what each of its inputs and outputs is, in order.
Refuses: a SavedModel without `action`, one whose `action` is not that of a policy (ExportRefused).

The nests come from the description of the function `action`. Where there is none, they come from the names in the
signature of that name, of which there are several kinds:

    0/observation/pose   1/state/0   action   state/state/0   info/log_probability     paths
    arg_0_observation    time_step_observation   observation                            names
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from rlway_client.common.quote import named
from rlway_client.contract.errors import ExportRefused
from rlway_export.graphs import nests
from rlway_export.graphs.nests import KeyPath, Leaf, UnknownType, field
from rlway_export.graphs.saved_model import SavedModel

Role = Literal["step_type", "reward", "discount", "observation", "state", "action", "info"]
TIME_STEP: tuple[Role, ...] = ("step_type", "reward", "discount", "observation")
SAVE = "save one with TF-Agents' PolicySaver"
PREFIX = re.compile(r"^(?:0/|(?:arg_0|time_step|0)_)?(step_type|reward|discount|observation)(?:[/_](.+))?$")
STATE = re.compile(r"^(?:1/|(?:arg_1|policy_state|1)_)(.+)$")
ASSUMED = "{}: does not tell how its tensors are nested; {} was taken as the path of {}."


class Port(NamedTuple):
    """One input or output of the function."""

    role: Role
    leaf: Leaf  # its path is that within the observation, the state, …


class Roles(NamedTuple):
    """The function that acts, and its tensors in order."""

    function: Any  # a concrete function of TensorFlow
    inputs: list[Port]
    outputs: list[Port]
    notes: list[str]  # what was assumed, a sentence each

    @classmethod
    def of(cls, model: SavedModel, name: str) -> Roles:
        """`name` is the SavedModel's name in messages."""
        return _described(model, name) or _named(model, name)

    def taken(self, role: Role) -> list[Leaf]:
        """The inputs of one part, in order."""
        return [port.leaf for port in self.inputs if port.role == role]

    def given(self, role: Role) -> list[Leaf]:
        """The outputs of one part, in order."""
        return [port.leaf for port in self.outputs if port.role == role]


def _described(model: SavedModel, name: str) -> Roles | None:
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
            return Roles(function, inputs, _outputs(described.output_signature, function, name), [])
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
    with suppress(
        UnknownType
    ):  # or None in its place: the information comes last, so that the others keep their places
        ports += [Port("info", leaf) for leaf in (nests.leaves(info) if info is not None else [])]
    return ports + [
        Port("info", _leaf_of(tensor, (str(i),))) for i, tensor in enumerate(function.outputs[len(ports) :])
    ]


def _named(model: SavedModel, name: str) -> Roles:
    """From the names in the signature `action`."""
    signatures = getattr(model.loaded, "signatures", {})
    if "action" not in signatures:
        there = f"it has {named(sorted(signatures))}" if signatures else "it has no signature"
        raise ExportRefused(f"{name}: has no `action` signature ({there[:120]}), so it is not a policy; {SAVE}.")
    function = signatures["action"]
    by_tensor = _names_of(function)
    inputs, notes = [], []
    for tensor in function.inputs[: len(by_tensor)]:
        label = by_tensor[tensor.name]
        port = _input_port(label, tensor)
        if port is None:
            raise ExportRefused(
                f"{name}: its `action` takes {label[:64]!r}, which is no part of a time step or policy state; {SAVE}."
            )
        inputs.append(port)
        if port.role == "observation" and len(port.leaf.path) > 0:
            notes.append(ASSUMED.format(name, " and ".join(map(repr, port.leaf.path))[:80], label[:64]))
    outputs = [_output_port(label, tensor) for label, tensor in zip(_labels(function), function.outputs, strict=True)]
    if not any(port.role == "action" for port in outputs):
        raise ExportRefused(f"{name}: its `action` gives no action, so it is not a policy's; {SAVE}.")
    return Roles(function, inputs, outputs, notes)


def _names_of(function: Any) -> dict[str, str]:
    """The signature's name of each of the function's own inputs."""
    _, given = function.structured_input_signature
    return {f"{spec.name or key}:0": key for key, spec in given.items()}


def _labels(function: Any) -> list[str]:
    """The names of the function's outputs, in order: TensorFlow sorts them."""
    return sorted(function.structured_outputs)


def _input_port(label: str, tensor: Any) -> Port | None:
    found = PREFIX.match(label)
    if found is not None:
        path = tuple(found[2].split("/")) if found[2] else ()
        return Port(found[1], _leaf_of(tensor, path))  # type: ignore[arg-type]
    state = STATE.match(label)
    return Port("state", _leaf_of(tensor, tuple(state[1].split("/")))) if state else None


def _output_port(label: str, tensor: Any) -> Port:
    role, _, path = label.partition("/")
    known: dict[str, Role] = {"action": "action", "state": "state", "policy_state": "state"}
    leaf = _leaf_of(tensor, tuple(path.split("/")) if path else ())
    if role in known:
        return Port(known[role], leaf)
    return Port("info", leaf._replace(path=tuple(label.removeprefix("info/").split("/"))))


def _leaf_of(tensor: Any, path: KeyPath) -> Leaf:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Leaf(path, tensor.name, shape, tensor.dtype.name)
