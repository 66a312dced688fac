"""The variables of a policy, filled from a checkpoint that was saved with its agent or with itself.

In:      an agent; a checkpoint of tf.train.Checkpoint.
Out:     the policy's variables with the checkpoint's values; the train step.
Refuses: a checkpoint that cannot be read (RunInvalid); one in which a variable of the policy is missing or has another
         shape, or whose policy has more variables (ExportRefused names the first).

A checkpoint has a graph of the objects that were saved, with the names by which each refers to others. It is followed
beside the agent's own objects, as TensorFlow does. Nothing but the policy is filled: no optimizer, no replay buffer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import named, reason, short_name
from rlway_client.contract.errors import ExportRefused, RunInvalid

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "VARIABLE_VALUE"
SAVED = "model_variables"  # under which PolicySaver has the policy's variables, in order
STEPS = ("global_step", "train_step", "train_step_counter", "step")  # the usual names of the train step
UNCOUNTED = -1
SAME = "have the function build the agent that was trained"


class Reader(NamedTuple):
    """An opened checkpoint; `name` is that in messages."""

    name: str
    values: Any  # a tf.train.CheckpointReader
    nodes: Any  # of its graph of objects; the first is the root

    @classmethod
    def open(cls, prefix: Path) -> Reader:
        import tensorflow as tf
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        name = str(prefix)
        try:
            values = tf.train.load_checkpoint(name)
            if not values.has_tensor(GRAPH):
                raise RunInvalid(f"{name}: was not written by tf.train.Checkpoint; save it with that: agent=agent.")
            nodes = list(TrackableObjectGraph.FromString(values.get_tensor(GRAPH)).nodes)
        except (tf.errors.OpError, ValueError, DecodeError, RuntimeError, IndexError) as error:
            raise RunInvalid(f"{name}: is a damaged checkpoint: {reason(error)}; save or copy it again.") from error
        if not nodes:
            raise RunInvalid(f"{name}: is a damaged checkpoint: it has no objects; save or copy it again.")
        return cls(name, values, nodes)

    def children(self, node: Any) -> dict[str, Any]:
        """The objects to which an object refers."""
        return {one.local_name: self.nodes[one.node_id] for one in node.children if one.node_id < len(self.nodes)}

    def key(self, node: Any) -> str | None:
        """The key of a variable's value; None for another object."""
        return next((one.checkpoint_key for one in node.attributes if one.name == VALUE), None)

    def value(self, key: str) -> Any:
        import tensorflow as tf

        try:
            return self.values.get_tensor(key)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:  # a missing shard, a wrong checksum
            raise RunInvalid(
                f"{self.name}: is a damaged checkpoint: {reason(error)}; save or copy it again."
            ) from error

    @property
    def train_step(self) -> int:
        """The number of train steps; −1 if nobody counted under a usual name."""
        there = self.children(self.nodes[0])
        keys = (self.key(there[name]) for name in STEPS if name in there)
        key = next((key for key in keys if key is not None), None)
        value = None if key is None else self.value(key)
        return UNCOUNTED if value is None or value.ndim or value.dtype.kind not in "iu" else int(value)


def restore_policy(agent: Any, policy: Any, reader: Reader) -> None:
    """Fills the variables of `policy`, which is one of the agent's."""
    import tensorflow as tf

    found, left = _match(agent, policy, reader)
    variables = {variable.ref(): variable for variable in policy.variables()}
    tracked = tf.train.TrackableView(policy).descendants()
    variables |= {one.ref(): one for one in tracked if isinstance(one, tf.Variable)}
    shapes = reader.values.get_variable_to_shape_map()
    for ref, variable in variables.items():
        title = short_name(variable.name.removesuffix(":0"))
        if ref not in found or found[ref] not in shapes:
            there = named(sorted(reader.children(reader.nodes[0]))) or "nothing"
            raise ExportRefused(
                f"{reader.name}: has no value for {title} of the policy; it has {there}; {SAME}, and that was saved as "
                f"agent= or policy=."
            )
        expected, got = variable.shape.as_list(), shapes[found[ref]]
        if expected != got:
            raise ExportRefused(
                f"{reader.name}: is of another network: expected {title} of the shape {expected}, got {got}; {SAME}."
            )
    if left is not None:
        raise ExportRefused(
            f"{reader.name}: is of another network: its policy has {short_name(left)}, and the agent's has not; {SAME}."
        )
    for ref, variable in variables.items():
        value = reader.value(found[ref])
        if value.dtype != variable.dtype.as_numpy_dtype:
            raise ExportRefused(
                f"{reader.name}: is of another network: expected {short_name(variable.name)} of {variable.dtype.name}, "
                f"got {value.dtype}; {SAME}."
            )
        variable.assign(value)


def _match(agent: Any, policy: Any, reader: Reader) -> tuple[dict[Any, str], str | None]:
    """The key of each variable that both have; the first that only the checkpoint's network has."""
    import tensorflow as tf
    from tf_agents.policies.tf_policy import TFPolicy

    view = tf.train.TrackableView
    strict = {id(one) for one in view(policy).descendants() if not isinstance(one, TFPolicy)}
    there = reader.children(reader.nodes[0])
    saved_as = {"policy": (policy, agent.policy, agent.collect_policy), "agent": (agent,), "tf_agent": (agent,)}
    pairs = [(there[name], thing) for name, things in saved_as.items() if name in there for thing in things]
    own = view.children(agent)  # such as `_actor_network`, saved as actor_network=
    pairs += [(node, own[f"_{name}"]) for name, node in there.items() if f"_{name}" in own]
    pairs.append((reader.nodes[0], agent))  # saved as tf.train.Checkpoint(root=agent)
    if SAVED in there:
        listed = reader.children(there[SAVED])
        pairs += [(listed[str(i)], one) for i, one in enumerate(policy.variables()) if str(i) in listed]
    found: dict[Any, str] = {}
    left: str | None = None
    seen = set[tuple[int, int]]()
    while pairs:
        node, thing = pairs.pop(0)
        if (id(node), id(thing)) in seen:
            continue
        seen.add((id(node), id(thing)))
        key = reader.key(node)
        if isinstance(thing, tf.Variable):
            if key is not None:
                found.setdefault(thing.ref(), key)
            continue
        children = view.children(thing)
        for name, child in reader.children(node).items():
            if name in children:
                pairs.append((child, children[name]))
            elif id(thing) in strict:
                left = left or _variable_in(reader, child)
    return found, left


def _variable_in(reader: Reader, node: Any) -> str | None:
    """The key of a variable that an object has, if it has any."""
    unseen, seen = [node], set[int]()
    while unseen:
        one = unseen.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        key = reader.key(one)
        if key is not None:
            return key
        unseen += reader.children(one).values()
    return None
