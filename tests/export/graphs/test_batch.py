"""A policy that was saved for one row takes any number of rows, and does for each what TF-Agents' policy does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.trajectories import StepType, TimeStep

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEXT
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.runners import OnnxRunner
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.parity import sample_noise
from rlway_export.formats.registry import parse_formats
from rlway_export.reference.graph_policy import GraphPolicy
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.graphs.drawing import EXAMPLES, PUSH, Drawing, numbers

pytestmark = pytest.mark.slow

BATCHES = (1, 7, 64)
ONE_ROW = "was saved for one row at once (batch_size=1), and no graph was found that takes more and acts alike"
# Draws that TensorFlow writes in another way where the batch is fixed.
DRAWN = ["random.normal", "MultivariateNormalDiag", "TanhNormal", "Categorical of several", "MixtureSameFamily"]


def save(policy: Any, folder: Path, batch_size: int = 1) -> Path:
    PolicySaver(policy, batch_size=batch_size, train_step=tf.Variable(7, dtype=tf.int64)).save(str(folder))
    return folder


def inputs_of(graph: GraphPolicy, rows: int) -> Arrays:
    """Observations within the bounds, noise, and a state within an episode."""
    generator, interface = np.random.default_rng(rows), graph.interface
    found = {spec.name: observed(spec, rows, generator) for spec in interface.observation}
    if interface.noise is not None:
        found["noise"] = sample_noise(interface.noise_draws, rows)
    for spec in interface.state:
        found[spec.name] = generator.standard_normal((rows, *spec.shape)).astype(spec.dtype)
    return found | ({"reset": np.zeros(rows, np.bool_)} if interface.state else {})


def observed(spec: TensorSpec, rows: int, generator: np.random.Generator) -> AnyArray:
    low, high = (np.nan_to_num(bound, neginf=-1, posinf=1) for bound in spec.bounds())
    least = generator.uniform(low, high + (spec.numpy_dtype.kind in "iu"), (rows, *spec.shape))
    return np.clip(least, low, high).astype(spec.dtype)


def acted(policy: Any, graph: GraphPolicy, inputs: Arrays) -> Arrays:
    """What TF-Agents' policy does, by the names of the interface."""
    interface, rows = graph.interface, len(next(iter(inputs.values())))
    seen, state = (
        tf.nest.pack_sequence_as(nest, [tf.constant(inputs[spec.name]) for spec in specs])
        for nest, specs in (
            (policy.time_step_spec.observation, interface.observation),
            (policy.policy_state_spec, interface.state),
        )
    )
    step = TimeStep(tf.fill([rows], StepType.MID), tf.zeros(rows), tf.ones(rows), seen)
    answer = policy.action(step, state)
    actions = zip(interface.actions, tf.nest.flatten(answer.action), strict=True)
    states = zip(interface.state, tf.nest.flatten(answer.state), strict=True)
    return {spec.name: value.numpy() for spec, value in actions} | {
        NEXT + spec.name: value.numpy() for spec, value in states
    }


@pytest.mark.parametrize("name", stock.KINDS)
def test_a_fixed_batch_becomes_free(name: str, tmp_path: Path) -> None:
    """Of every kind of agent, in the graph that is converted, for 1, 7 and 64 rows."""
    policy = stock.greedy(name)
    graph = GraphPolicy(save(policy, tmp_path / "source"), name)
    assert (graph.rows, graph.notes) == (None, [])
    plain, converted = graph.module(None).act, graph.convertible(None).act
    for rows in BATCHES:
        inputs = inputs_of(graph, rows)
        expected = acted(policy, graph, inputs)
        for act in (plain, converted):
            found = act(*(inputs[spec.name] for spec in graph.interface.inputs))
            for output, values in expected.items():
                np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DRAWN)
def test_the_draws_of_a_fixed_batch_become_free_with_it(name: str, tmp_path: Path) -> None:
    """With the same noise it does for many rows what the original does for one after the other."""
    graph = GraphPolicy(save(EXAMPLES[name].policy(), tmp_path / "source"), name)
    assert (graph.rows, graph.notes) == (None, [])
    draws = graph.interface.noise_draws
    assert sorted(map(str, draws)) == sorted(map(str, EXAMPLES[name].draws))
    for rows in BATCHES:
        inputs = inputs_of(graph, rows)
        found = graph.module(None).act(*(inputs[spec.name] for spec in graph.interface.inputs))
        for output, expected in graph.run_act(inputs).items():
            np.testing.assert_allclose(found[output], expected, rtol=1e-4, atol=1e-5)


def of_its_batch(seen: Any) -> Any:
    """It is the same for one row, and for many it would be another policy."""
    return numbers(seen, 2) + tf.reduce_mean(tf.reshape(seen, [1, 4]), axis=0)[:2]


@pytest.mark.parametrize("draws", [False, True])
def test_what_cannot_be_freed_is_exported_for_one_row(draws: bool, tmp_path: Path) -> None:
    """Its files run one row after the other, which the gate compares; a note says so."""

    def act(seen: Any) -> Any:
        noise = tf.random.normal([1, 2]) if draws else 0.0
        return of_its_batch(seen) + noise * tf.reduce_sum(seen) / 100

    policy = Drawing(PUSH, act)
    source = open_source(save(policy, tmp_path / "source"), "best")
    bundle = write_bundle(source, tmp_path / "models", "p", parse_formats("onnx"), lambda _: None)
    manifest = bundle.manifest
    assert [ONE_ROW in note for note in manifest.notes].count(True) == 1
    assert manifest.parity[0].passed
    inputs = {"observation": np.random.default_rng(0).uniform(-2, 2, (5, 4)).astype(np.float32)}
    if draws:
        inputs["noise"] = np.zeros((5, 2), np.float32)
    found = OnnxRunner(bundle.path / "model.onnx").run(inputs)["action"]
    expected = [of_its_batch(inputs["observation"][i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_of_several_rows_is_freed_or_refused(tmp_path: Path) -> None:
    """No file could be run for fewer rows than that."""
    policy = stock.greedy("dqn")
    graph = GraphPolicy(save(policy, tmp_path / "free", 5), "five")
    inputs = inputs_of(graph, 7)
    expected = acted(policy, graph, inputs)["action"]
    np.testing.assert_array_equal(graph.module(None).act(inputs["observation"])["action"], expected)
    bound = save(Drawing(PUSH, lambda seen: numbers(seen, 2) + tf.reduce_mean(seen, axis=0)[:2]), tmp_path / "bound", 5)
    with pytest.raises(
        ExportRefused, match=r"takes 5 rows at once, and no graph was found .*; save it with batch_size"
    ):
        GraphPolicy(bound, "bound")
