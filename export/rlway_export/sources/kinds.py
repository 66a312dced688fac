"""What a path is, by its name and by the names of the files in it.

In:      a folder or a file.
Out:     which kind of source it is, by what wrote it.

    run            run.json once it has ended, job.json from its beginning: `rlway train`
    trigger        greedy_policy/, policy/, collect_policy/ and checkpoints/: TF-Agents' PolicySavedModelTrigger
    SavedModel     saved_model.pb: TF-Agents' PolicySaver
    bundle         manifest.json: `rlway export`
    ONNX           a file .onnx, of any library
    Keras          a file .keras, .h5 or .hdf5: a whole network
"""

from __future__ import annotations

from pathlib import Path

from rlway_export.sources.base import SAVED_MODEL

RUN_FILES = ("run.json", "job.json")
POLICIES = "policies"  # where the trigger writes, in TF-Agents' examples and in our runs
GRAPHS = ("greedy_policy", "policy")  # of a trigger; the first one that exists is exported
COLLECTING = "collect_policy"
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
ONNX_SUFFIX = ".onnx"
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


def is_run(folder: Path) -> bool:
    """Whether `rlway train` has begun a training there."""
    return any((folder / name).is_file() for name in RUN_FILES)


def is_saved_model(folder: Path) -> bool:
    """Whether it has a graph."""
    return (folder / SAVED_MODEL).is_file()


def is_bundle(folder: Path) -> bool:
    """Whether it was published by an export."""
    return (folder / MANIFEST).is_file()


def graph_of(trigger: Path) -> Path | None:
    """The SavedModel to export from a trigger's folder; None if this is not one."""
    return next((trigger / name for name in GRAPHS if is_saved_model(trigger / name)), None)


def is_onnx(path: Path) -> bool:
    """Whether it is an ONNX file by its name; one of a bundle was made by an export, and is no source."""
    return path.suffix.lower() == ONNX_SUFFIX and path.is_file() and not is_bundle(path.absolute().parent)


def is_keras(path: Path) -> bool:
    """Whether it is a file of a Keras network by its name."""
    return path.suffix.lower() in KERAS_SUFFIXES and path.is_file()
