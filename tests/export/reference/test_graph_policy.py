"""What a policy reads of a time step, and what it tells of its action, in tensors of every type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.temporal_action_smoothing import TemporalActionSmoothing
from tf_agents.policies.tf_policy import TFPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, time_step_spec

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import OnnxRunner
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.parity import sample_noise
from rlway_export.formats.registry import parse_formats
from rlway_export.reference.graph_policy import GraphPolicy
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.graphs.drawing import EXAMPLES, PUSH, Drawing, numbers, step_of, tfd

pytestmark = pytest.mark.slow

ROWS = 7
GENERATOR = np.random.default_rng(0)
SEEN = GENERATOR.uniform(-2, 2, (ROWS, 4)).astype(np.float32)
REWARD = GENERATOR.standard_normal(ROWS).astype(np.float32)
DISCOUNT = GENERATOR.random(ROWS).astype(np.float32)
STEP_TYPE = GENERATOR.integers(0, 3, ROWS).astype(np.int32)


class Stepping(TFPolicy):  # type: ignore[misc]
    """Its action is a function of the whole time step and of the policy state, which it replaces by the action."""

    def __init__(self, act: Callable[[Any, Any], Any], state: Any = ()) -> None:
        super().__init__(time_step_spec(stock.VECTOR), PUSH, policy_state_spec=state, clip=False)
        self.act = act

    def _variables(self) -> list[Any]:
        return []

    def _distribution(self, time_step: Any, policy_state: Any) -> Any:
        raise NotImplementedError

    def _action(self, time_step: Any, policy_state: Any, seed: Any = None) -> Any:
        del seed
        action = self.act(time_step, policy_state)
        return PolicyStep(action, action if self.policy_state_spec != () else ())


def column(values: Any) -> Any:
    return tf.cast(values, tf.float32)[:, None]


def batch_of(values: Any) -> Any:
    """Zeros for each row, of which only the number is read."""
    return tf.zeros_like(column(values))


READS: dict[str, tuple[Callable[[Any, Any], Any], list[str]]] = {
    "nothing but the observation": (lambda step, _: numbers(step.observation, 2), []),
    "the batch's size alone": (
        lambda step, _: numbers(step.observation, 2) + batch_of(step.reward) + batch_of(step.step_type),
        [],
    ),
    "the reward": (lambda step, _: numbers(step.observation, 2) + column(step.reward), ["reward"]),
    "the discount": (lambda step, _: numbers(step.observation, 2) * column(step.discount), ["discount"]),
    "the step type": (
        lambda step, _: tf.where(column(step.step_type) == StepType.FIRST, 0.0, numbers(step.observation, 2)),
        ["step_type"],
    ),
    "everything": (
        lambda step, _: (
            numbers(step.observation, 2) + column(step.reward) * column(step.discount) + column(step.step_type)
        ),
        ["reward", "discount", "step_type"],
    ),
}


@pytest.mark.parametrize("case", READS)
def test_what_matters_of_the_time_step_is_an_input(case: str, tmp_path: Path) -> None:
    """And nothing else is; what is not given has the value of a step within an episode."""
    act, expected = READS[case]
    policy = Stepping(act)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), case)
    assert [spec.name for spec in graph.interface.time_step] == expected
    told = {"reward": REWARD, "discount": DISCOUNT, "step_type": STEP_TYPE}
    given = {name: told[name] for name in expected}
    action = policy.action(TimeStep(*(tf.constant(told[name]) for name in ("step_type", "reward", "discount")), SEEN))
    for found in (
        graph.run_act({"observation": SEEN} | given),
        graph.module(None).act(SEEN, *given.values()),
    ):
        np.testing.assert_allclose(found["action"], action.action, rtol=1e-5, atol=1e-5)


def test_with_state_the_step_type_is_reset(tmp_path: Path) -> None:
    """True where an episode begins. A policy that does not reset its state itself still gets the step type."""
    action = BoundedTensorSpec([2], tf.float32, -9, 9, "memory")

    def act(step: Any, state: Any) -> Any:
        kept = tf.where(column(step.step_type) == StepType.FIRST, tf.zeros_like(state), state)
        return numbers(step.observation, 2) + 0.5 * kept + column(step.reward)

    policy = Stepping(act, action)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "stepping")
    assert [spec.name for spec in graph.interface.inputs] == ["observation", "reward", "state", "reset"]
    state = GENERATOR.standard_normal((ROWS, 2)).astype(np.float32)
    reset = np.arange(ROWS) % 2 == 0
    found = graph.run_act({"observation": SEEN, "reward": REWARD, "state": state, "reset": reset})
    kinds = tf.where(reset, StepType.FIRST, StepType.MID)
    expected = policy.action(TimeStep(kinds, tf.constant(REWARD), tf.ones(ROWS), tf.constant(SEEN)), state)
    np.testing.assert_allclose(found["action"], expected.action, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["next_state"], expected.state, rtol=1e-5, atol=1e-5)


def test_a_wrapper_may_add_to_the_policy_state(tmp_path: Path) -> None:
    """TemporalActionSmoothing remembers the action beside a state that is empty."""
    policy = TemporalActionSmoothing(ActorPolicy(time_step_spec(stock.VECTOR), stock.PUSH, stock.actor()), 0.8)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "smooth")
    assert [(spec.path, spec.shape) for spec in graph.interface.state] == [(("1",), (2,))]
    state = GENERATOR.standard_normal((ROWS, 2)).astype(np.float32)
    given = {"observation": SEEN, "state_1": state, "reset": np.zeros(ROWS, np.bool_)}
    expected = policy.action(step_of(SEEN), ((), tf.constant(state)))
    np.testing.assert_allclose(graph.run_act(given)["action"], expected.action, rtol=1e-5, atol=1e-6)


def test_the_parameters_of_a_distribution_are_told(tmp_path: Path) -> None:
    """PPO's collect policy gives them as information, whatever it draws."""
    policy = stock.agent("ppo").collect_policy
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "ppo")
    assert [spec.name for spec in graph.interface.outputs] == ["info_dist_params_loc", "info_dist_params_scale"]
    noise = GENERATOR.standard_normal((ROWS, 2)).astype(np.float32)
    found = graph.run_act({"observation": SEEN, "noise": noise})
    told = policy.action(step_of(SEEN)).info["dist_params"]
    np.testing.assert_allclose(found["info_dist_params_loc"], told["loc"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["info_dist_params_scale"], told["scale"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["action"], told["loc"] + told["scale"] * noise, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Categorical", "MultivariateNormalDiag", "TanhNormal"])
def test_the_log_probability_is_that_of_the_drawn_action(name: str, tmp_path: Path) -> None:
    """By the policy's own distribution."""
    example = EXAMPLES[name].policy()
    policy = Drawing(example.action_spec, distribution=example.of, emit_log_probability=True)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "logged")
    assert "info_log_probability" in [spec.name for spec in graph.interface.outputs]
    noise = sample_noise(graph.interface.noise_draws, ROWS)
    found = graph.run_act({"observation": SEEN, "noise": noise})
    expected = policy.distribution(step_of(SEEN)).action.log_prob(found["action"]).numpy()
    logged = found["info_log_probability"]
    np.testing.assert_allclose(logged, expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(expected) > 0.1


OBSERVED = {
    "f64": BoundedTensorSpec([2], tf.float64, -1, 1),
    "f16": BoundedTensorSpec([2], tf.float16, -1, 1),
    "i8": BoundedTensorSpec([2], tf.int8, -3, 3),
    "i32": BoundedTensorSpec([], tf.int32, 0, 9),
    "i64": BoundedTensorSpec([1], tf.int64, -5, 5),
    "u8": BoundedTensorSpec([2, 2], tf.uint8, 0, 255),
    "flag": tf.TensorSpec([3], tf.bool),
}
TAKEN = {
    "f64": BoundedTensorSpec([2], tf.float64, -99, 99),
    "i32": BoundedTensorSpec([1], tf.int32, 5, 7),
    "i64": BoundedTensorSpec([], tf.int64, 0, 2),
    "u8": BoundedTensorSpec([], tf.uint8, 1, 3),
    "flag": tf.TensorSpec([], tf.bool),
}


def every_type(seen: Any) -> Any:
    parts = [tf.cast(seen[key], tf.float32) for key in sorted(seen)]
    flat = tf.concat([tf.reshape(part, [tf.shape(part)[0], -1]) for part in parts], axis=1) / 8
    choice = tf.argmax(tf.stack([tf.sin(flat[:, 0]), tf.cos(flat[:, 3]), flat[:, 5] / 4], 1), -1)
    return {
        "f64": tf.cast(flat[:, :2], tf.float64) * 3.0,
        "i32": tf.cast(choice[:, None] + 5, tf.int32),
        "i64": choice,
        "u8": tf.cast(choice + 1, tf.uint8),
        "flag": flat[:, 1] > 0.01,
    }


def test_tensors_of_every_type_pass_the_gate(tmp_path: Path) -> None:
    """Observations and actions of float64, float16, whole numbers with and without sign, and flags; bounds from 5."""
    policy = Drawing(TAKEN, every_type, observation=OBSERVED)
    source = open_source(stock.save(policy, tmp_path / "source"), "best")
    bundle = write_bundle(source, tmp_path / "models", "types", parse_formats("onnx"), lambda _: None)
    manifest = bundle.manifest
    assert {spec.path[0]: spec.dtype for spec in manifest.observation} == {k: s.dtype.name for k, s in OBSERVED.items()}
    assert {spec.path[0]: spec.dtype for spec in manifest.actions} == {k: s.dtype.name for k, s in TAKEN.items()}
    assert TensorSpec("action_i32", (1,), "int32", 5, 7, ("i32",)) in manifest.actions
    generator = np.random.default_rng(1)
    seen = {key: sample(spec, generator) for key, spec in OBSERVED.items()}
    found = OnnxRunner(bundle.path / "model.onnx").run({f"observation_{key}": value for key, value in seen.items()})
    expected = every_type({key: tf.constant(value) for key, value in seen.items()})
    for key, action in expected.items():
        np.testing.assert_allclose(found[f"action_{key}"], action, rtol=1e-5)
        assert found[f"action_{key}"].dtype == TAKEN[key].dtype.as_numpy_dtype


def sample(spec: Any, generator: np.random.Generator) -> Any:
    low, high = getattr(spec, "minimum", 0), getattr(spec, "maximum", 1)
    values = generator.uniform(low, high, (ROWS, *spec.shape))
    return (np.round(values) if not spec.dtype.is_floating else values).astype(spec.dtype.as_numpy_dtype)


def test_text_is_refused(tmp_path: Path) -> None:
    """In an action as in an observation."""
    words = tf.TensorSpec([], tf.string)
    policy = Drawing(words, lambda seen: tf.strings.as_string(seen[:, 0]))
    with pytest.raises(ExportRefused, match="action is of string; only numbers can be exported"):
        GraphPolicy(stock.save(policy, tmp_path / "source"), "words")


def test_an_observation_without_a_known_size_is_refused(tmp_path: Path) -> None:
    """No file has inputs of any size but that of the batch."""
    policy = Drawing(PUSH, lambda seen: seen[:, :2], observation=tf.TensorSpec([None], tf.float32))
    with pytest.raises(ExportRefused, match=r"observation has no known shape \(\[None, None\]\)"):
        GraphPolicy(stock.save(policy, tmp_path / "source"), "any")


def test_branches_and_loops_act_as_the_saved_function_does(tmp_path: Path) -> None:
    """One branch gives constants, which nothing but a control dependency ties to it."""

    def act(seen: Any) -> Any:
        ones, twos = tf.ones_like(seen[:, :2]), 2 * tf.ones_like(seen[:, :2])
        factor = tf.cond(tf.reduce_sum(tf.shape(seen)) > 5, lambda: tf.constant(2.0), lambda: tf.constant(-1.0))
        chosen = tf.cond(tf.shape(seen)[0] > 0, lambda: ones, lambda: twos)
        return factor * numbers(seen, 2) + chosen

    policy = Drawing(PUSH, act)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "branching")
    for rows in (1, ROWS):
        found = graph.module(None).act(SEEN[:rows])["action"]
        np.testing.assert_allclose(found, policy.action(step_of(SEEN[:rows])).action, rtol=1e-5, atol=1e-5)


def test_the_saved_model_itself_is_timed(tmp_path: Path) -> None:
    """One row of its own `action`, with whatever it takes."""
    policy = GreedyPolicy(ActorPolicy(time_step_spec(stock.VECTOR), stock.PUSH, stock.actor()))
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "timed")
    timed: Any = graph.timed({"observation": SEEN})
    (found,) = timed()
    np.testing.assert_allclose(found, policy.action(step_of(SEEN[:1])).action, rtol=1e-5, atol=1e-6)


def test_a_branch_that_a_variable_decides_is_taken(tmp_path: Path) -> None:
    """It cannot change any more, so the files have that branch alone, and what is chosen by it."""
    trained = tf.Variable(True)

    def logits(seen: Any) -> Any:
        return tf.cond(trained, lambda: numbers(seen, 3), lambda: -numbers(seen, 3))

    def distribution(seen: Any) -> Any:
        return tfd.Categorical(logits=logits(seen), dtype=tf.int64)

    policy = Drawing(stock.CHOICE, distribution=distribution)
    policy.trained = trained
    bundle = write_bundle(
        open_source(stock.save(policy, tmp_path / "source"), "best"),
        tmp_path / "models",
        "branch",
        parse_formats("onnx,c"),
        lambda _: None,
    )
    zeros = np.zeros((ROWS, 3), np.float32)
    found = OnnxRunner(bundle.path / "model.onnx").run({"observation": SEEN, "noise": zeros})
    np.testing.assert_allclose(found["logits"], numbers(SEEN, 3), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["action"], np.argmax(numbers(SEEN, 3), axis=-1))
