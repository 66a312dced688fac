"""A policy in this process applies the guard of its bundle, as docs/guard.md says, to the bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from rlway_client import EdgePolicy
from rlway_client.contract.errors import ActionRefused
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.edge_guard import EdgeGuard
from tests.clients.contract.generated import THOROUGH
from tests.guards import Actions, Case, guard_cases, judge
from tests.replaying import replaying_policy

ACTION = TensorSpec("action", (2,), "float32", -2, 2)


class Clock:
    """The time that a test says it is."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def tables(case: Case) -> Actions:
    return {spec.name: np.stack([step.actions[spec.name] for step in case.steps]) for spec in case.specs}


def tensors(action: Any, case: Case) -> Actions:
    """The action's tensors by name."""
    parts = action if isinstance(action, tuple) else (action,)
    return {spec.name: np.asarray(part, spec.dtype) for spec, part in zip(case.specs, parts, strict=True)}


@THOROUGH
@given(guard_cases())
def test_every_action_is_what_the_rules_say(case: Case) -> None:
    """Whatever the specs, the guard, the actions and the times: compared with the rules, element by element."""
    clock, before, given_s = Clock(), None, 0.0
    with TemporaryDirectory() as folder:
        policy = EdgePolicy(
            replaying_policy(Path(folder), case.specs, tables(case), case.guard).path, "model.onnx", clock=clock
        )
    for i, step in enumerate(case.steps):
        if step.first:
            policy.reset()
            before = None
        clock.now_s = given_s + step.elapsed_s
        expected = judge(case, step, before, clock.now_s - given_s)
        if expected.actions is None:
            with pytest.raises(ActionRefused):
                policy.act(i)
        else:
            found = tensors(policy.act(i), case)
            assert {name: array.tobytes() for name, array in found.items()} == {
                name: array.tobytes() for name, array in expected.actions.items()
            }
            before, given_s = expected.actions, clock.now_s
        assert {name: {*rules} for name, rules in policy.guarded.items()} == expected.violated


def moves(folder: Path, guard: Guard, *actions: list[float]) -> EdgePolicy:
    """A policy whose action on the observation i is the i-th of these."""
    bundle = replaying_policy(folder, [ACTION], {"action": np.array(actions, np.float32)}, guard)
    return EdgePolicy(bundle.path, "model.onnx")


def test_changes_are_counted_from_the_action_that_the_guard_gave(tmp_path: Path) -> None:
    """Not from the network's, and not from what the caller made of the array; `reset` forgets it."""
    limits = ActionLimits(change_per_step=0.5, safe=0.0)
    policy = moves(tmp_path, Guard(schema_version=1, actions={"action": limits}), [0, 0], [2, -2])
    first = policy.act(0)
    first += 1.0
    found = [policy.act(1).tolist() for _ in range(5)]
    assert found == [[0.5, -0.5], [1.0, -1.0], [1.5, -1.5], [2.0, -2.0], [2.0, -2.0]]
    assert policy.guarded == {}
    policy.reset()
    policy.act(0)
    policy.reset()
    assert policy.act(1).tolist() == [2.0, -2.0]


def test_an_action_that_was_executed_is_held_as_it_was() -> None:
    """Whole numbers that float64 cannot hold as well."""
    specs = [
        TensorSpec("action_place", (), "uint64", path=("0",)),
        TensorSpec("action_speed", (), "float32", path=("1",)),
    ]
    limits = {"action_place": ActionLimits(safe=1), "action_speed": ActionLimits(safe=0.0)}
    guard = EdgeGuard(Guard(schema_version=1, actions=limits), specs, Clock())
    guard.executed([np.array([2**64 - 1], np.uint64), np.ones(1, np.float32)])
    unsound: list[AnyArray] = [np.zeros(1, np.uint64), np.full(1, np.nan, np.float32)]
    assert [array.item() for array in guard.apply(unsound)] == [2**64 - 1, 1.0]


def test_the_last_action_tells_what_was_violated(tmp_path: Path) -> None:
    """A clamped action, one that is held, and one that is sound."""
    limits = ActionLimits(maximum=1.0, change_per_step=1.5, safe=0.0)
    policy = moves(tmp_path, Guard(schema_version=1, actions={"action": limits}), [0, 2], [0, -2], [np.nan, 0], [0, 0])
    assert (policy.act(0).tolist(), policy.guarded) == ([0, 1], {"action": ["out_of_range"]})
    assert (policy.act(1).tolist(), policy.guarded) == ([0, -0.5], {"action": ["too_fast"]})
    assert (policy.act(2).tolist(), policy.guarded) == ([0, -0.5], {"action": ["non_finite"]})
    assert (policy.act(3).tolist(), policy.guarded) == ([0, 0], {})


def test_a_refused_action_leaves_the_episode_as_it_was(tmp_path: Path) -> None:
    """The sentence names the element, the rule, the limit and the value."""
    guard = Guard(
        schema_version=1, actions={"action": ActionLimits(change_per_step=0.5)}, too_fast="refuse", non_finite="refuse"
    )
    policy = moves(tmp_path, guard, [0, 0], [0.5, 0.7], [0.5, 0], [np.nan, 0])
    policy.act(0)
    with pytest.raises(ActionRefused) as refused:
        policy.act(1)
    assert str(refused.value) == (
        "action[1]: the guard refuses an action that is too_fast: "
        "expected -0.5 to 0.5 after the action before, got 0.7."
    )
    with pytest.raises(ActionRefused, match=r"^action\[0\]: .* non_finite: expected a finite number, got NaN\.$"):
        policy.act(3)
    assert policy.guarded == {"action": ["non_finite"]}
    assert policy.act(2).tolist() == [0.5, 0]


def test_another_policys_action_is_guarded_tensor_by_tensor(tmp_path: Path) -> None:
    """Wherever its parts lie: the nesting may order them otherwise than the manifest. What was executed limits it."""
    specs = [
        TensorSpec("action_a_x", (2,), "float32", -9, 9, path=("a", "x")),
        TensorSpec("action_b", (), "float64", -9, 9, path=("b",)),
        TensorSpec("action_a_y", (1,), "float32", -9, 9, path=("a", "y")),
    ]
    steps = {"action_a_x": 1.0, "action_b": 2.0, "action_a_y": 3.0}
    guard = Guard(
        schema_version=1,
        actions={name: ActionLimits(maximum=8.0, change_per_step=step, safe=0.0) for name, step in steps.items()},
    )
    tables = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in specs}
    policy = EdgePolicy(replaying_policy(tmp_path, specs, tables, guard).path, "model.onnx")

    def action(x: float, b: float, y: float) -> Any:
        return {"a": {"x": np.full(2, x, np.float32), "y": np.full(1, y, np.float32)}, "b": b}

    def flat(given: Any) -> list[float]:
        return [*given["a"]["x"].tolist(), float(given["b"]), *given["a"]["y"].tolist()]

    assert flat(policy.guard(action(9, 7, 7))) == [8, 8, 7, 7]
    policy.executed(action(-1, -2, -3))
    assert flat(policy.guard(action(5, 5, 5))) == [0, 0, 0, 0]
    policy.executed(action(0, 0, 0))
    sound = action(1, -2, 3)
    assert policy.guard(sound) is sound
    assert flat(policy.act(0)) == [0, 0, 0, 0]
