"""Checks whether a bundle's files still act as the SavedModel did when they were published.

In:      a bundle whose checksums are right.
Out:     a `Verdict` for each file in the manifest's parity.
Refuses: a bundle that keeps no outputs of its SavedModel (BundleInvalid).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid, RuntimeMissing
from rlway_client.contract.evidence import FILE, Evidence
from rlway_client.contract.manifest import Manifest, Parity
from rlway_client.contract.parity import Limit, compare, rows_of, summarize
from rlway_client.local.runners import open_runner


class Verdict(msgspec.Struct, frozen=True):
    """The result for one file.

    verdict:  `alike`, `different`, or `not run`: only its checksum is known to be right.
    why:      what was found, or why it was not run.
    """

    file: str
    verdict: Literal["alike", "different", "not run"]
    why: str
    parity: Parity | None = None


def verify_bundle(bundle: Bundle, *, compile_c: bool = False) -> list[Verdict]:
    """Runs every file that this machine can run, over the rows that the bundle keeps. Raises BundleInvalid."""
    if FILE not in bundle.manifest.files:
        raise BundleInvalid(f"{bundle.path}: keeps no {FILE} to compare with; export the policy again.")
    evidence = Evidence.read(bundle.path / FILE, bundle.manifest)
    return [_verify(bundle, row, evidence, compile_c) for row in bundle.manifest.parity]


def _verify(bundle: Bundle, published: Parity, evidence: Evidence, compile_c: bool) -> Verdict:
    manifest, path = bundle.manifest, bundle.path / published.file
    if published.file not in manifest.files or published.allowed_difference is None:
        raise BundleInvalid(f"{path}: the manifest has a parity of it, but no checksum or no limit.")
    if path.suffix == ".c" and not compile_c:
        return Verdict(published.file, "not run", "with --compile-c it is compiled and run, as code from this bundle")
    flips = published.allowed_flips
    if flips is not None:  # a share of all rows; the bundle may keep just those that changed
        flips = max(flips, published.argmax_flips / rows_of(evidence.expected))
    limit = Limit(
        published.allowed_difference,
        flips,
        published.threshold,
        published.allowed_state_difference,
        published.largest,
    )
    try:
        found = _compare(path, manifest, limit, evidence)
    except RuntimeMissing as error:
        return Verdict(published.file, "not run", str(error))
    words = f"{found.max_difference:.1e} and {found.argmax_flips} changed actions in {found.observations} rows"
    return Verdict(published.file, "alike" if found.passed else "different", words, found)


def _compare(path: Path, manifest: Manifest, limit: Limit, evidence: Evidence) -> Parity:
    runner = open_runner(path, manifest)
    try:
        return summarize(compare(path.name, runner, manifest.interface, limit, *evidence))
    except RuntimeMissing:
        raise
    except Exception as error:  # each runtime raises another kind for inputs that a file does not take
        raise BundleInvalid(f"{path}: does not take what its manifest says: {str(error).splitlines()[0]}.") from error
