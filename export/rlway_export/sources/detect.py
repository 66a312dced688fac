"""Detects what kind of source a path is.

In:      a path, which checkpoint; what the user says of a file's tensors; the code of a checkpoint's agent.
Out:     its `Source`.
Refuses: a path from which nothing can be exported (RunInvalid says what it is, and what to give instead), or whose
         bytes are no text; whatever each kind of source refuses.
"""

from __future__ import annotations

from pathlib import Path

from rlway_client.contract.errors import RunInvalid, UsageError
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.agent.source import AgentSource
from rlway_export.sources.base import SAVED_MODEL, Source
from rlway_export.sources.keras.source import KerasSource
from rlway_export.sources.kinds import POLICIES, graph_of, is_bundle, is_keras, is_onnx, is_run, is_saved_model
from rlway_export.sources.onnx.leapp import leapp_file
from rlway_export.sources.onnx.source import OnnxSource
from rlway_export.sources.run import RunSource
from rlway_export.sources.tensor_options import NOTHING_SAID, TensorOptions
from rlway_export.sources.tf_agents import SavedModelSource
from rlway_export.sources.unsuitable import unsuitable


def open_source(
    path: Path,
    checkpoint: str,
    options: TensorOptions = NOTHING_SAID,
    agent: AgentCode | None = None,
    is_sampled: bool = False,
) -> Source:
    """A run of `rlway train`, what TF-Agents wrote, a SavedModel, or a file of another library.

    With `agent` it is a folder of checkpoints, and `is_sampled` says whether the policy that draws is meant.
    """
    _check_text(path)
    try:
        if agent is not None and path.exists():
            _check_agent(path, options)
            return AgentSource.open(path, checkpoint, agent, is_sampled)
        if is_onnx(path) or leapp_file(path) is not None:
            return OnnxSource.open(path, checkpoint, options)
        if is_keras(path):
            return KerasSource.open(path, checkpoint, options)
        if path.name == SAVED_MODEL and path.is_file():  # the user means its folder, even if that is a bundle
            return SavedModelSource.open(path.parent, checkpoint, options)
        if is_saved_model(path) and not is_bundle(path):
            return SavedModelSource.open(path, checkpoint, options)
        if options.given and path.exists():
            raise UsageError(f"{' and '.join(options.given)}: {path} says itself what its tensors are; leave it out.")
        if is_run(path):
            return RunSource.open(path, checkpoint)
        if graph_of(path / POLICIES):
            return SavedModelSource.open(path / POLICIES, checkpoint)
        if graph_of(path):
            return SavedModelSource.open(path, checkpoint)
        raise unsuitable(path)
    except OSError as error:
        raise RunInvalid(f"{str(path)[:100]}: cannot be read: {error.strerror}.") from error


def _check_text(path: Path) -> None:
    """The manifest names the path, and is JSON."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise RunInvalid(f"{ascii(str(path))[:100]}: expected a path whose bytes are UTF-8; rename it.") from None


def _check_agent(path: Path, options: TensorOptions) -> None:
    """Raises UsageError for a file, a folder that has a graph, and options that no checkpoint needs."""
    if not path.is_dir():
        raise UsageError(f"--agent: expected a folder of checkpoints, got the file {path}; leave it out.")
    if is_run(path) or graph_of(path) or graph_of(path / POLICIES) or is_saved_model(path):
        raise UsageError(f"--agent: {path} has the graph of its policy, so it needs no code; leave it out.")
    if options.given:
        raise UsageError(f"{' and '.join(options.given)}: the agent says itself what its tensors are; leave it out.")
