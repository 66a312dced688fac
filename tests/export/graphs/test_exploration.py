"""An ε-greedy policy is exported as its greedy branch, and the manifest says how it explored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.boltzmann_policy import BoltzmannPolicy
from tf_agents.policies.epsilon_greedy_policy import EpsilonGreedyPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.q_policy import QPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step_spec

from rlway_client.contract.exploration import FORCED
from rlway_client.contract.interface import Draw
from rlway_client.contract.manifest import Sampling
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock
from tests.export.graphs.drawing import CHOICE, Drawing, numbers, step_of, tfd, widths

pytestmark = pytest.mark.slow

ROWS = 40
SEEN = np.random.default_rng(0).uniform(-2, 2, (ROWS, 4)).astype(np.float32)


def q_policy(**options: Any) -> QPolicy:
    stock.begin_alike()
    network = QNetwork(stock.VECTOR, stock.CHOICE, fc_layer_params=(8,))
    return QPolicy(time_step_spec(stock.VECTOR), stock.CHOICE, network, **options)


class Tracked(EpsilonGreedyPolicy):  # type: ignore[misc]
    """Keeps a variable on which ε depends."""

    def __init__(self, policy: Any, epsilon: Callable[[Any], Any], value: Any) -> None:
        self.variable = tf.Variable(value)
        super().__init__(policy, lambda: epsilon(self.variable))


def compared(comparison: Callable[[Any], Any], explores_first: bool) -> Drawing:
    """Chooses between two branches as `comparison` of u says."""

    def act(seen: Any) -> Any:
        rows = tf.shape(seen)[0]
        greedy = tf.argmax(numbers(seen, 3), axis=-1)
        uniform = tf.random.uniform([rows], 0, 3, tf.int64)
        branches = (uniform, greedy) if explores_first else (greedy, uniform)
        return tf.where(comparison(tf.random.uniform([rows])), *branches)

    return Drawing(CHOICE, act, lambda seen: tfd.Deterministic(tf.argmax(numbers(seen, 3), axis=-1)))


CASES: dict[str, tuple[Callable[[], Any], float | None]] = {
    "a constant": (lambda: EpsilonGreedyPolicy(q_policy(), 0.1), 0.1),
    "a variable": (lambda: Tracked(q_policy(), lambda variable: variable, 0.25), 0.25),
    "a function of the train step": (
        lambda: Tracked(q_policy(), lambda step: tf.maximum(0.05, 1.0 - tf.cast(step, tf.float32) / 1000), 400),
        0.6,
    ),
    "always": (lambda: EpsilonGreedyPolicy(q_policy(), 1.0), 1.0),
    "never": (lambda: EpsilonGreedyPolicy(q_policy(), 0.0), 0.0),
    "over a Boltzmann policy": (lambda: EpsilonGreedyPolicy(BoltzmannPolicy(q_policy(), 0.5), 0.1), 0.1),
    "u < ε": (lambda: compared(lambda u: u < 0.2, explores_first=True), 0.2),
    "u > ε": (lambda: compared(lambda u: u > 0.2, explores_first=False), 0.2),
    "u < 1 − ε": (lambda: compared(lambda u: u < 0.8, explores_first=False), 0.2),
    "ε ≥ u": (lambda: compared(lambda u: tf.greater_equal(0.2, u), explores_first=True), 0.2),
    "of a bandit": (lambda: stock.agent("epsilon-bandit").policy, 0.2),
    "DQN's own": (lambda: stock.agent("dqn").collect_policy, 0.1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_greedy_branch_is_exported_with_its_epsilon(case: str, tmp_path: Path) -> None:
    """However ε is written; noise on the Q-values then chooses any action, which is how a server explores."""
    make, epsilon = CASES[case]
    policy = make()
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), case)
    assert graph.sampling == Sampling(kind="epsilon-greedy", epsilon=epsilon)
    assert graph.interface.noise_draws == [Draw("gumbel", 3)]
    assert [spec.name for spec in graph.interface.outputs] == ["q_values"]
    greedy = GreedyPolicy(getattr(policy, "wrapped_policy", policy)).action(step_of(SEEN)).action
    noise = np.zeros((ROWS, 3), np.float32)
    act = graph.module(None).act
    for found in (graph.run_act({"observation": SEEN, "noise": noise}), act(SEEN, noise)):
        np.testing.assert_array_equal(found["action"], greedy)
        np.testing.assert_array_equal(np.argmax(found["q_values"], axis=-1), greedy)
    noise[:, 1] = FORCED
    assert set(act(SEEN, noise)["action"].numpy()) == {1}


def test_an_epsilon_that_depends_on_the_observation_is_not_known(tmp_path: Path) -> None:
    """The greedy branch is exported all the same."""

    def act(seen: Any) -> Any:
        rows = tf.shape(seen)[0]
        uniform = tf.random.uniform([rows], 0, 3, tf.int64)
        explores = tf.random.uniform([rows]) < tf.reduce_min(widths(seen, 2), axis=-1)
        return tf.where(explores, uniform, tf.argmax(numbers(seen, 3), axis=-1))

    graph = GraphPolicy(stock.save(Drawing(CHOICE, act), tmp_path / "source"), "curious")
    assert graph.sampling == Sampling(kind="epsilon-greedy", epsilon=None)
    found = graph.run_act({"observation": SEEN, "noise": np.zeros((ROWS, 3), np.float32)})["action"]
    np.testing.assert_array_equal(found, np.argmax(numbers(SEEN, 3), axis=-1))


def test_a_boltzmann_policy_draws_by_its_temperature(tmp_path: Path) -> None:
    """It is no exploration that is left out: logits are Q-values over the temperature."""
    inner = q_policy()
    graph = GraphPolicy(stock.save(BoltzmannPolicy(inner, 0.5), tmp_path / "source"), "boltzmann")
    assert graph.sampling == Sampling(kind="sampled")
    assert graph.interface.noise_draws == [Draw("gumbel", 3)]
    found = graph.run_act({"observation": SEEN, "noise": np.zeros((ROWS, 3), np.float32)})
    logits = inner.distribution(step_of(SEEN)).action.logits
    np.testing.assert_allclose(found["logits"], logits / 0.5, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["action"], np.argmax(logits, axis=-1))


def test_the_information_of_the_greedy_branch_is_taken_with_it(tmp_path: Path) -> None:
    """The log-probability that TF-Agents tells where it does not explore: log(1 − ε), for it takes the mode surely."""
    policy = EpsilonGreedyPolicy(q_policy(emit_log_probability=True), 0.1)
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "logged")
    assert [spec.name for spec in graph.interface.outputs] == ["q_values", "info_log_probability"]
    found = graph.run_act({"observation": SEEN, "noise": np.zeros((ROWS, 3), np.float32)})
    np.testing.assert_allclose(found["info_log_probability"], np.full(ROWS, np.log(0.9)), rtol=1e-5)


def test_exploration_around_a_continuous_policy_leaves_it_greedy(tmp_path: Path) -> None:
    """There are no choices whose scores noise could be added to, so there is no input for it."""
    push = BoundedTensorSpec([2], tf.float32, -1, 1, "action")
    actor = ActorPolicy(time_step_spec(stock.VECTOR), push, stock.actor(push))
    graph = GraphPolicy(stock.save(EpsilonGreedyPolicy(actor, 0.3), tmp_path / "source"), "push")
    assert graph.sampling == Sampling(kind="epsilon-greedy", epsilon=0.3)
    assert graph.interface.noise is None
    expected = GreedyPolicy(actor).action(step_of(SEEN)).action
    np.testing.assert_allclose(graph.run_act({"observation": SEEN})["action"], expected, rtol=1e-5, atol=1e-6)
