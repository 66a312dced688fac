"""The index of the model repository: every version in the models folder, and whether it can be asked for.

In:      the policies, settings.
Out:     an entry for each version.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"


def repository_index(policies: Iterable[ServedPolicy], settings: Settings, ready: bool) -> list[dict[str, Any]]:
    """The versions of all policies; with `ready` only those that can be asked for."""
    entries = [entry for policy in policies for entry in _entries(policy, settings)]
    return [entry for entry in entries if entry["state"] == READY or not ready]


def _entries(policy: ServedPolicy, settings: Settings) -> list[dict[str, Any]]:
    states = dict.fromkeys(policy.loaded, (READY, ""))
    wanted = policy.wanted(settings.keep_versions)
    for number in policy.found.versions:
        fault = policy.failures.get(number)
        if fault is not None:
            states.setdefault(number, (UNAVAILABLE, fault.detail))
        elif number in wanted:
            states.setdefault(number, (LOADING, ""))
        else:
            states.setdefault(number, (UNAVAILABLE, "not kept: neither labelled nor among the newest"))
    for number, reason in policy.found.refused.items():
        states.setdefault(number, (UNAVAILABLE, f"not copied: {reason}"))
    return [
        {"name": policy.name, "version": str(number), "state": state, "reason": reason}
        for number, (state, reason) in sorted(states.items())
    ]
