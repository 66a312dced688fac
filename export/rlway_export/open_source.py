"""Finds out what a folder is.

In:      a folder, which checkpoint.
Out:     its `Source`.
Refuses: what each kind of source refuses.
"""

from __future__ import annotations

from pathlib import Path

from rlway_export.run_source import RunSource
from rlway_export.saved_model_source import SavedModelSource
from rlway_export.source import Source

OWN = ("run.json", "job.json")
POLICIES = "policies"  # where TF-Agents' examples, and our runs, have the trigger write


def open_source(folder: Path, checkpoint: str) -> Source:
    """A run of RLway by its own files, or what TF-Agents wrote by itself; a folder that is not there would be a run."""
    if not folder.is_dir() or any((folder / own).exists() for own in OWN):
        return RunSource.open(folder, checkpoint)
    inner = folder / POLICIES
    return SavedModelSource.open(inner if inner.is_dir() else folder, checkpoint)
