"""What a path is to be followed as.

In:      the path, what the user says of it.
Out:     `Followed`; None where nothing is there yet that could be followed.
Refuses: options that do not fit what is there; a file that is no source, a bundle (UsageError).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.agent.source import AgentSource
from rlway_export.sources.base import SAVED_MODEL, Source
from rlway_export.sources.content import content_files
from rlway_export.sources.detect import open_source
from rlway_export.sources.kinds import CHECKPOINTS, KERAS_SUFFIXES, ONNX_SUFFIX, is_bundle, is_run, is_saved_model
from rlway_export.sources.onnx.parts import model_files, pipeline_files
from rlway_export.sources.onnx.source import OnnxSource
from rlway_export.sources.run_facts import Each
from rlway_export.sources.saved_checkpoint import SavedCheckpoint
from rlway_export.sources.tensor_options import NOTHING_SAID, TensorOptions
from rlway_export.sources.tf_agents import SavedModelSource
from rlway_export.watch.checkpoints import FollowedCheckpoints, by_content, by_weights
from rlway_export.watch.content import FollowedContent
from rlway_export.watch.followed import Followed
from rlway_export.watch.run import FollowedRun

LATEST = "latest"


class Told(NamedTuple):
    """What the user says of the source."""

    each: Each | None = None
    tensors: TensorOptions = NOTHING_SAID
    agent: AgentCode | None = None
    is_sampled: bool = False


def followed(path: Path, told: Told) -> Followed | None:
    """Looks at what is there now."""
    if is_bundle(path) or is_bundle(path.absolute().parent):
        _open(path, told)  # only the graph in a bundle can be exported
    found = _followed(path, told)
    if found is not None and not found.ends_itself and told.each == "better":
        raise UsageError(
            "--each better: only a run of `rlway train` says which of its checkpoints are better; leave it out."
        )
    return found


def _followed(path: Path, told: Told) -> Followed | None:
    if told.agent is not None:
        return _agent(path, told.agent, told)
    if path.suffix.lower() in (ONNX_SUFFIX, *KERAS_SUFFIXES):
        if path.is_file():
            _try_open(path, told)
        files = model_files if path.suffix.lower() == ONNX_SUFFIX else content_files
        return FollowedContent(path, partial(files, path), partial(open_source, path, LATEST, told.tensors))
    if is_run(path):
        if told.tensors.given:
            _open(path, told)
        return FollowedRun(path, told.each or "better")
    source = _open(path, told) if path.is_file() else _try_open(path, told)
    folder = path.parent if path.name == SAVED_MODEL else path
    if isinstance(source, SavedModelSource) and source.folder != source.graph:
        return _trigger(folder, source.folder)
    if source is None:  # a folder that is empty, or in which a training has only begun, may become anything
        return None
    open_now = partial(open_source, path, LATEST, told.tensors)
    if isinstance(source, OnnxSource):
        return FollowedContent(source.folder, partial(pipeline_files, path), open_now)
    return FollowedContent(folder, partial(content_files, folder), open_now)


def _open(path: Path, told: Told) -> Source:
    """What never becomes a source is a mistake of the user's."""
    try:
        return open_source(path, LATEST, told.tensors, told.agent, told.is_sampled)
    except RlwayError as error:
        raise UsageError(str(error)) from error


def _try_open(path: Path, told: Told) -> Source | None:
    """None for what may still become a source."""
    try:
        return open_source(path, LATEST, told.tensors, told.agent, told.is_sampled)
    except UsageError:
        raise
    except RlwayError:
        return None


def _trigger(folder: Path, trigger: Path) -> Followed:
    """`folder` is one of the trigger's SavedModels, if the user named that."""
    chosen = folder if is_saved_model(folder) else trigger

    def source(saved: SavedCheckpoint) -> SavedModelSource:
        return SavedModelSource.open(chosen, str(saved.number))

    return FollowedCheckpoints(folder, trigger / CHECKPOINTS, source, by_weights)


def _agent(path: Path, agent: AgentCode, told: Told) -> Followed:
    if path.exists():
        _try_open(path, told)  # its checkpoints may be yet to come

    def source(saved: SavedCheckpoint) -> AgentSource:
        return AgentSource.of(saved, agent, told.is_sampled)

    return FollowedCheckpoints(path, path, source, by_content)
