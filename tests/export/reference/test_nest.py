"""Observation keys stay those that the policy was trained with, whatever characters they have, in every file."""

from __future__ import annotations

import json
import re
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import StepType, TimeStep

from rlway_client import PolicyClient
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import RunInvalid, UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.onnx_metadata import read_manifest
from rlway_client.local.runners import open_runner
from rlway_client.local.verification import verify_bundle
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.observations import read_observations
from rlway_export.formats.c.signature import CSignature
from rlway_export.formats.registry import parse_formats
from rlway_export.reference.nest import leaves, names
from rlway_export.reference.policy import ActPolicy
from rlway_export.sources.detect import open_source
from tests.conftest import SERVE, run_command
from tests.export import stock
from tests.export.formats.c.c_policies import make_manifest

pytestmark = pytest.mark.slow

ROWS = 12
FILES = ("model.onnx", "model.tflite", "policy.c")
PATHS = {
    ("observation",): "observation_observation",
    ("observation/image",): "observation_observation_image",
    ("observation/state",): "observation_observation_state",
    ("robot", "Arm"): "observation_robot_Arm",
    ("robot/joint.pos",): "observation_robot_joint_pos",
    ("robot_arm",): "observation_robot_arm_",  # TensorFlow does not distinguish names by capitals
}
ROBOT = """
import gymnasium
from gymnasium.spaces import Box, Dict, Discrete


class Robot(gymnasium.Env):
    observation_space = Dict(
        {"observation/state": Box(-1, 1, (3,)), "observation/image": Box(-1, 1, (4,)), "observation": Box(-1, 1, (2,))}
        | {"robot/joint.pos": Box(-1, 1, (2,)), "robot_arm": Box(-1, 1, (1,)), "robot": Dict({"Arm": Box(-1, 1, (1,))})}
    )
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 3, False, {}
"""
Named = namedtuple("Named", ["left", "right"])

keys = st.one_of(st.sampled_from(["a", "a/b", "a.b", "a_b", "A_b", "b", "", "größe", 'q"', "int", "a\nb"]), st.text())
nests = st.recursive(
    st.just(tf.TensorSpec([], tf.float32)),
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, min_size=1, max_size=5),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.builds(Named, inner, inner),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def policy() -> Any:
    return stock.greedy("keys")


