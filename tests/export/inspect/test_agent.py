"""The agent of a policy, as far as the names in its graph tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from tf_agents.policies.random_tf_policy import RandomTFPolicy
from tf_agents.train.triggers import PolicySavedModelTrigger
from tf_agents.trajectories import time_step_spec

from rlway_export.inspect.agent import recognise_agent
from rlway_export.inspect.message import MessageFacts
from rlway_export.inspect.tf_agents import agent_of
from tests.export import stock

pytestmark = pytest.mark.slow

# The agent of each kind by its greedy policy alone, and by its collect policy.
AGENTS = {
    "dqn": ("DQN", "DQN"),
    "recurrent-dqn": ("DQN", "DQN"),
    "recurrent-keras": ("DQN", "DQN"),  # by an attribute: its network is a list of layers
    "categorical-dqn": ("categorical DQN", "categorical DQN"),
    "sac": ("SAC", "SAC"),
    "ddpg": ("DDPG or TD3", "DDPG"),
    "recurrent-ddpg": ("DDPG or TD3", "DDPG"),
    "td3": ("DDPG or TD3", "TD3"),
    "ppo": ("PPO", "PPO"),
    "ppo-discrete": ("PPO", "PPO"),
    "recurrent-ppo": ("PPO", "PPO"),
    "reinforce": ("PPO, REINFORCE or another with a stochastic actor",) * 2,
    "lin-ucb": ("bandit", "bandit"),
}


@pytest.mark.parametrize("kind", AGENTS)
def test_an_agent_is_known_by_its_networks_and_its_noise(kind: str, tmp_path: Path) -> None:
    """Where a greedy policy belongs to two agents, the collect policy tells them apart."""
    agent = stock.agent(kind)
    for policy, expected in zip((stock.greedy(kind), agent.collect_policy), AGENTS[kind], strict=True):
        folder = stock.save(policy, tmp_path / expected.replace(" ", "-"))
        found = recognise_agent(MessageFacts.read(folder).names)
        assert found is not None
        assert found.name == expected


def test_a_triggers_collect_policy_tells_the_agent_of_its_greedy_policy(tmp_path: Path) -> None:
    """The agent of the whole folder is known, though the exported graph alone does not say it."""
    trigger = PolicySavedModelTrigger(str(tmp_path), stock.agent("td3"), tf.Variable(0, dtype=tf.int64), interval=1)
    assert trigger is not None
    found = agent_of(tmp_path / "greedy_policy")
    assert found is not None
    assert (found.name, found.seen) == ("TD3", "_noise_distribution")


def test_nothing_is_said_of_a_policy_without_a_network(tmp_path: Path) -> None:
    """A policy that acts at random belongs to no agent."""
    policy = RandomTFPolicy(time_step_spec(stock.VECTOR), stock.CHOICE)
    folder = stock.save(policy, tmp_path)
    assert recognise_agent(MessageFacts.read(folder).names) is None
