"""Publishes each version of what is followed, as soon as it is complete.

In:      a path, on which a training writes, has written or is yet to write; where to publish, and how.
Out:     a bundle for each new version, or for each better one of a run, unless it is already published.
Refuses: what cannot be followed (UsageError). A version that cannot be published is reported, and the next one follows.
         At the end, a source of which some could not be published, or a run with nothing to follow (ExportRefused).

Only the bundles record what was published, so a new process continues where a killed one stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.bundle import Bundle, bundle_versions
from rlway_client.contract.errors import BundleInvalid, ExportRefused, UsageError
from rlway_export.bundle.guard import WantedGuard
from rlway_export.bundle.options import Actions
from rlway_export.bundle.writer import write_bundle
from rlway_export.common.provenance import Provenance
from rlway_export.formats.registry import Format
from rlway_export.play.environment import Environment
from rlway_export.watch.followed import Followed, Found
from rlway_export.watch.kinds import Told, followed
from rlway_export.watch.run import FollowedRun
from rlway_export.watch.sentences import one_sentence

Note = Callable[[str], None]
NOTHING_KEPT = (
    "{}: has ended, and none of its checkpoints says when it was kept (checkpoint.json) or what it earned "
    "(evaluations.csv), so there is nothing to follow; leave --watch out to export it."
)
UNKNOWN = Provenance(None, None, None, None, {})


class Publication(NamedTuple):
    """Where and how each version is published."""

    models: Path
    policy: str
    formats: Sequence[Format]
    episodes: int = 0
    env: str | None = None
    time_limit: int | None = None
    observations: Path | None = None
    actions: Actions = "greedy"
    guard: WantedGuard | None = None
    meaning: Path | None = None


class Watch:
    """One source, published under one name."""

    def __init__(self, path: Path, publication: Publication, told: Told) -> None:
        self._path, self._publication, self._told = path, publication, told
        self._damaged: set[str] = set()  # what could not be read at the last look, a sentence each

    def publish(
        self,
        poll_s: float,
        parent_ended: threading.Event | None,
        note: Note,
        on_published: Callable[[Bundle], None],
    ) -> None:
        """Publishes until the source has ended. With `parent_ended`, it counts as ended only once that is set.

        A source that never ends by itself is followed until that, or until Ctrl-C.
        """
        ended = parent_ended or threading.Event()
        source = self._wait(poll_s, ended, parent_ended is None, note)
        if source is None:
            return
        missing = 0
        try:
            for found in self._follow(source, poll_s, parent_ended, note):
                missing += not self._publish(found, note, on_published)
        except KeyboardInterrupt:
            if source.ends_itself:
                raise
        missing += len(self._damaged)
        if missing:
            raise ExportRefused(
                f"{self._path}: {missing} of its {source.things} could not be published, as told above."
            )

    def _publish(self, found: Found, note: Note, on_published: Callable[[Bundle], None]) -> bool:
        """Whether it is published, unless it is gone: a resumed training deletes what it will train again."""
        to = self._publication
        try:
            if self._is_published(found):
                return True
            bundle = write_bundle(
                found.open(),
                to.models,
                to.policy,
                to.formats,
                lambda _: None,
                to.episodes,
                to.observations,
                to.env,
                to.time_limit,
                to.actions,
                to.guard,
                to.meaning,
            )
        except Exception as error:  # of TensorFlow, a compiler, an environment: the next one may succeed
            if not found.is_there():
                return True
            note(f"{found.title} is not published: {one_sentence(error)}")
            return False
        on_published(bundle)
        return True

    def _wait(self, poll_s: float, ended: threading.Event, is_alone: bool, note: Note) -> Followed | None:
        """The source, once there is something to follow; None if the parent ended before that."""
        found = self._find()
        if is_alone and (found is None or not self._path.exists()):
            what = (
                "no training has begun there; waiting for one" if found is None else "is not there yet; waiting for it"
            )
            note(f"{self._path}: {what}.")
        while found is None and not ended.is_set():
            ended.wait(poll_s)
            found = self._find()
        return found

    def _find(self) -> Followed | None:
        found, to = followed(self._path, self._told), self._publication
        if isinstance(found, FollowedRun):
            if to.observations is not None:
                raise UsageError(f"--observations: {self._path} is a run, which has its own; leave it out.")
            found.check_environment(to.episodes, to.env, to.time_limit)
        elif found is not None and (to.episodes or to.env is not None):
            Environment.find(UNKNOWN, to.env, to.time_limit).check(None)
        return found

    def _follow(
        self, source: Followed, poll_s: float, parent_ended: threading.Event | None, note: Note
    ) -> Iterator[Found]:
        """Each version once, in the order in which they were made."""
        seen: set[Hashable] = set()
        ended = parent_ended or threading.Event()
        while True:
            # Checked before the look, so that what came just before the end is still published.
            is_over = ended.is_set()
            finished = source.has_ended() and (parent_ended is None or is_over) if source.ends_itself else is_over
            if is_over and not finished:  # the training was interrupted
                return
            fresh = [found for found in source.look(finished) if found.key not in seen]
            self._report(source.damage, note)
            if fresh:
                seen.add(fresh[0].key)
                yield fresh[0]
            elif not finished:
                ended.wait(poll_s)
            elif source.is_settled:
                if source.ends_itself and not seen and not self._damaged:
                    raise ExportRefused(NOTHING_KEPT.format(self._path))
                return
            else:
                time.sleep(poll_s)

    def _report(self, damage: set[str], note: Note) -> None:
        """Damage is reported once, and may be mended later."""
        for sentence in sorted(damage - self._damaged):
            note(sentence)
        self._damaged = set(damage)

    def _is_published(self, found: Found) -> bool:
        """Whether some version was made of the same, whichever source and checkpoint that came from."""
        folder = self._publication.models / self._publication.policy
        for version in bundle_versions(folder) if folder.is_dir() else []:
            try:
                if found.is_made_of(Bundle.open(folder / str(version), verify=False).manifest):
                    return True
            except BundleInvalid:
                continue
        return False
