"""The plan of a training, made from the arguments of a command or of Python.

In:      a preset or an environment, flags that override its settings, a run folder; perhaps a run to resume.
Out:     `Plan`, with every value checked.
Refuses: UsageError for flags that make no sense, a folder that holds something else, and flags that a resumed run
         cannot change.

TensorFlow takes seconds to import, so nothing here needs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple

import msgspec

from rlway_client.contract.errors import UsageError
from rlway_train.common.lock import locked
from rlway_train.config.presets import find_preset
from rlway_train.config.settings import Chosen, fixed_settings
from rlway_train.config.validation import overridden, shown
from rlway_train.runs.checkpoint import Checkpoints, SavedTraining


class TrainingRequest(NamedTuple):
    """The arguments of a training, except for its settings. None was not given."""

    env: str | None
    preset: str | None
    run: Path | None
    seed: int | None
    resume: bool

    @property
    def folder(self) -> Path:
        if self.run is not None:
            return self.run
        name = self.preset or re.sub("[/:.]+", "-", self.env or "").strip("-")
        if not name:
            raise UsageError("name an environment with --env, or a preset with --preset.")
        return Path("runs") / f"{name}-{self.seed or 0}"


@dataclass(frozen=True)
class Plan(Generic[Chosen]):
    """What is trained, and into which folder."""

    env: str
    preset: str | None
    seed: int
    settings: Chosen
    folder: Path
    resume: bool
    saved: SavedTraining | None  # the checkpoint that a resumed training starts from


def make_plan(kind: type[Chosen], request: TrainingRequest, flags: dict[str, Any]) -> Plan[Chosen]:
    """`kind` is the class of the algorithm's settings. Flags that are None were not given."""
    folder = request.folder
    known_env, known = find_preset(request.preset, kind) if request.preset is not None else (None, kind())
    saved = _look_into(folder, request.resume)
    if saved is not None:
        settings = overridden(_settings_of(saved, kind, folder), flags)
        _check_same(saved, request, settings)
        return Plan(saved.env, saved.preset, saved.seed, settings, folder, True, saved)
    settings = overridden(known, flags)
    env = request.env or known_env
    if env is None:
        raise UsageError("name an environment with --env, or a preset with --preset.")
    return Plan(env, request.preset, request.seed or 0, settings, folder, request.resume, None)


def _look_into(folder: Path, resume: bool) -> SavedTraining | None:
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name another folder with --run.")
    with locked(folder):  # a locked folder is refused now rather than in a few seconds
        if not resume and any(folder.iterdir()):
            raise UsageError(
                f"{folder}: already holds something; --resume goes on with a run, --run names another folder."
            )
        return Checkpoints(folder).read() if resume else None


def _settings_of(saved: SavedTraining, kind: type[Chosen], folder: Path) -> Chosen:
    if saved.algorithm != kind.algorithm:
        raise UsageError(f"{folder}: is a run of {saved.algorithm}, not of {kind.algorithm}; use that command.")
    return msgspec.convert(saved.settings, kind)


def _check_same(saved: SavedTraining, request: TrainingRequest, settings: Chosen) -> None:
    """Raises UsageError if the request differs from the saved training in anything that cannot change."""
    asked = (
        ("--env", saved.env, request.env),
        ("--preset", saved.preset, request.preset),
        ("--seed", saved.seed, request.seed),
    )
    own = msgspec.convert(saved.settings, type(settings))
    changed = [
        (f"--{name.replace('_', '-')}", getattr(own, name), getattr(settings, name))
        for name in fixed_settings(type(settings))
    ]
    for flag, was, now in [*(row for row in asked if row[2] is not None), *changed]:
        if was != now:
            raise UsageError(
                f"{flag}: the run to resume has {shown(was)}, got {shown(now)}; "
                f"leave it out, or train anew with another --run."
            )