@pytest.fixture(scope="module")
def bundle(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported as PolicySaver saves it. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("keys")
    source = open_source(stock.save(policy, folder / "source"), "best")
    return write_bundle(source, folder / "models", "keys", parse_formats("onnx,tflite,c"), lambda _: None)


@pytest.fixture(scope="module")
def observations() -> list[Any]:
    """As an environment gives them."""
    generator = np.random.default_rng(5)
    return [tf.nest.map_structure(lambda s: generator.uniform(-1, 1, s.shape), stock.KEYS) for _ in range(ROWS)]


@pytest.fixture(scope="module")
def actions(policy: Any, observations: list[Any]) -> list[int]:
    """TF-Agents' own actions for several observations."""
    batch = tf.nest.map_structure(lambda *rows: tf.constant(np.stack(rows), tf.float32), *observations)
    zeros = tf.zeros(ROWS)
    found = policy.action(TimeStep(tf.fill([ROWS], StepType.MID), zeros, zeros + 1, batch)).action.numpy()
    assert len(set(found)) > 1
    return list(map(int, found))


@contextmanager
def serving(models: Path, log: Path) -> Iterator[str]:
    """The URL of a server in the environment without TensorFlow."""
    command = [str(SERVE), "serve", str(models), "--port", "0", "--json"]
    with log.open("wb") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def at(observation: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        observation = observation[key]
    return observation


@settings(max_examples=200, deadline=None)
@given(nests)
def test_each_leaf_of_a_nest_has_its_own_path_and_its_own_name(nest: Any) -> None:
    """In TensorFlow's order; each path leads to its leaf; the names are valid in all formats and in graphs."""
    found = leaves(nest)
    assert [leaf for _, leaf in found] == tf.nest.flatten(nest)
    for path, leaf in found:
        part = nest
        for key in path:
            part = part[key] if isinstance(part, dict) else tuple(part)[place(part, key)]
        assert part is leaf
    titles = names("observation", [path for path, _ in found])
    assert len({title.lower() for title in titles}) == len(titles)
    assert all(re.fullmatch(r"observation[A-Za-z0-9_]*", title) for title in titles)
    specs = [TensorSpec(title, (1,), "float32", path=path) for title, (path, _) in zip(titles, found, strict=True)]
    parameters = CSignature.of(make_manifest(observation=specs)).observation
    assert len({parameter.macro for parameter in parameters}) == len(titles)


def place(part: tuple[Any, ...], key: str) -> int:
    """Where in a tuple, or in a named one, a key leads."""
    return Named._fields.index(key) if isinstance(part, Named) else int(key)


def test_a_key_with_a_slash_is_one_key(bundle: Bundle) -> None:
    """In the manifest, in its copy in the ONNX file, in the card and in `rlway inspect`; names stay distinct."""
    for found in (bundle.manifest, read_manifest(bundle.path / "model.onnx")):
        assert {spec.path: spec.name for spec in found.observation} == PATHS
        assert [spec.minimum for spec in found.observation] == [-1] * len(PATHS)
    assert (
        'input `observation_robot_joint_pos`: `observation["robot/joint.pos"]`'
        in (bundle.path / "README.md").read_text()
    )


def test_the_names_are_those_of_every_file(bundle: Bundle) -> None:
    """In C, in the manifest's order and with the keys in the header, and in Triton's configuration."""
    header = (bundle.path / "policy.h").read_text()
    signature = re.findall(r"const float \*(\w+)", header)
    assert signature == list(PATHS.values())
    assert 'observation["observation/state"]' in header
    config = (bundle.path.parent / "config.pbtxt").read_text()
    assert re.findall(r'input \{\n  name: "(\w+)"', config) == list(PATHS.values())


@pytest.mark.parametrize("file", FILES)
def test_a_policy_of_such_keys_acts_as_tf_agents_policy_does(
    file: str, bundle: Bundle, observations: list[Any], actions: list[int]
) -> None:
    """By its keys, not by the order of its inputs."""
    runner = open_runner(bundle.path / file, bundle.manifest)
    for observation, action in zip(observations, actions, strict=True):
        rows: Arrays = {
            spec.name: at(observation, spec.path)[None].astype(np.float32) for spec in bundle.manifest.observation
        }
        assert runner.run(rows)["action"] == action


def test_clients_send_such_keys_as_they_are(
    bundle: Bundle, observations: list[Any], actions: list[int], tmp_path: Path
) -> None:
    """A Python client with one row and several, and the command line; over HTTP, and in process."""
    (tmp_path / "robot.py").write_text(ROBOT)
    environment = ("--env", f"{tmp_path / 'robot.py'}:Robot", "--episodes", 1)
    with serving(bundle.path.parents[1], tmp_path / "log") as url:
        with PolicyClient(url, "keys") as client:
            assert [client.act(observation) for observation in observations] == actions
            assert list(client.act_batch(observations)) == actions
        plain = json.dumps(tf.nest.map_structure(lambda part: part.tolist(), observations[0]))
        done = run_command(SERVE, "act", plain, "--url", url, "--policy", "keys")
        played = run_command(SERVE, "play", "--url", url, "--policy", "keys", *environment)
    assert (done.status, done.stdout.strip()) == (0, str(actions[0])), done.stderr
    assert played.status == 0, played.stderr
    edge = run_command(SERVE, "edge", bundle.path, *environment)
    assert edge.status == 0, edge.stderr
    assert "mean return 3 over 1 episode" in played.stdout
    assert "mean return 3 over 1 episode" in edge.stdout


def test_a_file_of_observations_may_have_the_keys_or_the_names(bundle: Bundle, tmp_path: Path) -> None:
    """Whichever it has all of; a missing one is named."""
    interface = bundle.manifest.interface
    rows = {spec: np.random.default_rng(1).random((7, *spec.shape)) for spec in interface.observation}
    by_key = {"/".join(spec.path): array for spec, array in rows.items()}
    for called in (by_key, {spec.name: array for spec, array in rows.items()}):
        np.savez(tmp_path / "rows.npz", **called)
        found = read_observations(tmp_path / "rows.npz", interface, UsageError)
        for spec, array in rows.items():
            np.testing.assert_array_equal(found[spec.name], array.astype(np.float32))
    del by_key["robot/joint.pos"]
    np.savez(tmp_path / "rows.npz", **by_key)
    with pytest.raises(UsageError, match=r"has no array observation_observation; expected .*\(6 in all\)"):
        read_observations(tmp_path / "rows.npz", interface, UsageError)


def test_keys_that_are_equal_when_joined_need_the_names(tmp_path: Path) -> None:
    """`a/b`, and `b` within `a`."""
    specs = [TensorSpec(name, (), "float32", path=path) for name, path in (("x", ("a", "b")), ("y", ("a/b",)))]
    interface = Interface(specs, [TensorSpec("action", (), "int64")], None, [], [])
    np.savez(tmp_path / "rows.npz", **{"a/b": np.zeros(3)})
    with pytest.raises(UsageError, match=r"has no array x; expected the arrays x, y"):
        read_observations(tmp_path / "rows.npz", interface, UsageError)


def test_keys_that_policy_saver_does_not_take_are_exported_too(tmp_path: Path) -> None:
    """Saved without its signatures: any text that JSON can hold, in graphs, in a program, in its comments."""
    odd = ["a b", "A B", "a\nb", "größe", "日本", "", "*/", "??/", "double", "back\\", "`|", 'q"', "r" * 300]
    spec: dict[str, Any] = {key: BoundedTensorSpec([2], tf.float32, -1, 1) for key in odd}
    policy = stock.initialized(stock.keyed(spec)).policy
    unnamed = tf.nest.map_structure(lambda s: tf.TensorSpec([None, *s.shape], s.dtype), policy.time_step_spec)
    module = tf.Module()
    module.policy = policy
    module.action = tf.function(lambda time_step: policy.action(time_step), autograph=False)
    module.action.get_concrete_function(unnamed)
    tf.saved_model.save(module, str(tmp_path / "source"))
    source = open_source(tmp_path / "source", "best")
    bundle = write_bundle(source, tmp_path / "models", "odd", parse_formats("onnx,tflite,c"), lambda _: None)
    assert {spec.path for spec in bundle.manifest.observation} == {(key,) for key in odd}
    assert {verdict.verdict for verdict in verify_bundle(bundle, compile_c=True)} == {"alike"}


def test_the_parts_of_a_long_tuple_stay_in_order(tmp_path: Path) -> None:
    """TensorFlow sorts the keys "0" to "11" of a run's SavedModel as text: "10" before "2"."""
    paths = [(str(i),) for i in range(12)]
    specs = [TensorSpec(f"observation_{i}", (1,), "float32", path=path) for i, path in enumerate(paths)]
    module = tf.Module()
    taken = {key: tf.TensorSpec([None, 1], tf.float32) for (key,) in paths}
    module.act = tf.function(lambda seen: {"action": seen["10"] - 2 * seen["2"]}, [taken], autograph=False)
    tf.saved_model.save(module, str(tmp_path))
    interface = Interface(specs, [TensorSpec("action", (1,), "float32")], None, [], [])
    rows = {spec.name: np.full((3, 1), i, np.float32) for i, spec in enumerate(specs)}
    assert ActPolicy(tmp_path, interface, "run").run_act(rows)["action"].tolist() == [[6.0]] * 3
    elsewhere = [replace(spec, path=("seen", *spec.path)) for spec in specs]
    with pytest.raises(
        RunInvalid, match=r"run.json tells of the keys seen/0, .*; the SavedModel's `act` takes 0, 1, 10"
    ):
        ActPolicy(tmp_path, interface._replace(observation=elsewhere), "run")
