"""Learning from images: one training, resumed, exported and played."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec

import rlway_export
from rlway_client import EdgePolicy
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.episodes import open_env, play_locally
from rlway_train import train
from rlway_train.agents.conv_dqn import make_frame_replay
from rlway_train.agents.factory import make_learner
from rlway_train.collect.adders.factory import make_adder
from rlway_train.collect.collector import LocalCollector
from rlway_train.collect.collector_process import CollectorProcess
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain, find_domain
from rlway_train.policies.numpy import RandomPolicy
from rlway_train.runs.checkpoint import Checkpoints
from tests.train import pictures

pytestmark = pytest.mark.slow

PICTURES = f"{pictures.__file__}:Pictures"
BEST, AT_RANDOM = 6.0, 3.0
SETTINGS: dict[str, Any] = {"conv": "4x3x1", "frame_stack": 2, "hidden": (16,), "n_step": 2, "xla": False}
ACTION = TensorSpec("action", (), "int64", 0, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of 1,000 steps that was resumed for 500 more."""
    folder = tmp_path_factory.mktemp("images") / "run"
    often: dict[str, Any] = {"initial_steps": 300, "eval_every": 500, "final_episodes": 10, "films": False}
    learning: dict[str, Any] = {"batch_size": 32, "learning_rate": 5e-3, "epsilon_steps": 500, "gamma": 0.5}
    train(PICTURES, run=folder, steps=1000, **SETTINGS, **learning, **often)
    before = Checkpoints(folder).last
    assert before is not None
    settings = DqnSettings(**SETTINGS)
    kept = make_frame_replay(settings, _domain())
    kept.restore(before)
    train(resume=True, run=folder, steps=1500)
    after = Checkpoints(folder).last
    assert after is not None
    longer = make_frame_replay(settings, _domain())
    longer.restore(after)
    assert longer.size > kept.size
    np.testing.assert_array_equal(longer.rows()[: kept.size], kept.rows())
    return folder


def _domain() -> Domain:
    return find_domain(PICTURES, frame_stack=2, is_image=True)


def test_every_file_and_the_policy_on_a_robot_name_the_half_that_was_bright_before(run: Path, tmp_path: Path) -> None:
    """The reward is for what the frame before showed. Files take bytes, and differ by rounding alone."""
    bundle = rlway_export.export(run, tmp_path, "pictures", formats=["onnx", "tflite", "c"], env=PICTURES)
    manifest: Manifest = bundle.manifest
    assert manifest.observation == [TensorSpec("observation", (5, 6, 2), "uint8", 0, 255)]
    assert manifest.frame_stack == 2
    assert all(one.passed and one.max_difference < 1e-4 for one in manifest.parity)
    for file in ("model.tflite", "model.onnx"):
        env = open_env(PICTURES, frame_stack=manifest.frame_stack)
        played = play_locally(env, EdgePolicy(bundle.path, file).act, 5, 7, lambda _: None)
        assert played.mean_return == BEST


@pytest.mark.parametrize(
    ("image", "conv", "hidden"),
    [
        (TensorSpec("observation", (9, 8, 3), "uint8", 0, 255), "5x3x2,4x2x1", (7, 6)),
        (TensorSpec("observation", (10, 10, 4), "bool", 0, 1), "auto", ()),
        (TensorSpec("observation", (84, 84, 4), "uint8", 0, 255), "auto", ()),
        (TensorSpec("observation", (6, 5), "uint8", 0, 7), "3x3x1", (5,)),
    ],
)
def test_numpy_acts_as_the_agents_network_and_as_the_exported_function(
    image: TensorSpec, conv: str, hidden: tuple[int, ...]
) -> None:
    """For pictures, bits, images without channels, and layers by the image's size."""
    domain = Domain(
        "imagined", EnvSpec("Imagined-v0"), [image], ACTION, discretize=None, action_values=None, is_image=True
    )
    settings = DqnSettings(conv=conv, hidden=hidden, xla=False, replay_capacity=100)
    learner: Any = make_learner(settings, domain, seed=1)
    largest = 2 if image.dtype == "bool" else int(image.bounds()[1].max()) + 1
    rows = np.random.default_rng(0).integers(0, largest, (6, image.size), np.uint8)
    images = tf.constant(rows.reshape(6, *image.shape).astype(image.dtype))
    expected = learner.policy().q_values(rows)
    of_network, _ = learner.agent._q_network(images)
    exported = learner.act()(images, np.zeros((6, 3), np.float32))
    np.testing.assert_allclose(of_network, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(exported["q_values"], expected, rtol=1e-4, atol=1e-5)
    assert exported["action"].numpy().tolist() == expected.argmax(1).tolist()


def test_a_process_collects_the_same_images() -> None:
    """With several frames and several steps to a transition, bit for bit."""
    domain, settings = _domain(), DqnSettings(**SETTINGS)

    def policy() -> RandomPolicy:
        return RandomPolicy(2, np.random.default_rng(5))

    with (
        closing(LocalCollector(domain.make_many(3), 9, make_adder(settings, domain, 3))) as local,
        closing(CollectorProcess(domain, 3, 9, make_adder(settings, domain, 3))) as remote,
    ):
        expected = local.collect(policy(), 100)
        assert expected.dtype == np.uint8
        np.testing.assert_array_equal(remote.collect(policy(), 100), expected)


def test_the_same_seed_gives_the_same_weights_and_a_restored_learner_goes_on_alike(tmp_path: Path) -> None:
    """Sampling and updates follow from the seed alone, in a learner from a checkpoint, too."""
    settings, domain = DqnSettings(**SETTINGS, block_steps=16, block_iterations=4), replace(_domain(), env=PICTURES)
    with closing(LocalCollector(domain.make_many(2), 3, make_adder(settings, domain, 2))) as collector:
        blocks = [collector.collect(RandomPolicy(2, np.random.default_rng(5)), 16) for _ in range(3)]
    learners = [make_learner(settings, domain, seed=1) for _ in range(2)]
    for learner in learners:
        learner.learn(blocks[0], 0)
        learner.learn(blocks[1], 16)
    learners[0].save(tmp_path)
    restored = make_learner(settings, domain, seed=2)
    restored._replay_seed = learners[0]._replay_seed
    restored.restore(tmp_path)
    for learner in (learners[1], restored):
        learner.learn(blocks[2], 32)
        for mine, others in zip(learner.weights(), learners[1].weights(), strict=True):
            np.testing.assert_allclose(mine, others, rtol=1e-5, atol=1e-6)
