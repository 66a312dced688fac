"""The states of a model's versions, as plain values.

In:      a policy; a version or a label.
Out:     `VersionState` of each version that the server manages, newest first, or of the one that is asked about.
Refuses: a version that is not managed (NotFound), an unknown label (RequestMalformed).

A version that could not be loaded has the state END and says why. Versions in the folder that the server does not load,
since they are neither new enough nor labelled, are not managed.
"""

from __future__ import annotations

from typing import NamedTuple

from rlway_client.common.quote import clipped, named
from rlway_client.contract.errors import NotFound, RequestMalformed
from rlway_serve.messages.request import Pin
from rlway_serve.registry.served_policy import ServedPolicy

# By the reason of `VersionUnsound`; `copy` is a version that could not be copied from a store.
ERROR_CODES = {
    "manifest": "FAILED_PRECONDITION",
    "damaged": "DATA_LOSS",
    "model": "FAILED_PRECONDITION",
    "unreadable": "UNAVAILABLE",
    "internal": "INTERNAL",
    "copy": "UNAVAILABLE",
}


class VersionState(NamedTuple):
    """One version: its state in TensorFlow Serving's words, and a canonical code with a sentence if it failed."""

    version: int
    state: str  # LOADING, AVAILABLE or END
    error_code: str = "OK"
    error_message: str = ""


def version_states(policy: ServedPolicy, pin: Pin, keep_versions: int) -> list[VersionState]:
    """The states of all managed versions, or of the one that the pin names."""
    states = {number: VersionState(number, "LOADING") for number in policy.wanted(keep_versions)}
    states |= {
        number: VersionState(number, "END", "UNAVAILABLE", f"not copied: {fault}.")
        for number, fault in policy.found.refused.items()
    }
    states |= {
        number: VersionState(number, "END", ERROR_CODES.get(fault.reason, "UNKNOWN"), fault.detail)
        for number, fault in policy.failures.items()
    }
    states |= {number: VersionState(number, "AVAILABLE") for number in policy.loaded}
    managed = sorted(states, reverse=True)
    number = pin.version
    if pin.label is not None:
        number = (policy.labels or {}).get(pin.label)
        if number is None:
            raise RequestMalformed(
                f"Unrecognized servable version label: {clipped(pin.label)}; "
                f"labels of {policy.name}: {named([*(policy.labels or {})]) or 'none'}."
            )
    if number is None:
        return [states[version] for version in managed]
    if number not in states:
        there = named([*map(str, managed)]) or "none"
        raise NotFound(f"Could not find version {number} of model {policy.name}; versions: {there}.")
    return [states[number]]
