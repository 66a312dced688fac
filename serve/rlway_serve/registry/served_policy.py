"""One policy by name: its loaded versions, and which of them is active.

In:      what is in its folder; versions as they are loaded or found unsound.
Out:     the version that answers a request; the versions that should be loaded.
Refuses: a version or label that is not loaded (NotFound); any request while no version is loaded (NotReady).

Without a label `stable`, the newest sound version is active. With it, the version that it names. If that version
cannot be loaded, the version that was active until then stays; if there is none, the newest sound version below the
labelled one becomes active. Newer ones never do, since the label holds them back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rlway_client.common.quote import named
from rlway_client.contract.errors import NotFound, NotReady, RequestMalformed
from rlway_client.contract.labels import STABLE
from rlway_client.contract.manifest import Manifest
from rlway_serve.messages.request import Pin, read_version
from rlway_serve.registry.loaded_version import LoadedVersion, VersionUnsound
from rlway_serve.registry.models_folder import Found
from rlway_serve.registry.shown_files import shown_names
from rlway_serve.telemetry.metrics import Metrics, PolicyMetrics


class ServedPolicy:
    """Used on the event loop only. It stays the same object while its versions change."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self.name = name
        self.found = Found({}, None, "", {})
        self.labels: dict[str, int] | None = None  # as last read without a fault
        self.loaded: dict[int, LoadedVersion] = {}
        self.failures: dict[int, VersionUnsound] = {}
        self.swaps = 0  # how often a version has replaced the active one
        self.load_failures: Counter[str] = Counter()  # by reason
        self.active: LoadedVersion | None = None  # answers requests that name no version
        self._all_metrics = metrics
        self._unserved: PolicyMetrics | None = None

    @property
    def ready(self) -> bool:
        return self.active is not None

    @property
    def current(self) -> LoadedVersion:
        """The active version; raises NotReady if there is none."""
        if self.active is None:
            raise NotReady(self.why_not())
        return self.active

    @property
    def version(self) -> int:
        return self.current.number

    @property
    def manifest(self) -> Manifest:
        return self.current.manifest

    @property
    def metrics(self) -> PolicyMetrics:
        """Counts requests that are refused before a version is chosen."""
        if self.active is not None:
            return self.active.metrics
        if self._unserved is None:
            self._unserved = self._all_metrics.add(self.name, 0)
        return self._unserved

    def choose(self, pin: Pin) -> LoadedVersion:
        """The version that a request names, or the active one. Raises NotFound, NotReady or RequestMalformed."""
        if pin.version is not None and pin.label is not None:
            raise RequestMalformed("body: expected either `version` or `label`, got both.")
        if pin.version is not None:
            number, asked = pin.version, f"version {pin.version}"
        elif pin.label is not None:
            number, asked = (self.labels or {}).get(pin.label, 0), f"label {pin.label[:48]!r}"
        else:
            return self.current
        if not self.loaded:
            raise NotReady(self.why_not())
        version = self.loaded.get(number)
        if version is None:
            labels = named([f"{label} is {number}" for label, number in (self.labels or {}).items()])
            served = f"version{'s' * (len(self.loaded) > 1)} {named([*map(str, sorted(self.loaded))])}"
            raise NotFound(
                f"policy {self.name!r}: {asked} is not served; served: {served}{f' ({labels})' if labels else ''}."
            )
        return version

    def update(self, found: Found) -> None:
        """Takes in what is in the folder now."""
        for version, fault in found.refused.items():
            self.load_failures["copy"] += self.found.refused.get(version) != fault
        self.found = found
        if found.labels is not None:
            self.labels = found.labels
        self.failures = {v: fault for v, fault in self.failures.items() if v in found.versions}

    def candidates(self) -> list[int]:
        """The versions that may become active, the best first."""
        if self.labels is None:
            return []  # the unreadable labels may name any version
        highest = self.labels.get(STABLE)
        return [v for v in self.found.versions if v not in self.failures and (highest is None or v <= highest)]

    @property
    def keeps_active(self) -> bool:
        """Whether the active version stays although it is not the best candidate: `stable` names an unsound version."""
        stable = (self.labels or {}).get(STABLE)
        return self.active is not None and self.active.number in self.found.versions and stable in self.failures

    def wanted(self, keep: int) -> list[int]:
        """Versions to load, the most urgent first: the best candidate, the labelled ones, the newest `keep`."""
        sound = [version for version in self.found.versions if version not in self.failures]
        labelled = [version for version in (self.labels or {}).values() if version in sound]
        return list(dict.fromkeys((*self.candidates()[:1], *labelled, *sound[:keep])))

    def is_loaded(self, version: int) -> bool:
        """Whether it is loaded from the files that are in the folder now."""
        return version in self.loaded and self.loaded[version].stamp == self.found.versions.get(version)

    def swap(self, version: LoadedVersion) -> None:
        """Makes this version the active one."""
        if self.active is not None:
            self.swaps += 1
        self.active = version

    def keep_only(self, versions: Iterable[int]) -> None:
        """Drops all other versions except the active one."""
        kept = {*versions, self.active.number if self.active else 0}
        self.loaded = {number: version for number, version in self.loaded.items() if number in kept}

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/policies/{policy}` says of the active version and of the policy."""
        return (
            self.current.describe()
            | self.summary()
            | {
                "failed": [
                    {"version": version, "reason": fault.reason, "detail": fault.detail}
                    for version, fault in sorted(self.failures.items())
                ]
                + [
                    {"version": version, "reason": "copy", "detail": f"not copied: {fault}."}
                    for version, fault in self.found.refused.items()
                ],
                "labels_fault": self.found.labels_fault or None,
            }
        )

    def find_version(self, number: str) -> LoadedVersion:
        """The loaded version with this number, as a URL has it. Raises NotFound, NotReady."""
        return self.choose(Pin(version=read_version(number, self.name)))

    def describe_version(self, number: str) -> dict[str, Any]:
        """What `GET /v1/policies/{policy}/versions/{version}` says. Raises NotFound, NotReady."""
        version = self.find_version(number)
        return version.describe() | {
            "name": self.name,
            "version": version.number,
            "active": version is self.active,
            "labels": sorted(label for label, named in (self.labels or {}).items() if named == version.number),
            "files": shown_names(version),
        }

    def summary(self) -> dict[str, Any]:
        """What `GET /v1/policies` says."""
        return {
            "name": self.name,
            "version": self.active.number if self.active else None,
            "versions": sorted(self.loaded),
            "labels": self.labels or {},
        }

    def why_not(self) -> str:
        """One sentence on why no version is active."""
        why = " yet"
        if self.labels is None:
            why = ", since its labels.json cannot be read"
        elif not self.candidates() and self.failures:
            version, fault = max(self.failures.items())
            why = f"; version {version} is not sound ({fault.reason}), and the server's log says why"
        elif not self.candidates() and self.found.refused:
            why = f"; version {max(self.found.refused)} could not be copied, and the server's log says why"
        return f"policy {self.name!r}: no version is loaded{why}."
