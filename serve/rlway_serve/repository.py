"""The policies of a models folder.

In:      `models/<policy>/<version>/`, any number of them.
Out:     the newest sound version of each policy, loaded, verified and warm.
Refuses: an empty folder, a policy without one sound version (BundleInvalid says which file is at fault).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from rlway_client.bundle import Bundle, bundle_versions
from rlway_client.errors import BundleInvalid, NotFound, UsageError
from rlway_client.manifest import POLICY_NAME
from rlway_serve.metrics import Metrics
from rlway_serve.policy import ServedPolicy
from rlway_serve.settings import Settings

log = logging.getLogger(__name__)


class Repository:
    """Reads the folder once, at construction."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._policies = {policy.name: policy for policy in _load_all(settings, metrics)}
        self.default = self._choose_default(settings.default_policy)

    def __iter__(self) -> Iterator[ServedPolicy]:
        return iter(self._policies.values())

    def __getitem__(self, name: str) -> ServedPolicy:
        """The policy of that name, or NotFound."""
        try:
            return self._policies[name]
        except KeyError:
            raise NotFound(f"policy {name[:64]!r}: not served here; served are: {', '.join(self._policies)}.") from None

    def close(self) -> None:
        """Lets running batches end and refuses new ones."""
        for policy in self._policies.values():
            policy.batcher.close()

    def _choose_default(self, name: str | None) -> ServedPolicy | None:
        if name is not None:
            if name not in self._policies:
                raise UsageError(f"--default {name}: no such policy; served are: {', '.join(self._policies)}.")
            return self._policies[name]
        return next(iter(self._policies.values())) if len(self._policies) == 1 else None


def _load_all(settings: Settings, metrics: Metrics) -> list[ServedPolicy]:
    models = settings.models
    if not models.is_dir():
        raise BundleInvalid(f"{models}: no such folder; `rlway export RUN --models {models} --policy NAME` fills one.")
    folders = [path for path in sorted(models.iterdir()) if path.is_dir() and POLICY_NAME.fullmatch(path.name)]
    policies = [_load_newest(folder, settings, metrics) for folder in folders if bundle_versions(folder)]
    if not policies:
        raise BundleInvalid(
            f"{models}: holds no bundle; expected <policy>/<version>/manifest.json below it, as `rlway export` writes."
        )
    return policies


def _load_newest(folder: Path, settings: Settings, metrics: Metrics) -> ServedPolicy:
    """The newest version that is sound; a broken one is reported and never hides a good one."""
    faults: list[BundleInvalid] = []
    for version in bundle_versions(folder):
        try:
            policy = _load(folder / str(version), settings, metrics)
        except BundleInvalid as error:
            faults.append(error)
            continue
        for fault in faults:
            log.error("%s Serving version %d instead.", fault, version)
        return policy
    raise faults[0]


def _load(path: Path, settings: Settings, metrics: Metrics) -> ServedPolicy:
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    if (manifest.policy, str(manifest.version)) != (path.parent.name, path.name):
        raise BundleInvalid(
            f"{path}: its manifest says policy {manifest.policy!r} version {manifest.version}, and the folder does not."
        )
    return ServedPolicy(bundle, settings, metrics)
