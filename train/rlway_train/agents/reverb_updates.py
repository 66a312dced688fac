"""Updates from Reverb, run by TF-Agents' Learner.

In:      an agent, the function that makes its transitions from rows, the strategy; the replay, the run's folder.
Out:     the mean loss of a block of updates. With a prioritized table, each row's TD error becomes its priority.
Refuses: ReplayStalled when the replay gives no rows.

TF-Agents' Learner runs the whole block in one TensorFlow call. Within it, it samples the batches and spreads them over
the strategy's devices. After the block it calls its triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from reverb import TFClient
from tf_agents.train.learner import Learner as TfAgentsLearner
from tf_agents.train.triggers import StepPerSecondLogTrigger

from rlway_client.contract.specs import FloatArray
from rlway_train.common.quiet import native_stderr_muted
from rlway_train.config.settings import DqnSettings, TrainingSettings
from rlway_train.replay.reverb import ROWS, ReplayStalled, ReverbRows

Trigger = Callable[..., None]  # of TF-Agents: takes the number of iterations

SMALLEST_PRIORITY = 1e-3  # not 0: a row without a TD error now may have one later


class ReverbUpdates:
    """Samples rows from a replay that already holds some, and trains the agent on them."""

    def __init__(
        self,
        agent: Any,
        transition: Callable[[Any], Any],
        strategy: Any,
        settings: TrainingSettings,
        replay: ReverbRows,
        folder: Path,
        triggers: Sequence[Trigger],
    ) -> None:
        self._agent, self._transition, self._strategy, self._settings = agent, transition, strategy, settings
        self._replay, self._folder, self._triggers = replay, folder, triggers
        self._batch_size = settings.batch_size // strategy.num_replicas_in_sync
        self._prioritized = settings.selector == "prioritized"
        self._tf_agents_learner: Any = None
        with strategy.scope():
            self._loss = _over_replicas(0.0, tf.VariableAggregation.SUM)
            self._largest_priority = _over_replicas(replay.priority, tf.VariableAggregation.MEAN)

    def __call__(self, rows: FloatArray, seed: Any) -> float:  # noqa: ARG002  Reverb has its own seeds
        """Writes the rows, then runs a block of updates. Returns the mean loss."""
        self._replay.write(rows)
        iterations = self._settings.block_iterations
        self._loss.assign(0.0)
        self._start()
        try:
            self._replay.guard(lambda: self._tf_agents_learner.run(iterations=iterations))
        except (tf.errors.OutOfRangeError, StopIteration):
            raise ReplayStalled(
                f"replay at {self._replay.address}: gave no rows for {self._replay.patience_s:g} s, for its limiter "
                f"waits until more are written; is anything acting?"
            ) from None
        if self._prioritized:
            self._replay.priority = float(self._largest_priority.numpy())
        return float(self._loss.numpy() / iterations)

    def get_concrete_function(self) -> None:
        """Traces an update, which makes the optimizer's variables. Named as a TensorFlow function's method."""
        self._start()

        def update(rows: Any) -> Any:
            return self._strategy.run(self._agent.train, args=(self._transition(rows),))

        batch = tf.TensorSpec([self._batch_size, self._replay.width], tf.float32)
        tf.function(update, autograph=False).get_concrete_function(batch)

    def _start(self) -> None:
        """Begins to sample. The replay must hold rows by now: earlier samples would be copies of the first few."""
        if self._tf_agents_learner is not None:
            return
        train_step = self._agent.train_step_counter
        if self._prioritized:
            self._client = TFClient(self._replay.address)
        log_every = self._settings.log_every
        with native_stderr_muted():  # Reverb logs that it samples without a network
            self._tf_agents_learner = TfAgentsLearner(
                str(self._folder),
                train_step,
                self._agent,
                self._batches,
                self._after_update,
                triggers=[*self._triggers, StepPerSecondLogTrigger(train_step, log_every)],
                checkpoint_interval=-1,  # a run folder has its own checkpoints
                summary_interval=log_every,
                use_kwargs_in_agent_train=self._prioritized,
                # TF-Agents would trace an update with the specs of a batch as its only keyword argument.
                run_optimizer_variable_init=not self._prioritized,
                strategy=self._strategy,
            )

    def _batches(self) -> Any:
        return self._replay.dataset(self._batch_size, self._weighted if self._prioritized else self._plain)

    def _plain(self, sample: Any) -> Any:
        return self._transition(sample.data), sample.info

    def _weighted(self, sample: Any) -> Any:
        """Weights each row by how rarely it is sampled. The most rarely sampled row of a batch has the weight 1."""
        settings = self._settings
        assert isinstance(settings, DqnSettings)
        info = sample.info
        expected = tf.cast(info.probability * tf.cast(info.table_size, tf.float64), tf.float32)
        weights = tf.pow(tf.maximum(expected, 1e-9), -settings.importance_exponent)
        experience = {
            "experience": self._transition(sample.data),
            "weights": weights / tf.reduce_max(weights),
        }
        return experience, info

    def _after_update(self, experience: Any, loss_info: Any) -> None:
        self._loss.assign_add(loss_info.loss)
        if self._prioritized:
            _, info = experience
            errors = tf.abs(loss_info.extra.td_error)  # [batch], or [batch, length] of sequences
            row_errors = errors if errors.shape.rank == 1 else tf.reduce_mean(errors, axis=1)
            priorities = tf.maximum(row_errors, SMALLEST_PRIORITY)
            self._largest_priority.assign(tf.maximum(self._largest_priority, tf.reduce_max(priorities)))
            self._client.update_priorities(ROWS, info.key, tf.cast(priorities, tf.float64))


def _over_replicas(value: float, aggregation: Any) -> Any:
    """A variable of each replica. Reading it aggregates them."""
    on_read = tf.VariableSynchronization.ON_READ
    return tf.Variable(value, trainable=False, synchronization=on_read, aggregation=aggregation)
