"""A collector whose steps are taken by actors in other processes.

In:      the learner, whose weights the actors use; the channel to the actors.
Out:     how many environment steps the actors have added, block after block; the returns of their episodes.
Refuses: UsageError for a server that serves another training, or whose limiter would never allow a block.

Its blocks have no rows: actors write these to the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rlway_client.contract.errors import UsageError
from rlway_client.contract.specs import FloatArray
from rlway_train.agents.learner import Learner
from rlway_train.config.settings import fixed_settings
from rlway_train.distributed.channel import ActivePolicy, ActorJob, Channel, TableStatus, Weights
from rlway_train.policies.numpy import BatchPolicy
from rlway_train.replay.reverb import ReverbRows

LOOK_EVERY_S = 0.01  # each look takes some 50 µs of the server's time
NOTE_AFTER_S = 60.0  # of waiting


class RemoteCollector:
    """Counts what actors have added since the training began."""

    def __init__(
        self,
        channel: Channel,
        learner: Learner[Any],
        env: str,
        seed: int,
        step: int,
        note: Callable[[str], None] = lambda _: None,
        arrived: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`step` is the number of steps so far. While the collector waits, it reports this number to `arrived`."""
        self._channel, self._learner, self._note, self._arrived = channel, learner, note, arrived
        settings = learner.settings
        for flag in ("normalize", "clip_targets", "differences"):
            if getattr(settings, flag, False):
                raise UsageError(
                    f"--{flag.replace('_', '-')}: what actors observe does not pass by the learner; train in one "
                    f"process, or add --no-{flag.replace('_', '-')}."
                )
        job = ActorJob.of(settings, env, seed)
        if _is_free(channel, job, fixed_settings(type(settings)), step):
            channel.clear()
        channel.announce(job)
        self._samples = settings.block_iterations * settings.batch_size
        rows = channel.rows()
        if rows.slack < self._samples:
            raise UsageError(
                f"--replay {channel.address}: its limiter has a slack of {rows.slack:,.0f} samples, and a block of "
                f"updates draws {self._samples:,} at once; start the replay with a larger --ahead."
            )
        # A server restored from its checkpoint counts fewer rows than it had before.
        self._seen = min(step, rows.inserted)
        self._step = step
        self.taken = 0
        self.returns: list[float] = []

    def collect(self, policy: BatchPolicy, n: int) -> FloatArray:  # noqa: ARG002  -> [0, width]
        """Waits for `n` random steps, or for as many as the replay accepts before the first sample."""
        self._channel.publish(ActivePolicy(step=0))
        return self._wait(lambda rows: rows.inserted >= (min(n, rows.min_size) if rows.limited else n))

    def collect_ahead(self, policy: BatchPolicy, n: int) -> FloatArray:  # noqa: ARG002  -> [0, width]
        """Gives actors the present weights, then waits until the batches of a block can be sampled."""
        assert isinstance(self._learner.replay, ReverbRows)
        weights = [Weights.of(array) for array in self._learner.present_weights()]
        self._channel.publish(ActivePolicy(self._step, weights, self._learner.replay.priority))
        return self._wait(lambda rows: rows.allows_samples(self._samples))

    def end(self) -> None:
        """Tells actors that the training is over."""
        self._channel.publish(ActivePolicy(self._step, over=True))

    def close(self) -> None:
        pass

    def _wait(self, enough: Callable[[TableStatus], bool]) -> FloatArray:
        noted_s = time.monotonic()
        while not enough(rows := self._channel.rows()):
            self._arrived(self._step + max(0, rows.inserted - self._seen))
            if time.monotonic() - noted_s > NOTE_AFTER_S:
                self._note(f"replay at {self._channel.address}: no new experience; is `rlway train actor` running?")
                noted_s = time.monotonic()
            time.sleep(LOOK_EVERY_S)
        self._seen = min(self._seen, rows.inserted)  # a restored server has fewer rows than before
        self.taken = rows.inserted - self._seen
        self._seen += self.taken
        self._step += self.taken
        self.returns += self._channel.take_returns()
        return np.empty((0, self._learner.columns.width), np.float32)


def _is_free(channel: Channel, job: ActorJob, fixed: list[str], step: int) -> bool:
    """Whether the server has no job, or one that is over."""
    other, active = channel.job(), channel.active_policy()
    if other is None or (active is not None and active.over and step == 0):
        return True
    same = (other.algorithm, other.env) == (job.algorithm, job.env)
    if not same or any(other.settings.get(name) != job.settings[name] for name in fixed):
        raise UsageError(
            f"--replay {channel.address}: is busy with another training ({other.algorithm} on {other.env}, "
            f"seed {other.seed}); start another `rlway train replay`, or go on with that one."
        )
    return False
