"""TF-Agents' networks as C: with policy state, with convolutions, with distributions of returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf2onnx
from gymnasium.envs.registration import EnvSpec
from tf_agents.networks.actor_distribution_rnn_network import ActorDistributionRnnNetwork
from tf_agents.networks.categorical_q_network import CategoricalQNetwork
from tf_agents.networks.q_network import QNetwork
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.categorical_q_policy import CategoricalQPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.q_policy import QPolicy
from tf_agents.specs import BoundedTensorSpec
from tf_agents.trajectories import TimeStep, time_step_spec

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_train.agents.factory import make_learner
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain
from tests.export.formats.c.c_policies import NEXT, answers, draw, make_manifest, runners

pytestmark = pytest.mark.slow

CELLS = 5
STATE = [TensorSpec(name, (CELLS,), "float32") for name in ("state_h", "state_c")]
OBSERVATION = TensorSpec("observation", (4,), "float32")
DISCRETE, CONTINUOUS = TensorSpec("action", (), "int64", 0, 2), TensorSpec("action", (2,), "float32", -1, [1, 3])


class Converted(NamedTuple):
    """An ONNX model, its manifest and its inputs."""

    model: Any
    manifest: Manifest


def of_ours() -> Converted:
    """The function in a run of `rlway train dqn --lstm`, over any number of rows."""
    domain = Domain("imagined", EnvSpec("Imagined-v0"), [OBSERVATION], DISCRETE, discretize=None, action_values=None)
    settings = DqnSettings(hidden=(6,), lstm=CELLS, sequence_length=4, block_steps=64, xla=False)
    learner = make_learner(settings, domain, seed=1)
    manifest = make_manifest(
        observation=[OBSERVATION], noise=learner.noise, state=STATE, action=DISCRETE, outputs=learner.outputs
    )
    return Converted(_convert(_renamed(learner.act()), manifest, None), manifest)


def of_q_rnn() -> Converted:
    """The greedy policy of TF-Agents' QRnnNetwork."""
    network = QRnnNetwork(
        _tensor(OBSERVATION),
        _bounded(DISCRETE),
        input_fc_layer_params=(8,),
        lstm_size=(CELLS,),
        output_fc_layer_params=None,
    )
    return _greedy(lambda: QPolicy(time_step_spec(_tensor(OBSERVATION)), _bounded(DISCRETE), network), DISCRETE, STATE)


def of_actor_rnn() -> Converted:
    """TF-Agents' actor with an LSTM: the mode of its distribution."""
    network = ActorDistributionRnnNetwork(
        _tensor(OBSERVATION),
        _bounded(CONTINUOUS),
        input_fc_layer_params=(8,),
        lstm_size=(CELLS,),
        output_fc_layer_params=(6,),
    )
    return _greedy(
        lambda: ActorPolicy(time_step_spec(_tensor(OBSERVATION)), _bounded(CONTINUOUS), network), CONTINUOUS, STATE
    )


def of_c51() -> Converted:
    """TF-Agents' categorical DQN: distributions of returns, their means, the largest."""
    network = CategoricalQNetwork(_tensor(OBSERVATION), _bounded(DISCRETE), num_atoms=11, fc_layer_params=(6,))
    network.create_variables()
    generator = np.random.default_rng(9)
    for variable in network.trainable_variables:
        variable.assign(generator.standard_normal(variable.shape, np.float32))
    spec = time_step_spec(_tensor(OBSERVATION))
    return _greedy(lambda: CategoricalQPolicy(spec, _bounded(DISCRETE), network, -10, 10), DISCRETE, [])


def _tensor(spec: TensorSpec) -> Any:
    return tf.TensorSpec(spec.shape, spec.dtype, spec.name)


def _bounded(spec: TensorSpec) -> Any:
    return BoundedTensorSpec(spec.shape, spec.dtype, spec.minimum, spec.maximum, spec.name)


def _renamed(act: Any) -> Callable[..., dict[str, Any]]:
    """Renames the outputs, because a file cannot have an input and an output of one name."""

    def renamed(*inputs: Any) -> dict[str, Any]:
        outputs = act(*inputs)
        return {NEXT + name if name.startswith("state") else name: value for name, value in outputs.items()}

    return renamed


def _greedy(make: Callable[[], Any], action: TensorSpec, state: list[TensorSpec]) -> Converted:
    """What the policy's greedy one does, one row at a time."""
    tf.random.set_seed(7)
    make()  # keeps its variables alive

    def act(observation: Any, *given: Any) -> dict[str, Any]:
        policy = GreedyPolicy(make())  # inside the function, so that its constants belong to the graph
        rows = observation.shape[0]
        step_type = tf.where(given[-1], 0, 1) if given else tf.ones([rows], tf.int32)
        step = TimeStep(step_type, tf.zeros([rows]), tf.ones([rows]), observation)
        done = policy.action(step, tf.nest.pack_sequence_as(policy.policy_state_spec, given[:-1]))
        after = zip(state, tf.nest.flatten(done.state), strict=True)
        return {"action": done.action, **{NEXT + spec.name: value for spec, value in after}}

    manifest = make_manifest(observation=[OBSERVATION], noise=None, state=state, action=action)
    return Converted(_convert(act, manifest, 1), manifest)


