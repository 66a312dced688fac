"""The policies of a models folder, as they come, change and go.

In:      `models/<policy>/<version>/` and labels.json, looked at every `poll_s`.
Out:     policies by name, each with its versions loaded, verified and warm.
Refuses: what cannot be a models folder. Without polling nothing could mend them, so then also an empty folder, a policy
         without one sound version, a default that is none of the policies.

A thread looks at the folder, other threads load what is new, and only the event loop decides what acts: a version takes
over between two requests, and a version that cannot be loaded is reported once and changes nothing.
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
from rlway_serve.registry.load_queue import Key, Loaded, LoadQueue
from rlway_serve.registry.loaded_version import LoadedVersion, VersionUnsound, load_version
from rlway_serve.registry.metrics import RepositoryMetrics
from rlway_serve.registry.models_folder import Found, ModelsFolder, stamp_of_all
from rlway_serve.registry.models_path import check_models_path
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings
from rlway_serve.system.open_files import are_exhausted
from rlway_serve.telemetry.metrics import Metrics

RECOVERED_S = 60.0  # without a fault, after which the same one is told again

log = logging.getLogger(__name__)

URGENT, LATER = 0, 1  # ranks of loads: what is to act, and what may be asked for by version or label
START_CHECK_S = 0.2
MENDED_AT_ONCE = 64  # unsound versions that one look is spent on


class Seen(NamedTuple):
    """What lies in the folder, and which unsound versions are no longer what they were."""

    policies: dict[str, Found]
    mended: frozenset[Key]


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
        self._looked_at = 0  # among the unsound versions
        self._reported: dict[str, str] = {}  # the last report on a policy's labels, a version or, under "", the folder
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
        """Who answers `POST /act`: the policy that was named, else the only one."""
        if self._settings.default_policy is not None:
            return self._policies.get(self._settings.default_policy)
        return next(iter(self._policies.values())) if len(self._policies) == 1 else None

    @property
    def ready(self) -> bool:
        """Whether some policy can act, and the named default in any case."""
        named = self._settings.default_policy is None or (self.default is not None and self.default.ready)
        return named and any(policy.ready for policy in self)

    def on_change(self, watcher: Callable[[], object]) -> None:
        """Has it called whenever a policy has come or gone."""
        self._watchers.append(watcher)

    def load(self) -> None:
        """Reads the folder and loads who is to act, unless it takes too long; blocks."""
        check_models_path(self._settings.models)
        self._update(Seen(self._folder.scan(), frozenset()))
        while self._loads.hurrying(URGENT):
            self._loads.make_room()
            for loaded in self._loads.take(START_CHECK_S):
                self._adopt(loaded)
        for policy in self:
            self._settle(policy)  # an older version stands in where the newest takes too long
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
        """From now on, follows the folder and takes what has been loaded, on the event loop."""

        def call(callback: Callable[..., object], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(callback, *arguments)

        self._watching = True
        self._loads.notify = partial(call, self._take)
        loop.call_soon(self._take)  # what ended in between
        if self._settings.folder_poll_s:
            threading.Thread(target=self._poll, args=(call,), name="rlway-poll", daemon=True).start()

    def close(self) -> None:
        """Lets running batches end and refuses new ones."""
        self._ending.set()
        for policy in self:
            for version in policy.loaded.values():
                version.batcher.close()

    def _poll(self, call_on_loop: Callable[..., None]) -> None:
        """The thread that looks."""
        known: Seen | None = None
        failed_s = -math.inf  # when it last did
        while not self._ending.wait(self._settings.folder_poll_s):
            self._loads.make_room()
            if are_exhausted():
                self._report("", f"{self._settings.models}: cannot be read: {os.strerror(errno.EMFILE)}.")
                failed_s = time.monotonic()
                continue
            try:
                seen = Seen(self._folder.scan(), self._find_mended())
            except OSError as error:  # a file system that is away for a while; what is loaded goes on
                self._report("", f"{self._settings.models}: cannot be read: {error.strerror}.")
                failed_s = time.monotonic()
                continue
            if time.monotonic() - failed_s > RECOVERED_S:
                self._report("", "")
            # Who does not act yet may have to be stood in for, once its load has become slow.
            if seen != known or seen.mended or not all(policy.ready for policy in [*self]):
                call_on_loop(self._update, seen)
                known = seen

    def _find_mended(self) -> frozenset[Key]:
        tried = [(policy.name, *failure) for policy in [*self] for failure in [*policy.failures.items()]]
        if len(tried) > MENDED_AT_ONCE:  # in turn: each is a walk through files
            self._looked_at = (self._looked_at + MENDED_AT_ONCE) % len(tried)
            tried = (tried[self._looked_at :] + tried)[:MENDED_AT_ONCE]
        return frozenset(
            (name, version)
            for name, version, fault in tried
            if fault.stamp != stamp_of_all(self._settings.models / name / str(version))
        )

    def _update(self, seen: Seen) -> None:
        """Follows the folder."""
        before = set(self._policies)
        # A policy that acts goes on when its last version is removed, as long as its folder is there.
        active = {name for name, policy in self._policies.items() if policy.ready}
        found_policies = {
            name: found for name, found in seen.policies.items() if found.versions or found.refused or name in active
        }
        for name in before - found_policies.keys():
            log.info("%s: gone, and no longer served.", name)
            del self._policies[name]  # requests that have found it already are answered
        for name, found in found_policies.items():
            policy = self._policies.setdefault(name, ServedPolicy(name, self._metrics))
            policy.update(found)
            for version in list(policy.failures):
                if (name, version) in seen.mended:
                    del policy.failures[version]
            self._report(name, found.labels_fault and f"{self._settings.models / name / found.labels_fault}")
            self._settle(policy)
        if before != set(self._policies):
            self._policies = dict(sorted(self._policies.items()))
            self._announce()

    def _announce(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _settle(self, policy: ServedPolicy) -> None:
        """Starts what ought to be loaded, lets act who ought to, and lets go of the rest."""
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
        """The best candidate acts once it is loaded; nobody stands in for it unless nobody acts and it is slow."""
        if not candidates or policy.holds_on:
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
                self._report(f"{name}/{version}", f"{fault} Not served." if fault else "")  # tried again and again

    def _adopt(self, loaded: Loaded[LoadedVersion]) -> VersionUnsound | None:
        """Takes a version that has been loaded, or gives back why it could not be."""
        name, number = loaded.key
        policy = self._policies.get(name)
        if policy is None or number not in policy.found.versions:
            return None  # gone before it was loaded
        fault = loaded.result if isinstance(loaded.result, VersionUnsound) else None
        if isinstance(loaded.result, LoadedVersion):
            # One that was replaced while it was loaded is nobody's, and is loaded again.
            if loaded.result.stamp == policy.found.versions[number]:
                policy.loaded[number] = loaded.result
                log.debug("%s: version %d loaded in %.3f s.", name, number, loaded.seconds)
        elif fault is not None:
            policy.failures[number] = fault
            policy.load_failures[fault.reason] += 1
        else:
            raise loaded.result
        self._settle(policy)
        return fault

    def _check_complete(self) -> None:
        """What a server that will not look again cannot start with."""
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
        """Logs a fault once, until it is another."""
        if fault and fault != self._reported.get(subject):
            log.error("%s", fault)
        self._reported[subject] = fault
        if not fault:
            del self._reported[subject]
