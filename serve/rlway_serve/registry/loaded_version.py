"""One version of a policy, loaded and warmed up: its runtime and the queue in front of it.

In:      a folder `models/<policy>/<version>`.
Out:     `LoadedVersion`.
Refuses: a bundle that cannot be served (VersionUnsound, with one word for metrics and one sentence for people).

Nothing unloads a version explicitly: once its policy has dropped it, it is freed with the last request that uses it.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.guarding import ActionGuard
from rlway_serve.backends.select import open_runtime
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.registry.models_folder import Stamp, stamp_of, stamp_of_all
from rlway_serve.scheduling.batcher import Batcher
from rlway_serve.scheduling.run_guard import RunGuard
from rlway_serve.settings import Settings
from rlway_serve.system.open_files import is_caused_by_open_files
from rlway_serve.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class VersionUnsound(BundleInvalid):
    """A version that cannot be served.

    `reason` is `manifest`, `damaged`, `model`, `unreadable` or `internal`. `stamp` covers the files that were tried; it
    is empty if the process had too many open files, and the version is then tried again. `detail` is the sentence for
    callers, without the path of the models folder.
    """

    def __init__(self, reason: str, sentence: str, path: Path, stamp: Stamp) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.detail = sentence.replace(f"{path.parents[1]}/", "")
        self.stamp = stamp


class LoadedVersion:
    """A version that can answer. The `stamp` of its manifest tells it from a later version with the same number."""

    def __init__(self, bundle: Bundle, stamp: Stamp, settings: Settings, metrics: Metrics) -> None:
        self.path = bundle.path
        self.manifest = bundle.manifest
        self.number = bundle.manifest.version
        self.stamp = stamp
        self.guard = bundle.read_guard()
        guard = None if self.guard is None else ActionGuard(self.guard, bundle.manifest.actions)
        # Whether every request has to be a step of an episode, which keeps the action before it.
        self.limits_changes = guard is not None and guard.limits_changes
        self.runtime = open_runtime(bundle, settings)
        self.decoder = ActDecoder(bundle.manifest, settings, self.limits_changes)
        self.tensors = TensorForm(bundle.manifest, settings)
        self.metrics = metrics.add(bundle.manifest.policy, self.number)
        self.batcher = Batcher(
            bundle.manifest,
            self.runtime,
            self.decoder,
            self.metrics,
            metrics.drifts.add(bundle.manifest),
            max_batch=settings.max_batch,
            capacity=settings.queue_capacity,
            express=settings.express,
            guard=None if guard is None else RunGuard(guard, bundle.manifest.policy, metrics.guards),
        )
        metrics.watch_queue(self.metrics, self.batcher)

    @property
    def keeps_episodes(self) -> bool:
        """Whether requests have to be steps of episodes, or hold the policy state themselves."""
        return self.limits_changes or bool(self.manifest.state)

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/policies/{policy}` says of the active version, and `…/versions/{version}` of any."""
        return {
            "manifest": msgspec.to_builtins(self.manifest),
            "guard": msgspec.to_builtins(self.guard),
            "runtime": self.runtime.name,
            "inline": self.runtime.inline_rows > 0,
            "inline_rows": self.runtime.inline_rows,
            "latency_us": {str(rows): round(s * 1e6, 1) for rows, s in self.runtime.latency_s.items()},
        }


def load_version(path: Path, settings: Settings, metrics: Metrics) -> LoadedVersion:
    """Loads the version in a folder: reads its manifest, verifies its checksums, runs its model."""
    files, stamp = stamp_of_all(path), stamp_of(path / "manifest.json")
    with _unsound("manifest", path, files):
        bundle = Bundle.open(path, verify=False)
        bundle.check_place()
    with _unsound("damaged", path, files):
        bundle.verify()
    with _unsound("model", path, files):
        return LoadedVersion(bundle, stamp, settings, metrics)


@contextmanager
def _unsound(reason: str, path: Path, files: Stamp) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_caused_by_open_files(error):
            sentence = f"{path}: cannot be read: {os.strerror(errno.EMFILE)}; tried again once some are closed."
            raise VersionUnsound("unreadable", sentence, path, ()) from error
        if isinstance(error, BundleInvalid):
            raise VersionUnsound(reason, str(error), path, files) from error
        if isinstance(error, OSError):
            raise VersionUnsound("unreadable", f"{path}: cannot be read: {error.strerror}.", path, files) from error
        log.exception("%s: loading failed", path)
        raise VersionUnsound("internal", f"{path}: loading failed; the log has the cause.", path, files) from error
