"""The bundle: every file of one version, published in one rename.

In:      a source, a models folder, a policy name, the targets that are wanted beside the SavedModel; observations, or
         an environment to collect them in, if the source has none; how many episodes to play with each file.
Out:     `models/<policy>/<version>/`, the next free version, and its manifest; `config.pbtxt` beside the versions.
Refuses: an environment that does not fit, a file of observations that cannot be read, before anything is converted;
         files that do not act as the SavedModel does, a disk that is full (ExportRefused); then nothing is published.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import NamedTuple

import msgspec

from rlway_client.common.files import FolderTaken, folder_that_appears_whole, sha256
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.evidence import FILE as EVIDENCE_FILE
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, Measured, Parity, encode_manifest
from rlway_client.contract.parity import Arrays, summarize
from rlway_export.bundle import stale
from rlway_export.bundle.model_card import model_card
from rlway_export.bundle.triton import publish_config
from rlway_export.checks import parity
from rlway_export.checks.lookups import find_look_ups
from rlway_export.checks.measure import Runnable, measure
from rlway_export.checks.observations import Observations, check_file
from rlway_export.formats.context import Draft
from rlway_export.formats.registry import Target
from rlway_export.play.environment import Environment
from rlway_export.play.rollout import Evaluation
from rlway_export.play.visits import visit
from rlway_export.reference.policy import SavedPolicy
from rlway_export.sources.base import SAVED_MODEL, Facts, Source

TOOLS = ("tensorflow", "tf-agents", "tf2onnx", "onnx", "onnxruntime", "rlway-export")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # the first three: no room
SHOWN = ("learning_curve.png", "evaluations.csv")  # of the run, for the model card


class Play(NamedTuple):
    """What the files are compared and measured over."""

    environment: Environment | None  # that the user names, or that episodes are to be played in
    episodes: int
    observations: Path | None


def write_bundle(
    source: Source,
    models: Path,
    name: str,
    targets: Sequence[Target],
    on_step: Callable[[str], None],
    episodes: int = 0,
    observations: Path | None = None,
    env: str | None = None,
    time_limit: int | None = None,
) -> Bundle:
    """Converts, compares, plays so many episodes with every file, and publishes; `on_step` is told what happens.

    `env` is the environment that the user names; a `time_limit` in steps replaces its clock.
    """
    for folder in (*reversed(models.parents), models, models / name):
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            got = "a file" if folder.exists() else "a link that leads nowhere"
            raise UsageError(f"{folder}: expected a folder of bundles, got {got}.")
    if observations is not None:
        check_file(observations, source.interface)
    environment = None
    if episodes or env is not None:
        environment = Environment.find(source.facts, env, time_limit)
        environment.check(source.interface)
    play = Play(environment, episodes, observations)
    stale.remove_dead(models / name)
    while True:
        path = models / name / str(_next_version(models / name))
        try:
            with folder_that_appears_whole(path) as draft, stale.alive(draft):
                manifest = _fill(draft, source, name, int(path.name), targets, on_step, play)
                if (draft / "model.onnx").exists():
                    publish_config(path.parent, manifest)  # now: there is never a version without it
        except FolderTaken:
            on_step(f"version {path.name} was published by another export meanwhile; taking the next")
        except Exception as error:  # TensorFlow, which writes files, too, has an error of its own for each reason
            reason = _why_not_written(error, models)
            if reason is None:
                raise
            raise ExportRefused(f"{path}: cannot be written: {reason}; nothing was published.") from error
        else:
            return Bundle.open(path)


def _why_not_written(error: Exception, models: Path) -> str | None:
    """In the operating system's words; None if that is not what went wrong."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in UNWRITABLE and _concerns(error, models) else None
    return next((words for words in map(os.strerror, UNWRITABLE[:3]) if words in str(error)), None)


def _concerns(error: OSError, models: Path) -> bool:
    """Whether it names nothing outside: what lies in the folder of bundles, or the folders in which that lies."""
    named, folder = Path(os.fsdecode(error.filename or models)).absolute(), models.absolute()
    return named.is_relative_to(folder) or folder.is_relative_to(named)


def _next_version(policy: Path) -> int:
    """One above every number that stands there, be it a version or something that only looks like one."""
    names = [path.name for path in policy.iterdir()] if policy.is_dir() else []
    return max((int(name) for name in names if name.isascii() and name.isdecimal()), default=0) + 1


