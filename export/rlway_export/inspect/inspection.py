"""Everything that can be told of a path before it is exported.

In:      a path.
Out:     `Report`.
Refuses: a path from which nothing can be exported, a damaged file: with the sentence of the export.

    path ──▶ what it is ──▶ what its files tell ──▶ what an export of it would do
"""

from __future__ import annotations

from pathlib import Path

from rlway_client.contract.errors import RunInvalid
from rlway_export.inspect.checkpoint_folder import checkpoint_report
from rlway_export.inspect.keras_file import keras_report
from rlway_export.inspect.onnx_file import onnx_report
from rlway_export.inspect.report import Report
from rlway_export.inspect.run import run_report
from rlway_export.inspect.tf_agents import saved_model_report, trigger_report
from rlway_export.sources.base import SAVED_MODEL
from rlway_export.sources.kinds import POLICIES, graph_of, is_bundle, is_keras, is_onnx, is_run, is_saved_model
from rlway_export.sources.onnx.leapp import leapp_file
from rlway_export.sources.saved_checkpoint import is_checkpoint_folder
from rlway_export.sources.unsuitable import WEIGHTS, unsuitable, what_it_is


def inspect_path(path: Path) -> Report:
    """Everything that can be told of it."""
    try:
        return _inspect(path)
    except OSError as error:
        raise RunInvalid(f"{str(path)[:100]}: cannot be read: {error.strerror}.") from error


def _inspect(path: Path) -> Report:
    """The kinds are looked for in the order in which an export looks for them."""
    if is_onnx(path) or leapp_file(path) is not None:
        return onnx_report(path)
    if is_keras(path):
        return keras_report(path)
    if path.name == SAVED_MODEL and path.is_file():
        return saved_model_report(path, path.parent)
    if is_saved_model(path) and not is_bundle(path):
        return saved_model_report(path, path)
    if is_run(path):
        return run_report(path)
    if graph_of(path / POLICIES):
        return trigger_report(path, path / POLICIES)
    if graph_of(path):
        return trigger_report(path, path)
    if is_checkpoint_folder(path) and what_it_is(path) == WEIGHTS:  # and no part of a run or of a trigger's folder
        return checkpoint_report(path)
    raise unsuitable(path)
