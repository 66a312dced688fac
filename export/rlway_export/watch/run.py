"""A run of `rlway train`, while it trains.

In:      its folder; whether each checkpoint counts, or each that is better than all before.
Out:     its checkpoints in the order in which the training keeps them; it has ended once it has a run.json.

The training knows nothing of the exporter. A checkpoint counts once its `checkpoint.json` says that it is complete.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from rlway_client.common.files import sha256
from rlway_client.contract.errors import RlwayError
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.run import KeptCheckpoint, TrainingJob, checkpoint_name, kept_checkpoints, read_run
from rlway_export.common.provenance import Provenance
from rlway_export.play.environment import Environment
from rlway_export.sources.run import RunSource
from rlway_export.sources.run_facts import Each, better_than_before, known_so_far
from rlway_export.watch.followed import Found
from rlway_export.watch.sentences import one_sentence

WEIGHTS = "variables/variables.data-00000-of-00001"  # of a checkpoint; the SavedModel made from it has the same file


class FollowedRun:
    """One run."""

    things, ends_itself, is_settled = "checkpoints", True, True

    def __init__(self, path: Path, each: Each) -> None:
        self.path, self._each = path, each
        self.damage: set[str] = set()

    def has_ended(self) -> bool:
        return (self.path / "run.json").is_file()

    def look(self, is_last: bool) -> list[Found]:
        self.damage = set()
        run: TrainingJob | None = None
        kept: list[KeptCheckpoint] = []
        try:
            kept = self._ready()
            run = read_run(self.path) if is_last else known_so_far(self.path)
        except (OSError, RlwayError) as error:
            self.damage.add(one_sentence(error))
        return [] if run is None else [self._found(run, one) for one in kept]

    def check_environment(self, episodes: int, env: str | None, time_limit: int | None) -> None:
        """Checks the environment at once where the run is already known."""
        run = None
        with suppress(OSError, RlwayError):  # damage may be mended; `look` reports it
            run = known_so_far(self.path)
        if run is not None and (episodes or env is not None):
            Environment.find(Provenance.of_run(run, {}), env, time_limit).check(run.interface)

    def _found(self, run: TrainingJob, kept: KeptCheckpoint) -> Found:
        weights = self.path / checkpoint_name(kept.iteration) / WEIGHTS

        content = cache(partial(sha256, weights))

        def is_made_of(manifest: Manifest) -> bool:
            return manifest.files.get(WEIGHTS) == content()

        source = partial(RunSource, self.path, run, kept.iteration)
        return Found(f"checkpoint {kept.iteration}", kept, source, is_made_of, weights.is_file)

    def _ready(self) -> list[KeptCheckpoint]:
        evaluated = (self.path / "observations.npz").is_file()  # a training writes it with its first evaluation
        if not evaluated and not self.has_ended():
            return []
        kept = kept_checkpoints(self.path, lambda damage: self.damage.add(str(damage)))
        if self._each == "new":
            return kept
        better = better_than_before(self.path)
        return [one for one in kept if one.iteration in better]
