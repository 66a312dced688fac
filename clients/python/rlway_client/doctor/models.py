"""What is in a models folder, and whether a server could load it.

In:      the folder, models/<policy>/<version>/.
Out:     a finding for the folder and one for each policy; one more for everything that is wrong with a version.

A version is checked as a server does before it runs the model: its manifest, its place, its checksums.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from rlway_client.common.quote import reason
from rlway_client.contract.bundle import DRAFT, Bundle, bundle_versions
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.labels import LABELS_FILE, STABLE, read_labels
from rlway_client.contract.manifest import POLICY_NAME
from rlway_client.contract.model_files import served_file
from rlway_client.contract.models_path import check_models_path
from rlway_client.doctor.finding import Finding, found_by

MODELS = Path("models")  # where nothing is said
YOUNG_S = 60.0  # an exporter may not have locked a new draft yet
AGAIN = "export the policy again, or remove the folder"


def models_folder(path: Path, *, asked_for: bool) -> list[Finding]:
    """The folder and everything in it. A folder that nobody asked for may be missing."""
    facts = {"path": str(path), "exists": path.exists(), "policies": []}
    if not asked_for and not path.exists():
        state = "no such folder here; `rlway export` makes it, or give yours: `rlway doctor MODELS`"
        return [Finding("models", f"{path}/", state, facts=facts)]
    try:
        check_models_path(path)
    except BundleInvalid as error:
        fault, _, remedy = str(error).removeprefix(f"{path}: ").rstrip(".").partition("; ")
        remedy = remedy or "give a folder that holds models/<policy>/<version>/, and that this user may read"
        return [Finding("models", f"{path}/", fault, remedy, facts)]
    policies = sorted(one for one in path.iterdir() if POLICY_NAME.fullmatch(one.name) and one.is_dir())
    facts["policies"] = [one.name for one in policies]
    count = f"{len(policies)} {'policy' if len(policies) == 1 else 'policies'}"
    state = count if policies else "empty; a server over it is ready once `rlway export` has published a policy"
    found = [Finding("models", f"{path}/", state, facts=facts)]
    for policy in policies:
        found += found_by("models", policy.name, partial(policy_folder, policy))
    return found


def policy_folder(path: Path) -> Iterator[Finding]:
    """A policy: what would be active, and then what is wrong with it."""
    try:
        numbers = bundle_versions(path)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
        yield Finding("models", path.name, fault, _remedy(path, fault), {"policy": path.name})
        return
    checked = {number: check_version(path / str(number)) for number in numbers}
    labels, fault = read_labels(path / LABELS_FILE)
    sound = [number for number in numbers if not checked[number].remedy]
    stable = (labels or {}).get(STABLE)
    active = next((number for number in sound if stable is None or number <= stable), None) if not fault else None
    facts = {"policy": path.name, "versions": numbers, "sound": sound, "active": active, "labels": labels}
    shown = ", ".join(map(str, numbers[:5])) + (f", … ({len(numbers)} in all)" if len(numbers) > 5 else "")
    state, remedy = f"version{'s' if len(numbers) > 1 else ''} {shown}", ""
    if not numbers:
        state = "holds no version yet"
    elif active is None:
        state, remedy = f"{state}; none can be served", "see below what is wrong"
    else:
        state += f"; {active} would be active, {checked[active].facts['file']}"
    yield Finding("models", path.name, state, remedy, facts)
    yield from (one for one in checked.values() if not one.ok)
    yield from _labels(path, labels, fault, sound)
    yield from _drafts(path)


def check_version(path: Path) -> Finding:
    """One version, as a server would look at it without running the model."""
    subject = f"{path.parent.name}/{path.name}"
    facts = {"policy": path.parent.name, "version": int(path.name), "file": None}
    try:
        bundle = Bundle.open(path, verify=False)
        bundle.check_place()
        bundle.verify()
        facts["file"] = served_file(bundle.manifest.files)
    except BundleInvalid as error:
        fault = str(error).removeprefix(f"{path}/").removeprefix(f"{path}: ").rstrip(".").partition("; ")[0]
        return Finding("models", subject, _short(fault), _remedy(path, fault), facts)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
        return Finding("models", subject, fault, _remedy(path, fault), facts)
    except Exception as error:  # a guard or a manifest with values that no exporter writes
        return Finding("models", subject, f"cannot be understood: {reason(error)}", AGAIN, facts)
    if facts["file"] is None:
        remedy = "export the policy with --formats onnx"
        return Finding("models", subject, "holds no file that a server runs", remedy, facts)
    return Finding("models", subject, f"whole, {facts['file']}", facts=facts)


def _remedy(path: Path, fault: str) -> str:
    if "cannot be read" in fault or "Permission denied" in fault:
        return f"give the server's user the right to read it: chmod -R a+rX {path}"
    if "no manifest.json" in fault:
        return "half of a version, as an interrupted copy leaves it: copy it anew, or remove the folder"
    if "the folder does not" in fault:
        return "move it back to where it was exported to, or export the policy under the name that you want"
    return AGAIN


def _labels(path: Path, labels: dict[str, int] | None, fault: str, sound: list[int]) -> Iterator[Finding]:
    subject = f"{path.name}/{LABELS_FILE}"
    facts = {"policy": path.name, "labels": labels}
    if fault:
        fault = fault.removeprefix(f"{LABELS_FILE}: ").rstrip(".")
        remedy = f'write it anew, such as {{"{STABLE}": {sound[0] if sound else 1}}}, or remove it'
        yield Finding("models", subject, _short(fault), remedy, facts)
    for label, number in (labels or {}).items():
        if number not in sound:
            remedy = f"let the label name one of {', '.join(map(str, sound[:5]))}" if sound else "export the policy"
            yield Finding("models", subject, f"{label} is version {number}, which is not sound here", remedy, facts)


def _drafts(path: Path) -> Iterator[Finding]:
    """Hidden folders that an exporter left half-written; one that is being written is not wrong."""
    for draft in sorted(path.glob(".*")):
        if DRAFT.fullmatch(draft.name) and draft.is_dir() and _is_abandoned(draft):
            facts = {"policy": path.name, "draft": draft.name}
            remedy = f"the next `rlway export` removes it, and so does rm -r {draft}; a server never looks at it"
            yield Finding("models", f"{path.name}/{draft.name}", "half-written, and nobody writes it", remedy, facts)


def _is_abandoned(draft: Path) -> bool:
    with suppress(OSError):  # not ours to read, locked by its exporter, or gone by now
        if time.time() - draft.stat().st_mtime > YOUNG_S:
            lock = os.open(draft, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            finally:
                os.close(lock)
    return False


def _short(fault: str) -> str:
    """The fault without the two checksums, which nobody compares by eye."""
    return fault.partition(": expected SHA-256")[0] if ": expected SHA-256" in fault else fault