def _convert(act: Callable[..., dict[str, Any]], manifest: Manifest, batch: int | None) -> Any:
    specs = [*manifest.observation, *([manifest.noise] if manifest.noise else []), *manifest.state]
    specs += [TensorSpec("reset", (), "bool")] if manifest.state else []
    signature = [tf.TensorSpec([batch, *spec.shape], spec.dtype, spec.name) for spec in specs]
    return tf2onnx.convert.from_function(tf.function(act, input_signature=signature), signature, opset=17)[0]


@pytest.mark.usefixtures("_options")
@pytest.mark.parametrize("make", [of_ours, of_q_rnn, of_actor_rnn])
def test_policy_state_is_the_same_as_in_onnxruntime(make: Callable[[], Converted], tmp_path: Path) -> None:
    """Step after step, each with the state of its own step before; a reset leaves nothing of it."""
    converted = make()
    rnd = np.random.default_rng(8)
    known, compiled = runners(*converted, tmp_path)
    manifest = converted.manifest
    names = [spec.name for spec in manifest.state]
    mine: Arrays = {name: np.full((1, CELLS), np.nan, np.float32) for name in names}  # not set yet
    theirs: Arrays = {name: np.zeros((1, CELLS), np.float32) for name in names}
    for step in range(60):
        given = {
            spec.name: draw(spec, 1, rnd)
            for spec in manifest.observation + ([manifest.noise] if manifest.noise else [])
        }
        given["reset"] = np.array([step % 25 == 0])
        expected, found = known.run(given | theirs), compiled.run(given | mine)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=f"{name}, step {step}")
        mine, theirs = ({name: after[NEXT + name] for name in names} for after in (found, expected))
    assert np.abs(mine["state_h"]).max() > 1e-3


@pytest.mark.usefixtures("_options")
def test_a_distribution_of_returns_gives_the_same_action(tmp_path: Path) -> None:
    """The action of a categorical DQN: softmax, means, argmax, and no noise."""
    converted = of_c51()
    rows = {"observation": draw(OBSERVATION, 200, np.random.default_rng(9))}
    expected, found = answers(*converted, rows, tmp_path)
    np.testing.assert_array_equal(found["action"], expected["action"])
    assert len(set(expected["action"].tolist())) > 1
    header = (tmp_path / "policy.h").read_text()
    assert "The action is greedy." in header
    assert "noise" not in header.replace("greedy", "")


@pytest.mark.usefixtures("_options")
def test_a_q_network_over_images_gives_the_same(tmp_path: Path) -> None:
    """Three convolutions over uint8 frames, two dense layers, noise; the memory is static, as the header says."""
    camera = BoundedTensorSpec((20, 20, 2), tf.uint8, 0, 255, "camera")
    network = QNetwork(
        camera,
        BoundedTensorSpec((), tf.int64, 0, 3, "action"),
        preprocessing_layers=tf.keras.layers.Lambda(lambda frames: tf.cast(frames, tf.float32) / 255),
        conv_layer_params=((8, 4, 2), (16, 3, 2), (8, 2, 1)),
        fc_layer_params=(32,),
        kernel_initializer=tf.keras.initializers.GlorotUniform(seed=1),
    )

    def act(camera: Any, noise: Any) -> dict[str, Any]:
        q_values, _ = network(camera, step_type=())
        return {"action": tf.argmax(q_values + noise, axis=-1), "q_values": q_values}

    signature = [tf.TensorSpec([None, 20, 20, 2], tf.uint8, "camera"), tf.TensorSpec([None, 4], tf.float32, "noise")]
    made, _ = tf2onnx.convert.from_function(tf.function(act, input_signature=signature), signature, opset=17)
    manifest = make_manifest(
        observation=[TensorSpec("camera", (20, 20, 2), "uint8", 0, 255)],
        noise=TensorSpec("noise", (4,), "float32"),
        action=TensorSpec("action", (), "int64", 0, 3),
        outputs=[TensorSpec("q_values", (4,), "float32")],
    )
    generator = np.random.default_rng(5)
    inputs = {"camera": draw(manifest.observation[0], 30, generator), "noise": np.zeros((30, 4), np.float32)}
    inputs["noise"][10:, 2] = 1e30
    expected, found = answers(made, manifest, inputs, tmp_path)
    np.testing.assert_allclose(found["q_values"], expected["q_values"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["action"], expected["action"])
    assert set(found["action"][10:]) == {2}
    header = (tmp_path / "policy.h").read_text()
    assert "const uint8_t *camera, const float *noise, int32_t *action" in header
    assert "uint8_t[800] 0 to 255, 20 x 20 x 2" in header
    assert "bytes of static memory" in header
