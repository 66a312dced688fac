"""Preprocessing of dicts, and of numbers of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.spaces import Box, Dict, Discrete
from tf_agents.policies import policy_loader
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.trajectories import TimeStep

from rlway_client.cli.main import main
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.run import read_run
from rlway_client.contract.specs import FloatArray
from rlway_train.agents.factory import make_learner
from rlway_train.agents.learner import Learner
from rlway_train.agents.preprocessing import Preprocessing
from rlway_train.collect.collector import LocalCollector
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import find_domain
from rlway_train.policies.numpy import GreedyPolicy as DenseGreedyPolicy
from rlway_train.runs.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"hidden": (8,), "block_steps": 32, "block_iterations": 2, "batch_size": 8, "xla": False}


class Rooms(gymnasium.Env[Any, Any]):
    """Observes a dict in a dict, keys out of order, numbers far from zero. Six steps an episode."""

    observation_space = Dict(
        {"wall": Box(0, 1, (2, 2), np.float32), "body": Dict({"speed": Box(-1e6, 1e6, (1,)), "at": Box(0, 9, (2,))})}
    )

    scale = 1e5

    def __init__(self, **_: Any) -> None:
        self._left = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self._left = 6
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self._left -= 1
        return self._observe(), float(np.sum(action)), self._left == 0, False, {}

    def _observe(self) -> Any:
        wall = np.arange(4, dtype=np.float32).reshape(2, 2) / 4
        speed = self.scale * np.array([5 + 0.01 * self.np_random.standard_normal()], np.float32)
        return {"wall": wall, "body": {"speed": speed, "at": np.array([self._left, 7], np.float32)}}


class DiscreteRooms(Rooms):
    action_space = Discrete(3)


class ContinuousRooms(Rooms):
    action_space = Box(-1, 1, (2,), np.float32)


class SmallRooms(ContinuousRooms):
    scale = 0.1


class Mixed(Rooms):
    action_space = Discrete(3)
    observation_space = Dict({"wall": Box(0, 1, (2,)), "door": Discrete(3)})


KINDS: list[type[Rooms]] = [DiscreteRooms, ContinuousRooms, SmallRooms, Mixed]
for kind in KINDS:
    gymnasium.register(f"rlway-tests/{kind.__name__}-v0", entry_point=kind)

LEARNERS = [
    ("rlway-tests/DiscreteRooms-v0", DqnSettings(**SMALL)),
    ("rlway-tests/DiscreteRooms-v0", DqnSettings(**SMALL, normalize=True)),
    ("rlway-tests/SmallRooms-v0", SacSettings(**SMALL)),
    ("rlway-tests/ContinuousRooms-v0", SacSettings(**SMALL, normalize=True)),
    ("CartPole-v1", DqnSettings(**SMALL, normalize=True)),
    ("Pendulum-v1", SacSettings(**SMALL, normalize=True)),
]


def learned(env: str, settings: TrainingSettings) -> tuple[Learner[Any], FloatArray]:
    """A learner after some updates, and the observations that it learned from."""
    domain = find_domain(env, continuous=isinstance(settings, SacSettings))
    learner = make_learner(settings, domain, seed=0)
    collector = LocalCollector(domain.make_many(4), 0)
    rows = collector.collect(learner.random, 32)
    learner.write(rows)
    for _ in range(3):
        rows = np.concatenate([rows, collector.collect(learner.exploring(0), 32)])
        learner.learn(rows[-32:], 0)
    return learner, rows[:, : domain.obs_dim]


def deployed(folder: Path, destination: Path) -> Any:
    """The greedy policy with the best checkpoint's weights, as an exporter loads it."""
    checkpoint = folder / f"policies/checkpoints/policy_checkpoint_{read_run(folder).best_checkpoint:010d}"
    policy_loader.materialize_saved_model(str(folder / "policies/greedy_policy"), str(checkpoint), str(destination))
    return tf.saved_model.load(str(destination))


