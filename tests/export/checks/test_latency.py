"""The time of one action: measured with an observation that the policy can have, in every kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from msgspec.structs import replace
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import StepType, TimeStep

from rlway_client.cli.inspect import measured_table
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import UsageError
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_export.bundle.model_card import model_card
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.latency import make_call, saved_model_us
from rlway_export.formats.c.source import write_c
from rlway_export.formats.registry import parse_formats
from rlway_export.reference.base import Reference
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.formats.c.c_policies import draw, make_manifest, model, node

pytestmark = pytest.mark.slow

ROWS = 6
ARMS = 5


@pytest.fixture(scope="module")
def policy() -> Any:
    return stock.initialized(stock.bandit()).policy


@pytest.fixture(scope="module")
def bundle(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A policy over arms whose `action` tells the chosen arm's features, too. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("bandit")
    source = open_source(stock.save(policy, folder / "source"), "best")
    return write_bundle(source, folder / "models", "arms", parse_formats("onnx,tflite"), lambda _: None)


@pytest.fixture(scope="module")
def original(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The policy as it was saved."""
    saved = stock.save(policy, tmp_path_factory.mktemp("source"))
    return open_source(saved, "best").materialize(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def rows() -> Arrays:
    """By key."""
    generator = np.random.default_rng(2)
    return {
        "global": generator.standard_normal((ROWS, 3), np.float32),
        "num_actions": generator.integers(1, ARMS + 1, ROWS, np.int32),
        "per_arm": generator.standard_normal((ROWS, ARMS, 4), np.float32),
    }


def act(policy: Any, rows: Arrays) -> Any:
    """TF-Agents' own actions."""
    zeros = tf.zeros(ROWS)
    observation = {key: tf.constant(value) for key, value in rows.items()}
    return policy.action(TimeStep(tf.fill([ROWS], StepType.MID), zeros, zeros + 1, observation)).action.numpy()


def test_a_bandit_over_arms_is_exported_and_timed(bundle: Bundle) -> None:
    """Its `action` fails without arms, as in an observation of zeros."""
    assert [spec.path for spec in bundle.manifest.observation] == [("global",), ("num_actions",), ("per_arm",)]
    assert all(row.passed for row in bundle.manifest.parity)
    assert [row.file for row in bundle.manifest.measured] == ["saved_model.pb", "model.onnx", "model.tflite"]
    assert all(row.action_us is not None and row.action_us > 0 for row in bundle.manifest.measured)


@pytest.mark.parametrize("file", ["saved_model.pb", "model.onnx", "model.tflite"])
def test_the_timed_call_acts_on_the_given_row(
    file: str, policy: Any, bundle: Bundle, original: Reference, rows: Arrays
) -> None:
    """Each tensor of the row reaches its input."""
    found = []
    for i in range(ROWS):
        row = {f"observation_{key}": value[i : i + 1] for key, value in rows.items()}
        made = make_call(bundle.path / file, bundle.manifest, row)
        call = original.timed(row) if made is None else made[0]
        answer: Any = call()
        found.append(int(answer[0][0]))
    assert found == list(act(policy, rows))
    assert len(set(found)) > 1


def test_a_compiled_loop_gets_the_row_in_c_types(tmp_path: Path) -> None:
    """Pixels are bytes there, and whole numbers have 32 bits."""
    specs = [TensorSpec("pixels", (4,), "uint8"), TensorSpec("gear", (4,), "int64"), TensorSpec("at", (4,), "float32")]
    manifest = make_manifest(observation=specs, noise=None)
    nodes = [
        node("Cast", "pixels", out="a", to=1),
        node("Cast", "gear", out="b", to=1),
        node("Add", "a", "b", out="c"),
        node("Add", "c", "at"),
    ]
    write_c(model(nodes, {}, manifest), manifest, tmp_path)
    row = {spec.name: draw(spec, 1, np.random.default_rng(3)) for spec in specs}
    made = make_call(tmp_path / "policy.c", manifest, row)
    assert made is not None
    parameters: Any = made[0]()
    np.testing.assert_allclose(parameters[-1].view(np.float32)[:4], np.sum(list(row.values()), axis=0)[0], rtol=1e-6)


def test_the_names_in_a_signature_do_not_matter(tmp_path: Path) -> None:
    """PolicySaver may name the arguments after the specs, whose names can be anything."""
    spec = {
        "global": BoundedTensorSpec([3], tf.float32, -1, 1, "left"),
        "num_actions": BoundedTensorSpec([], tf.int32, 1, ARMS, "per_arm"),
        "per_arm": BoundedTensorSpec([ARMS, 4], tf.float32, -1, 1, "observation/global"),
    }
    policy = stock.initialized(stock.bandit(spec)).policy
    PolicySaver(policy, use_nest_path_signatures=False).save(str(tmp_path / "source"))
    source = open_source(tmp_path / "source", "best")
    bundle = write_bundle(source, tmp_path / "models", "arms", parse_formats("onnx"), lambda _: None)
    assert all(row.action_us for row in bundle.manifest.measured)


def test_a_saved_model_that_fails_on_a_row_is_not_timed(original: Reference, rows: Arrays) -> None:
    """Without arms its `action` has no features to return."""
    row = {f"observation_{key}": value[:1] for key, value in rows.items()}
    assert saved_model_us(original.timed(row)) is not None
    assert saved_model_us(original.timed(row | {"observation_num_actions": np.zeros(1, np.int32)})) is None


def test_what_was_not_timed_is_shown_so(bundle: Bundle, tmp_path: Path) -> None:
    """As a dash, for which nothing is known to be faster."""
    saved_model, *files = bundle.manifest.measured
    manifest = replace(bundle.manifest, measured=[replace(saved_model, action_us=None), *files])
    assert measured_table(manifest).row_count == 3
    (line,) = (line for line in model_card(manifest, tmp_path).splitlines() if line.startswith("| SavedModel |"))
    assert line.split(" | ")[2:4] == ["–", "–"]


def test_a_row_that_the_policy_cannot_look_up_is_named(policy: Any, rows: Arrays, tmp_path: Path) -> None:
    """A single number, of the observations that were given."""
    np.savez(tmp_path / "rows.npz", **rows | {"num_actions": np.zeros(ROWS)})
    source = open_source(stock.save(policy, tmp_path / "source"), "best")
    given = tmp_path / "rows.npz"
    with pytest.raises(
        UsageError, match=r"rows\.npz: row 0: observation_num_actions: expected at least 1, as .*, got 0"
    ):
        write_bundle(source, tmp_path / "models", "arms", parse_formats("onnx"), lambda _: None, observations=given)
