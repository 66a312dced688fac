"""An actor: steps environments in a process of its own, and adds what happens to the replay.

In:      the exchange, which tells the job and the latest policy.
Out:     replay rows, and the returns of episodes, until the learner says that the training is over.
Refuses: UsageError for an environment that is code, unless it was named here as well; ServerUnreachable.

It may come and go at any time. While there is no learner it waits: for a job, or for the table's limiter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import msgspec
import numpy as np

from rlway_client.contract.errors import UsageError
from rlway_client.envs.consent import trained_environment
from rlway_train.collect.adders.base import make_adder
from rlway_train.collect.collector import Collector
from rlway_train.common.seeds import Purpose, seed_for
from rlway_train.config.settings import ALGORITHMS, TrainingSettings
from rlway_train.distributed.channel import ActivePolicy, ActorJob, Channel
from rlway_train.envs.domain import domain_of
from rlway_train.policies.exploration import Exploration, make_exploration
from rlway_train.policies.numpy import BatchPolicy
from rlway_train.replay.reverb import ReverbRows

LOOK_EVERY_S = 0.2  # while there is no job
REFRESH_S = 0.1  # between two policies; reading one takes a few milliseconds
SAY_SO_AFTER_S = 60.0


class TrainingOver(Exception):
    """The training has ended."""


class JobReplaced(Exception):
    """The learner trains something else now."""


class Actor:
    """Acts for whatever training the server is busy with."""

    def __init__(self, channel: Channel, number: int, env: str | None, note: Callable[[str], None]) -> None:
        """`number` tells this actor's randomness from that of others."""
        self._channel, self._number, self._env, self._note = channel, number, env, note
        self.steps = 0

    def run(self) -> None:
        """Until a training is over."""
        while True:
            job = self._wait_for_job()
            try:
                self._act(job)
            except TrainingOver:
                return
            except JobReplaced:
                continue

    def _wait_for_job(self) -> ActorJob:
        said = False
        while (job := self._channel.job()) is None:
            if not said:
                self._note(f"replay at {self._channel.address}: nothing to do yet; waiting for `rlway train learner`.")
                said = True
            time.sleep(LOOK_EVERY_S)
        return job

    def _act(self, job: ActorJob) -> None:
        settings = _settings_of(job)
        env = trained_environment(job.env, self._env)  # a server may name one that is installed, and no code
        domain = domain_of(env, settings)
        exploration = make_exploration(
            settings, domain, np.random.default_rng(seed_for(job.seed, Purpose.EXPLORATION, self._number))
        )
        adder = make_adder(settings, domain, settings.envs)
        rows = ReverbRows(self._channel.address, adder.width, patience_s=float("inf"))
        seed = seed_for(job.seed, Purpose.COLLECTION, self._number)
        self._note(f"acting in {env}, {settings.envs} at a time, for the learner of {job.algorithm}.")
        with closing(Collector(domain.make_many(settings.envs), seed, adder)) as collector:
            self._gather(job, settings, exploration, collector, rows)

    def _gather(
        self,
        job: ActorJob,
        settings: TrainingSettings,
        exploration: Exploration,
        collector: Collector,
        rows: ReverbRows,
    ) -> None:
        policy: BatchPolicy = exploration.random
        waiting = _Waiting(self._channel, job, self._note)
        refreshed_s = -np.inf
        while True:
            if time.monotonic() - refreshed_s > REFRESH_S:
                acting = waiting.latest()
                if acting.weights is None:
                    policy = exploration.random
                else:
                    policy = exploration.exploring([weights.array for weights in acting.weights], acting.step)
                rows.priority = acting.priority
                refreshed_s = time.monotonic()
            block = collector.collect(policy, settings.block_steps)
            rows.write(block, waiting)
            self._channel.report(collector.returns)
            collector.returns.clear()
            self.steps += len(block)


class _Waiting:
    """Called while the table takes no rows: looks whether it still should."""

    def __init__(self, channel: Channel, job: ActorJob, note: Callable[[str], None]) -> None:
        self._channel, self._job, self._note = channel, job, note
        self._said_s = time.monotonic()

    def latest(self) -> ActivePolicy:
        """The latest policy, if this training goes on."""
        if self._channel.job() != self._job:
            raise JobReplaced
        acting = self._channel.acting()
        if acting is not None and acting.over:
            raise TrainingOver
        return acting or ActivePolicy(step=0)

    def __call__(self) -> None:
        self.latest()
        if time.monotonic() - self._said_s > SAY_SO_AFTER_S:
            self._said_s = time.monotonic()
            self._note(f"replay at {self._channel.address}: full until the learner has drawn more; waiting.")


def _settings_of(job: ActorJob) -> TrainingSettings:
    if job.algorithm not in ALGORITHMS:
        raise UsageError(f"expected a job for {' or '.join(ALGORITHMS)}, got {job.algorithm!r}; is the learner newer?")
    return msgspec.convert(job.settings, ALGORITHMS[job.algorithm])
