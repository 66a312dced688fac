"""An actor: collects in a process of its own, and writes the rows to the replay.

In:      a channel, from which it reads the job and the latest policy.
Out:     replay rows and returns of episodes, until the learner says that the training is over.
Refuses: UsageError for an environment that is code, unless the actor's own command also names it; ServerUnreachable.

An actor may start and stop at any time. Without a learner it waits: for a job, or for the table's limiter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import msgspec
import numpy as np

from rlway_client.contract.errors import UsageError
from rlway_client.envs.consent import trained_environment
from rlway_train.collect.adders.factory import make_adder
from rlway_train.collect.collector import Collector, LocalCollector
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.config.settings import ALGORITHMS, TrainingSettings
from rlway_train.distributed.channel import ActivePolicy, ActorJob, Channel
from rlway_train.envs.domain import domain_of
from rlway_train.policies.exploration import Exploration, make_exploration
from rlway_train.policies.numpy import BatchPolicy
from rlway_train.replay.reverb import ReverbRows

LOOK_EVERY_S = 0.2  # for a job
REFRESH_S = 0.1  # between two policies; reading one takes a few milliseconds
NOTE_AFTER_S = 60.0  # of waiting


class TrainingOver(Exception):
    """The training has ended."""


class JobReplaced(Exception):
    """The learner has announced another job."""


class Actor:
    """Collects for the training that the server belongs to."""

    def __init__(self, channel: Channel, number: int, env: str | None, note: Callable[[str], None]) -> None:
        """`number` makes this actor's random numbers differ from those of other actors."""
        self._channel, self._number, self._env, self._note = channel, number, env, note
        self.steps = 0

    def run(self) -> None:
        """Collects until a training is over."""
        while True:
            job = self._wait_for_job()
            try:
                self._carry_out(job)
            except TrainingOver:
                return
            except JobReplaced:
                continue

    def _wait_for_job(self) -> ActorJob:
        noted = False
        while (job := self._channel.job()) is None:
            if not noted:
                self._note(f"replay at {self._channel.address}: nothing to do yet; waiting for `rlway train learner`.")
                noted = True
            time.sleep(LOOK_EVERY_S)
        return job

    def _carry_out(self, job: ActorJob) -> None:
        settings = _settings_of(job)
        env = trained_environment(job.env, self._env)  # the server may name an installed one, but no code
        domain = domain_of(env, settings)
        exploration = make_exploration(
            settings, domain, np.random.default_rng(seed_for(job.seed, Purpose.EXPLORATION, self._number))
        )
        adder = make_adder(settings, domain, settings.envs)
        rows = ReverbRows(self._channel.address, adder.columns.width, patience_s=float("inf"))
        seed = seed_for(job.seed, Purpose.COLLECTION, self._number)
        self._note(f"acting in {env}, {settings.envs} at a time, for the learner of {job.algorithm}.")
        with closing(LocalCollector(domain.make_many(settings.envs), seed, adder)) as collector:
            self._collect(job, settings, exploration, collector, rows)

    def _collect(
        self,
        job: ActorJob,
        settings: TrainingSettings,
        exploration: Exploration,
        collector: Collector,
        rows: ReverbRows,
    ) -> None:
        policy: BatchPolicy = exploration.random
        watch = _TrainingWatch(self._channel, job, self._note)
        refreshed_s = -np.inf
        while True:
            if time.monotonic() - refreshed_s > REFRESH_S:
                active = watch.latest()
                if active.weights is None:
                    policy = exploration.random
                else:
                    policy = exploration.exploring([weights.array for weights in active.weights], active.step)
                rows.priority = active.priority
                refreshed_s = time.monotonic()
            block = collector.collect(policy, settings.block_steps)
            rows.write(block, watch)
            self._channel.report(collector.returns)
            collector.returns.clear()
            self.steps += len(block)


class _TrainingWatch:
    """Reads the latest policy, and checks that the training goes on. Called while the table takes no rows."""

    def __init__(self, channel: Channel, job: ActorJob, note: Callable[[str], None]) -> None:
        self._channel, self._job, self._note = channel, job, note
        self._noted_s = time.monotonic()

    def latest(self) -> ActivePolicy:
        """The latest policy. Raises if the training is over, or another one has begun."""
        if self._channel.job() != self._job:
            raise JobReplaced
        active = self._channel.active_policy()
        if active is not None and active.over:
            raise TrainingOver
        return active or ActivePolicy(step=0)

    def __call__(self) -> None:
        self.latest()
        if time.monotonic() - self._noted_s > NOTE_AFTER_S:
            self._noted_s = time.monotonic()
            self._note(f"replay at {self._channel.address}: full until the learner has drawn more; waiting.")


def _settings_of(job: ActorJob) -> TrainingSettings:
    if job.algorithm not in ALGORITHMS:
        raise UsageError(f"expected a job for {' or '.join(ALGORITHMS)}, got {job.algorithm!r}; is the learner newer?")
    return msgspec.convert(job.settings, ALGORITHMS[job.algorithm])
