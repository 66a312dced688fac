"""Finds out what a folder is.

In:      a folder, which checkpoint.
Out:     its `Source`.
Refuses: what each kind of source refuses.
"""

from __future__ import annotations

from pathlib import Path

from rlway_export.run_source import RunSource
from rlway_export.saved_model_source import GRAPHS, SavedModelSource
from rlway_export.source import SAVED_MODEL, Source

FOREIGN = (SAVED_MODEL, *GRAPHS)  # what a folder holds that TF-Agents wrote by itself


def open_source(folder: Path, checkpoint: str) -> Source:
    """A run of RLway where the folder has a run.json, or where there is nothing else that it could be."""
    own = not folder.is_dir() or (folder / "run.json").exists() or (folder / "policies").is_dir()
    return RunSource.open(folder, checkpoint) if own else SavedModelSource.open(folder, checkpoint)
