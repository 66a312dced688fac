"""Averaged weights: what is averaged, and that the average is what is evaluated, kept and resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import policy_loader

import rlway_train
from rlway_client.contract.run import checkpoint_name
from rlway_train.agents.averaging import WeightAverage
from rlway_train.agents.factory import make_learner
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import find_domain
from rlway_train.runs.checkpoint import Checkpoints

WINDOW = 100


def test_the_average_forgets_exponentially_and_early_weights_sooner() -> None:
    """It follows its formula; the window is at most four fifths of the training so far."""
    variable = tf.Variable([0.0, 1.0])
    average = WeightAverage([variable], WINDOW)
    expected = variable.numpy().astype(np.float64)
    for block in range(1, 41):
        variable.assign(tf.random.stateless_normal([2], seed=[block, 0]))
        average.update(iterations=20, done=20 * block)
        d = math.exp(-20 / min(WINDOW, 0.8 * 20 * block))
        expected = d * expected + (1 - d) * variable.numpy()
        np.testing.assert_allclose(average.weights()[0], expected, rtol=1e-5, atol=1e-6)


def test_the_network_has_its_own_weights_again_afterwards() -> None:
    """Also if writing the checkpoint fails."""
    variable = tf.Variable([1.0])
    average = WeightAverage([variable], WINDOW)
    variable.assign([3.0])
    with pytest.raises(OSError, match="disk"), average.in_place():
        assert variable.numpy() == [1.0]
        raise OSError("disk full")
    assert variable.numpy() == [3.0]


def test_an_interruption_while_the_averages_are_put_in_place_leaves_the_networks_own_weights() -> None:
    """Otherwise a resumed training would go on with some of each."""
    first = tf.Variable([1.0])

    class Second:
        """A variable at whose first assignment Ctrl-C comes."""

        def __init__(self) -> None:
            self._variable, self.assigned = tf.Variable([2.0]), 0

        def numpy(self) -> Any:
            return self._variable.numpy()

        def assign(self, value: Any) -> None:
            self.assigned += 1
            if self.assigned == 1:
                raise KeyboardInterrupt
            self._variable.assign(value)

    average = WeightAverage([first, Second()], WINDOW)
    first.assign([5.0])
    with pytest.raises(KeyboardInterrupt), average.in_place():
        pass
    assert first.numpy() == [5.0]


def test_the_average_is_what_is_evaluated_and_shipped(tmp_path: Path) -> None:
    """TF-Agents' SavedModel with the best checkpoint has the weights that were evaluated, which no network has."""
    run = tmp_path / "run"
    few: dict[str, Any] = {"eval_every": 320, "eval_episodes": 2, "confirm_episodes": 0, "final_episodes": 2}
    done = rlway_train.train(
        "CartPole-v1", run=run, steps=640, hidden=(8,), xla=False, films=False, initial_steps=64, average_window=2_000,
        log=lambda _: None, **few,
    ).run  # fmt: skip
    last = Checkpoints(run).last
    assert last is not None
    with np.load(last / "best.npz") as arrays:
        evaluated = [arrays[name] for name in arrays.files]
    policies = run / "policies"
    policy_loader.materialize_saved_model(
        str(policies / "greedy_policy"), str(run / checkpoint_name(done.best_checkpoint)), str(tmp_path / "baked")
    )
    shipped = [variable.numpy() for variable in tf.saved_model.load(str(tmp_path / "baked")).model_variables]
    for own, theirs in zip(evaluated, shipped, strict=True):
        np.testing.assert_array_equal(own, theirs)
    present = tf.train.load_checkpoint(str(last / "agent")).get_tensor(
        "agent/_q_network/_q_value_layer/bias/.ATTRIBUTES/VARIABLE_VALUE"
    )
    assert (present != evaluated[-1]).all()


def test_a_restored_learner_goes_on_with_the_same_average(tmp_path: Path) -> None:
    settings = DqnSettings(hidden=(8,), xla=False, average_window=500, replay_capacity=100)
    learner, restored = (make_learner(settings, find_domain("CartPole-v1"), seed) for seed in (0, 1))
    rows = np.random.default_rng(0).random((64, learner.columns.width), np.float32)
    for _ in range(3):
        learner.learn(rows, 0)
    learner.save(tmp_path)
    restored.restore(tmp_path)
    for before, after in zip(learner.weights(), restored.weights(), strict=True):
        np.testing.assert_array_equal(before, after)