def _fill(
    folder: Path,
    source: Source,
    name: str,
    version: int,
    targets: Sequence[Target],
    on_step: Callable[[str], None],
    play: Play,
) -> Manifest:
    on_step(f"baking {source.title} into the SavedModel")
    policy, environment, episodes, given = source.materialize(folder), *play
    if environment is not None and source.interface is None:
        environment.check(policy.interface)
    observations, played = _observe(policy, source, play, on_step)
    look_ups = find_look_ups(policy, observations)
    observations = look_ups.fit(observations, given)
    notes = [*policy.notes, *observations.notes, *look_ups.notes]
    if environment is not None and (episodes or played):
        notes += environment.notes(source.facts)
    for note in notes:
        on_step(f"note: {note}")
    facts = source.facts if environment is None else environment.told(source.facts)
    manifest = _describe(facts, policy, observations, notes, name, version)
    manifest = msgspec.structs.replace(manifest, observation=look_ups.specs)
    evaluation = Evaluation(environment, manifest.interface, episodes) if environment and episodes else None
    evidence = parity.gather(policy, observations.arrays)
    draft = Draft(folder, policy, manifest, evidence)
    for target in targets:
        on_step(f"converting to {target.title}")
        target.write(draft)
    for note in draft.notes:
        on_step(f"note: {note}")
    on_step("comparing every file with the SavedModel")
    runners = [target.open(draft) for target in targets]
    files = [Runnable(folder / t.files[-1], r.run, r.batch_sizes) for t, r in zip(targets, runners, strict=True)]
    details = [
        parity.judge(evidence, policy.interface, file.path, runner, target.tolerance)
        for target, file, runner in zip(targets, files, runners, strict=True)
    ]
    summary = [summarize(rows) for rows in details]
    for target, row in zip(targets, summary, strict=True):
        _refuse_failure(target, row)
    on_step("measuring every file" + f", and playing {episodes} episodes with it" * bool(episodes))
    saved_model = Runnable(folder / SAVED_MODEL, policy.run_act)
    measured = [measure(file, manifest, evidence.inputs, evaluation) for file in (saved_model, *files)]
    _write_report(folder / "parity.json", details, measured)
    evidence.excerpt().write(folder / EVIDENCE_FILE)
    for shown in SHOWN:
        if (source.folder / shown).is_file():
            shutil.copyfile(source.folder / shown, folder / shown)
    manifest = msgspec.structs.replace(
        manifest,
        notes=[*manifest.notes, *draft.notes],
        parity=summary,
        measured=[found for found, _ in measured],
    )
    (folder / "README.md").write_text(model_card(manifest, folder), encoding="utf-8")
    checksums = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = msgspec.structs.replace(manifest, files=checksums)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return manifest


def _observe(
    policy: SavedPolicy, source: Source, play: Play, on_step: Callable[[str], None]
) -> tuple[Observations, bool]:
    """What to compare over, and whether the policy was played for it now.

    What an environment that the user names does not give is not done without.
    """
    played = False

    def visited(environment: Environment) -> Arrays:
        nonlocal played
        on_step(f"collecting observations in {environment.name}")
        arrays = visit(policy, environment)
        played = True
        return arrays

    def visit_if_few() -> Arrays | None:
        if source.is_busy or (play.environment is None and source.facts.env is None):
            return None
        return visited(play.environment or Environment.find(source.facts))

    if play.environment is not None and source.recorded is None and play.observations is None:
        return Observations(visited(play.environment), "visited"), True
    found = Observations.find(policy.interface, play.observations, source.recorded, visit_if_few)
    return found, played


def _write_report(path: Path, details: list[list[Parity]], measured: list[tuple[Measured, list[float]]]) -> None:
    """All that the manifest has in short: every batch size, every episode."""
    report = {
        "parity": [row for rows in details for row in rows],
        "measured": [{**msgspec.to_builtins(found), "returns": returns} for found, returns in measured],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))


def _refuse_failure(target: Target, row: Parity) -> None:
    if not row.passed:
        found = f"{row.max_difference:.2e} and {row.argmax_flips} changed actions in {row.observations} observations"
        if row.state_difference is not None:
            found += f", the state off by {row.state_difference:.2e}"
        raise ExportRefused(
            f"{row.file} does not act as the SavedModel does: expected {row.threshold}, got {found}; "
            f"nothing was published; leave {target.name} out of --formats to export without it."
        )


def _describe(
    facts: Facts, policy: SavedPolicy, observations: Observations, notes: list[str], name: str, version: int
) -> Manifest:
    """The manifest but for what is known only at the end: parity and checksums."""
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=version,
        compared_over=observations.origin,
        observed=observations.ranges(),
        notes=notes,
        versions={tool: package_version(tool) for tool in TOOLS} | {"python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **facts._asdict(),
        **policy.interface._asdict(),
    )
