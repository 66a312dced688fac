"""What every learner does: it trains a TF-Agents agent from its replay, many updates in one TensorFlow call.

In:      rows float32[n, width], see rlway_train.collect.transition.
Out:     the loss; policies with the present weights; `act`, the function that is exported as the policy.
Refuses: TrainingDiverged once the loss is not finite.

The training loop uses only this class. What differs between algorithms is in its subclasses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np
import tensorflow as tf
from tf_agents.train.utils.train_utils import create_train_step

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.averaging import WeightAverage
from rlway_train.agents.preprocessing import PreprocessedNetwork, Preprocessing
from rlway_train.collect.transition import Columns
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.config.settings import Chosen
from rlway_train.envs.domain import Domain
from rlway_train.policies.exploration import Exploration, ExplorationLevel, make_exploration
from rlway_train.policies.numpy import BatchPolicy, linear
from rlway_train.replay.base import Replay
from rlway_train.replay.uniform import Ring

if TYPE_CHECKING:
    from rlway_train.agents.reverb_updates import Trigger


class TrainingDiverged(RlwayError):
    """The loss is not finite: no later update can repair the weights."""


class Learner(ABC, Generic[Chosen]):
    """An agent with its replay. A subclass makes `self.agent`, then calls `_compile`."""

    algorithm: ClassVar[str]
    agent: Any
    _network: Any  # of the policy

    def __init__(self, settings: Chosen, domain: Domain, seed: int, replay: Replay) -> None:
        # Must be called within the scope of a strategy, because the agent's variables are made in that scope.
        self.strategy = tf.distribute.get_strategy()
        tf.keras.utils.set_random_seed(seed_for(seed, Purpose.NETWORK))
        self.settings = settings
        self.obs_dim, self.action_dim = domain.obs_dim, domain.action.size
        self.preprocessing = self._make_preprocessing(domain)
        self.train_step = create_train_step()
        self.replay = replay
        self._domain, self._seed = domain, seed
        self.exploration = self._make_exploration(turn=0)
        self._replay_seed = seed_for(seed, Purpose.REPLAY) % (1 << 31)
        self._learning_rate = tf.Variable(settings.learning_rate, trainable=False)

    def _make_preprocessing(self, domain: Domain) -> Preprocessing:
        return Preprocessing(domain.leaves, self.settings.normalize)

    def _make_exploration(self, turn: int) -> Exploration:
        rng = np.random.default_rng(seed_for(self._seed, Purpose.EXPLORATION, turn))
        return make_exploration(self.settings, self._domain, rng)

    @property
    @abstractmethod
    def columns(self) -> Columns:
        """The columns of the rows that it learns from."""

    def _compile(self) -> None:
        window = self.settings.average_window
        self._average = WeightAverage(self._network.trainable_variables, window) if window else None
        if self.settings.replay == "reverb":
            return
        # Without AutoGraph, as TF-Agents traces the functions of its agents. AutoGraph would rewrite their source. That
        # takes most of the time to the first update, and changes nothing in the graph.
        self._update = tf.function(self._update_many, autograph=False, jit_compile=self.settings.xla)
        self._learn = self._make_learn()

    def _make_learn(self) -> Any:
        """What writes a block of rows and runs the updates after it, from the rows and a seed to the mean loss."""
        return tf.function(
            self._write_and_update,
            autograph=False,
            input_signature=[
                tf.TensorSpec([self.settings.block_steps, self.columns.width], tf.float32),
                tf.TensorSpec([2], tf.int32),
            ],
        )

    def begin(self, folder: Path, triggers: Sequence[Trigger]) -> None:
        """Called once before the first update, with the run's folder and the triggers for TF-Agents' Learner."""
        if self.settings.replay == "reverb":
            from rlway_train.agents.reverb_updates import ReverbUpdates
            from rlway_train.replay.reverb import ReverbRows

            assert isinstance(self.replay, ReverbRows)
            self._learn = ReverbUpdates(
                self.agent, self._transition, self.strategy, self.settings, self.replay, folder, triggers
            )

    def close(self) -> None:
        """Closes the replay."""
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
        """The noise that `act` takes besides the observation."""

    @property
    @abstractmethod
    def outputs(self) -> list[TensorSpec]:
        """The tensors that `act` returns besides the action."""

    @property
    def state(self) -> list[TensorSpec]:
        """The policy state that `act` takes and returns; empty for a policy without state."""
        return []

    def weights(self) -> list[FloatArray]:
        """The weights of the policy that is evaluated and shipped: the present ones, or their average.

        They are in the order that rlway_train.policies.numpy.dense expects.
        """
        average = self._average
        return self.present_weights() if average is None else self._statistics() + average.weights()

    def present_weights(self) -> list[FloatArray]:
        """The weights that the next update changes, and that experience is collected with."""
        return self._statistics() + [variable.numpy() for variable in self._network.trainable_variables]

    def _statistics(self) -> list[FloatArray]:
        """What the policy computes its network's inputs with."""
        return self.preprocessing.weights()

    def shipped(self) -> AbstractContextManager[None]:
        """Within it, the agent's policies have the weights that are evaluated and shipped."""
        return nullcontext() if self._average is None else self._average.in_place()

    @abstractmethod
    def policy(self, weights: list[FloatArray] | None = None) -> BatchPolicy:
        """The greedy policy in numpy, with these weights or with those of `weights()`."""

    def exploring(self, step: int) -> BatchPolicy:
        """The policy that collects from this environment step on."""
        return self.exploration.exploring(self.present_weights(), step)

    @abstractmethod
    def exploration_level(self, step: int) -> ExplorationLevel:
        """How much the learner explores at this step."""

    @abstractmethod
    def act(self) -> Any:
        """`act(observation, noise)`: the exported policy. With zero noise its action is the greedy one.

        With a policy state, `act(observation, noise, *state, reset)`. Where `reset` is True an episode begins.
        """

    @abstractmethod
    def _transition(self, rows: Any) -> Any:  # [batch, width]
        """The rows as the agent's `Transition`."""

    def _preprocessed(self, make: Callable[[], Any], inputs: Any) -> Any:
        """The network that `make` returns, which takes vectors, with the preprocessing in front of it."""
        return make() if self.preprocessing.is_plain else PreprocessedNetwork(make, self.preprocessing, inputs)

    def _observe(self, rows: AnyArray) -> None:  # [n, width]
        if self.preprocessing.normalize:
            self.preprocessing.observe(self.columns.observations(rows))

    def write(self, rows: FloatArray) -> None:  # [n, width]
        """Adds rows without learning."""
        self._observe(rows)
        self.replay.write(rows)

    def learn(self, rows: FloatArray, step: int) -> float:  # [block_steps, width]
        """Adds the rows, runs `block_iterations` updates, and returns their mean loss.

        `step` counts the environment steps before these rows. The learning rate depends on it.
        """
        settings = self.settings
        if settings.learning_rate_end is not None:
            done = step / (settings.learning_rate_steps or settings.steps)
            self._learning_rate.assign(linear(settings.learning_rate, settings.learning_rate_end, done))
        self._observe(rows)
        before = self.iterations
        try:
            loss = float(self._learn(rows, [self._replay_seed, before]))
        except tf.errors.InvalidArgumentError as error:
            if "inf or nan" not in str(error):  # SAC checks its losses itself
                raise
            loss = math.nan
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss became {loss} within iterations {before} to {before + settings.block_iterations}; "
                f"lower --learning-rate, or set --gradient-clip."
            )
        if self._average is not None:
            self._average.update(settings.block_iterations, self.iterations)
        return loss

    def save(self, folder: Path) -> None:
        """Writes everything that learning changes."""
        self._checkpoint().write(str(folder / "agent"))
        self.replay.save(folder)

    def restore(self, folder: Path) -> None:
        """Reads what `save` wrote. Raises what TensorFlow and numpy raise for damaged files."""
        self.replay.restore(folder)
        self._learn.get_concrete_function()  # tracing makes the optimizer's variables
        self._checkpoint().read(str(folder / "agent")).assert_existing_objects_matched()
        # The random numbers of the training so far must not be repeated.
        self.exploration = self._make_exploration(turn=self.iterations)

    def _checkpoint(self) -> Any:
        return tf.train.Checkpoint(**self._checkpointed())

    def _checkpointed(self) -> dict[str, Any]:
        """What learning changes besides the replay, by its name in the files of checkpoints."""
        parts = {"agent": self.agent, "train_step": self.train_step, "perception": self.preprocessing}
        if self._average is not None:
            parts["average"] = self._average.variables
        return parts

    def episodes_ended(self, n: int) -> None:
        """Called after each block of updates with the number of training episodes that have ended so far."""

    def _write_and_update(self, rows: Any, seed: Any) -> Any:
        assert isinstance(self.replay, Ring)
        self.replay.append(rows)
        return self._update(self.replay.sample((self.settings.block_iterations, self.settings.batch_size), seed))

    def _update_many(self, batches: Any) -> Any:  # [iterations, batch, width] -> []
        iterations = self.settings.block_iterations

        def update(i: Any, total: Any) -> tuple[Any, Any]:
            batch = tf.nest.map_structure(lambda part: part[i], batches)
            return i + 1, total + self.agent.train(self._transition(batch)).loss

        _, total = tf.while_loop(
            lambda i, _: i < iterations, update, (0, 0.0), maximum_iterations=iterations
        )  # a bound that XLA needs
        return total / iterations

    def _traced(self, act: Any) -> Any:
        """`act`, traced for any number of rows."""
        inputs = [self.noise, *self.state]
        if self.state:
            inputs.append(TensorSpec("reset", (), "bool"))
        signature = [tf.TensorSpec([None, *spec.shape], spec.dtype, spec.name) for spec in inputs]
        signature.insert(0, self.preprocessing.batched_spec())
        traced = tf.function(act, autograph=False, input_signature=signature)
        # The policy saver keeps only functions that have been traced.
        traced.get_concrete_function()
        return traced
