"""What learns: a TF-Agents agent and its replay, many updates in one TensorFlow call.

In:      transition rows float32[n, width], see collector.
Out:     the loss; policies with the weights of the moment; `act`, the function under which the policy is exported.
Refuses: TrainingDiverged once the loss is not finite.

The loop knows learners by this class alone; what differs between algorithms lies in its subclasses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np
import tensorflow as tf
from tf_agents.train.utils.train_utils import create_train_step

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.agents.preprocessing import PreprocessedNetwork, Preprocessing
from rlway_train.collect.adders.base import make_adder
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.config.settings import Chosen, TrainingSettings
from rlway_train.envs.domain import Domain
from rlway_train.policies.exploration import Exploration, ExplorationLevel, make_exploration
from rlway_train.policies.numpy import BatchPolicy, linear
from rlway_train.replay.uniform import Replay, Ring

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel

Trigger = Callable[..., None]  # of TF-Agents: takes the number of iterations


class TrainingDiverged(RlwayError):
    """The loss left the finite numbers: no later update can mend the weights."""


class Learner(ABC, Generic[Chosen]):
    """An agent with its replay. A subclass makes `self.agent`, then calls `_compile`."""

    algorithm: ClassVar[str]
    agent: Any
    _network: Any  # the one that acts

    def __init__(self, settings: Chosen, domain: Domain, seed: int, channel: Channel | None = None) -> None:
        """With an exchange, its server keeps the rows; otherwise the settings say where."""
        # Within the scope of a strategy, where the agent's variables are made as well.
        self.strategy = tf.distribute.get_strategy()
        tf.keras.utils.set_random_seed(seed_for(seed, Purpose.NETWORK))
        self.settings = settings
        self.obs_dim, self.action_dim = domain.obs_dim, domain.action.size
        self.preprocessing = Preprocessing(domain.leaves, settings.normalize)
        self.width = make_adder(settings, domain, envs=1).width
        self.train_step = create_train_step()
        self.replay = make_replay(settings, self.width, channel)
        self._domain, self._seed = domain, seed
        self.exploration = self._make_exploration(turn=0)
        self._replay_seed = seed_for(seed, Purpose.REPLAY) % (1 << 31)
        self._learning_rate = tf.Variable(settings.learning_rate, trainable=False)

    def _make_exploration(self, turn: int) -> Exploration:
        rng = np.random.default_rng(seed_for(self._seed, Purpose.EXPLORATION, turn))
        return make_exploration(self.settings, self._domain, rng)

    def _compile(self) -> None:
        if self.settings.replay == "reverb":
            return
        self._update = tf.function(self._update_many, jit_compile=self.settings.xla)
        self._learn = tf.function(
            self._write_and_update,
            input_signature=[
                tf.TensorSpec([self.settings.block_steps, self.width], tf.float32),
                tf.TensorSpec([2], tf.int32),
            ],
        )

    def begin(self, folder: Path, triggers: Sequence[Trigger]) -> None:
        """Called once before the first update, with the run's folder and what TF-Agents' Learner is to call."""
        if self.settings.replay == "reverb":
            from rlway_train.agents.reverb_updates import ReverbUpdates
            from rlway_train.replay.reverb import ReverbRows

            assert isinstance(self.replay, ReverbRows)
            self._learn = ReverbUpdates(self, self.replay, folder, triggers)

    def close(self) -> None:
        """Ends the replay."""
        self.replay.close()

    @property
    def iterations(self) -> int:
        return int(self.train_step.numpy())

    @property
    def random(self) -> BatchPolicy:
        """Uniformly random actions."""
        return self.exploration.random

    @property
    @abstractmethod
    def noise(self) -> TensorSpec:
        """What `act` takes besides the observation."""

    @property
    @abstractmethod
    def outputs(self) -> list[TensorSpec]:
        """What `act` returns besides the action."""

    @property
    def state(self) -> list[TensorSpec]:
        """What `act` takes and returns of its memory; none of it without memory."""
        return []

    def weights(self) -> list[FloatArray]:
        """What a policy acts by, at this moment: see rlway_train.policies.numpy.dense for what may come first."""
        return self.preprocessing.weights() + [variable.numpy() for variable in self._network.trainable_variables]

    @abstractmethod
    def policy(self, weights: list[FloatArray] | None = None) -> BatchPolicy:
        """The greedy policy in numpy, with the weights of this moment if none are given."""

    def exploring(self, step: int) -> BatchPolicy:
        """What collects experience from this environment step on."""
        return self.exploration.exploring(self.weights(), step)

    @abstractmethod
    def exploration_level(self, step: int) -> ExplorationLevel:
        """How much it explores at this step."""

    @abstractmethod
    def act(self) -> Any:
        """`act(observation, noise)`: the exported policy. Zero noise is the greedy action.

        With memory, `act(observation, noise, *state, reset)`: where `reset` is True an episode begins.
        """

    @abstractmethod
    def _transition(self, rows: Any) -> Any:  # [batch, width]
        """The rows as the agent reads them."""

    def _observations(self, rows: FloatArray) -> FloatArray:  # [n, width] -> [N, obs_dim]
        """What was observed at the steps of these rows."""
        return rows[:, : self.obs_dim]

    def _preprocessed(self, make: Callable[[], Any], inputs: Any) -> Any:
        """The network that `make` makes for vectors, for observations as the environment gives them."""
        return make() if self.preprocessing.is_plain else PreprocessedNetwork(make, self.preprocessing, inputs)

    def _observe(self, rows: FloatArray) -> None:  # [n, width]
        if self.preprocessing.normalize:  # or nobody wants to know, and rows need no taking apart
            self.preprocessing.observe(self._observations(rows))

    def write(self, rows: FloatArray) -> None:  # [n, width]
        """Experience that nothing is learned from yet."""
        self._observe(rows)
        self.replay.write(rows)

    def learn(self, rows: FloatArray, fraction: float) -> float:  # [block_steps, width]
        """Writes the rows, then runs `block_iterations` updates; `fraction` of the training is over. The mean loss."""
        settings = self.settings
        if settings.learning_rate_end is not None:
            self._learning_rate.assign(linear(settings.learning_rate, settings.learning_rate_end, fraction))
        self._observe(rows)
        before = self.iterations
        try:
            loss = float(self._learn(rows, [self._replay_seed, before]))
        except tf.errors.InvalidArgumentError as error:
            if "inf or nan" not in str(error):  # SAC checks its losses by itself
                raise
            loss = math.nan
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss became {loss} within iterations {before} to {before + settings.block_iterations}; "
                f"lower --learning-rate, or set --gradient-clip."
            )
        return loss

    def save(self, folder: Path) -> None:
        """Writes all that changes while learning."""
        self._checkpoint().write(str(folder / "agent"))
        self.replay.save(folder)

    def restore(self, folder: Path) -> None:
        """Reads what `save` wrote. Raises what TensorFlow and numpy do of damaged files."""
        self.replay.restore(folder)
        self._learn.get_concrete_function()  # an optimizer makes its variables when it is traced
        self._checkpoint().read(str(folder / "agent")).assert_existing_objects_matched()
        # What was drawn up to here shall not be drawn again.
        self.exploration = self._make_exploration(turn=self.iterations)

    def _checkpoint(self) -> Any:
        return tf.train.Checkpoint(agent=self.agent, train_step=self.train_step, perception=self.preprocessing)

    def episodes_ended(self, n: int) -> None:
        """Called after each block of updates with the number of training episodes that have ended so far."""

    def _write_and_update(self, rows: Any, seed: Any) -> Any:
        assert isinstance(self.replay, Ring)
        self.replay.append(rows)
        return self._update(self.replay.sample((self.settings.block_iterations, self.settings.batch_size), seed))

    def _update_many(self, batches: Any) -> Any:  # [iterations, batch, width] -> []
        total = tf.constant(0.0)
        for i in tf.range(self.settings.block_iterations):
            total += self.agent.train(self._transition(batches[i])).loss
        return total / self.settings.block_iterations

    def _traced(self, act: Any) -> Any:
        """`act` as a function of its inputs over any number of rows."""
        inputs = [self.noise, *self.state]
        if self.state:
            inputs.append(TensorSpec("reset", (), "bool"))
        signature = [tf.TensorSpec([None, *spec.shape], spec.dtype, spec.name) for spec in inputs]
        signature.insert(0, self.preprocessing.batched_spec())
        traced = tf.function(act, autograph=False, input_signature=signature)
        # The policy saver keeps what has been traced, so trace it now.
        traced.get_concrete_function()
        return traced


def make_replay(settings: TrainingSettings, width: int, channel: Channel | None) -> Replay:
    """Where those settings keep transitions, if not on the server of the exchange."""
    if settings.replay == "tf":
        return Ring(settings.replay_capacity, width)
    from rlway_train.replay.reverb import RemoteReplay, ReverbReplay, TableOptions

    return ReverbReplay(TableOptions.of(settings), width) if channel is None else RemoteReplay(channel, width)
