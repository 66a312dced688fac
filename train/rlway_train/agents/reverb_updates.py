"""Updates from Reverb, run by TF-Agents' Learner.

In:      a learner with its agent, the replay, the run's folder.
Out:     the mean loss of a block of updates; with a prioritised table, each row's TD error as its new priority.
Refuses: ReplayStalled when the replay gives no rows.

TF-Agents' Learner runs the whole block in one TensorFlow call, draws the batches inside it, spreads them over the
devices of the strategy, and pulls its triggers after the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from reverb import TFClient
from tf_agents.train.learner import Learner as TfAgentsLearner
from tf_agents.train.triggers import StepPerSecondLogTrigger

from rlway_client.contract.specs import FloatArray
from rlway_train.common.quiet import native_stderr_muted
from rlway_train.config.settings import DqnSettings
from rlway_train.replay.reverb import ROWS, ReplayStalled, ReverbRows

if TYPE_CHECKING:
    from rlway_train.agents.learner import Learner, Trigger

SMALLEST_PRIORITY = 1e-3  # a row that once was no surprise may become one


class ReverbUpdates:
    """Draws rows from a replay that holds some already, and trains on them."""

    def __init__(self, learner: Learner[Any], replay: ReverbRows, folder: Path, triggers: Sequence[Trigger]) -> None:
        self._learner, self._replay, self._folder, self._triggers = learner, replay, folder, triggers
        self._batch_size = learner.settings.batch_size // learner.strategy.num_replicas_in_sync
        self._prioritized = learner.settings.selector == "prioritized"
        self._updating: Any = None
        with learner.strategy.scope():
            self._loss = _over_replicas(0.0, tf.VariableAggregation.SUM)
            self._largest = _over_replicas(replay.priority, tf.VariableAggregation.MEAN)

    def __call__(self, rows: FloatArray, seed: Any) -> float:  # noqa: ARG002  Reverb draws by seeds of its own
        """Writes the rows, then runs a block of updates. The mean loss."""
        self._replay.write(rows)
        iterations = self._learner.settings.block_iterations
        self._loss.assign(0.0)
        self._start()
        try:
            self._replay.guard(lambda: self._updating.run(iterations=iterations))
        except (tf.errors.OutOfRangeError, StopIteration):
            raise ReplayStalled(
                f"replay at {self._replay.address}: gave no rows for {self._replay.patience_s:g} s, for its limiter "
                f"waits until more are written; is anything acting?"
            ) from None
        if self._prioritized:
            self._replay.priority = float(self._largest.numpy())
        return float(self._loss.numpy() / iterations)

    def get_concrete_function(self) -> None:
        """As that of a TensorFlow function: traces an update, and so makes the optimizer's variables."""
        self._start()
        learner, replicas = self._learner, self._learner.strategy

        def update(rows: Any) -> Any:
            return replicas.run(learner.agent.train, args=(learner._transition(rows),))

        tf.function(update).get_concrete_function(tf.TensorSpec([self._batch_size, learner.width], tf.float32))

    def _start(self) -> None:
        """Not before there are rows: what begins to draw earlier holds copies of the first few."""
        if self._updating is not None:
            return
        learner = self._learner
        if self._prioritized:
            self._client = TFClient(self._replay.address)
        log_every = learner.settings.log_every
        with native_stderr_muted():  # Reverb says that it draws without a network
            self._updating = TfAgentsLearner(
                str(self._folder),
                learner.train_step,
                learner.agent,
                self._batches,
                self._after_update,
                triggers=[*self._triggers, StepPerSecondLogTrigger(learner.train_step, log_every)],
                checkpoint_interval=-1,  # a run folder has its own
                summary_interval=log_every,
                use_kwargs_in_agent_train=self._prioritized,
                # It would trace with the specs of one batch as the only keyword argument.
                run_optimizer_variable_init=not self._prioritized,
                strategy=learner.strategy,
            )

    def _batches(self) -> Any:
        return self._replay.dataset(self._batch_size, self._weighted if self._prioritized else self._plain)

    def _plain(self, sample: Any) -> Any:
        return self._learner._transition(sample.data), sample.info

    def _weighted(self, sample: Any) -> Any:
        """What is drawn more often than others counts less each time, relative to the rarest of its batch."""
        settings = self._learner.settings
        assert isinstance(settings, DqnSettings)
        info = sample.info
        expected = tf.cast(info.probability * tf.cast(info.table_size, tf.float64), tf.float32)
        weights = tf.pow(tf.maximum(expected, 1e-9), -settings.importance_exponent)
        experience = {
            "experience": self._learner._transition(sample.data),
            "weights": weights / tf.reduce_max(weights),
        }
        return experience, info

    def _after_update(self, experience: Any, loss_info: Any) -> None:
        self._loss.assign_add(loss_info.loss)
        if self._prioritized:
            _, info = experience
            errors = tf.abs(loss_info.extra.td_error)  # [batch], or [batch, length] of sequences
            each = errors if errors.shape.rank == 1 else tf.reduce_mean(errors, axis=1)
            surprise = tf.maximum(each, SMALLEST_PRIORITY)
            self._largest.assign(tf.maximum(self._largest, tf.reduce_max(surprise)))
            self._client.update_priorities(ROWS, info.key, tf.cast(surprise, tf.float64))


def _over_replicas(value: float, aggregation: Any) -> Any:
    """A variable that each replica has for itself, until it is read."""
    on_read = tf.VariableSynchronization.ON_READ
    return tf.Variable(value, trainable=False, synchronization=on_read, aggregation=aggregation)
