"""Where a policy comes from: the training that produced it, as the manifest has it.

In:      what the run or the SavedModel says about its training.
Out:     `Provenance`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rlway_client.contract.meaning import Meaning
from rlway_client.contract.run import TrainingJob
from rlway_client.envs.names import portable


class Provenance(NamedTuple):
    """The manifest's fields about the training; None for what is not known."""

    algorithm: str | None
    env: str | None
    action_values: list[float] | None
    max_episode_steps: int | None
    training: dict[str, Any]
    frame_stack: int = 1
    meaning: Meaning | None = None

    @classmethod
    def of_run(cls, job: TrainingJob, training: dict[str, Any]) -> Provenance:
        return cls(
            job.algorithm,
            portable(job.env),
            job.action_values,
            job.max_episode_steps,
            training,
            job.frame_stack,
            job.meaning,
        )
