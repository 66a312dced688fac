"""Nests of any kind and depth are what they were in the program, however the SavedModel names its tensors."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.policies.tf_policy import TFPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, time_step_spec

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEXT
from rlway_client.contract.specs import TensorSpec
from rlway_export.reference.graph_policy import GraphPolicy
from rlway_export.reference.nest import leaves
from tests.export import stock
from tests.export.graphs.ageing import changed

pytestmark = pytest.mark.slow

Pose = namedtuple("Pose", ["z", "at"])
ROWS = 5


def box(*shape: int, name: str | None = None) -> BoundedTensorSpec:
    return BoundedTensorSpec(shape, tf.float32, -2, 2, name)


class Nested(TFPolicy):  # type: ignore[misc]
    """Sums everything that it observes and remembers, and answers in nests of its own."""

    def __init__(self, observation: Any, action: Any, state: Any = (), info: Any = ()) -> None:
        specs = {"policy_state_spec": state, "info_spec": info}
        super().__init__(time_step_spec(observation), action, **specs, clip=False)

    def _variables(self) -> list[Any]:
        return []

    def _distribution(self, time_step: Any, policy_state: Any) -> Any:
        raise NotImplementedError

    def _action(self, time_step: Any, policy_state: Any, seed: Any = None) -> Any:
        del seed
        parts = tf.nest.flatten((time_step.observation, policy_state))
        sums = [tf.reduce_sum(tf.reshape(part, [tf.shape(part)[0], -1]), axis=1) for part in parts]
        total = tf.add_n([(i + 1) * part for i, part in enumerate(sums)])
        count = 0

        def part_of(spec: Any) -> Any:
            nonlocal count
            count += 1
            ones = tf.ones([1, *spec.shape], spec.dtype)
            return ones * tf.reshape(count * total, [-1, *[1] * spec.shape.rank])

        return PolicyStep(
            *(
                tf.nest.map_structure(part_of, nest)
                for nest in (self.action_spec, self.policy_state_spec, self.info_spec)
            )
        )


DEEP = {
    "b": [box(2), (box(), {"c": box(1)})],
    "a/b": Pose(box(2, 2), box(3)),
    "a": OrderedDict(z=box(), y=box(1)),
    "Arm": (box(),),
}
NESTS: dict[str, Callable[[], Nested]] = {
    "one tensor": lambda: Nested(box(4), box(2)),
    "dicts, lists, tuples and named tuples": lambda: Nested(
        DEEP,
        {"push": box(2), "grip": Pose(box(), box(1))},
        {"memory": (box(3), [box()])},
        Pose(box(), {"log/p": box()}),
    ),
    "tuples": lambda: Nested((box(2), (box(), box(3))), (box(2), box()), (box(), box(2)), (box(),)),
    "a long list": lambda: Nested([box(i + 1) for i in range(12)], [box(), box()]),
    "one part": lambda: Nested({"only": box(4)}, {"only": box(2)}, [box()]),
    "an empty part": lambda: Nested({"seen": box(4), "idle": ()}, box(2), ((), box(2)), {"told": (), "log": box()}),
}


def step(policy: Any) -> tuple[TimeStep, Any]:
    """A batch of time steps and of states."""
    generator = np.random.default_rng(0)

    def batch(spec: Any) -> Any:
        return tf.constant(generator.uniform(-2, 2, (ROWS, *spec.shape)), spec.dtype)

    seen, state = (
        tf.nest.map_structure(batch, nest) for nest in (policy.time_step_spec.observation, policy.policy_state_spec)
    )
    return TimeStep(tf.fill([ROWS], StepType.MID), tf.zeros(ROWS), tf.ones(ROWS), seen), state


def check(policy: Any, graph: GraphPolicy) -> None:
    """The paths are those of the policy's nests, and every part answers as the policy's own does."""
    interface = graph.interface
    time_step, state = step(policy)
    answer = policy.action(time_step, state)
    inputs = {"reset": np.zeros(ROWS, np.bool_)} if interface.state else {}
    for specs, nest in ((interface.observation, time_step.observation), (interface.state, state)):
        parts = dict(leaves(nest))
        assert sorted(spec.path for spec in specs) == sorted(parts)
        assert len({spec.name for spec in specs}) == len(specs)
        inputs |= {spec.name: parts[spec.path].numpy() for spec in specs}
    found = graph.run_act(inputs)
    act = graph.module(None).act(*(inputs[spec.name] for spec in interface.inputs))
    outputs = [(spec, "", answer.action) for spec in interface.actions]
    outputs += [(spec, NEXT, answer.state) for spec in interface.state]
    outputs += [(spec, "", answer.info) for spec in interface.outputs]
    for spec, prefix, nest in outputs:
        # The contract's specs of outputs have no paths, but their names are made of them.
        expected = dict(leaves(nest)).get(spec.path)
        assert expected is not None, spec
        for given in (found, act):
            np.testing.assert_allclose(given[prefix + spec.name], expected, rtol=1e-5, atol=1e-5)
    assert len(outputs) == len(tf.nest.flatten(answer))


@pytest.mark.parametrize("case", NESTS)
def test_nests_are_what_they_were(case: str, tmp_path: Path) -> None:
    """Of observation, action, policy state and information, with the bounds of the first two."""
    policy = NESTS[case]()
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), case)
    assert graph.notes == []
    check(policy, graph)
    bounded = [*graph.interface.observation, *graph.interface.actions]
    assert {(spec.minimum, spec.maximum) for spec in bounded} == {(-2, 2)}


def without_action(model: Any) -> None:
    """Leaves the signatures alone, as in a SavedModel that was made of another one's signatures."""
    root = model.meta_graphs[0].object_graph_def.nodes[0]
    kept = [child for child in root.children if child.local_name != "action"]
    del root.children[:]
    root.children.extend(kept)


