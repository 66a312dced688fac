"""The report on a run of `rlway train`, whether it has ended or not.

In:      a run folder.
Out:     `Report`.
Refuses: a damaged record, a damaged graph (RunInvalid).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.run import TrainingJob, TrainingRun, read_job, read_run
from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.memory import memory
from rlway_export.inspect.message import MessageFacts
from rlway_export.inspect.report import Checkpoints, Report, Training, Written
from rlway_export.inspect.tf_agents import policy_folders
from rlway_export.inspect.trial import Trial, described
from rlway_export.sources.checkpoints import checkpoint_numbers
from rlway_export.sources.kinds import POLICIES, RUN_FILES, is_saved_model
from rlway_export.sources.run import CHECKPOINTS, GRAPH, RunSource


def run_report(path: Path) -> Report:
    """What the run says of itself, and its graph."""
    job = _record(path)
    facts = MessageFacts.read(path / GRAPH) if is_saved_model(path / GRAPH) else None
    trial = Trial.of(path)
    source = trial.source if isinstance(trial.source, RunSource) else None
    numbers = checkpoint_numbers(path / CHECKPOINTS)
    return Report(
        path=str(path),
        kind="run",
        title="a run of rlway train",
        written=_written(path, job),
        training=_training(job),
        checkpoints=Checkpoints(numbers, source.checkpoint if source else None) if numbers else None,
        policies=policy_folders(path / POLICIES),
        signatures=facts.signatures if facts else [],
        policy=trial.policy or described(job.interface, None),
        exported_rows=trial.rows,
        memory=memory(facts.weights, trial.model) if facts else None,
        export=trial.export(path),
    )


def _record(path: Path) -> TrainingJob:
    """The run's record once it has ended, else that of its beginning."""
    job = None if (path / RUN_FILES[0]).is_file() else read_job(path)
    return read_run(path) if job is None else job


def _written(path: Path, job: TrainingJob) -> Written:
    version = job.versions.get("tensorflow")
    record = next(path / name for name in RUN_FILES if (path / name).is_file())
    return Written(
        by="rlway train",
        version=f"TensorFlow {version}" if version else None,
        file_time=file_time(record),
        agent=job.algorithm,
        agent_seen=record.name,
    )


def _training(job: TrainingJob) -> Training:
    run = job if isinstance(job, TrainingRun) else None
    return Training(
        algorithm=job.algorithm,
        env=job.env,
        preset=job.preset,
        seed=job.seed,
        frame_stack=job.frame_stack,
        has_ended=run is not None,
        steps=run.steps if run else None,
        best_checkpoint=run.best_checkpoint if run else None,
        final_return=run.final_return if run else None,
        fresh=FreshReturn.of(msgspec.structs.asdict(run)) if run else None,
    )
