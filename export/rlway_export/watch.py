"""Follows a run while it trains, and publishes its checkpoints.

In:      a run folder, whose training still runs, has ended or has yet to begin; where to publish.
Out:     a bundle for each new checkpoint, or for each better one, unless it is already published.
Refuses: what TF-Agents saved by itself, a file, a bundle (UsageError). A checkpoint that cannot be published is
         reported, and the next one follows. At the end, a run with checkpoints that could not be published, or with
         none to follow (ExportRefused).

The training knows nothing of the exporter. A checkpoint counts once its `checkpoint.json` says that it is complete.
Only the bundles record what was published, so a new process continues where a killed one stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rlway_client.common.files import sha256
from rlway_client.contract.bundle import Bundle, bundle_versions
from rlway_client.contract.errors import BundleInvalid, ExportRefused, RlwayError, UsageError
from rlway_client.contract.run import KeptCheckpoint, TrainingJob, checkpoint_name, kept_checkpoints, read_run
from rlway_client.envs.find import sentence
from rlway_export.bundle.writer import write_bundle
from rlway_export.common.provenance import Provenance
from rlway_export.formats.registry import Format
from rlway_export.play.environment import Environment
from rlway_export.sources.detect import open_source
from rlway_export.sources.kinds import is_bundle
from rlway_export.sources.run import RunSource
from rlway_export.sources.run_facts import Each, better_than_before, known_so_far
from rlway_export.sources.tf_agents import SavedModelSource

WEIGHTS = "variables/variables.data-00000-of-00001"  # of a checkpoint; the SavedModel made from it has the same file
NOTHING_KEPT = (
    "{}: has ended, and none of its checkpoints says when it was kept (checkpoint.json) or what it earned "
    "(evaluations.csv), so there is nothing to follow; leave --watch out to export it."
)


class Watch:
    """One run, published under one name."""

    def __init__(
        self,
        run: Path,
        models: Path,
        policy: str,
        formats: Sequence[Format],
        episodes: int,
        each: Each,
        env: str | None = None,
        time_limit: int | None = None,
    ) -> None:
        self._run, self._models, self._policy = run, models, policy
        self._formats, self._each = formats, each
        self._episodes, self._env, self._time_limit = episodes, env, time_limit
        self._damaged: set[str] = set()  # what could not be read at the last look, a sentence each

    def publish(
        self,
        poll_s: float,
        parent_ended: threading.Event | None,
        note: Callable[[str], None],
        on_published: Callable[[Bundle], None],
    ) -> None:
        """Publishes until the run has ended. With `parent_ended`, a run counts as ended only once that is set."""
        self._refuse_other_sources()
        self._refuse_environment()
        missing = 0
        for source in self._follow(poll_s, parent_ended, note):
            try:
                if self._is_published(source):
                    continue
                bundle = self._publish(source)
            except Exception as error:  # of TensorFlow, a compiler, an environment: the next checkpoint may succeed
                if self._weights(source).is_file():  # a resumed training deletes what it will train again
                    missing += 1
                    note(f"checkpoint {source.checkpoint} is not published: {_sentence(error)}")
            else:
                on_published(bundle)
        missing += len(self._damaged)
        if missing:
            raise ExportRefused(f"{self._run}: {missing} of its checkpoints could not be published, as told above.")

    def _publish(self, source: RunSource) -> Bundle:
        return write_bundle(
            source,
            self._models,
            self._policy,
            self._formats,
            lambda _: None,
            episodes=self._episodes,
            env=self._env,
            time_limit=self._time_limit,
        )

    def _follow(
        self, poll_s: float, parent_ended: threading.Event | None, note: Callable[[str], None]
    ) -> Iterator[RunSource]:
        """Each checkpoint once, in the order in which the training keeps them."""
        seen: set[KeptCheckpoint] = set()
        ended = parent_ended or threading.Event()
        if parent_ended is None and not any((self._run / name).is_file() for name in ("job.json", "run.json")):
            note(f"{self._run}: no training has begun there; waiting for one.")
        while True:
            # Checked before the checkpoints, so that those kept just before the run ended are still published.
            finished = (parent_ended is None or ended.is_set()) and (self._run / "run.json").is_file()
            if ended.is_set() and not finished:  # the training was interrupted
                return
            run, fresh = self._read_run(finished, seen, note)
            if run is not None and fresh:
                seen.add(fresh[0])
                yield RunSource(self._run, run, fresh[0].iteration)
            elif finished:
                if not seen and not self._damaged:
                    raise ExportRefused(NOTHING_KEPT.format(self._run))
                return
            else:
                ended.wait(poll_s)

    def _read_run(
        self, finished: bool, seen: set[KeptCheckpoint], note: Callable[[str], None]
    ) -> tuple[TrainingJob | None, list[KeptCheckpoint]]:
        """The run as far as it is known, and the new checkpoints. Damage is reported once, and may be mended later."""
        known, self._damaged = self._damaged, set()
        run, fresh = None, []
        try:
            fresh = [kept for kept in self._ready() if kept not in seen]
            run = read_run(self._run) if finished else known_so_far(self._run)
        except (OSError, RlwayError) as error:
            self._damaged.add(_sentence(error))
        for damage in sorted(self._damaged - known):
            note(damage)
        return run, fresh

    def _ready(self) -> list[KeptCheckpoint]:
        evaluated = (self._run / "observations.npz").is_file()  # a training writes it with its first evaluation
        if not evaluated and not (self._run / "run.json").is_file():
            return []
        kept = kept_checkpoints(self._run, lambda damage: self._damaged.add(str(damage)))
        if self._each == "new":
            return kept
        better = better_than_before(self._run)
        return [one for one in kept if one.iteration in better]

    def _refuse_other_sources(self) -> None:
        """TF-Agents' folders do not say when a checkpoint is complete or the training ends; a file is never a run."""
        try:
            source = open_source(self._run, "latest")
        except RlwayError as error:
            if self._run.is_file() or is_bundle(self._run):
                raise UsageError(str(error)) from error
            return  # no run yet: wait for it
        if isinstance(source, SavedModelSource):
            raise UsageError(f"{self._run}: --watch follows runs of `rlway train`; leave it out to export this.")

    def _refuse_environment(self) -> None:
        """Checks the environment at once where the run is already known."""
        run = None
        with suppress(OSError, RlwayError):  # damage may be mended; `_read_run` reports it
            run = known_so_far(self._run)
        if run is not None and (self._episodes or self._env is not None):
            Environment.find(Provenance.of_run(run, {}), self._env, self._time_limit).check(run.interface)

    def _weights(self, source: RunSource) -> Path:
        return self._run / checkpoint_name(source.checkpoint) / WEIGHTS

    def _is_published(self, source: RunSource) -> bool:
        """Whether some version has the same weights, whichever run and checkpoint they came from."""
        weights = sha256(self._weights(source))
        folder = self._models / self._policy
        for version in bundle_versions(folder) if folder.is_dir() else []:
            try:
                if Bundle.open(folder / str(version), verify=False).manifest.files.get(WEIGHTS) == weights:
                    return True
            except BundleInvalid:
                continue
        return False


def _sentence(error: Exception) -> str:
    """One sentence, whatever raised the error."""
    return str(error) if isinstance(error, RlwayError) else f"{sentence(error)}."