@pytest.mark.parametrize("case", NESTS)
def test_a_signature_alone_has_the_same_nests(case: str, tmp_path: Path) -> None:
    """They are in policy_specs.pbtxt, even where a key has a slash; nothing is assumed."""
    policy = NESTS[case]()
    source = changed(stock.save(policy, tmp_path / "saved"), tmp_path / "source", without_action)
    graph = GraphPolicy(source, case)
    assert graph.notes == []
    check(policy, graph)


NAMED = {
    "seen": {"wall": box(2, 2, name="wall"), "body": (box(name="speed"), box(3, name="at"))},
    "action": {"grip": box(1, name="grip"), "push": box(2, name="push")},
    "state": [box(2, name="memory"), box(name="counter")],
    "info": {"sure": box(name="sure")},
}


@pytest.mark.parametrize("alone", [False, True])
def test_names_of_specs_lead_to_the_same_nests(alone: bool, tmp_path: Path) -> None:
    """As PolicySaver writes them with use_nest_path_signatures=False."""
    policy = Nested(NAMED["seen"], NAMED["action"], NAMED["state"], NAMED["info"])
    PolicySaver(policy, use_nest_path_signatures=False).save(str(tmp_path / "saved"))
    source = changed(tmp_path / "saved", tmp_path / "source", without_action if alone else lambda _: None)
    graph = GraphPolicy(source, "named")
    assert graph.notes == []
    check(policy, graph)


def test_without_specs_slashes_in_names_are_taken_for_keys(tmp_path: Path) -> None:
    """The user is told what was assumed, and that the bounds are not known."""
    policy = Nested({"robot": {"at": box(2)}, "wall": box()}, {"push": box(2), "grip": box()}, (box(),))
    source = changed(stock.save(policy, tmp_path / "saved"), tmp_path / "source", without_action)
    (source / "policy_specs.pbtxt").unlink()
    graph = GraphPolicy(source, "assumed")
    check(policy, graph)
    assumed, unbounded = graph.notes
    assert assumed.startswith("assumed: does not tell how its tensors are nested, so this was assumed: ")
    assert "0/observation/robot/at is observation['robot']['at']" in assumed
    assert "the bounds of its tensors are not known" in unbounded


def test_names_that_cannot_be_paths_stay_whole(tmp_path: Path) -> None:
    """`a` has a tensor, so `a/b` is a key and none within `a`."""
    policy = Nested({"a": box(2), "a/b": box(3)}, box(2))
    source = changed(stock.save(policy, tmp_path / "saved"), tmp_path / "source", without_action)
    (source / "policy_specs.pbtxt").unlink()
    check(policy, GraphPolicy(source, "whole"))


def test_bare_names_without_specs_are_parts_of_the_observation(tmp_path: Path) -> None:
    """What the function also gives is its state; the rest of what it gives is information."""
    policy = Nested(NAMED["seen"], box(2, name="action"), [box(2, name="memory")], {"sure": box(name="sure")})
    PolicySaver(policy, use_nest_path_signatures=False).save(str(tmp_path / "saved"))
    source = changed(tmp_path / "saved", tmp_path / "source", without_action)
    (source / "policy_specs.pbtxt").unlink()
    graph = GraphPolicy(source, "bare")
    interface = graph.interface
    assert [spec.path for spec in interface.observation] == [("at",), ("speed",), ("wall",)]
    assert [spec.path for spec in interface.state] == [("memory",)]
    assert [spec.name for spec in interface.outputs] == ["info_sure"]
    assert "at is observation['at'], speed is observation['speed'], wall is" in graph.notes[0]
    time_step, state = step(policy)
    expected = policy.action(time_step, state)
    wall, (speed, at) = time_step.observation["wall"], time_step.observation["body"]
    inputs = {"observation_at": at, "observation_speed": speed, "observation_wall": wall, "state_memory": state[0]}
    given = {name: value.numpy() for name, value in inputs.items()} | {"reset": np.zeros(ROWS, np.bool_)}
    np.testing.assert_allclose(graph.run_act(given)["action"], expected.action, rtol=1e-5, atol=1e-5)


