"""The agent that a policy belongs to, as far as its graph tells.

In:      the names in a SavedModel: those of its variables' scopes, of its objects' attributes, of its operations; the
         names of a checkpoint's objects.
Out:     `Agent`: which it is, and the name that says so. None where nothing does.

A SavedModel does not name its agent. Its networks, and the noise of a collect policy, belong to some agents and not to
others. Where two agents have the same policy, both are named; behavioural cloning has the networks of any.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple


class Agent(NamedTuple):
    """An agent, and the name in the graph by which it is known."""

    name: str
    seen: str


class Rule(NamedTuple):
    """The agent, if one of `any_of` and all of `all_of` are among the names."""

    agent: str
    any_of: tuple[str, ...]
    all_of: tuple[str, ...] = ()


ACTORS = ("ActorNetwork", "ActorRnnNetwork")
STOCHASTIC = ("ActorDistributionNetwork", "ActorDistributionRnnNetwork")
VALUES = ("_value_network", "ValueNetwork", "ValueRnnNetwork")
# The first rule that fits counts.
RULES = (
    Rule("DDPG", ("_ou_process", "ornstein_uhlenbeck_noise")),
    Rule("TD3", ("_noise_distribution",), ("_actor_network",)),
    Rule("SAC", ("_log_alpha", "TanhNormalProjectionNetwork", "SquashToSpecNormal")),
    Rule("TD3", ("_critic_network_2",), ("_actor_network",)),
    Rule("DDPG", ("_critic_network",), ("_actor_network",)),
    Rule("PPO", ("_observation_normalizer", *VALUES), ("_actor_network",)),
    Rule("PPO", ("_value_net",), ("_actor_net",)),
    Rule("DDPG or TD3", ACTORS),
    Rule("PPO, REINFORCE or another with a stochastic actor", STOCHASTIC),
    Rule("categorical DQN", ("CategoricalQNetwork", "CategoricalQRnnNetwork")),
    Rule("bandit", ("_reward_network", "GlobalAndArmCommonTowerNetwork", "_covariance_matrices", "_cov_matrix")),
    Rule("DQN", ("QRnnNetwork", "QNetwork", "_q_network")),
    Rule("one with an actor", ("_actor_network",)),
)


def recognise_agent(names: Set[str]) -> Agent | None:
    """The first rule that fits."""
    for rule in RULES:
        seen = next((name for name in rule.any_of if name in names), None)
        if seen is not None and all(name in names for name in rule.all_of):
            return Agent(rule.agent, seen)
    return None
