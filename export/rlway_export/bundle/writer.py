"""The bundle: every file of one version, published in one rename.

In:      a source, a models folder, a policy name, the formats wanted besides the SavedModel; observations, or an
         environment to collect them in, if the source has none; how many episodes to play with each file.
Out:     `models/<policy>/<version>/`, the next free version, and its manifest; `config.pbtxt` beside the versions.
Refuses: what the conversion and the proof refuse; a disk that is full (ExportRefused). Then nothing is published.

    convert  ──▶  prove  ──▶  publish
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from rlway_client.common.files import FolderTaken, folder_that_appears_whole, sha256
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.evidence import FILE as EVIDENCE_FILE
from rlway_client.contract.guard import FILE as GUARD_FILE
from rlway_client.contract.guard import encode_guard
from rlway_client.contract.manifest import encode_manifest
from rlway_export.bundle import stale
from rlway_export.bundle.conversion import ExportPlan, convert
from rlway_export.bundle.guard import WantedGuard
from rlway_export.bundle.model_card import model_card
from rlway_export.bundle.options import Actions
from rlway_export.bundle.proof import Proof, prove
from rlway_export.bundle.triton import publish_config
from rlway_export.formats.context import Context
from rlway_export.formats.registry import Format
from rlway_export.sources.base import Source

# The first three mean that the disk is full.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
SHOWN = ("learning_curve.png", "evaluations.csv")  # of the run, for the model card


def write_bundle(
    source: Source,
    models: Path,
    name: str,
    formats: Sequence[Format],
    on_step: Callable[[str], None],
    episodes: int = 0,
    observations: Path | None = None,
    env: str | None = None,
    time_limit: int | None = None,
    actions: Actions = "greedy",
    guard: WantedGuard | None = None,
    meaning: Path | None = None,
) -> Bundle:
    """Converts, compares, plays the episodes with every file, and publishes. Calls `on_step` with a line for each step.

    `env` is the environment that the user names. `time_limit`, in steps, replaces its own limit. `actions` is what a
    server does where a request does not say. `guard` is the guard that the bundle gets, `meaning` a file that says
    what the policy's numbers stand for.
    """
    _check_folders(models, name)
    options = (episodes, observations, env, time_limit, actions, guard, meaning)
    plan = ExportPlan.check(source, name, formats, on_step, *options)
    stale.remove_dead(models / name)
    while True:
        path = models / name / str(_next_version(models / name))
        try:
            with folder_that_appears_whole(path) as draft, stale.alive(draft):
                context = convert(plan, draft, int(path.name))
                proof = prove(plan, context)
                publish(plan, context, proof, path.parent)
        except FolderTaken:
            on_step(f"version {path.name} was published by another export meanwhile; taking the next")
        except Exception as error:  # TensorFlow also writes files, and raises errors of its own
            reason = _why_not_written(error, models)
            if reason is None:
                raise
            raise ExportRefused(f"{path}: cannot be written: {reason}; nothing was published.") from error
        else:
            return Bundle.open(path)


def publish(plan: ExportPlan, context: Context, proof: Proof, policy: Path) -> None:
    """Adds the reports, the model card and the manifest to the draft. It gets its name when the caller's block ends.

    `policy` is the folder of the versions. Triton's configuration is written into it before the version appears, so
    that no version is without it.
    """
    folder, manifest = context.folder, context.manifest
    (folder / "parity.json").write_bytes(proof.report())
    context.evidence.excerpt().write(folder / EVIDENCE_FILE)
    if context.guard is not None:
        (folder / GUARD_FILE).write_bytes(encode_guard(context.guard))
    for shown in SHOWN:
        if (plan.source.folder / shown).is_file():
            shutil.copyfile(plan.source.folder / shown, folder / shown)
    manifest = msgspec.structs.replace(
        manifest,
        notes=[*manifest.notes, *context.notes],
        parity=proof.parity,
        measured=[found for found, _ in proof.measured],
        sampling=proof.sampling,
    )
    (folder / "README.md").write_text(model_card(manifest, folder), encoding="utf-8")
    checksums = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = msgspec.structs.replace(manifest, files=checksums)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    if (folder / "model.onnx").exists():
        publish_config(policy, manifest)


def _check_folders(models: Path, name: str) -> None:
    for folder in (*reversed(models.parents), models, models / name):
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            got = "a file" if folder.exists() else "a link that leads nowhere"
            raise UsageError(f"{folder}: expected a folder of bundles, got {got}.")


def _next_version(policy: Path) -> int:
    """One more than the highest number in the folder, whether or not that is a version."""
    names = [path.name for path in policy.iterdir()] if policy.is_dir() else []
    return max((int(name) for name in names if name.isascii() and name.isdecimal()), default=0) + 1


def _why_not_written(error: Exception, models: Path) -> str | None:
    """The operating system's reason why a file was not written; None if something else went wrong."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in UNWRITABLE and _concerns(error, models) else None
    return next((words for words in map(os.strerror, UNWRITABLE[:3]) if words in str(error)), None)


def _concerns(error: OSError, models: Path) -> bool:
    """Whether the error names a path in the folder of bundles, or one of the folders that hold it."""
    named, folder = Path(os.fsdecode(error.filename or models)).absolute(), models.absolute()
    return named.is_relative_to(folder) or folder.is_relative_to(named)