def with_an_own_type(model: Any) -> None:
    """Describes the observation by a type of somebody's own."""
    for function in model.meta_graphs[0].object_graph_def.concrete_functions.values():
        args, kwargs = function.canonicalized_input_signature.tuple_value.values
        for time_step in (*args.tuple_value.values, *kwargs.dict_value.fields.values()):
            for pair in time_step.named_tuple_value.values:
                if pair.key == "observation":
                    spec = pair.value.type_spec_value
                    spec.type_spec_class_name = "robots.own.Sensed"
                    spec.type_state.none_value.SetInParent()


def test_an_observation_of_an_own_type_is_refused(tmp_path: Path) -> None:
    """It may consist of any number of tensors; the sentence has the type's name."""
    policy = Nested(box(4), box(2), (box(),))
    source = changed(stock.save(policy, tmp_path / "saved"), tmp_path / "source", with_an_own_type)
    with pytest.raises(
        ExportRefused, match=r"its `action` takes or gives a robots\.own\.Sensed; expected dense tensors"
    ):
        GraphPolicy(source, "own")


def one_signature(function: Any, folder: Path, **inputs: tf.TensorSpec) -> Path:
    module = tf.Module()
    act = tf.function(function, autograph=False)
    tf.saved_model.save(module, str(folder), {"action": act.get_concrete_function(**inputs)})
    return folder


REWARD = {key: tf.TensorSpec([None], tf.float32) for key in ("reward", "discount")}
STEP = REWARD | {"step_type": tf.TensorSpec([None], tf.int32)}
SEEN = tf.TensorSpec([None, 4], tf.float32)


@pytest.mark.parametrize("prefix", ["", "time_step_", "arg_0_"])
def test_names_of_a_time_step_may_have_a_prefix(prefix: str, tmp_path: Path) -> None:
    """As wrappers of a policy's action name its arguments."""
    given = {prefix + key: spec for key, spec in {**STEP, "observation": SEEN}.items()}
    source = one_signature(lambda **taken: {"action": 2 * taken[f"{prefix}observation"]}, tmp_path / "source", **given)
    graph = GraphPolicy(source, "wrapped")
    assert graph.interface.observation == [TensorSpec("observation", (4,), "float32")]
    seen = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(graph.run_act({"observation": seen})["action"], 2 * seen)


def test_a_signature_that_is_no_policys_is_refused(tmp_path: Path) -> None:
    """It takes something else than a time step, or gives no action."""
    other = one_signature(lambda x: {"action": x}, tmp_path / "other", x=SEEN)
    with pytest.raises(ExportRefused, match="takes 'x', which is no part of a time step or policy state"):
        GraphPolicy(other, "other")
    idle = one_signature(lambda **taken: {"value": taken["observation"]}, tmp_path / "idle", **STEP, observation=SEEN)
    with pytest.raises(ExportRefused, match="its `action` gives no action"):
        GraphPolicy(idle, "idle")
    blind = one_signature(lambda **taken: {"action": taken["reward"][:, None]}, tmp_path / "blind", **STEP)
    with pytest.raises(ExportRefused, match="observes nothing"):
        GraphPolicy(blind, "blind")


def test_a_policy_with_an_input_function_is_refused(tmp_path: Path) -> None:
    """Its `action` takes what that function takes."""
    policy = stock.greedy("dqn")
    example = {"raw": tf.TensorSpec([8], tf.float32, "raw")}

    def time_step_of(raw: Any) -> Any:
        rows = tf.shape(raw["raw"])[0]
        step_type = tf.fill([rows], 1)
        return TimeStep(step_type, tf.zeros([rows]), tf.ones([rows]), raw["raw"][:, :4]), ()

    PolicySaver(policy, input_fn_and_spec=(time_step_of, example)).save(str(tmp_path / "source"))
    with pytest.raises(ExportRefused, match="its `action` takes no time step; save it without input_fn_and_spec"):
        GraphPolicy(tmp_path / "source", "examples")
