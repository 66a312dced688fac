"""Small policies made with TF-Agents alone, as in anybody's program, without RLway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.agents.behavioral_cloning.behavioral_cloning_agent import BehavioralCloningAgent
from tf_agents.agents.categorical_dqn.categorical_dqn_agent import CategoricalDqnAgent
from tf_agents.agents.cql.cql_sac_agent import CqlSacAgent
from tf_agents.agents.ddpg.actor_network import ActorNetwork
from tf_agents.agents.ddpg.actor_rnn_network import ActorRnnNetwork
from tf_agents.agents.ddpg.critic_network import CriticNetwork
from tf_agents.agents.ddpg.critic_rnn_network import CriticRnnNetwork
from tf_agents.agents.ddpg.ddpg_agent import DdpgAgent
from tf_agents.agents.dqn.dqn_agent import DdqnAgent, DqnAgent
from tf_agents.agents.ppo.ppo_clip_agent import PPOClipAgent
from tf_agents.agents.reinforce.reinforce_agent import ReinforceAgent
from tf_agents.agents.sac.sac_agent import SacAgent
from tf_agents.agents.sac.tanh_normal_projection_network import TanhNormalProjectionNetwork
from tf_agents.agents.td3.td3_agent import Td3Agent
from tf_agents.bandits.agents.greedy_reward_prediction_agent import GreedyRewardPredictionAgent
from tf_agents.bandits.agents.lin_ucb_agent import LinearUCBAgent
from tf_agents.bandits.agents.linear_thompson_sampling_agent import LinearThompsonSamplingAgent
from tf_agents.bandits.agents.neural_boltzmann_agent import NeuralBoltzmannAgent
from tf_agents.bandits.agents.neural_epsilon_greedy_agent import NeuralEpsilonGreedyAgent
from tf_agents.bandits.networks.global_and_arm_feature_network import create_feed_forward_common_tower_network
from tf_agents.bandits.specs.utils import create_per_arm_observation_spec
from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
from tf_agents.networks.actor_distribution_rnn_network import ActorDistributionRnnNetwork
from tf_agents.networks.categorical_q_network import CategoricalQNetwork
from tf_agents.networks.q_network import QNetwork
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.networks.sequential import Sequential
from tf_agents.networks.value_network import ValueNetwork
from tf_agents.networks.value_rnn_network import ValueRnnNetwork
from tf_agents.policies.epsilon_greedy_policy import EpsilonGreedyPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step_spec

_keras = tf.keras.layers
LAYER = (16,)
VECTOR = BoundedTensorSpec([4], tf.float32, -2, 2, "observation")
SCALAR = BoundedTensorSpec([], tf.float32, 0, 1, "observation")
IMAGE = BoundedTensorSpec([84, 84, 4], tf.uint8, 0, 255, "observation")
DICT = {
    "wall": BoundedTensorSpec([2, 2], tf.float32, 0, 1, "wall"),
    "body": {"speed": BoundedTensorSpec([], tf.float32, -1, 1, "speed"), "at": tf.TensorSpec([3], tf.float32, "at")},
}
TUPLE = (BoundedTensorSpec([2], tf.float32, -1, 1, "at"), {"near": BoundedTensorSpec([], tf.float32, 0, 1, "near")})
# Names as robots have them: a "/" can be part of a key, and two keys may differ only in that and a capital.
KEYS = {
    key: BoundedTensorSpec([n], tf.float32, -1, 1, key)
    for key, n in {"observation": 2, "observation/state": 3, "observation/image": 4, "robot/joint.pos": 2}.items()
} | {
    "robot": {"Arm": BoundedTensorSpec([1], tf.float32, -1, 1)},
    "robot_arm": BoundedTensorSpec([1], tf.float32, -1, 1),
}
PER_ARM = create_per_arm_observation_spec(3, 4, max_num_actions=5, add_num_actions_feature=True)
ARM = BoundedTensorSpec([], tf.int32, 0, 4, "action")
CHOICE = BoundedTensorSpec([], tf.int64, 0, 2, "action")
PUSH = BoundedTensorSpec([2], tf.float32, [-1, -2], [1, 3], "action")
MASKED = (VECTOR, BoundedTensorSpec([3], tf.int32, 0, 1, "mask"))
# An action of several parts: two grips, and a push.
HAND = {"grip": BoundedTensorSpec([], tf.int32, 0, 2, "grip"), "push": PUSH}


def agent(name: str) -> Any:
    """An agent of one of the kinds below."""
    begin_alike()
    return initialized(KINDS[name]())


def begin_alike() -> None:
    """Gives every network the same initial weights: with others, two actions may happen to be equally good."""
    tf.keras.utils.set_random_seed(0)


def initialized(made: Any) -> Any:
    """The agent, with weights well away from their initial values."""
    made.initialize()
    generator = np.random.default_rng(0)
    for variable in made.policy.variables():
        if variable.dtype == tf.float32:
            # A variable that is not a kernel may be a variance, which is never negative.
            draw = generator.standard_normal if variable.shape.rank > 1 else generator.random
            variable.assign_add(0.2 * draw(variable.shape))
    return made


def greedy(name: str) -> Any:
    """The policy that is deployed."""
    policy = agent(name).policy
    if isinstance(policy, EpsilonGreedyPolicy):
        policy = policy.wrapped_policy
    return policy if isinstance(policy, GreedyPolicy) else GreedyPolicy(policy)


def save(policy: Any, folder: Path, train_step: int = 7) -> Path:
    """As PolicySaver saves it."""
    PolicySaver(policy, train_step=tf.Variable(train_step, dtype=tf.int64)).save(str(folder))
    return folder


def _adam() -> Any:
    return tf.keras.optimizers.legacy.Adam(1e-3)


def dqn(network: Any, observation: Any = VECTOR, kind: Any = DqnAgent) -> Any:
    return kind(time_step_spec(observation), CHOICE, q_network=network, optimizer=_adam())


def _c51() -> Any:
    network = CategoricalQNetwork(VECTOR, CHOICE, num_atoms=11, fc_layer_params=LAYER)
    optimizer = _adam()
    return CategoricalDqnAgent(
        time_step_spec(VECTOR), CHOICE, network, min_q_value=-5, max_q_value=5, optimizer=optimizer
    )


def _image() -> Any:
    seen = tf.keras.layers.Lambda(lambda pixels: tf.cast(pixels, tf.float32) / 255.0)
    layers = [(8, 8, 4), (16, 4, 2)]  # filters, kernel, stride
    return dqn(
        QNetwork(IMAGE, CHOICE, preprocessing_layers=seen, conv_layer_params=layers, fc_layer_params=LAYER), IMAGE
    )


def _dict() -> Any:
    flatten = tf.keras.layers.Flatten
    prepared = {"wall": flatten(), "body": {"speed": tf.keras.layers.Reshape((1,)), "at": flatten()}}
    joined = tf.keras.layers.Concatenate(axis=-1)
    network = QNetwork(
        DICT, CHOICE, preprocessing_layers=prepared, preprocessing_combiner=joined, fc_layer_params=LAYER
    )
    return dqn(network, DICT)


def keyed(observation: Any) -> Any:
    """A DQN that observes a dict of vectors, whatever its keys are."""
    begin_alike()
    prepared = tf.nest.map_structure(lambda _: _keras.Flatten(), observation)
    network = QNetwork(
        observation,
        CHOICE,
        preprocessing_layers=prepared,
        preprocessing_combiner=_keras.Concatenate(axis=-1),
        fc_layer_params=LAYER,
    )
    return dqn(network, observation)


def sequential(recurrent: list[Any]) -> Any:
    """A DQN whose network is a list of Keras layers, these recurrent ones among them."""
    begin_alike()
    return dqn(Sequential([_keras.Dense(*LAYER, "relu"), *recurrent, _keras.Dense(3)], input_spec=VECTOR))


def bandit(observation: Any = PER_ARM) -> Any:
    """A greedy policy over observed arms, of which there may be fewer than the maximum."""
    begin_alike()
    network = create_feed_forward_common_tower_network(observation, LAYER, LAYER, LAYER)
    return GreedyRewardPredictionAgent(
        time_step_spec(observation), ARM, reward_network=network, optimizer=_adam(), accepts_per_arm_features=True
    )


def _tuple() -> Any:
    prepared = (tf.keras.layers.Flatten(), {"near": tf.keras.layers.Reshape((1,))})
    joined = tf.keras.layers.Concatenate(axis=-1)
    network = QNetwork(
        TUPLE, CHOICE, preprocessing_layers=prepared, preprocessing_combiner=joined, fc_layer_params=LAYER
    )
    return dqn(network, TUPLE)


def _scalar() -> Any:
    vector = tf.keras.layers.Reshape((1,))
    return dqn(QNetwork(SCALAR, CHOICE, preprocessing_layers=vector, fc_layer_params=LAYER), SCALAR)


def _recurrent_q() -> Any:
    network = QRnnNetwork(VECTOR, CHOICE, input_fc_layer_params=LAYER, lstm_size=(8,), output_fc_layer_params=(8,))
    return dqn(network)


def _critic() -> CriticNetwork:
    return CriticNetwork((VECTOR, PUSH), joint_fc_layer_params=LAYER)


def _sac(kind: Any = SacAgent, **options: Any) -> Any:
    actor = ActorDistributionNetwork(
        VECTOR, PUSH, fc_layer_params=(16, 16), continuous_projection_net=TanhNormalProjectionNetwork
    )
    options |= {f"{name}_optimizer": _adam() for name in ("actor", "critic", "alpha")}
    return kind(time_step_spec(VECTOR), PUSH, critic_network=_critic(), actor_network=actor, **options)


def _cql_sac() -> Any:
    conservative = {"cql_alpha": 1.0, "num_cql_samples": 2}
    return _sac(CqlSacAgent, **conservative, include_critic_entropy_term=False, use_lagrange_cql_alpha=False)


def actor(action: Any = PUSH) -> ActorNetwork:
    """A network that gives the action itself."""
    begin_alike()
    return ActorNetwork(VECTOR, action, fc_layer_params=LAYER)


def _deterministic(kind: Any) -> Any:
    optimizers = {f"{name}_optimizer": _adam() for name in ("actor", "critic")}
    return kind(time_step_spec(VECTOR), PUSH, actor(), _critic(), **optimizers)


def _recurrent_ddpg() -> Any:
    sizes: dict[str, Any] = {"lstm_size": (8,), "output_fc_layer_params": (8,)}
    actor = ActorRnnNetwork(VECTOR, PUSH, input_fc_layer_params=LAYER, **sizes)
    critic = CriticRnnNetwork((VECTOR, PUSH), joint_fc_layer_params=LAYER, **sizes)
    return DdpgAgent(time_step_spec(VECTOR), PUSH, actor, critic, actor_optimizer=_adam(), critic_optimizer=_adam())


def _ppo(action: Any) -> Any:
    actor, value = ActorDistributionNetwork(VECTOR, action, fc_layer_params=LAYER), ValueNetwork(VECTOR)
    return PPOClipAgent(time_step_spec(VECTOR), action, optimizer=_adam(), actor_net=actor, value_net=value)


def _recurrent_ppo() -> Any:
    sizes: dict[str, Any] = {"input_fc_layer_params": LAYER, "lstm_size": (8,), "output_fc_layer_params": (8,)}
    actor, value = ActorDistributionRnnNetwork(VECTOR, PUSH, **sizes), ValueRnnNetwork(VECTOR, **sizes)
    return PPOClipAgent(time_step_spec(VECTOR), PUSH, optimizer=_adam(), actor_net=actor, value_net=value)


def _reinforce() -> Any:
    actor = ActorDistributionNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)
    return ReinforceAgent(time_step_spec(VECTOR), CHOICE, actor_network=actor, optimizer=_adam())


def _cloned_push() -> Any:
    return BehavioralCloningAgent(time_step_spec(VECTOR), PUSH, cloning_network=actor(), optimizer=_adam())


def _epsilon_bandit() -> Any:
    network = QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)  # scores each arm, as a reward network does
    return NeuralEpsilonGreedyAgent(time_step_spec(VECTOR), CHOICE, network, _adam(), epsilon=0.2)


def _masked() -> Any:
    """A DQN that observes which of its actions are possible."""
    network = QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)
    return DqnAgent(
        time_step_spec(MASKED),
        CHOICE,
        q_network=network,
        optimizer=_adam(),
        observation_and_action_constraint_splitter=lambda seen: seen,
    )


def thompson() -> Any:
    """A bandit that draws the parameters of its rewards."""
    return LinearThompsonSamplingAgent(time_step_spec(VECTOR), CHOICE)


def boltzmann_bandit() -> Any:
    """A bandit that draws an arm by the rewards that its network expects."""
    begin_alike()
    network = QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)
    return NeuralBoltzmannAgent(time_step_spec(VECTOR), CHOICE, network, _adam(), temperature=0.5)


def _lin_ucb() -> Any:
    return LinearUCBAgent(time_step_spec(VECTOR), CHOICE)


def _cloning() -> Any:
    network = QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)
    return BehavioralCloningAgent(time_step_spec(VECTOR), CHOICE, cloning_network=network, optimizer=_adam())


KINDS: dict[str, Any] = {
    "dqn": lambda: dqn(QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER)),
    "double-dqn": lambda: dqn(QNetwork(VECTOR, CHOICE, fc_layer_params=LAYER), kind=DdqnAgent),
    "categorical-dqn": _c51,
    "sac": _sac,
    "td3": lambda: _deterministic(Td3Agent),
    "ddpg": lambda: _deterministic(DdpgAgent),
    "ppo": lambda: _ppo(PUSH),
    "ppo-discrete": lambda: _ppo(CHOICE),
    "ppo-mixed": lambda: _ppo(HAND),
    "reinforce": _reinforce,
    "cql-sac": _cql_sac,
    "behavioural-cloning": _cloning,
    "cloned-push": _cloned_push,
    "epsilon-bandit": _epsilon_bandit,
    "lin-ucb": _lin_ucb,
    "scalar": _scalar,
    "image": _image,
    "dict": _dict,
    "tuple": _tuple,
    "masked": _masked,
    "keys": lambda: keyed(KEYS),
    "recurrent-keras": lambda: sequential([_keras.LSTM(6, return_state=True, return_sequences=True)]),
    "recurrent-dqn": _recurrent_q,
    "recurrent-ddpg": _recurrent_ddpg,
    "recurrent-ppo": _recurrent_ppo,
}