def test_mean_and_variance_are_those_of_all_that_was_observed() -> None:
    """Whatever the sizes of the parts in which they came."""
    domain = find_domain("CartPole-v1")
    preprocessing = Preprocessing(domain.leaves, normalize=True)
    rows = (np.random.default_rng(0).standard_normal((1000, 4)) * [1, 10, 0.1, 5] + [0, 100, -3, 5]).astype(np.float32)
    for part in np.split(rows, [1, 30, 31, 400]):
        preprocessing.observe(part)
    mean, variance = preprocessing.weights()
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-4)
    seen = preprocessing(tf.constant(rows)).numpy()
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize(("env", "settings"), LEARNERS)
def test_all_three_forms_of_a_policy_act_alike(env: str, settings: TrainingSettings) -> None:
    """In numpy on vectors, as the exported function, and as TF-Agents' own greedy policy."""
    learner, vectors = learned(env, settings)
    observation = learner.preprocessing.unpack(tf.constant(vectors))
    acted, _ = learner.policy()(vectors)
    noise = np.zeros((len(vectors), *learner.noise.shape), np.float32)
    exported = learner.act()(observation, noise)["action"].numpy()
    n = len(vectors)
    step = TimeStep(tf.ones([n], tf.int32), tf.zeros([n]), tf.ones([n]), observation)
    greedy = GreedyPolicy(learner.agent.policy).action(step).action.numpy()
    np.testing.assert_allclose(acted, exported, atol=1e-5)
    np.testing.assert_allclose(acted, greedy, atol=1e-5)


@pytest.mark.parametrize(("env", "settings"), [LEARNERS[1], LEARNERS[3]])
def test_all_networks_of_the_agent_share_mean_and_variance(env: str, settings: TrainingSettings) -> None:
    """Mean and variance are one pair of variables, which the target networks share."""
    learner, _ = learned(env, settings)
    normalizers = {v.ref() for v in learner.agent.variables if "observation_mean" in v.name}
    assert len(normalizers) == 1
    mean, _ = learner.preprocessing.weights()
    assert np.abs(mean).max() > 1e5


def test_a_normalised_network_sees_small_numbers() -> None:
    """Speeds of half a million and numbers that never change are all between −10 and 10."""
    learner, vectors = learned(*LEARNERS[1])
    seen = learner.preprocessing(learner.preprocessing.unpack(tf.constant(vectors))).numpy()
    assert np.abs(seen).max() <= 10
    assert seen.std() > 0.1


def test_leaves_are_in_the_order_of_their_keys() -> None:
    """As TensorFlow flattens dicts, whatever order the environment wrote them in."""
    domain = find_domain("rlway-tests/DiscreteRooms-v0")
    assert [(leaf.name, leaf.path, leaf.shape) for leaf in domain.leaves] == [
        ("observation_body_at", ("body", "at"), (2,)),
        ("observation_body_speed", ("body", "speed"), (1,)),
        ("observation_wall", ("wall",), (2, 2)),
    ]
    assert domain.obs_dim == 7


def test_a_dict_of_anything_but_boxes_is_refused() -> None:
    with pytest.raises(EnvironmentFault, match=r"a Dict or Tuple of Boxes\), got Discrete\(3\)"):
        find_domain("rlway-tests/Mixed-v0")


def test_a_run_with_dicts_names_every_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """run.json, the visited observations, and the SavedModel's functions have every array by its name."""
    folder = tmp_path / "run"
    words = "--env rlway-tests/DiscreteRooms-v0 --normalize --envs 2 --steps 96 --initial-steps 32 --no-xla"
    words += " --block-steps 32 --block-iterations 2 --hidden 8 --eval-every 32 --eval-episodes 2 --json"
    with pytest.raises(SystemExit) as ended:
        main(["train", "dqn", *words.split(), "--run", str(folder)])
    assert ended.value.code == 0
    names = ["observation_body_at", "observation_body_speed", "observation_wall"]
    assert [leaf["name"] for leaf in json.loads(capsys.readouterr().out)["observation"]] == names
    assert [leaf.name for leaf in read_run(folder).observation] == names
    with np.load(folder / "observations.npz") as arrays:
        assert [arrays[name].shape[1:] for name in names] == [(2,), (1,), (2, 2)]
        rows = {name: arrays[name][:5] for name in arrays.files}
    policy = deployed(folder, tmp_path / "deployed")
    observation = {"body": {"at": rows[names[0]], "speed": rows[names[1]]}, "wall": rows[names[2]]}
    exported = policy.act(tf.nest.map_structure(tf.constant, observation), tf.zeros([5, 3]))
    assert exported["action"].shape == (5,)
    best = Checkpoints(folder).last
    assert best is not None
    with np.load(best / "best.npz") as arrays:  # the mean that normalises is the checkpoint's, too
        greedy = DenseGreedyPolicy([arrays[name] for name in arrays.files])
    vectors = np.concatenate([rows[name].reshape(5, -1) for name in names], axis=1)
    np.testing.assert_allclose(greedy.q_values(vectors), exported["q_values"], atol=1e-4)
    assert np.abs(greedy.layers[0]).max() > 1e5
    inputs = policy.signatures["action"].structured_input_signature[1].values()
    assert "0/observation/body/at" in [spec.name for spec in inputs]
