"""Follows a models folder: policies and versions that are added, changed and removed.

In:      `models/<policy>/<version>/` and labels.json, scanned every `folder_poll_s`.
Out:     policies by name, each with its versions loaded, verified and warmed up.
Refuses: a path that cannot be a models folder. Without polling it also refuses an empty folder, a policy without a
         sound version, and a default that is not among the policies, since no later change could help.

One thread scans the folder, other threads load new versions, and only the event loop decides which version is active.
So a version takes over between two requests. A version that cannot be loaded is reported once, and changes nothing.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from rlway_client.contract.errors import BundleInvalid, NotFound, UsageError
from rlway_client.contract.models_path import check_models_path
from rlway_serve.registry.load_queue import Key, Loaded, LoadQueue
from rlway_serve.registry.loaded_version import LoadedVersion, VersionUnsound, load_version
from rlway_serve.registry.metrics import RepositoryMetrics
from rlway_serve.registry.models_folder import Found, ModelsFolder, stamp_of_all
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings
from rlway_serve.system.open_files import open_files_are_exhausted
from rlway_serve.telemetry.metrics import Metrics

RECOVERED_S = 60.0  # without a fault; after that the same fault is logged again

log = logging.getLogger(__name__)

URGENT, LATER = 0, 1  # ranks of loads: the version to become active, and those that requests may name
START_CHECK_S = 0.2
REPAIRS_AT_ONCE = 64  # unsound versions that one scan checks for changes


class Seen(NamedTuple):
    """The result of a scan: what is in the folder, and the unsound versions whose files have changed."""

    policies: dict[str, Found]
    repaired: frozenset[Key]


class Repository:
    """`load` before the event loop starts, `watch` on it, `close` when it ends."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._folder = ModelsFolder(settings.models)
        self._loads: LoadQueue[LoadedVersion] = LoadQueue()
        self._policies: dict[str, ServedPolicy] = {}
        self._watchers: list[Callable[[], object]] = []
        self._watching = False
        self._ending = threading.Event()
        self._next_failure = 0  # the unsound version that the next scan checks first
        self._reported: dict[str, str] = {}  # last fault by policy, <policy>/<version>, or "" for the folder
        metrics.watch(RepositoryMetrics(self))

    def __iter__(self) -> Iterator[ServedPolicy]:
        return iter(self._policies.values())

    def __getitem__(self, name: str) -> ServedPolicy:
        """The policy of that name, or NotFound."""
        try:
            return self._policies[name]
        except KeyError:
            served = ", ".join(self._policies) or "none yet"
            raise NotFound(f"policy {name[:64]!r}: not served here; served are: {served}.") from None

    def find(self, name: str) -> ServedPolicy | None:
        """The policy of that name, if there is one."""
        return self._policies.get(name)

    @property
    def default(self) -> ServedPolicy | None:
        """The policy that answers `POST /act`: the one that `--default` names, or else the only one."""
        if self._settings.default_policy is not None:
            return self._policies.get(self._settings.default_policy)
        return next(iter(self._policies.values())) if len(self._policies) == 1 else None

    @property
    def ready(self) -> bool:
        """Whether at least one policy has an active version; if `--default` names a policy, it must have one."""
        named = self._settings.default_policy is None or (self.default is not None and self.default.ready)
        return named and any(policy.ready for policy in self)

    def on_change(self, watcher: Callable[[], object]) -> None:
        """Calls `watcher` whenever a policy was added or removed."""
        self._watchers.append(watcher)

    def load(self) -> None:
        """Reads the folder and loads each policy's active version; blocks, but not for loads that have become slow."""
        check_models_path(self._settings.models)
        self._update(Seen(self._folder.scan(), frozenset()))
        while self._loads.has_pending(URGENT):
            self._loads.make_room()
            for loaded in self._loads.take(START_CHECK_S):
                self._adopt(loaded)
        for policy in self:
            self._reconcile(policy)  # activates an older version where the newest is slow to load
        if not self._settings.folder_poll_s:
            self._check_complete()
        for policy in self:
            for fault in policy.failures.values():
                log.error("%s Not served.", fault)
        if not self._policies:
            log.warning("%s: holds no bundle yet; not ready until one comes.", self._settings.models)
        elif self._settings.default_policy is not None and self.default is None:
            log.warning("--default %s: no such policy yet; not ready until it comes.", self._settings.default_policy)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts to follow the folder, and to take finished loads on the event loop."""

        def call(callback: Callable[..., object], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(callback, *arguments)

        self._watching = True
        self._loads.notify = partial(call, self._take)
        loop.call_soon(self._take)  # loads that ended before this call
        if self._settings.folder_poll_s:
            threading.Thread(target=self._poll, args=(call,), name="rlway-poll", daemon=True).start()

    def close(self) -> None:
        """Refuses new calls, and waits for the batches that run."""
        self._ending.set()
        for policy in self:
            for version in policy.loaded.values():
                version.batcher.close()

    def _poll(self, call_on_loop: Callable[..., None]) -> None:
        """Scans the folder again and again, on a thread."""
        known: Seen | None = None
        failed_s = -math.inf  # when the last failed scan was
        while not self._ending.wait(self._settings.folder_poll_s):
            self._loads.make_room()
            if open_files_are_exhausted():
                self._report("", f"{self._settings.models}: cannot be read: {os.strerror(errno.EMFILE)}.")
                failed_s = time.monotonic()
                continue
            try:
                seen = Seen(self._folder.scan(), self._find_repaired())
            except OSError as error:  # such as a file system that is unreachable for a while; loaded versions go on
                self._report("", f"{self._settings.models}: cannot be read: {error.strerror}.")
                failed_s = time.monotonic()
                continue
            if time.monotonic() - failed_s > RECOVERED_S:
                self._report("", "")
            # For a policy without an active version, an older one takes its place once the load has become slow.
            if seen != known or seen.repaired or not all(policy.ready for policy in [*self]):
                call_on_loop(self._update, seen)
                known = seen

    def _find_repaired(self) -> frozenset[Key]:
        tried = [(policy.name, *failure) for policy in [*self] for failure in [*policy.failures.items()]]
        if len(tried) > REPAIRS_AT_ONCE:  # some at a time, since each is a walk through files
            self._next_failure = (self._next_failure + REPAIRS_AT_ONCE) % len(tried)
            tried = (tried[self._next_failure :] + tried)[:REPAIRS_AT_ONCE]
        return frozenset(
            (name, version)
            for name, version, fault in tried
            if fault.stamp != stamp_of_all(self._settings.models / name / str(version))
        )

    def _update(self, seen: Seen) -> None:
        """Applies the result of a scan."""
        before = set(self._policies)
        # An active version goes on after its policy's last version is removed, as long as the folder is there.
        active = {name for name, policy in self._policies.items() if policy.ready}
        found_policies = {
            name: found for name, found in seen.policies.items() if found.versions or found.refused or name in active
        }
        for name in before - found_policies.keys():
            log.info("%s: gone, and no longer served.", name)
            del self._policies[name]  # requests that hold it are still answered
        for name, found in found_policies.items():
            policy = self._policies.setdefault(name, ServedPolicy(name, self._metrics))
            policy.update(found)
            for version in list(policy.failures):
                if (name, version) in seen.repaired:
                    del policy.failures[version]
            self._report(name, found.labels_fault and f"{self._settings.models / name / found.labels_fault}")
            self._reconcile(policy)
        if before != set(self._policies):
            self._policies = dict(sorted(self._policies.items()))
            self._announce()

    def _announce(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _reconcile(self, policy: ServedPolicy) -> None:
        """Loads the versions that are wanted and missing, activates the best, and drops those no longer wanted."""
        wanted = policy.wanted(self._settings.keep_versions)
        candidates = policy.candidates()
        for version in wanted:
            if not policy.is_loaded(version):
                path = self._settings.models / policy.name / str(version)
                rank = URGENT if version in candidates[:1] else LATER
                load = partial(load_version, path, self._settings, self._metrics)
                self._loads.start((policy.name, version), rank, load)
        self._choose(policy, candidates)
        if all(policy.is_loaded(version) for version in wanted):
            policy.keep_only(wanted)

    def _choose(self, policy: ServedPolicy, candidates: list[int]) -> None:
        """Activates the best candidate once it is loaded.

        Another is activated in its place only if no version is active and the best is slow to load.
        """
        if not candidates or policy.keeps_active:
            return
        best = candidates[0]
        if not policy.ready and self._loads.is_slow((policy.name, best)):
            best = next((version for version in candidates if policy.is_loaded(version)), best)
        if policy.is_loaded(best) and not (policy.ready and policy.current is policy.loaded[best]):
            before = f" instead of version {policy.version}" if policy.ready else ""
            policy.swap(policy.loaded[best])
            log.log(
                logging.INFO if self._watching else logging.DEBUG, "%s: version %d acts%s.", policy.name, best, before
            )

    def _take(self) -> None:
        for loaded in self._loads.take():
            fault = self._adopt(loaded)
            name, version = loaded.key
            if fault is not None and fault.stamp:
                log.error("%s Not served.", fault)
            else:
                self._report(f"{name}/{version}", f"{fault} Not served." if fault else "")  # retried, so logged once

    def _adopt(self, loaded: Loaded[LoadedVersion]) -> VersionUnsound | None:
        """Adds a loaded version to its policy; returns the fault if it could not be loaded."""
        name, number = loaded.key
        policy = self._policies.get(name)
        if policy is None or number not in policy.found.versions:
            return None  # removed before it was loaded
        fault = loaded.result if isinstance(loaded.result, VersionUnsound) else None
        if isinstance(loaded.result, LoadedVersion):
            # If its files were replaced during the load, the result is dropped and the version loaded again.
            if loaded.result.stamp == policy.found.versions[number]:
                policy.loaded[number] = loaded.result
                log.debug("%s: version %d loaded in %.3f s.", name, number, loaded.seconds)
        elif fault is not None:
            policy.failures[number] = fault
            policy.load_failures[fault.reason] += 1
        else:
            raise loaded.result
        self._reconcile(policy)
        return fault

    def _check_complete(self) -> None:
        """Raises what a server without polling cannot recover from."""
        models, default = self._settings.models, self._settings.default_policy
        if not self._policies:
            raise BundleInvalid(
                f"{models}: holds no bundle; expected <policy>/<version>/manifest.json below it, as `rlway export` "
                f"writes."
            )
        for policy in self:
            if not policy.ready:
                raise policy.failures[max(policy.failures)] if policy.failures else BundleInvalid(policy.why_not())
        if default is not None and default not in self._policies:
            raise UsageError(f"--default {default}: no such policy; served are: {', '.join(self._policies)}.")

    def _report(self, subject: str, fault: str) -> None:
        """Logs a fault, unless it is the one last logged for this subject; an empty fault clears it."""
        if fault and fault != self._reported.get(subject):
            log.error("%s", fault)
        self._reported[subject] = fault
        if not fault:
            del self._reported[subject]
